"""Notices and lives: what everybody hears, and what lasts around a conversation."""

import logging
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import cast

import pytest
from anyio import Event, create_task_group, get_cancelled_exc_class, move_on_after, sleep_forever
from anyio.lowlevel import checkpoint

from mailstack import Command, Hangup, Message, Reply, Session, Stack, Transaction, hookimpl
from mailstack.contract import fault
from mailstack.contract import pipeline as pipeline_module
from mailstack.contract.hookspec import LiveOn
from mailstack.contract.pipeline import Pipeline, build
from mailstack.session.session import Link, Peer
from mailstack.testing import Conversation, Dialog

END = Reply(250, "the end")


def new_session() -> Session:
    return Session("s1", Peer("192.0.2.1", 40000), Peer("192.0.2.2", 25), link=cast(Link, None))


async def told(pipeline: Pipeline, session: Session) -> None:
    """All four notices."""
    message, transaction = cast(Message, object()), cast(Transaction, object())
    pipeline.tell_replied(session, "mail", "core", END)
    pipeline.tell_reset(session, transaction, "done")
    await pipeline.tell_queued(session, message, END)
    await pipeline.tell_disconnect(session)


class Hears:
    """Writes down all it is told."""

    def __init__(self, name: str = "hears") -> None:
        self.name = name
        self.heard: list[str] = []

    @hookimpl
    def replied(self, by: str, reply: Reply, phase: str) -> None:
        self.heard.append(f"replied {phase} {by} {reply.code}")

    @hookimpl
    def reset(self, why: str) -> None:
        self.heard.append(f"reset {why}")

    @hookimpl
    async def queued(self, reply: Reply) -> None:
        await checkpoint()
        self.heard.append(f"queued {reply.code}")

    @hookimpl
    def disconnect(self) -> None:
        self.heard.append("disconnect")


class Fails:
    name = "fails"

    @hookimpl
    def replied(self) -> None:
        raise ValueError("replied")

    @hookimpl
    def reset(self) -> None:
        raise ValueError("reset")

    @hookimpl
    async def queued(self) -> None:
        raise ValueError("queued")

    @hookimpl
    async def disconnect(self) -> None:
        async with create_task_group() as group:
            group.start_soon(sleep_forever)
            raise ValueError("disconnect")


EVERYTHING = ["replied mail core 250", "reset done", "queued 250", "disconnect"]


async def test_everybody_hears_even_after_one_that_fails(caplog: pytest.LogCaptureFixture) -> None:
    first, last, session = Hears("first"), Hears("last"), new_session()
    before = fault.counted.copy()
    await told(build(Stack(first, Fails(), last)), session)
    assert first.heard == last.heard == EVERYTHING
    assert [(each.who, each.phase, each.outcome) for each in session.evidence] == [
        ("fails", hook, "fault") for hook in ("replied", "reset", "queued", "disconnect")
    ]
    assert sum((fault.counted - before).values()) == 4
    assert [record.levelno for record in caplog.records] == [logging.ERROR] * 4
    assert all("who=fails" in record.getMessage() for record in caplog.records)
    assert session.answered_by == "core"


async def test_what_a_notice_returns_decides_nothing() -> None:
    class Talks:
        name = "talks"

        @hookimpl
        def replied(self):  # type: ignore[no-untyped-def]
            return Reply(550, "no")

    last, session = Hears(), new_session()
    await told(build(Stack(Talks(), last)), session)
    assert last.heard == EVERYTHING
    assert list(session.evidence) == []


async def test_a_coroutine_that_a_plain_notice_returns_is_a_fault() -> None:
    class Forgets:
        name = "forgets"

        @hookimpl
        def queued(self):  # type: ignore[no-untyped-def]
            return self.work()

        @hookimpl
        def replied(self):  # type: ignore[no-untyped-def]
            return self.work()

        async def work(self) -> None:
            raise AssertionError("nobody awaits this")

    session, last = new_session(), Hears()
    await told(build(Stack(Forgets(), last)), session)
    assert [(each.who, each.phase) for each in session.evidence] == [("forgets", "replied"), ("forgets", "queued")]
    assert last.heard == EVERYTHING


class Hangs:
    name = "hangs"

    def __init__(self) -> None:
        self.reached = Event()
        self.go = Event()
        self.over = ""

    @hookimpl
    async def disconnect(self) -> None:
        self.reached.set()
        try:
            await self.go.wait()
            self.over = "done"
        except get_cancelled_exc_class():
            self.over = "cancelled"
            raise


async def test_a_notice_that_hangs_is_cut_and_named_and_the_others_hear(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pipeline_module, "NOTICE_LIMIT", 0.01)
    hangs, another, last, session = Hangs(), Hangs(), Hears(), new_session()
    await build(Stack(hangs, another, last)).tell_disconnect(session)
    assert (hangs.over, another.over) == ("cancelled", "cancelled")
    assert last.heard == ["disconnect"]
    assert [(each.who, each.outcome) for each in session.evidence] == [("hangs", "late"), ("hangs#2", "late")]


async def test_a_notice_is_not_cut_short_by_a_cancellation_from_outside() -> None:
    hangs = Hangs()
    pipeline = build(Stack(hangs))
    async with create_task_group() as group:
        group.start_soon(pipeline.tell_disconnect, new_session())
        await hangs.reached.wait()
        group.cancel_scope.cancel()
        hangs.go.set()
    assert hangs.over == "done"


@pytest.mark.parametrize("wrapped", [False, True])
async def test_a_client_that_has_left_ends_a_notice_and_no_more(wrapped: bool) -> None:
    class Waits:
        name = "waits"

        @hookimpl
        async def disconnect(self) -> None:
            if not wrapped:
                raise Hangup("left")
            async with create_task_group() as group:
                group.start_soon(sleep_forever)
                raise Hangup("left")

    last, session = Hears(), new_session()
    await build(Stack(Waits(), last)).tell_disconnect(session)
    assert last.heard == ["disconnect"]
    assert list(session.evidence) == []


async def test_the_server_survives_a_notice_that_waits_for_a_client_who_left() -> None:
    class Waits:
        name = "waits"

        @hookimpl
        async def disconnect(self, session: Session) -> None:
            await session.input_waits(1)

    last = Hears()
    async with Dialog(Waits(), last) as smtp:
        await smtp.banner()
        await smtp.hang_up()
        await smtp.finished()
        [other] = await smtp.several(1)
        assert await other.say("NOOP") == 250
    assert last.heard.count("disconnect") == 2


def test_the_notices_of_a_dialog_are_plain() -> None:
    for hook in ("replied", "reset"):
        with pytest.raises(Exception, match="plain def"):
            build(Stack(type("Waits", (), {"name": "waits", hook: hookimpl(_waits)})()))


async def _waits(self: object, session: Session) -> None: ...


# Lives.


class Around:
    def __init__(self, name: str, heard: list[str]) -> None:
        self.name = name
        self.heard = heard

    @asynccontextmanager
    async def span(self, what: str) -> AsyncIterator[None]:
        self.heard.append(f"{self.name} {what}")
        yield
        self.heard.append(f"{self.name} {what} over")

    @hookimpl
    async def session(self, session: Session, call_next: LiveOn) -> None:
        async with self.span("session"):
            await call_next()

    @hookimpl
    async def lifespan(self, call_next: LiveOn) -> None:
        async with self.span("server"):
            await call_next()


async def test_lives_wrap_in_the_order_of_the_stack() -> None:
    heard: list[str] = []
    async with Dialog(Around("a", heard), Stack(Around("b", heard))) as smtp:
        await smtp.say("QUIT")
        await smtp.finished()
    servers = ["a server", "b server"]
    sessions = ["a session", "b session", "b session over", "a session over"]
    assert heard == [*servers, *sessions, "b server over", "a server over"]


@pytest.mark.parametrize("how", ["QUIT", "leaves"])
async def test_a_session_onion_sees_a_normal_return_whatever_ended_the_conversation(how: str) -> None:
    heard: list[str] = []

    class Holds:
        name = "holds"

        @hookimpl
        async def session(self, call_next: LiveOn) -> None:
            async with create_task_group() as group:
                group.start_soon(sleep_forever)
                await call_next()
                heard.append("returned")
                group.cancel_scope.cancel()
            heard.append("closed")

    async with Dialog(Holds()) as smtp:
        await (smtp.say("QUIT") if how == "QUIT" else smtp.hang_up())
        await smtp.finished()
    assert heard == ["returned", "closed"]


@pytest.mark.parametrize("wrapped", [False, True])
async def test_a_client_that_leaves_before_the_banner_is_nobodys_fault(
    wrapped: bool, caplog: pytest.LogCaptureFixture
) -> None:
    heard: list[str] = []

    class Listens:
        name = "listens"

        @hookimpl
        async def session(self, session: Session, call_next: LiveOn) -> None:
            if not wrapped:
                await session.input_waits(60)
            else:
                async with create_task_group() as group:
                    group.start_soon(sleep_forever)
                    await session.input_waits(60)

    async with Dialog(Around("a", heard), Listens()) as smtp:
        await smtp.hang_up()
        await smtp.finished()
        assert list(smtp.evidence) == []
        [other] = await smtp.several(1)  # the server lives
        await other.hang_up()
        await other.finished()
    assert heard[1:-1] == ["a session", "a session over"] * 2
    assert [record for record in caplog.records if record.levelno >= logging.ERROR] == []


class Breaks:
    name = "breaks"

    def __init__(self, *, before: bool) -> None:
        self.before = before

    @hookimpl
    async def session(self, call_next: LiveOn) -> None:
        if not self.before:
            await call_next()
        raise ValueError("hunter2")


@pytest.mark.parametrize("before", [True, False])
async def test_a_session_onion_that_fails_is_named_and_the_server_lives(
    before: bool, caplog: pytest.LogCaptureFixture
) -> None:
    class Outer:
        name = "outer"

        @hookimpl
        async def session(self, call_next: LiveOn) -> None:
            await call_next()

    counted = fault.counted["breaks", "session"]
    async with Dialog(Outer(), Breaks(before=before)) as smtp:
        answer = await smtp.banner()
        assert answer == (421 if before else 220)
        assert "hunter2" not in str(answer)
        await smtp.hang_up()
        await smtp.finished()
        assert [(each.who, each.phase, each.outcome) for each in smtp.evidence] == [("breaks", "session", "fault")]
    assert fault.counted["breaks", "session"] == counted + 1
    [record] = [record for record in caplog.records if record.levelno >= logging.ERROR]
    assert "who=breaks" in record.getMessage()


async def test_a_session_that_fails_while_its_client_leaves_is_named_too(caplog: pytest.LogCaptureFixture) -> None:
    class Mixes:
        name = "mixes"

        @hookimpl
        async def session(self, call_next: LiveOn) -> None:
            raise BaseExceptionGroup("both", [Hangup("left"), ValueError("hunter2")])

    async with Dialog(Mixes()) as smtp:
        assert await smtp.banner() == 421
        await smtp.closed()
        assert [(each.who, each.outcome) for each in smtp.evidence] == [("mixes", "fault")]
        [other] = await smtp.several(1)
        assert await other.banner() == 421


async def test_a_notice_that_fails_while_its_client_leaves_is_named_too() -> None:
    class Mixes:
        name = "mixes"

        @hookimpl
        async def disconnect(self) -> None:
            raise BaseExceptionGroup("both", [Hangup("left"), ValueError("hunter2")])

    last, session = Hears(), new_session()
    await build(Stack(Mixes(), last)).tell_disconnect(session)
    assert last.heard == ["disconnect"]
    assert [(each.who, each.outcome) for each in session.evidence] == [("mixes", "fault")]


async def test_a_failing_lifespan_stops_the_start_with_its_own_error() -> None:
    class Breaks:
        name = "breaks"

        @hookimpl
        async def lifespan(self, call_next: LiveOn) -> None:
            raise ValueError("no database")

    with pytest.raises(ValueError, match="no database"):
        async with Dialog(Breaks()):
            raise AssertionError


# Background work.


async def said(smtp: Conversation) -> None:
    assert await smtp.say("NOOP") == 250


@pytest.mark.parametrize("wrapped", [False, True])
async def test_background_work_that_waits_for_a_client_who_left_fails_inside(wrapped: bool) -> None:
    class Works:
        name = "works"

        @hookimpl
        def connect(self, session: Session) -> None:
            self.later = session.start(self.work)

        async def work(self) -> None:
            if not wrapped:
                raise Hangup("left")
            async with create_task_group() as group:
                group.start_soon(sleep_forever)
                raise Hangup("left")

    works = Works()
    async with Dialog(works) as smtp:
        await said(smtp)
        with move_on_after(5), pytest.raises((Hangup, BaseExceptionGroup)):
            await works.later.get()
        assert works.later.done
        await said(smtp)


async def test_background_work_ends_with_its_session() -> None:
    class Works:
        name = "works"

        @hookimpl
        def connect(self, session: Session) -> None:
            self.later = session.start(sleep_forever)

    works = Works()
    async with Dialog(works) as smtp:
        await said(smtp)
        assert not works.later.done
        await smtp.hang_up()
        await smtp.finished()
        with pytest.raises(RuntimeError, match="the session ended"):
            await works.later.get()


async def test_a_check_may_ask_for_what_was_begun_at_connect() -> None:
    class Works:
        name = "works"

        @hookimpl
        def connect(self, session: Session) -> None:
            self.good = session.start(self.work, 20)
            self.bad = session.start(self.work, 0)

        async def work(self, number: int) -> float:
            await checkpoint()
            return 100 / number

        @hookimpl
        async def command(self, command: Command) -> Reply:
            later = self.good if command.verb == "NOOP" else self.bad
            return Reply(550, f"found {await later.get():g}")

    async with Dialog(Works()) as smtp:
        assert (await smtp.say("NOOP")).text == "found 5"
        assert await smtp.say("HELP") == 451
        assert [each.outcome for each in smtp.evidence] == ["refused", "fault"]
        assert [*smtp.evidence][1].detail.startswith("ZeroDivisionError")
