"""limits: what each entry takes, refuses and gives back."""

from __future__ import annotations

import itertools
import os
from collections.abc import Awaitable, Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import anyio
import pytest
from anyio import sleep_forever

from mailstack import (
    ConfigError,
    Limit,
    Limits,
    Observe,
    Reply,
    Server,
    Session,
    Stack,
    Unless,
    hookimpl,
    lookup,
    predicate,
)
from mailstack.contract.hookspec import PHASES, LiveOn
from mailstack.middleware import limits
from mailstack.services.memory import MemoryStream, memory_stream_pair
from mailstack.services.store import Memory, SQLite, StoreError
from mailstack.session.session import Peer
from mailstack.testing import Dialog, Vouch
from mailstack.testing.conversation import Conversation
from mailstack.testing.dialog import SWEEP, Collect
from mailstack.wire.command import Command
from tests.server.kit import BY_HAND, house, later
from tests.server.test_starttls import Tls


class Clock:
    """Stands still unless told."""

    def __init__(self) -> None:
        self.now = 1_000_000.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


class Login:
    """Stands for authentication, and for XCLIENT."""

    @hookimpl
    async def command(self, session: Session, command: Command) -> Reply | None:
        if command.verb == "LOGIN":
            session.user = command.argument
            return Reply(250)
        if command.verb == "XCLIENT":
            return await session.restart(client=Peer(command.argument, 1))
        return None


async def banners(dialog: Dialog, *clients: str) -> list[int]:
    return [(await (await dialog.connect(client)).banner()).code for client in clients]


# Sessions.


async def test_one_address_has_so_many_sessions_at_once_and_may_come_back() -> None:
    dialog = Dialog(limits.Sessions(per_ip=2), client="192.0.2.1")
    async with dialog as first:
        assert await first.banner() == 220
        second, third = await dialog.several(2)
        assert await second.banner() == 220
        answer = await third.banner()
        assert (answer.code, answer.text) == (421, "too many sessions from your address")
        await third.closed()
        assert await banners(dialog, "192.0.2.2") == [220]
        assert await first.say("QUIT") == 221
        await first.closed()
        assert await banners(dialog, "192.0.2.1", "192.0.2.1") == [220, 421]


async def test_the_refusal_is_in_the_evidence() -> None:
    async with Dialog(limits.Sessions(total=1)) as first:
        [second] = await first.several(1)
        await second.banner()
        [finding] = second.evidence
        assert (finding.who, finding.phase) == ("limits", "session")
        assert "too many sessions" in finding.detail


async def test_an_ipv6_address_is_its_64_and_networks_are_counted_beside() -> None:
    """A flood that takes another address of its /64 each time is one client's (peers.md, attack 9)."""
    dialog = Dialog(limits.Sessions(per_ip=1, per_prefix=2), client="192.0.2.1")
    async with dialog as first:
        assert await first.banner() == 220
        assert await banners(dialog, "192.0.2.2", "192.0.2.3", "192.0.3.1") == [220, 421, 220]
        six = ("2001:db8:1:1::1", "2001:db8:1:1::2", "2001:db8:1:2::1", "2001:db8:1:3::1", "2001:db8:2::1")
        assert await banners(dialog, *six) == [220, 421, 220, 421, 220]


async def test_the_lengths_of_networks_are_to_be_chosen() -> None:
    dialog = Dialog(limits.Sessions(per_prefix=1, prefix=(16, 32)), client="192.0.2.1")
    async with dialog as first:
        assert await first.banner() == 220
        assert await banners(dialog, "192.0.99.1", "192.1.0.1") == [421, 220]


async def test_a_total_leaves_a_reserve_for_who_is_exempt() -> None:
    stack = Stack(Unless(predicate.client_in("10.0.0.0/8"), limits.Sessions(total=1)))
    dialog = Dialog(stack, client="192.0.2.1")
    async with dialog as first:
        assert await first.banner() == 220
        assert await banners(dialog, "192.0.2.2", "10.0.0.1", "10.0.0.1") == [421, 220, 220]


async def test_a_unix_socket_has_no_address_and_is_counted_in_total_alone() -> None:
    dialog = Dialog(limits.Sessions(total=3, per_ip=1, per_prefix=1), client="")
    async with dialog as first:
        assert await first.banner() == 220
        assert await banners(dialog, "", "", "") == [220, 220, 421]


async def test_behind_a_proxy_the_client_is_counted() -> None:
    class Proxy:
        @hookimpl
        async def session(self, session: Session, call_next: LiveOn) -> None:
            session.proxied(Peer((await session.read_line(64)).decode(), 1))
            await call_next()

    async def client(address: bytes) -> int:
        smtp = await dialog.connect()
        await smtp.send(address + b"\r\n")
        return (await smtp.banner()).code

    dialog = Dialog(Proxy(), limits.Sessions(per_ip=1), client="10.0.0.1", proxy="10.0.0.0/8")
    async with dialog as first:
        await first.send(b"192.0.2.1\r\n")
        assert await first.banner() == 220
        assert [await client(address) for address in (b"192.0.2.2", b"192.0.2.1")] == [220, 421]


async def test_above_a_proxy_the_place_moves_to_the_client() -> None:
    class Proxy:
        @hookimpl
        async def session(self, session: Session, call_next: LiveOn) -> None:
            session.proxied(Peer("192.0.2.1", 1))
            await call_next()

    sessions = limits.Sessions(per_ip=1)
    dialog = Dialog(sessions, Proxy(), client="10.0.0.1")
    async with dialog as first:
        assert await first.banner() == 220
        assert await banners(dialog, "10.0.0.1", "10.0.0.2") == [421, 421]


async def test_the_place_moves_with_xclient() -> None:
    dialog = Dialog(Login(), limits.Sessions(per_ip=1), client="10.0.0.1")
    async with dialog as first:
        assert await first.say("XCLIENT 192.0.2.1") == 220
        assert await banners(dialog, "192.0.2.1") == [421]
        [other] = await dialog.several(1)
        assert await other.banner() == 220
        assert await other.say("XCLIENT 192.0.2.1") == 421


async def test_a_handshake_that_stalls_has_a_place_and_nobody_is_told_in_clear() -> None:
    sessions = limits.Sessions(per_ip=1)
    async with Dialog(sessions, Tls(), tls=True) as stalled:
        [second] = await stalled.several(1)
        await second.closed()  # not a word
        await stalled.hang_up()
        await stalled.finished()
        assert sessions.held == 0


async def test_a_predicate_that_changes_its_mind_takes_no_place() -> None:
    """Exempt when the session began, not any more at `connect`: there would be nobody to give it back."""

    class Proxy:
        @hookimpl
        async def session(self, session: Session, call_next: LiveOn) -> None:
            session.proxied(Peer("192.0.2.1", 1))
            await call_next()

    store = Memory()
    stack = Stack(Unless(predicate.client_in("10.0.0.0/8"), limits.Sessions(per_ip=1, store=store)), Proxy())
    async with Dialog(stack, client="10.0.0.1") as smtp:
        assert await smtp.banner() == 220
        assert store.held == 0


async def test_a_store_that_fails_is_decided_by_the_limit_around() -> None:
    class Broken(Memory):
        async def enter(self, places: object) -> str | None:
            raise StoreError("locked")

    async with Dialog(limits.Sessions(per_ip=1, store=Broken())) as smtp:
        assert await smtp.banner() == 421
    async with Dialog(Limit(limits.Sessions(per_ip=1, store=Broken()), timeout=5, on_fault="pass")) as smtp:
        assert await smtp.banner() == 220


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({}, "limits nothing"),
        ({"per_ip": 0}, r"Sessions\(per_ip\)"),
        ({"per_ip": 1, "prefix": (24,)}, "two lengths"),
        ({"per_ip": 1, "prefix": (33, 64)}, r"Sessions\(prefix\)"),
    ],
)
def test_sessions_that_make_no_sense(options: dict[str, Any], words: str) -> None:
    with pytest.raises(ConfigError, match=words):
        limits.Sessions(**options)


# Places always come back.

End = Callable[[Conversation], Awaitable[None]]

STEPS = (
    b"EHLO client.example.org\r\n",
    b"MAIL FROM:<a@example.org>\r\n",
    b"RCPT TO:<b@example.org>\r\n",
    b"DATA\r\n",
    b"Subject: test\r\n\r\nte",
)


async def quit_(smtp: Conversation) -> None:
    await smtp.say("QUIT")
    await smtp.closed()


async def leave(smtp: Conversation) -> None:
    await smtp.hang_up()


async def deliver_and_leave(smtp: Conversation) -> None:
    await smtp.message("a@example.org", ["b@example.org"])
    await smtp.hang_up()


def leave_after(count: int) -> End:
    async def end(smtp: Conversation) -> None:
        await smtp.banner()
        for octets in STEPS[:count]:
            await smtp.send(octets)
            if octets != STEPS[-1]:
                await smtp.reply()
        await smtp.hang_up()

    return end


async def drop_in_one_piece(smtp: Conversation) -> None:
    await smtp.send(b"".join(STEPS))
    await smtp.hang_up()


async def wait_for_the_end(smtp: Conversation) -> None:
    await smtp._rest()
    await smtp.hang_up()
    await smtp.finished()


class Raises:
    """Fails in one phase."""

    def __init__(self, hook: str) -> None:
        async def fail() -> None:
            raise RuntimeError(hook)

        setattr(self, hook, hookimpl(fail))


class RaisesAround:
    """A session onion that fails, before or after."""

    def __init__(self, before: bool) -> None:
        self.before = before

    @hookimpl
    async def session(self, call_next: LiveOn) -> None:
        if not self.before:
            await call_next()
        raise RuntimeError("session")


class DoesNotGoOn:
    @hookimpl
    async def session(self, call_next: LiveOn) -> None:
        return


class Refuses:
    @hookimpl
    def connect(self) -> Reply:
        return Reply(554, "no", close=True)


class ReadsFirst:
    """The conversation ends before the banner: a Hangup in the onion below."""

    @hookimpl
    async def session(self, session: Session, call_next: LiveOn) -> None:
        await session.read_exactly(1)
        await call_next()


WAYS: dict[str, tuple[tuple[object, ...], End]] = {
    "quit": ((), quit_),
    "leaves at once": ((), leave),
    "has delivered and leaves": ((), deliver_and_leave),
    **{f"leaves after {count} steps": ((), leave_after(count)) for count in range(len(STEPS) + 1)},
    "sends all and leaves": ((), drop_in_one_piece),
    **{f"a fault in {hook}": ((Raises(hook),), drop_in_one_piece) for hook in PHASES if hook != "auth"},
    "a fault in a notice": ((Raises("disconnect"),), leave),
    "a session onion fails before": ((RaisesAround(True),), wait_for_the_end),
    "a session onion fails after": ((RaisesAround(False),), leave),
    "a session onion does not go on": ((DoesNotGoOn(),), wait_for_the_end),
    "refused at connect": ((Refuses(),), wait_for_the_end),
    "leaves before the banner": ((ReadsFirst(),), leave),
}


def counted(store: Memory) -> tuple[limits.Sessions, limits.Tarpit]:
    return limits.Sessions(total=5000, per_ip=5000, per_prefix=5000, store=store), limits.Tarpit(1, delay=0)


async def end_in_every_way(count: int) -> None:
    """`count` sessions for each way, some of them at once; then all tables are as they were."""
    for entries, end in WAYS.values():
        store = Memory()
        sessions, tarpit = counted(store)
        dialog = Dialog(sessions, tarpit, *entries, Vouch())
        async with dialog as first:
            await end(first)
            for some in range(0, count, 50):
                for smtp in await dialog.several(min(50, count - some)):
                    await end(smtp)
                for smtp in dialog._lines:
                    await smtp.hang_up()
                    await smtp.finished()
                dialog._lines.clear()
        assert (store.held, sessions.held, tarpit.waiting) == (0, 0, 0)
        assert not store._places


@pytest.fixture
def _quiet(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level("CRITICAL", "mailstack")


@pytest.mark.usefixtures("_quiet")
async def test_places_come_back_however_a_session_ends() -> None:
    await end_in_every_way(10)


@pytest.mark.slow
@pytest.mark.timeout(300)
@pytest.mark.usefixtures("_quiet")
async def test_ten_thousand_sessions_leave_nothing() -> None:
    await end_in_every_way(10_000 // len(WAYS) + 1)


async def test_who_is_cut_by_a_clock_gives_his_place_back() -> None:
    sessions = limits.Sessions(per_ip=10)
    dialog = Dialog(sessions, limits=Limits(idle=0.05, sweep=SWEEP))
    async with dialog as smtp:
        lines = [smtp, *await dialog.several(9)]
        for line in lines:
            await line.banner()
        assert sessions.held == 10
        for line in lines:
            assert await line.reply() == 421
            await line.closed()
        assert sessions.held == 0


class Hangs:
    """In `rcpt`, until the server does not want to wait any more."""

    def __init__(self) -> None:
        self.began = anyio.Event()

    @hookimpl
    async def rcpt(self) -> None:
        self.began.set()
        await sleep_forever()


@pytest.mark.parametrize("cut_short", [False, True])
async def test_a_server_that_stops_has_all_places_back(cut_short: bool) -> None:
    store, hangs = Memory(), Hangs()
    sessions, _ = counted(store)
    server = Server(Stack(sessions, hangs, Vouch(), Collect()), [], limits=Limits(shutdown=0.05, sweep=SWEEP))
    clients: list[MemoryStream] = []
    with anyio.CancelScope() as scope:
        async with server, anyio.create_task_group() as group:
            for number in range(20):
                there, here = memory_stream_pair((f"192.0.2.{number}", 1))
                clients.append(here)
                await group.start(serve, server, there)
                await here.send(b"".join(STEPS[: number % 4]))
            await hangs.began.wait()
            assert store.held == 60
            if cut_short:
                scope.cancel()
            else:
                server.stop()
    assert (store.held, sessions.held) == (0, 0)


async def serve(server: Server, stream: MemoryStream, *, task_status: Any) -> None:
    await server.serve_stream(stream, task_status=task_status)


# Rates.


async def test_connections_in_a_time(clock: Clock) -> None:
    store = Memory(clock=clock)
    dialog = Dialog(limits.Rate(connections="2/1m", store=store), client="192.0.2.1")
    async with dialog as first:
        assert await first.banner() == 220
        assert await banners(dialog, "192.0.2.1", "192.0.2.1", "192.0.2.2") == [220, 421, 220]
        clock.now += 30
        assert await banners(dialog, "192.0.2.1", "192.0.2.1") == [220, 421]


async def test_messages_in_a_time(clock: Clock) -> None:
    async with Dialog(limits.Rate(messages="2/1h", store=Memory(clock=clock)), Vouch()) as smtp:
        for code in (250, 250, 450):
            assert await smtp.message("a@example.org", ["b@example.org"]) == code
        answer = await smtp.message("a@example.org", ["b@example.org"])
        assert (answer.code, answer.status) == (450, "4.7.1")
        assert "messages of ip 192.0.2.1/32" in next(each.detail for each in smtp.evidence if each.outcome == "noted")
        clock.now += 1800
        assert await smtp.message("a@example.org", ["b@example.org"]) == 250


async def test_recipients_in_a_time_whatever_becomes_of_them(clock: Clock) -> None:
    """A dictionary attack is slowed down though nobody it names exists (peers.md, attack 19)."""

    class Nobody:
        @hookimpl
        def rcpt(self) -> Reply:
            return Reply(550, "no such user", status="5.1.1")

    async with Dialog(limits.Rate(recipients="3/1h", store=Memory(clock=clock)), Nobody()) as smtp:
        await smtp.say("EHLO client.example.org")
        await smtp.say("MAIL FROM:<a@example.org>")
        codes = [(await smtp.say(f"RCPT TO:<u{number}@example.org>")).code for number in range(5)]
        assert codes == [550, 550, 550, 450, 450]


async def test_rates_by_network_count_neighbours_together(clock: Clock) -> None:
    dialog = Dialog(limits.Rate(connections="2/1m", by="prefix", store=Memory(clock=clock)), client="192.0.2.1")
    async with dialog as first:
        assert await first.banner() == 220
        assert await banners(dialog, "192.0.2.9", "192.0.2.77", "192.0.3.1") == [220, 421, 220]
        assert await banners(dialog, "2001:db8:1:1::1", "2001:db8:1:2::1", "2001:db8:1:3::1") == [220, 220, 421]


async def test_rates_by_login_follow_the_user_and_nobody_else(clock: Clock) -> None:
    dialog = Dialog(Login(), limits.Rate(messages="1/1h", by="login", store=Memory(clock=clock)), Vouch())
    async with dialog as smtp:
        for _ in range(3):
            assert await smtp.message("a@example.org", ["b@example.org"]) == 250
        assert await smtp.say("LOGIN ann") == 250
        assert await smtp.message("a@example.org", ["b@example.org"]) == 250
        other = await dialog.connect("192.0.2.99")
        assert await other.say("LOGIN ann") == 250
        assert await other.message("a@example.org", ["b@example.org"]) == 450
        assert await other.say("LOGIN bob") == 250
        assert await other.message("a@example.org", ["b@example.org"]) == 250


async def test_rates_by_the_sender_s_domain_spare_bounces(clock: Clock) -> None:
    rate = limits.Rate(messages="1/1h", by="sender_domain", store=Memory(clock=clock))
    async with Dialog(rate, Vouch()) as smtp:
        assert await smtp.message("a@example.org", ["b@example.org"]) == 250
        assert await smtp.message("x@EXAMPLE.org", ["b@example.org"]) == 450
        assert await smtp.message("x@example.com", ["b@example.org"]) == 250
        for _ in range(3):
            assert await smtp.message("", ["b@example.org"]) == 250


async def test_a_burst_may_be_less_than_the_rate(clock: Clock) -> None:
    async with Dialog(limits.Rate(messages="60/1m", burst=2, store=Memory(clock=clock)), Vouch()) as smtp:
        for code in (250, 250, 450):
            assert await smtp.message("a@example.org", ["b@example.org"]) == code


async def test_what_a_client_says_stays_in_its_part_of_the_key(clock: Clock) -> None:
    store = Memory(clock=clock)
    rate = limits.Rate(messages="5/1h", by="login", store=store)
    async with Dialog(Login(), rate, Vouch()) as smtp:
        for user in ("a/b", "a|b", "x" * 900):
            await smtp.say(f"LOGIN {user}")
            assert await smtp.message("a@example.org", ["b@example.org"]) == 250
        names = list(store._entries)
        assert [name.count("/") for name in names] == [5, 5, 5]
        assert max(map(len, names)) <= 200


async def test_the_table_is_bounded_however_many_clients_come(clock: Clock) -> None:
    store = Memory(size=50, clock=clock)
    rate = limits.Rate(connections="1/1h", store=store)
    dialog = Dialog(rate, client="192.0.2.1")
    async with dialog as first:
        await first.banner()
        for number in range(200):
            smtp = await dialog.connect(f"10.0.{number}.1")
            await smtp.banner()
            await smtp.hang_up()
        assert store.kept == 50


async def test_two_servers_share_a_file(tmp_path: Path) -> None:
    def policy() -> Stack:
        store = SQLite(tmp_path / "limits.db")
        return Stack(limits.Sessions(per_ip=2, store=store), limits.Rate(messages="2/1h", store=store), Vouch())

    one, two = Dialog(policy()), Dialog(policy())
    async with one as first, two as second:
        assert await first.message("a@example.org", ["b@example.org"]) == 250
        assert await second.message("a@example.org", ["b@example.org"]) == 250
        assert await first.message("a@example.org", ["b@example.org"]) == 450
        assert await banners(one, "192.0.2.1") == [421]
        assert await banners(two, "192.0.2.1", "192.0.2.2") == [421, 220]
        await first.say("QUIT")
        await first.closed()
        assert await banners(two, "192.0.2.1") == [220]


async def test_two_limits_in_one_store_are_told_apart_by_name(clock: Clock) -> None:
    store = Memory(clock=clock)
    same = [limits.Rate(connections="4/1h", store=store) for _ in range(2)]
    apart = [limits.Rate(connections="4/1h", store=store, name=name) for name in ("a", "b")]
    for entries, codes in ((same, [220, 421]), (apart, [220, 220, 220, 421])):
        store._entries.clear()
        dialog = Dialog(*entries)
        async with dialog as first:
            assert await first.banner() == 220
            assert await banners(dialog, *["192.0.2.1"] * len(codes)) == codes


async def test_a_rehearsal_reads_what_was_taken_and_takes_nothing(tmp_path: Path) -> None:
    def policy() -> Stack:
        store = SQLite(tmp_path / "limits.db")
        return Stack(limits.Rate(messages="2/1h", store=store), limits.Sessions(per_ip=1, store=store), Vouch())

    async with Dialog(policy()) as smtp:
        assert await smtp.message("a@example.org", ["b@example.org"]) == 250
    for _ in range(3):
        async with Dialog(policy(), rehearsal=True) as smtp:
            assert await smtp.message("a@example.org", ["b@example.org"]) == 250
    async with Dialog(policy()) as smtp:
        assert await smtp.message("a@example.org", ["b@example.org"]) == 250
    async with Dialog(policy(), rehearsal=True) as smtp:
        assert await smtp.message("a@example.org", ["b@example.org"]) == 450


async def test_a_rate_can_be_tried() -> None:
    async with Dialog(Observe(limits.Rate(messages="1/1h")), Vouch()) as smtp:
        for _ in range(2):
            assert await smtp.message("a@example.org", ["b@example.org"]) == 250
        assert "would have refused" in [finding.outcome for finding in smtp.evidence]


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({}, "limits nothing"),
        ({"messages": "10"}, r"Rate\(messages\): '10' is not a rate"),
        ({"connections": "1/1m", "by": "login"}, "cannot limit connections"),
        ({"messages": "1/1m", "by": "colour"}, "no such way"),
        ({"messages": "1/1m", "burst": 0}, "burst"),
    ],
)
def test_rates_that_make_no_sense(options: dict[str, Any], words: str) -> None:
    with pytest.raises(ConfigError, match=words):
        limits.Rate(**options)


# Recipients and sizes.


async def test_a_message_has_so_many_recipients_and_the_client_comes_back_with_the_rest() -> None:
    async with Dialog(limits.Recipients(2), Vouch()) as smtp:
        assert "LIMITS RCPTMAX=2" in (await smtp.say("EHLO client.example.org")).lines
        for _ in range(2):
            answers = await smtp.deliver("a@example.org", [f"{name}@example.org" for name in "bcd"])
            assert answers[-1] == 250
        assert [len(each.recipients) for each in smtp.messages] == [2, 2]
        await smtp.say("MAIL FROM:<a@example.org>")
        codes = [(answer.code, answer.status) for answer in [await smtp.say("RCPT TO:<b@c>") for _ in range(3)]]
        assert codes[-1] == (452, "4.5.3")


async def test_a_session_has_so_many_recipients_in_all() -> None:
    async with Dialog(limits.Recipients(per_session=3), Vouch()) as smtp:
        for code in (250, 250, 250, 452):
            assert await smtp.message("a@example.org", ["b@example.org"]) == code
            await smtp.say("RSET")


async def test_a_message_has_a_size() -> None:
    large = b"Subject: large\r\n\r\n" + b"x" * 70 + b"\r\n" * 600
    async with Dialog(limits.Size("1 KiB"), Vouch()) as smtp:
        assert "SIZE 1024" in (await smtp.say("EHLO client.example.org")).lines
        assert await smtp.say("MAIL FROM:<a@example.org> SIZE=1025") == 552
        assert await smtp.message("a@example.org", ["b@example.org"], large) == 552
        assert await smtp.message("a@example.org", ["b@example.org"]) == 250
        assert await smtp.say("HELO client.example.org") == 250


@pytest.mark.parametrize("waits", [False, True])
async def test_a_recipient_may_have_a_size_of_its_own(waits: bool) -> None:
    sizes = {"example.org": "1k", "ann@example.org": "2k", "big@": "100k", "bad@example.net": "many"}

    async def ask(key: str) -> str | None:
        return sizes.get(key)

    own = lookup.Function(ask) if waits else {key: size for key, size in sizes.items() if size != "many"}
    message = b"Subject: large\r\n\r\n" + b"x\r\n" * 500
    async with Dialog(limits.Size("3k", recipients=own), Vouch()) as smtp:
        assert "SIZE 3072" in (await smtp.say("EHLO client.example.org")).lines
        assert await smtp.say("MAIL FROM:<a@example.org> SIZE=2000") == 250
        answer = await smtp.say("RCPT TO:<bob@example.org>")
        assert (answer.code, answer.status) == (552, "5.2.3")
        for fine in ("ann@example.org", "x@other.example"):
            assert await smtp.say(f"RCPT TO:<{fine}>") == 250
        if waits:  # what makes no sense is nobody's word
            assert await smtp.say("RCPT TO:<bad@example.net>") == 451
        await smtp.say("RSET")
        answer = await smtp.message("a@example.org", ["bob@example.org"], message)
        assert (answer.code, answer.status) == (552, "5.2.3")
        assert await smtp.message("a@example.org", ["ann@example.org"], message) == 250
        assert await smtp.message("a@example.org", ["ann@example.org", "bob@example.org"], message) == 451
        assert await smtp.message("a@example.org", ["ann@example.org", "x@other.example"], message) == 250
    async with Dialog(limits.Size(recipients=own), Vouch(), lmtp=True) as smtp:
        assert await smtp.message("a@example.org", ["big@example.org"], message) == 250
    with pytest.raises(ConfigError, match=r"Size\(recipients\)"):
        limits.Size(recipients={"example.org": "many"})


@pytest.mark.parametrize(
    "make", [lambda: limits.Recipients(), lambda: limits.Recipients(0), lambda: limits.Size("x"), lambda: limits.Size()]
)
def test_counts_that_make_no_sense(make: Callable[[], object]) -> None:
    with pytest.raises(ConfigError):
        make()


# Errors.


async def test_who_makes_errors_is_answered_slowly(monkeypatch: pytest.MonkeyPatch) -> None:
    waits: list[float] = []

    async def sleep(seconds: float) -> None:
        waits.append(seconds)

    monkeypatch.setattr("mailstack.middleware.limits.tarpit.sleep", sleep)
    async with Dialog(limits.Tarpit(2, delay="3s"), Vouch()) as smtp:
        await smtp.say("EHLO client.example.org")
        for expected in ([], [], [3.0], [3.0, 3.0]):
            assert await smtp.say("NONSENSE") == 500
            assert waits == expected
        assert await smtp.message("a@example.org", ["b@example.org"]) == 250
        assert len(waits) == 5
        assert await smtp.message("a@example.org", ["b@example.org"]) == 250  # all is forgiven
        assert len(waits) == 5


async def test_only_so_many_wait_at_once() -> None:
    tarpit = limits.Tarpit(1, delay="10s", at_once=2)
    dialog = Dialog(tarpit)
    async with dialog as first:
        slow = [first, *await dialog.several(1)]
        for smtp in slow:
            assert await smtp.say("NONSENSE") == 500
            await smtp.send(b"NOOP\r\n")
        [quick] = await dialog.several(1)
        assert await quick.say("NONSENSE") == 500
        while tarpit.waiting < 2:  # noqa: ASYNC110
            await anyio.sleep(0.001)
        assert await quick.say("NOOP") == 250
        dialog.server._house.cut_short()  # type: ignore[union-attr]
        for smtp in slow:
            await smtp.finished()
        assert tarpit.waiting == 0


async def test_refusals_of_either_kind_come_to_an_end() -> None:
    class Later:
        @hookimpl
        def rcpt(self) -> Reply:
            return Reply(450, "later", status="4.2.0")

    async with Dialog(limits.Tarpit(100, close_after=3), Later()) as smtp:
        await smtp.say("EHLO client.example.org")
        await smtp.say("MAIL FROM:<a@example.org>")
        for _ in range(3):
            assert await smtp.say("RCPT TO:<b@example.org>") == 450
        answer = await smtp.reply()
        assert (answer.code, answer.status) == (421, "4.7.0")
        await smtp.closed()


async def test_a_message_that_is_taken_is_a_new_beginning() -> None:
    async with Dialog(limits.Tarpit(100, close_after=2), Vouch()) as smtp:
        for _ in range(4):
            assert await smtp.say("NONSENSE") == 500
            assert await smtp.message("a@example.org", ["b@example.org"]) == 250


@pytest.mark.parametrize("options", [{"delay": "11s"}, {"after": 0}, {"at_once": 0}, {"close_after": 0}])
def test_a_tarpit_that_makes_no_sense(options: dict[str, Any]) -> None:
    with pytest.raises(ConfigError, match="Tarpit"):
        limits.Tarpit(**options)


# Time, and load.


def by_hand(**chosen: float) -> Limits:
    return replace(Limits(sweep=BY_HAND), **chosen)  # type: ignore[arg-type]


async def test_some_have_deadlines_of_their_own() -> None:
    stack = Stack(Unless(predicate.client_in("10.0.0.0/8"), limits.Deadlines(idle="10s", errors=1)))
    dialog = Dialog(stack, client="192.0.2.1", limits=by_hand(idle=100))
    async with dialog as smtp:
        trusted = await dialog.connect("10.0.0.1")
        await smtp.banner()
        await trusted.banner()
        later(dialog.server, 50)
        assert await smtp.reply() == 421
        assert await trusted.say("NONSENSE") == 500
        assert await trusted.say("NOOP") == 250


async def test_stress_shortens_the_time_of_those_who_are_there_already() -> None:
    dialog = Dialog(limits.Stress(), limits=by_hand(idle=300, connections=10))
    async with dialog as smtp:
        await smtp.banner()
        later(dialog.server, 50)
        assert await smtp.say("NOOP") == 250
        house(dialog.server).load = 0.9
        later(dialog.server, 50)
        answer = await smtp.reply()
        assert (answer.code, answer.status) == (421, "4.4.2")


async def test_nobody_new_while_the_machine_is_busy(monkeypatch: pytest.MonkeyPatch) -> None:
    load = itertools.chain([1.0, 21.0, 20.0], itertools.repeat(1.0))
    monkeypatch.setattr(os, "getloadavg", lambda: (next(load), 0.0, 0.0))
    gate = limits.LoadGate(above=20, every=0)  # has looked once
    dialog = Dialog(gate)
    async with dialog as smtp:
        assert await smtp.banner() == 421
        assert await banners(dialog, "192.0.2.1", "192.0.2.1") == [220, 220]


async def test_the_load_is_not_asked_for_each_client(monkeypatch: pytest.MonkeyPatch) -> None:
    asked = []

    def load() -> tuple[float, float, float]:
        asked.append(1)
        return 0.0, 0.0, 0.0

    monkeypatch.setattr(os, "getloadavg", load)
    dialog = Dialog(limits.LoadGate(above=20, every="1h"))
    async with dialog as smtp:
        await smtp.banner()
        await banners(dialog, *["192.0.2.1"] * 5)
    assert len(asked) == 2


def test_load_that_makes_no_sense(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(ConfigError, match="everybody"):
        limits.LoadGate(0)
    monkeypatch.delattr(os, "getloadavg")
    with pytest.raises(ConfigError, match="does not tell"):
        limits.LoadGate(20)


@pytest.mark.parametrize(
    "make",
    [
        lambda: limits.Deadlines(),
        lambda: limits.Deadlines(idle="never"),
        lambda: limits.Deadlines(errors=0),
        lambda: limits.Stress(1.5),
        lambda: limits.Stress(idle=None, errors=None),
    ],
)
def test_deadlines_that_make_no_sense(make: Callable[[], object]) -> None:
    with pytest.raises(ConfigError):
        make()


async def test_check_finds_an_open_relay_behind_a_rate() -> None:
    """It asks `rcpt` outside of a server's life, where no store is open."""
    rate = limits.Rate(recipients="1/1h")
    async with Dialog(rate) as smtp:
        session = smtp.session
    assert await rate.rcpt(session) is None
