"""Faults are decided: who raises or is late is named, logged, counted, and the client hears a fixed text."""

import logging
import math
import threading
import time
from collections.abc import Awaitable, Callable, Coroutine
from typing import Any, cast

import pytest
from anyio import CancelScope, Event, create_task_group, sleep_forever, to_thread, wait_all_tasks_blocked
from anyio.lowlevel import checkpoint

from mailstack import CallNext, Hangup, Limit, Limits, Message, Reply, Session, Stack, hookimpl
from mailstack.contract import fault
from mailstack.contract.chain import Step
from mailstack.contract.pipeline import build
from mailstack.session.evidence import Finding
from mailstack.session.session import Link, Peer
from mailstack.session.watch import Watch
from mailstack.testing import Dialog, Vouch

END = Reply(250, "the end")
NO = Reply(550, "no")
SECRET = "the password is hunter2"

Conversation = Callable[[Step, Session], Awaitable[Reply]]


def end(session: Session, subject: object) -> Reply:
    return END


def new_session(link: object = None) -> Session:
    return Session("s1", Peer("192.0.2.1", 40000), Peer("192.0.2.2", 25), link=cast(Link, link))


def compiled(*entries: object, hook: str = "connect", limit: float = 30.0) -> Step:
    return build(Stack(*entries)).chain(hook, end, limit)


async def alone(step: Step, session: Session) -> Reply:
    """Ask without a conversation around: each run has its own clock and scope."""
    reply = step.call(session, None)
    return cast(Reply, await reply if step.is_async else reply)


async def within(step: Step, session: Session) -> Reply:
    """Ask as a connection does: under the conversation's scope, which a late run spends."""
    session.watch = watch = Watch(shared=True)
    reply: Reply | None = None
    with watch.scope:
        reply = await alone(step, session)
    session.watch = None
    assert reply is not None
    return reply


@pytest.fixture(params=[alone, within])
def ask(request: pytest.FixtureRequest) -> Conversation:
    return cast(Conversation, request.param)


def findings(session: Session) -> list[tuple[str, str, str]]:
    return [(each.who, each.phase, each.outcome) for each in session.evidence]


def fault_of(session: Session, who: str) -> Finding:
    [finding] = [each for each in session.evidence if each.who == who]
    return finding


class Raises:
    name = "raises"

    @hookimpl
    def connect(self) -> Reply | None:
        raise ValueError(SECRET)


class RaisesLater:
    name = "raises"

    @hookimpl
    async def connect(self) -> Reply | None:
        await checkpoint()
        raise ValueError(SECRET)


class RaisesBefore:
    name = "raises"

    @hookimpl
    async def connect(self, call_next: CallNext) -> Reply:
        raise ValueError(SECRET)


class RaisesAfter:
    name = "raises"

    @hookimpl
    async def connect(self, call_next: CallNext) -> Reply:
        await call_next()
        raise ValueError(SECRET)


class RaisesInGroup:
    name = "raises"

    @hookimpl
    async def connect(self) -> Reply | None:
        async with create_task_group() as group:
            group.start_soon(self.fail)
            await sleep_forever()
        return None

    async def fail(self) -> None:
        raise ValueError(SECRET)


RAISING = [Raises, RaisesLater, RaisesBefore, RaisesAfter, RaisesInGroup]


class Heard:
    """Writes down that it was asked."""

    def __init__(self, name: str = "heard") -> None:
        self.name = name
        self.times = 0

    @hookimpl
    def connect(self) -> None:
        self.times += 1


class Refuses:
    name = "refuses"

    @hookimpl
    def connect(self) -> Reply:
        return NO


class HeardLater(Heard):
    @hookimpl
    async def connect(self) -> None:  # type: ignore[override]
        self.times += 1
        await checkpoint()


# An exception.


@pytest.mark.parametrize("kind", RAISING)
async def test_who_raises_is_named_counted_and_logged_once_with_its_traceback(
    kind: type[Any], ask: Conversation, caplog: pytest.LogCaptureFixture
) -> None:
    session = new_session()
    before = fault.counted["raises", "connect"]
    reply = await ask(compiled(Heard(), kind(), HeardLater()), session)
    assert (reply.code, reply.status) == (451, "4.3.0")
    assert SECRET not in str(reply)
    assert session.answered_by == "raises"
    assert findings(session) == [("raises", "connect", "fault")]
    assert fault_of(session, "raises").reply is reply
    assert fault.counted["raises", "connect"] == before + 1
    [record] = caplog.records
    assert record.levelno == logging.ERROR
    assert "who=raises" in record.getMessage()
    assert "phase=connect" in record.getMessage()
    assert "session=s1" in record.getMessage()
    assert SECRET in caplog.text
    assert "Traceback" in caplog.text
    assert "test_fault.py" in caplog.text


async def test_the_record_of_a_fault_names_the_exception() -> None:
    session = new_session()
    await alone(compiled(Raises()), session)
    assert fault_of(session, "raises").detail == f"ValueError: {SECRET}"


async def test_the_client_never_hears_what_an_exception_says() -> None:
    async with Dialog(Raises()) as smtp:
        answer = await smtp.banner()
        assert answer == 421
        assert "hunter2" not in str(answer)
        await smtp.closed()


@pytest.mark.parametrize("kind", RAISING)
async def test_a_failure_stops_the_phase_unless_it_was_told_otherwise(kind: type[Any], ask: Conversation) -> None:
    below = Heard()
    await ask(compiled(kind(), below), new_session())
    assert below.times == (kind is RaisesAfter)


@pytest.mark.parametrize("kind", RAISING)
async def test_on_fault_pass_goes_on_with_the_rest(kind: type[Any], ask: Conversation) -> None:
    above, below, last = HeardLater(), Heard(), HeardLater()
    session = new_session()
    assert await ask(compiled(above, Limit(kind(), on_fault="pass"), below, last), session) is END
    assert [above.times, below.times, last.times] == [1, 1, 1]
    assert session.answered_by == "core"
    assert findings(session) == [("raises", "connect", "fault")]
    assert fault_of(session, "raises").reply is None


@pytest.mark.parametrize("kind", RAISING)
async def test_on_fault_reject_refuses_for_good(kind: type[Any], ask: Conversation) -> None:
    reply = await ask(compiled(Limit(kind(), on_fault="reject"), Heard()), new_session())
    assert reply.permanent
    assert SECRET not in str(reply)


async def test_several_may_fail_and_be_passed_in_one_run(ask: Conversation) -> None:
    session = new_session()
    entries = [Limit(kind(), on_fault="pass") for kind in (Raises, RaisesLater, Raises, RaisesLater)]
    assert await ask(compiled(*entries, Heard()), session) is END
    assert [each.who for each in session.evidence] == ["raises", "raises#2", "raises#3", "raises#4"]


def test_plain_checks_go_on_after_each_one_that_fails_and_is_passed() -> None:
    """Without anybody who waits it is one function; it must go on in its middle, each time anew."""
    heard = [Heard("a"), Heard("b"), Heard("c")]
    step = compiled(
        heard[0], Limit(Raises(), on_fault="pass"), heard[1], Limit(Raises(), on_fault="pass"), heard[2], Refuses()
    )
    assert not step.is_async
    for times in (1, 2):
        session = new_session()
        assert step.call(session, None) is NO
        assert [each.times for each in heard] == [times] * 3
        assert findings(session) == [
            ("raises", "connect", "fault"),
            ("raises#2", "connect", "fault"),
            ("refuses", "connect", "refused"),
        ]
        assert session.answered_by == "refuses"


def test_plain_checks_end_at_one_that_fails_after_another_was_passed() -> None:
    last, session = Heard(), new_session()
    step = compiled(Limit(Raises(), on_fault="pass"), Limit(Raises(), on_fault="reject"), last)
    assert step.call(session, None).permanent
    assert last.times == 0
    assert session.answered_by == "raises#2"


async def test_an_onion_that_fails_after_a_refusal_below_and_is_passed_leaves_the_refusal() -> None:
    session = new_session()
    assert await alone(compiled(Limit(RaisesAfter(), on_fault="pass"), Refuses()), session) is NO
    assert session.answered_by == "refuses"


# Limits of limits.


def faulty(*wrapped: object) -> Step:
    return compiled(*wrapped)


@pytest.mark.parametrize(
    ("outer", "inner", "code"),
    [("pass", "reject", 554), ("reject", "pass", 250), ("pass", "defer", 451), ("reject", None, 554)],
)
async def test_the_nearest_limit_says_what_a_failure_means(outer: Any, inner: Any, code: int) -> None:
    inside = Limit(Raises(), on_fault=inner) if inner else Limit(Raises(), timeout=5)
    reply = await alone(compiled(Limit(inside, on_fault=outer)), new_session())
    assert reply.code == code


async def test_a_limit_around_a_stack_is_a_limit_for_each_of_its_entries() -> None:
    session = new_session()
    assert await alone(compiled(Limit(Stack(Raises(), RaisesLater()), on_fault="pass")), session) is END
    assert len(session.evidence) == 2


# What is no answer.


def coroutine() -> Coroutine[Any, Any, Reply]:
    async def forgotten() -> Reply:
        raise AssertionError("nobody awaits this")

    return forgotten()


@pytest.mark.parametrize("value", ["550 no", True, False, 0, (550, "no")])
@pytest.mark.parametrize("kind", ["plain", "waiting", "onion"])
async def test_what_is_no_reply_is_a_fault(kind: str, value: object, ask: Conversation) -> None:
    session = new_session()
    assert (await ask(compiled(returning(kind, lambda: value)), session)).code == 451
    assert findings(session) == [("wrong", "connect", "fault")]
    assert fault_of(session, "wrong").detail.startswith("ContractError")


@pytest.mark.every_backend
@pytest.mark.parametrize("kind", ["plain", "waiting", "onion"])
@pytest.mark.filterwarnings("error")
async def test_a_coroutine_that_was_not_awaited_is_a_fault_and_no_warning(kind: str, ask: Conversation) -> None:
    session = new_session()
    assert (await ask(compiled(returning(kind, coroutine)), session)).code == 451
    assert findings(session) == [("wrong", "connect", "fault")]


async def test_an_onion_must_answer() -> None:
    session = new_session()
    assert (await alone(compiled(returning("onion", lambda: None)), session)).code == 451


def returning(kind: str, make: Callable[[], Any]) -> object:
    """An entry "wrong" whose connect returns what it should not."""

    def plain(self: object) -> Any:
        return make()

    async def waiting(self: object) -> Any:
        return make()

    async def onion(self: object, call_next: CallNext) -> Any:
        return make()

    connect = cast(Callable[..., Any], {"plain": plain, "waiting": waiting, "onion": onion}[kind])
    connect.__name__ = "connect"
    return type("Wrong", (), {"name": "wrong", "connect": hookimpl(connect)})()


# Late.


class Hangs:
    """Waits for ever; `reached` tells when it began."""

    def __init__(self, name: str = "hangs") -> None:
        self.name = name
        self.reached = Event()
        self.cancelled = 0

    @hookimpl
    async def connect(self) -> None:
        self.reached.set()
        try:
            await sleep_forever()
        finally:
            self.cancelled += 1


class HangsInGroup(Hangs):
    @hookimpl
    async def connect(self) -> None:
        try:
            async with create_task_group() as group:
                group.start_soon(sleep_forever)
                self.reached.set()
        finally:
            self.cancelled += 1


class HangsAround(Hangs):
    @hookimpl
    async def connect(self, call_next: CallNext) -> Reply:  # type: ignore[override]
        reply = await call_next()
        self.reached.set()
        try:
            await sleep_forever()
        finally:
            self.cancelled += 1
        return reply


async def expired(ask: Conversation, step: Step, session: Session, *hangs: Hangs) -> Reply:
    """The answer when the sweeper finds the time up each time that somebody hangs."""

    async def sweep() -> None:
        for hang in hangs:
            await hang.reached.wait()
            assert session.watch is not None
            assert session.watch.deadline < math.inf
            session.watch.expire()

    async with create_task_group() as group:
        group.start_soon(sweep)
        return await ask(step, session)
    raise AssertionError


@pytest.mark.every_backend
@pytest.mark.parametrize("kind", [Hangs, HangsInGroup, HangsAround])
async def test_whom_the_sweeper_finds_late_is_cancelled_and_blamed(
    kind: type[Hangs], ask: Conversation, caplog: pytest.LogCaptureFixture
) -> None:
    hangs, session = kind(), new_session()
    reply = await expired(ask, compiled(HeardLater("fine"), hangs, HeardLater("next")), session, hangs)
    assert (reply.code, reply.status) == (451, "4.3.0")
    assert hangs.cancelled == 1
    assert findings(session) == [("hangs", "connect", "late")]
    assert session.answered_by == "hangs"
    assert len(caplog.records) == 1
    assert "who=hangs" in caplog.text


async def test_the_rest_of_the_run_is_asked_after_a_late_one_that_passes(ask: Conversation) -> None:
    first, second, last = Hangs("first"), Hangs("second"), HeardLater()
    session = new_session()
    step = compiled(Limit(first, on_fault="pass"), Limit(second, on_fault="pass"), last)
    assert await expired(ask, step, session, first, second) is END
    assert last.times == 1
    assert findings(session) == [("first", "connect", "late"), ("second", "connect", "late")]


async def test_a_late_onion_that_passes_is_stepped_over() -> None:
    hangs, below, session = HangsAround(), Heard(), new_session()
    assert await expired(alone, compiled(Limit(hangs, on_fault="pass"), below), session, hangs) is END
    assert below.times == 1
    assert findings(session) == [("hangs", "connect", "late")]


async def test_a_limit_has_a_timer_of_its_own(ask: Conversation) -> None:
    for kind in (Hangs, HangsInGroup, HangsAround):
        hangs, session = kind(), new_session()
        reply = await ask(compiled(HeardLater(), Limit(hangs, timeout=0.01), HeardLater()), session)
        assert reply.code == 451
        assert hangs.cancelled == 1
        assert findings(session) == [("hangs", "connect", "late")]


async def test_the_shorter_of_two_limits_counts(ask: Conversation) -> None:
    for outer, inner in ((0.01, 600), (600, 0.01)):
        hangs, session = Hangs(), new_session()
        reply = await ask(compiled(Limit(Limit(hangs, timeout=inner), timeout=outer)), session)
        assert reply.code == 451


class Thread:
    """Its worker thread does not hear of cancellation, and answers when it likes."""

    name = "thread"

    def __init__(self) -> None:
        self.go = threading.Event()

    @hookimpl
    async def connect(self, session: Session) -> Reply | None:
        watch = session.watch
        assert watch is not None
        await to_thread.run_sync(self.work, watch)
        return Reply(220, "too late")

    def work(self, watch: Watch) -> None:
        while not watch.late:
            time.sleep(0.001)


async def test_the_late_answer_of_a_thread_is_not_taken(ask: Conversation) -> None:
    session = new_session()
    assert (await ask(compiled(Thread(), limit=0.01), session)).code == 451
    assert findings(session) == [("thread", "connect", "late")]


async def test_the_late_answer_of_a_thread_under_a_limit_is_not_taken() -> None:
    session = new_session()
    assert (await alone(compiled(Limit(Thread(), timeout=0.01)), session)).code == 451
    assert findings(session) == [("thread", "connect", "late")]


class ThreadAround(Thread):
    @hookimpl
    async def connect(self, session: Session, call_next: CallNext) -> Reply:  # type: ignore[override]
        assert session.watch is not None
        await to_thread.run_sync(self.work, session.watch)
        return Reply(220, "too late")


async def test_the_late_answer_of_an_onion_is_not_taken() -> None:
    session = new_session()
    assert (await alone(compiled(ThreadAround(), limit=0.01), session)).code == 451
    assert findings(session) == [("thread", "connect", "late")]


class Scans:
    name = "scans"

    @hookimpl
    async def message(self, session: Session) -> None:
        await checkpoint()

    @hookimpl
    async def queue(self) -> None:
        await checkpoint()


@pytest.mark.parametrize("hook", ["message", "queue"])
async def test_message_and_queue_share_one_limit(hook: str) -> None:
    for left, code in ((60.0, 250), (-1.0, 451)):
        session = new_session()
        session.hand_over_by = time.monotonic() + left
        assert (await alone(compiled(Scans(), hook=hook), session)).code == code
        assert len(session.evidence) == (code == 451)


class Blocks:
    """A plain def that blocks until its time is over."""

    name = "blocks"

    @hookimpl
    def connect(self, session: Session) -> Reply:
        watch = session.watch
        assert watch is not None
        while not watch.late:
            pass
        return Reply(220, "too late")


async def test_a_plain_check_under_a_limit_is_held_to_it() -> None:
    session = new_session()
    assert (await alone(compiled(Limit(Blocks(), timeout=0.005)), session)).code == 451
    assert findings(session) == [("blocks", "connect", "late")]


# Whose clock runs.


async def test_an_onions_clock_stands_still_while_it_waits_for_those_below() -> None:
    seen: list[float] = []

    class Around:
        name = "around"

        @hookimpl
        async def connect(self, session: Session, call_next: CallNext) -> Reply:
            self.watch = session.watch
            assert self.watch is not None
            seen.append(self.watch.deadline)
            reply = await call_next()
            seen.append(self.watch.deadline)
            return reply

    around = Around()

    class Below:
        name = "below"

        @hookimpl
        async def connect(self, session: Session) -> None:
            assert around.watch is not None
            seen.append(around.watch.deadline)
            assert session.watch is not around.watch
            assert session.watch is not None
            assert session.watch.outer is around.watch
            await to_thread.run_sync(time.sleep, 0.002)

    session = new_session()
    assert await alone(compiled(around, Below()), session) is END
    before, meanwhile, after = seen
    assert meanwhile == math.inf
    assert before + 0.002 <= after < math.inf


async def test_an_onion_under_a_short_limit_may_wait_long_for_those_below() -> None:
    class Around:
        name = "around"

        @hookimpl
        async def connect(self, call_next: CallNext) -> Reply:
            return await call_next()

    class Slow:
        name = "slow"

        @hookimpl
        async def connect(self, session: Session) -> None:
            assert session.watch is not None
            assert session.watch.outer is not None
            assert session.watch.outer.scope.deadline == math.inf
            await to_thread.run_sync(time.sleep, 0.1)

    session = new_session()
    assert await alone(compiled(Limit(Around(), timeout=0.05), Slow()), session) is END
    assert findings(session) == []


async def test_a_checks_clock_stands_still_while_it_waits_for_the_client() -> None:
    class Patient:
        name = "patient"
        deadlines: list[float] = []  # noqa: RUF012

        @hookimpl
        async def connect(self, session: Session) -> None:
            watch = session.watch
            assert watch is not None
            async with create_task_group() as group:
                group.start_soon(self.look, watch)
                assert not await session.input_waits(0.05)
            assert watch.deadline < math.inf

        async def look(self, watch: Watch) -> None:
            await wait_all_tasks_blocked()
            self.deadlines.append(watch.deadline)

    patient = Patient()
    async with Dialog(Limit(patient, timeout=0.04)) as smtp:
        assert await smtp.banner() == 220
    assert patient.deadlines == [math.inf]


async def test_two_pauses_at_once_are_one() -> None:
    """Two tasks of one onion ask those below at the same time."""

    class Twice:
        name = "twice"

        @hookimpl
        async def connect(self, session: Session, call_next: CallNext) -> Reply:
            watch = session.watch
            assert watch is not None
            left = watch.deadline
            async with create_task_group() as group:
                group.start_soon(self.ask, call_next)
                group.start_soon(self.ask, call_next)
            assert left <= watch.deadline < left + 25
            return await call_next()

        async def ask(self, call_next: CallNext) -> None:
            await call_next()

    session = new_session()
    assert await alone(compiled(Twice(), HeardLater()), session) is END


# Queue: what is taken is taken.


class Take:
    name = "take"

    @hookimpl
    async def queue(self, message: Message) -> Reply:
        return Reply(250, "safe", status="2.0.0")


class BreaksAfter:
    name = "breaks"

    @hookimpl
    async def queue(self, call_next: CallNext) -> Reply:
        await call_next()
        raise ValueError(SECRET)


class HangsAfter:
    name = "breaks"

    @hookimpl
    async def queue(self, call_next: CallNext) -> Reply:
        await call_next()
        await sleep_forever()
        raise AssertionError


@pytest.mark.parametrize(
    "onion", [BreaksAfter(), Limit(BreaksAfter(), on_fault="reject"), Limit(HangsAfter(), timeout=0.01)]
)
async def test_an_onion_that_fails_after_the_message_was_taken_answers_that_it_was_taken(onion: object) -> None:
    async with Dialog(Vouch(), onion, handler=Take()) as smtp:
        answer = await smtp.message("a@example.org", "b@example.org")
        assert (answer.code, answer.text) == (250, "safe")
        assert [each.outcome for each in smtp.evidence if each.who == "breaks"] in (["fault"], ["late"])


async def test_an_onion_that_fails_after_nobody_took_the_message_defers_it() -> None:
    async with Dialog(Vouch(), BreaksAfter(), handler=None) as smtp:
        answer = await smtp.message("a@example.org", "b@example.org")
        assert (answer.code, answer.status) == (451, "4.3.0")


class TakesForEver:
    name = "slow"

    @hookimpl
    async def queue(self, message: Message) -> Reply:
        await sleep_forever()
        raise AssertionError


async def test_a_handler_that_hangs_is_cut_by_the_clock_of_the_hand_over() -> None:
    limits = Limits(hand_over=0.05, sweep=0.01)
    async with Dialog(Vouch(), handler=TakesForEver(), limits=limits) as smtp:
        assert await smtp.message("a@example.org", "b@example.org") == 451
        assert await smtp.message("a@example.org", "b@example.org") == 451
        assert [each.outcome for each in smtp.evidence if each.who == "slow"] == ["late", "late"]


async def test_a_conversation_goes_on_after_each_late_check() -> None:
    class Sleepy:
        name = "sleepy"

        @hookimpl
        async def mail(self) -> None:
            await sleep_forever()

        @hookimpl
        async def rcpt(self) -> None:
            await checkpoint()

    async with Dialog(Vouch(), Sleepy(), limits=Limits(envelope=0.02, sweep=0.01)) as smtp:
        await smtp.say("EHLO client.example.org")
        for _ in range(3):
            assert await smtp.say("MAIL FROM:<a@example.org>") == 451
            assert await smtp.say("NOOP") == 250
        assert [each.outcome for each in smtp.evidence] == ["late"] * 3


# The connection's own end.


class HangsUp:
    name = "hangsup"

    def __init__(self, error: Callable[[], BaseException]) -> None:
        self.error = error

    @hookimpl
    async def connect(self) -> Reply | None:
        await checkpoint()
        raise self.error()


class HangsUpPlain(HangsUp):
    @hookimpl
    def connect(self) -> Reply | None:  # type: ignore[override]
        raise self.error()


class HangsUpAround(HangsUp):
    @hookimpl
    async def connect(self, call_next: CallNext) -> Reply | None:  # type: ignore[override]
        await call_next()
        raise self.error()


class HangsUpInGroup(HangsUp):
    @hookimpl
    async def connect(self) -> None:
        async with create_task_group() as group:
            group.start_soon(sleep_forever)
            await checkpoint()
            raise self.error()


class HangsUpInGroups(HangsUp):
    @hookimpl
    async def connect(self) -> None:
        async with create_task_group() as outer:
            outer.start_soon(sleep_forever)
            async with create_task_group() as inner:
                inner.start_soon(sleep_forever)
                raise self.error()


HANGING_UP = [HangsUp, HangsUpPlain, HangsUpAround, HangsUpInGroup, HangsUpInGroups]


@pytest.mark.every_backend
@pytest.mark.parametrize("kind", HANGING_UP)
@pytest.mark.parametrize("on_fault", ["defer", "pass", "reject"])
async def test_a_hangup_passes_every_guard_and_nobody_is_blamed(
    kind: type[HangsUp], on_fault: Any, ask: Conversation, caplog: pytest.LogCaptureFixture
) -> None:
    session, hangup = new_session(), Hangup("left")
    step = compiled(Limit(kind(lambda: hangup), on_fault=on_fault))
    with pytest.raises(Hangup) as caught:
        await ask(step, session)
    assert caught.value is hangup
    assert list(session.evidence) == []
    assert caplog.records == []


async def test_a_hangup_below_passes_the_onions_above(ask: Conversation) -> None:
    class Around:
        name = "around"
        unwound = False

        @hookimpl
        async def connect(self, call_next: CallNext) -> Reply:
            try:
                return await call_next()
            finally:
                self.unwound = True

    around, session = Around(), new_session()
    with pytest.raises(Hangup):
        await ask(compiled(around, HangsUp(lambda: Hangup("left"))), session)
    assert around.unwound
    assert list(session.evidence) == []


async def test_a_hangup_with_a_failure_beside_it_is_a_fault(ask: Conversation) -> None:
    class Mixed:
        name = "mixed"

        @hookimpl
        async def connect(self) -> None:
            async with create_task_group() as group:
                group.start_soon(self.fail)
                try:
                    await sleep_forever()
                finally:
                    raise Hangup("left")

        async def fail(self) -> None:
            raise ValueError(SECRET)

    session = new_session()
    assert (await ask(compiled(Mixed()), session)).code == 451
    assert findings(session) == [("mixed", "connect", "fault")]


@pytest.mark.every_backend
@pytest.mark.parametrize("kind", HANGING_UP)
async def test_an_interrupt_is_not_swallowed(kind: type[HangsUp], ask: Conversation) -> None:
    session = new_session()
    with pytest.raises(BaseException) as caught:
        await ask(compiled(Limit(kind(KeyboardInterrupt), on_fault="pass")), session)
    assert interrupts(caught.value)
    assert list(session.evidence) == []


@pytest.mark.parametrize("kind", [HangsUp, HangsUpAround])
async def test_an_interrupt_among_failures_is_not_swallowed(kind: type[HangsUp], ask: Conversation) -> None:
    session = new_session()
    with pytest.raises(BaseException) as caught:
        await ask(compiled(kind(lambda: BaseExceptionGroup("both", [ValueError(), KeyboardInterrupt()]))), session)
    assert interrupts(caught.value)


def interrupts(error: BaseException) -> bool:
    if isinstance(error, BaseExceptionGroup):
        return any(interrupts(each) for each in error.exceptions)
    return isinstance(error, KeyboardInterrupt)


@pytest.mark.every_backend
@pytest.mark.parametrize("kind", [Hangs, HangsInGroup, HangsAround])
async def test_a_cancellation_from_outside_passes_and_nobody_is_blamed(kind: type[Hangs], ask: Conversation) -> None:
    hangs, session = kind(), new_session()
    outside = CancelScope()

    async def cancel() -> None:
        await hangs.reached.wait()
        outside.cancel()

    async with create_task_group() as group:
        group.start_soon(cancel)
        with outside:
            await ask(compiled(Limit(hangs, on_fault="pass")), session)
    assert outside.cancelled_caught
    assert hangs.cancelled == 1
    assert list(session.evidence) == []
