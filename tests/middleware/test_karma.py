"""What a client does counts, and is remembered."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import anyio
import pytest
from click.testing import CliRunner
from hypothesis import given
from hypothesis import strategies as st

from mailstack import Observe, Postpone, Reply, Score, Unless, hookimpl
from mailstack.cli import main
from mailstack.middleware import karma
from mailstack.middleware.karma.history import History
from mailstack.middleware.xclient import XClient
from mailstack.option import ConfigError
from mailstack.services.store import Memory, SQLite, StoreError
from mailstack.testing import Conversation, Dialog, Vouch

DAY = 86400.0


class Clock:
    def __init__(self) -> None:
        self.now = 1_000_000.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def store(clock: Clock) -> Memory:
    return Memory(clock=clock)


class Refuse:
    name = "dnsbl"

    @hookimpl
    def rcpt(self) -> Reply | None:
        return Reply(550, "listed")


async def naughty(smtp: Conversation) -> None:
    """Two messages that are refused: -4."""
    await smtp.banner()
    await smtp.say("EHLO client.example")
    for _ in range(2):
        await smtp.say("MAIL FROM:<a@example.org>")
        for name in "bcd":
            assert await smtp.say(f"RCPT TO:<{name}@example.net>") == 550
        await smtp.say("RSET")
    await smtp.say("QUIT")
    await smtp.finished()


async def history(store: Memory, host: str = "192.0.2.1") -> History:
    async with store.opened():
        return await karma.Karma(store=store).show(host)


async def test_a_naughty_client_is_shut_out_for_a_day(store: Memory, clock: Clock) -> None:
    async with store.opened():
        async with Dialog(karma.Karma(store=store, clock=clock), Refuse()) as smtp:
            await naughty(smtp)
        assert await history(store) == History(1, 0, 1, clock.now + DAY, clock.now)
        async with Dialog(karma.Karma(store=store, clock=clock)) as smtp:
            assert str(await smtp.banner()) == "421 you may come again in 24.0 hours"
            await smtp.closed()
        async with Dialog(karma.Karma(store=store, clock=clock), client="192.0.2.2") as smtp:
            assert await smtp.banner() == 220
        clock.now += DAY + 1
        async with Dialog(karma.Karma(store=store, clock=clock), Refuse()) as smtp:
            await naughty(smtp)
        assert (await history(store)).penalty_until == clock.now + 2 * DAY


async def test_mail_that_is_taken_makes_a_good_name(store: Memory, clock: Clock) -> None:
    entry = karma.Karma(store=store, clock=clock)
    async with store.opened():
        for expected in (False, True):
            seen: list[bool] = []
            stack = entry, Unless(entry.known(1), _Mark(seen)), Vouch()
            async with Dialog(*stack) as smtp:
                assert await smtp.message("a@example.org", "b@example.net", b"A: b\r\n\r\n") == 250
            assert (seen == []) is expected
        assert (await history(store)).nice == 2


class _Mark:
    def __init__(self, seen: list[bool]) -> None:
        self.seen = seen

    @hookimpl
    def mail(self) -> None:
        self.seen.append(True)


@pytest.mark.parametrize(
    ("wrap", "score"),
    [
        (lambda entry: entry, -1),
        (lambda entry: Score(entry, 1), -1),
        (Observe, 0),
    ],
)
async def test_refusals_count_whatever_became_of_them_but_not_what_is_only_tried(
    wrap: Callable[[object], object], score: int, store: Memory, clock: Clock
) -> None:
    entry = karma.Karma(store=store, clock=clock, strikes=1, weights={"dnsbl": -1})
    async with store.opened():
        async with Dialog(entry, wrap(Refuse()), Vouch()) as smtp:
            await smtp.banner()
            await smtp.say("EHLO x")
            await smtp.say("MAIL FROM:<>")
            await smtp.say("RCPT TO:<b@example.net>")
            await smtp.say("QUIT")
            await smtp.finished()
        assert (await history(store)).naughty == -score


async def test_a_postponed_penalty_leaves_postmaster(store: Memory, clock: Clock) -> None:
    async with store.opened():
        entry = karma.Karma(store=store, clock=clock)
        await entry.change("192.0.2.1", History(penalty_until=clock.now + DAY))
        async with Dialog(Postpone(entry), Vouch()) as smtp:
            assert await smtp.banner() == 220
            await smtp.say("EHLO x")
            await smtp.say("MAIL FROM:<a@b.example>")
            assert await smtp.say("RCPT TO:<b@example.net>") in (421, 450, 451)


async def test_sessions_at_a_time_follow_the_name(store: Memory, clock: Clock) -> None:
    async with store.opened():
        entry = karma.Karma(store=store, clock=clock, sessions=(1, 2, 3))
        for balance, most in ((History(naughty=1), 1), (History(), 2), (History(nice=1), 3)):
            await entry.change("192.0.2.1", balance)
            async with Dialog(entry) as smtp:
                assert await smtp.banner() == 220
                others = await smtp.several(3)
                codes = [(await other.banner()).code for other in others]
                assert codes == [220] * (most - 1) + [421] * (4 - most)
        assert store.held == 0


async def test_a_gateway_that_speaks_for_others_keeps_no_places(store: Memory, clock: Clock) -> None:
    async with store.opened():
        entry = karma.Karma(store=store, clock=clock, sessions=(1, 1, 1))
        for _ in range(3):
            async with Dialog(XClient("192.0.2.0/24"), entry, Vouch()) as smtp:
                assert await smtp.say("EHLO gateway.example") == 250
                assert await smtp.say("XCLIENT ADDR=198.51.100.7") == 220
                assert await smtp.message("a@example.org", "b@example.net", b"A: b\r\n\r\n") == 250
                assert store.held == 1
            assert store.held == 0
        assert (await history(store)).sessions == 0
        assert (await history(store, "198.51.100.7")).nice == 3


async def test_a_session_that_is_too_bad_ends(store: Memory, clock: Clock) -> None:
    async with Dialog(karma.Karma(store=store, clock=clock, drop=-1.5)) as smtp:
        await smtp.banner()
        assert [(await smtp.say("NONSENSE")).code for _ in range(3)] == [500, 500, 500]
        assert await smtp.reply() == 421
        await smtp.closed()


class Dead(Memory):
    async def get(self, key: str) -> bytes | None:
        raise StoreError("out of order")


async def test_a_dead_store_knows_nobody_and_hinders_nobody(clock: Clock) -> None:
    async with Dialog(karma.Karma(store=Dead(), clock=clock), Vouch()) as smtp:
        assert await smtp.message("a@example.org", "b@example.net", b"A: b\r\n\r\n") == 250


@given(
    st.builds(History, *[st.integers(0, 1000)] * 3, st.floats(0, 1e9), st.floats(0, 1e9)),
    st.floats(-100, 100),
)
def test_history_goes_one_step_at_a_time(before: History, score: float) -> None:
    after = before.after(score, 1.0, 3.0, DAY, 1e9)
    assert History.unpack(after.pack()) == after
    assert after.sessions == before.sessions + 1
    assert (after.nice - before.nice, after.naughty - before.naughty) == (int(score >= 1), int(score <= -3))
    assert after.penalty_until == before.penalty_until or 1e9 < after.penalty_until <= 1e9 + 10 * DAY
    assert History.unpack(None) == History.unpack(b"x") == History()


@pytest.mark.parametrize(
    "options",
    [
        {"sessions": (1, 2)},
        {"sessions": (0, 1, 2)},
        {"strikes": 0},
        {"tarpit": "1m"},
        {"drop": 3},
        {"weights": {"a": "b"}},
    ],
)
def test_what_makes_no_sense_is_an_error(options: dict[str, Any]) -> None:
    with pytest.raises(ConfigError, match="Karma"):
        karma.Karma(**options)


CONFIGURATION = """
from mailstack import Listener, Server, Stack
from mailstack.handlers import discard
from mailstack.middleware import karma
from mailstack.services.store import SQLite

server = Server(Stack(karma.Karma(store=SQLite({path!r})), discard.Discard()), [Listener("127.0.0.1:0")])
"""


def test_history_is_shown_and_set(tmp_path: Path) -> None:
    source = tmp_path / "mx.py"
    source.write_text(CONFIGURATION.format(path=str(tmp_path / "karma.db")))

    assert "there is no " in CliRunner().invoke(main, ["karma", "show", "192.0.2.1", "-c", str(source)]).output

    async def serve() -> None:
        async with SQLite(tmp_path / "karma.db").opened():
            pass

    anyio.run(serve)

    def run(*words: str) -> str:
        result = CliRunner().invoke(main, ["karma", *words, "-c", str(source)])
        assert result.exit_code == 0, result.output
        return result.output

    assert run("show", "192.0.2.1") == "192.0.2.1: 0 sessions, 0 nice, 0 naughty\n"
    assert run("set", "192.0.2.1", "--nice", "3") == "192.0.2.1: 0 sessions, 3 nice, 0 naughty\n"
    assert run("set", "192.0.2.1", "--naughty", "1", "--release") == "192.0.2.1: 0 sessions, 3 nice, 1 naughty\n"
    assert run("show", "192.0.2.1") == "192.0.2.1: 0 sessions, 3 nice, 1 naughty\n"
    assert CliRunner().invoke(main, ["karma", "show", "nobody", "-c", str(source)]).exit_code == 2
    assert CliRunner().invoke(main, ["karma", "set", "192.0.2.1", "-c", str(source)]).exit_code == 2
