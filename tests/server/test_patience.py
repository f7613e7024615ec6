"""Limits of one session's own: `Session.limit`, for good or while the server is nearly full."""

from __future__ import annotations

from mailstack import Limits, Observe, Reply, Session, hookimpl
from mailstack.session.session import Peer
from mailstack.testing import Dialog
from mailstack.testing.dialog import Collect, Vouch
from mailstack.wire.command import Command

from .kit import BY_HAND, SMALL, client, house, later, only_connection, serving, until


class Limited:
    """Calls `session.limit` when the client connects."""

    def __init__(self, **how: float) -> None:
        self.how = how

    @hookimpl
    def connect(self, session: Session) -> None:
        session.limit(**self.how)


def by_hand(**chosen: float) -> Limits:
    return Limits(**{"sweep": BY_HAND, **chosen})  # type: ignore[arg-type]


async def test_a_session_may_have_less_time_than_others() -> None:
    async with serving(Limited(idle=10), Collect(), limits=by_hand(idle=100)) as server, client(server) as smtp:
        await smtp.hello()
        later(server, 9)
        assert (await smtp.say("NOOP")).startswith("250 ")
        later(server, 12)
        assert await smtp.rest() == "421 4.4.2 idle too long\r\n"


async def test_a_session_may_have_more_time_than_others() -> None:
    async with (
        serving(Limited(idle=900), Limited(session=1000), Collect(), limits=by_hand(idle=100)) as server,
        client(server) as smtp,
    ):
        await smtp.hello()
        later(server, 899)
        assert (await smtp.say("NOOP")).startswith("250 ")
        later(server, 1001)
        assert await smtp.rest() == "421 4.4.2 idle too long\r\n"


async def test_a_session_may_end_sooner_and_a_body_must_come_faster() -> None:
    limits = by_hand(idle=1000, data_grace=60, data_rate=1)
    chosen = Limited(session=400, data_rate=100, data_grace=10)
    async with serving(chosen, Vouch(), Collect(), limits=limits) as server, client(server) as smtp:
        await (await smtp.hello()).opened()
        connection = only_connection(server)
        await smtp.send(SMALL * 4)
        await until(lambda: connection.dialog.reception is not None and connection.dialog.reception.octets > 80)
        later(server, 9)
        assert connection.why == "closed"
        later(server, 11)
        assert await smtp.rest() == "421 4.4.2 data comes too slowly\r\n"
    async with serving(chosen, limits=limits) as server, client(server) as smtp:
        await smtp.hello()
        later(server, 401)
        assert await smtp.rest() == "421 4.4.2 session is over its time\r\n"


async def test_fewer_errors_may_be_allowed() -> None:
    async with Dialog(Limited(errors=2)) as smtp:
        assert await smtp.say("NONSENSE") == 500
        assert await smtp.say("NONSENSE") == 500
        assert await smtp.reply() == 421
        await smtp.closed()


async def test_stress_holds_while_the_server_is_full_and_no_longer() -> None:
    async with (
        serving(Limited(above=0.8, idle=10), Collect(), limits=by_hand(idle=100, connections=10)) as server,
        client(server) as smtp,
    ):
        await smtp.hello()
        house(server).load = 0.8
        later(server, 50)
        assert (await smtp.say("NOOP")).startswith("250 ")
        house(server).load = 0.9
        later(server, 50)
        assert await smtp.rest() == "421 4.4.2 idle too long\r\n"


async def test_the_server_knows_how_full_it_is() -> None:
    limits = Limits(sweep=0.01, connections=4)
    async with serving(Collect(), limits=limits) as server, client(server) as one, client(server) as two:
        await one.hello()
        await two.hello()
        await until(lambda: house(server).load == 0.5)


async def test_what_is_observed_leaves_the_limits_alone() -> None:
    async with Dialog(Observe(Limited(errors=1))) as smtp:
        assert await smtp.say("NONSENSE") == 500
        assert await smtp.say("NOOP") == 250


async def test_a_new_beginning_forgets_them() -> None:
    class Anew:
        @hookimpl
        async def command(self, session: Session, command: Command) -> Reply | None:
            return await session.restart(client=Peer("198.51.100.1", 1)) if command.verb == "XCLIENT" else None

    class Once:
        @hookimpl
        def connect(self, session: Session) -> None:
            if session.client.host == "192.0.2.1":
                session.limit(errors=1)

    async with Dialog(Anew(), Once(), client="192.0.2.1") as smtp:
        assert await smtp.say("XCLIENT") == 220
        assert await smtp.say("NONSENSE") == 500
        assert await smtp.say("NOOP") == 250


async def test_a_limit_that_does_not_exist_is_a_fault() -> None:
    async with Dialog(Limited(patience=3)) as smtp:
        assert await smtp.banner() == 421
        assert [finding.outcome for finding in smtp.evidence] == ["fault"]
