"""One phase, compiled: who is asked, in which order, with what, and whose answer it is."""

import inspect
from collections.abc import Callable, MutableMapping
from typing import Any, cast

import pytest
from anyio.lowlevel import checkpoint

from mailstack import CallNext, Limit, Reply, Session, Stack, When, hookimpl
from mailstack.contract.chain import SUBJECTS, Claim, Greeting, Step
from mailstack.contract.hookspec import PHASES, Hooks
from mailstack.contract.pipeline import build
from mailstack.session.credentials import Password
from mailstack.session.session import Link, Peer
from mailstack.session.watch import Watch

END = Reply(250, "the end")
NO = Reply(550, "no", status="5.7.1")
LATER = Reply(450, "later")


def end(session: Session, subject: object) -> Reply:
    return END


def new_session() -> Session:
    return Session("s1", Peer("192.0.2.1", 40000), Peer("192.0.2.2", 25), link=cast(Link, None))


def compiled(*entries: object, hook: str = "connect") -> Step:
    return build(Stack(*entries)).chain(hook, end, 30.0)


async def asked(step: Step, session: Session | None = None, subject: object = None) -> Reply:
    """The chain's answer, asked as the server asks."""
    reply = step.call(session or new_session(), subject)
    return cast(Reply, await reply if step.is_async else reply)


class Told:
    """Writes down that it was asked, and says what it was told to say."""

    def __init__(self, name: str, heard: list[str], answer: Reply | None = None) -> None:
        self.name = name
        self.heard = heard
        self.answer = answer


class Plain(Told):
    @hookimpl
    def connect(self) -> Reply | None:
        self.heard.append(self.name)
        return self.answer


class Waiting(Told):
    @hookimpl
    async def connect(self) -> Reply | None:
        self.heard.append(self.name)
        await checkpoint()
        return self.answer


class Onion(Told):
    """Writes down when it begins and ends; gives its own answer if it has one."""

    @hookimpl
    async def connect(self, call_next: CallNext) -> Reply:
        self.heard.append(f"{self.name} in")
        reply = await call_next()
        self.heard.append(f"{self.name} out")
        return self.answer or reply


# Order.


async def test_the_order_is_the_stacks_and_the_outermost_comes_first() -> None:
    heard: list[str] = []
    stack = (
        Plain("a", heard),
        Onion("b", heard),
        Waiting("c", heard),
        Plain("d", heard),
        Onion("e", heard),
        Plain("f", heard),
    )
    assert await asked(compiled(*stack)) is END
    assert heard == ["a", "b in", "c", "d", "e in", "f", "e out", "b out"]


async def test_plain_and_waiting_checks_mix_in_any_order() -> None:
    for kinds in ((Plain, Waiting, Plain), (Waiting, Plain, Waiting), (Waiting, Waiting), (Plain, Plain, Waiting)):
        heard: list[str] = []
        checks = [kind(str(number), heard) for number, kind in enumerate(kinds)]
        assert await asked(compiled(*checks)) is END
        assert heard == [check.name for check in checks]


async def test_a_stack_in_a_stack_is_as_if_its_entries_stood_there() -> None:
    heard: list[str] = []
    inner = Stack(Onion("b", heard), Stack(Plain("c", heard)))
    await asked(compiled(Plain("a", heard), inner, Plain("d", heard)))
    assert heard == ["a", "b in", "c", "d", "b out"]


# What it costs.


def test_a_phase_that_nobody_implements_is_the_cores_own_function() -> None:
    assert compiled(Plain("a", []), hook="mail") == Step(end, False)


def test_a_phase_of_plain_checks_makes_no_coroutine() -> None:
    heard: list[str] = []
    step = compiled(Plain("a", heard), When(lambda session: True, Plain("b", heard)), Plain("c", heard))
    assert not step.is_async
    assert step.call(new_session(), None) is END
    assert heard == ["a", "b", "c"]


@pytest.mark.parametrize("waits", [Waiting("a", []), Onion("a", []), Limit(Plain("a", []), timeout=1)])
def test_a_phase_in_which_somebody_waits_is_async(waits: object) -> None:
    assert compiled(Plain("b", []), waits, Plain("c", [])).is_async


# Answers.


@pytest.mark.parametrize("kind", [Plain, Waiting])
@pytest.mark.parametrize("answer", [NO, Reply(220, "welcome")])
async def test_the_first_reply_is_the_answer_and_nobody_else_is_asked(kind: type[Told], answer: Reply) -> None:
    heard: list[str] = []
    session = new_session()
    step = compiled(Plain("a", heard), kind("b", heard, answer), Waiting("c", heard), Plain("d", heard))
    assert await asked(step, session) is answer
    assert heard == ["a", "b"]
    assert session.answered_by == "b"


async def test_when_nobody_has_an_opinion_the_core_answers() -> None:
    session = new_session()
    assert await asked(compiled(Plain("a", []), Waiting("b", []), Onion("c", [])), session) is END
    assert session.answered_by == "core"
    assert list(session.evidence) == []


async def test_an_onion_may_change_the_answer() -> None:
    session = new_session()
    assert await asked(compiled(Onion("o", [], LATER), Plain("c", [], NO)), session) is LATER
    assert session.answered_by == "o"
    assert [(each.who, each.outcome, each.reply) for each in session.evidence] == [
        ("c", "refused", NO),
        ("o", "refused", LATER),
    ]


async def test_an_onion_that_hands_the_answer_on_is_not_its_author() -> None:
    session = new_session()
    assert await asked(compiled(Onion("o", []), Plain("c", [], NO)), session) is NO
    assert session.answered_by == "c"
    assert [each.who for each in session.evidence] == ["c"]


async def test_an_onion_may_answer_without_asking_further() -> None:
    class Shut:
        name = "shut"

        @hookimpl
        async def connect(self, call_next: CallNext) -> Reply:
            return NO

    heard: list[str] = []
    assert await asked(compiled(Shut(), Plain("a", heard))) is NO
    assert heard == []


async def test_an_onion_may_ask_twice() -> None:
    class Again:
        name = "again"

        @hookimpl
        async def connect(self, call_next: CallNext) -> Reply:
            first = await call_next()
            return await call_next() if first.refused else first

    class OnlyOnce(Told):
        @hookimpl
        def connect(self) -> Reply | None:
            self.heard.append(self.name)
            return NO if len(self.heard) == 1 else None

    heard: list[str] = []
    session = new_session()
    assert await asked(compiled(Again(), OnlyOnce("x", heard)), session) is END
    assert heard == ["x", "x"]
    assert session.answered_by == "core"


async def test_an_entry_may_be_check_in_one_phase_and_onion_in_another() -> None:
    class Both:
        name = "both"

        @hookimpl
        def connect(self) -> Reply:
            return NO

        @hookimpl
        async def mail(self, call_next: CallNext) -> Reply:
            assert await call_next() is END
            return LATER

    pipeline = build(Stack(Both()))
    assert await asked(pipeline.chain("connect", end, 30)) is NO
    assert await asked(pipeline.chain("mail", end, 30)) is LATER


# Evidence.


async def test_every_verdict_is_on_record() -> None:
    for kind in (Plain, Waiting):
        session = new_session()
        await asked(compiled(Plain("a", []), kind("b", [], NO)), session)
        [finding] = session.evidence
        assert (finding.who, finding.phase, finding.outcome, finding.reply) == ("b", "connect", "refused", NO)
        assert 0 <= finding.seconds < 60
        assert finding.detail == ""


async def test_a_positive_answer_is_recorded_as_accepted() -> None:
    session = new_session()
    await asked(compiled(Plain("a", [], Reply(220, "hello"))), session)
    assert [(each.who, each.outcome) for each in session.evidence] == [("a", "accepted")]


# Arguments.

_GREETING = Greeting("EHLO", "client.example.org", (), {"SIZE": "1"})
_CLAIM = Claim("PLAIN", Password("ann", "secret"))
_ANYTHING = object()


def given_for(hook: str) -> tuple[object, dict[str, object]]:
    """A subject for a phase, and what implementations should see of it by name."""
    subjects = SUBJECTS[hook]
    if hook in ("ehlo", "auth"):
        subject = _GREETING if hook == "ehlo" else _CLAIM
        return subject, dict(zip(subjects, subject, strict=True))
    return (_ANYTHING, {subjects[0]: _ANYTHING}) if subjects else (None, {})


def implementation(hook: str, names: tuple[str, ...], seen: dict[str, object], *, waits: bool) -> Callable[..., Any]:
    """`def hook(self, *names)`, which keeps its arguments in `seen`."""
    scope: dict[str, Any] = {"seen": seen, "NO": NO}
    body = "; ".join([*(f"seen[{name!r}] = {name}" for name in names), "return NO"])
    exec(f"{'async ' if waits else ''}def {hook}({', '.join(('self', *names))}): {body}", scope)
    function: Callable[..., Any] = scope[hook]
    return function


def selections(names: tuple[str, ...]) -> list[tuple[str, ...]]:
    """All, none, each alone, backwards, and turned by one."""
    return [names, (), *((name,) for name in names), names[::-1], names[1:] + names[:1]]


@pytest.mark.parametrize("hook", PHASES)
@pytest.mark.parametrize("kind", ["plain", "waiting", "onion"])
async def test_an_implementation_takes_what_it_needs_in_any_order(hook: str, kind: str) -> None:
    subject, values = given_for(hook)
    allowed = tuple(name for name in inspect.signature(getattr(Hooks, hook)).parameters if name != "self")
    assert set(allowed) == {"session", *values, "call_next"}
    for names in selections(tuple(name for name in allowed if name != "call_next")):
        seen: dict[str, object] = {}
        taken = (*names[:1], "call_next", *names[1:]) if kind == "onion" else names
        function = implementation(hook, taken, seen, waits=kind != "plain")
        judges = {"mechanisms": ("PLAIN",)} if hook == "auth" else {}
        entry = type("Entry", (), {"name": "entry", hook: hookimpl(function), **judges})()
        session = new_session()
        assert await asked(compiled(entry, hook=hook), session, subject) is NO
        call_next = seen.pop("call_next", None)
        assert (call_next is not None) == (kind == "onion")
        known = {**values, "session": session}
        assert seen == {name: known[name] for name in names}


async def test_an_onion_gets_the_same_subject_to_those_below() -> None:
    class Below:
        name = "below"

        @hookimpl
        def ehlo(self, keywords: MutableMapping[str, str], hostname: str) -> Reply | None:
            keywords["X-HOST"] = hostname
            return None

    class Around:
        name = "around"

        @hookimpl
        async def ehlo(self, call_next: CallNext, keywords: Any) -> Reply:
            before = dict(keywords)
            reply = await call_next()
            assert dict(keywords) == {**before, "X-HOST": "client.example.org"}
            return reply

    subject = Greeting("EHLO", "client.example.org", (), {})
    assert await asked(compiled(Around(), Below(), hook="ehlo"), subject=subject) is END


async def test_a_false_subject_reaches_the_implementation_as_it_is() -> None:
    seen: list[bool] = []

    class Look:
        name = "look"

        @hookimpl
        async def data(self, chunked: bool, call_next: CallNext) -> Reply:
            seen.append(chunked)
            return await call_next()

    for chunked in (False, True):
        await asked(compiled(Look(), hook="data"), subject=chunked)
    assert seen == [False, True]


# The conversation's own clock.


async def test_checks_on_the_conversations_own_clock_leave_it_standing_still() -> None:
    session = new_session()
    session.watch = watch = Watch(shared=True)
    seen: list[object] = []

    class Look:
        name = "look"

        @hookimpl
        async def connect(self, session: Session) -> None:
            seen.append(session.watch)
            assert watch.deadline < float("inf")

    with watch.scope:
        assert await asked(compiled(Look()), session) is END
    assert seen == [watch]
    assert session.watch is watch
    assert watch.deadline == float("inf")


async def test_inside_an_onion_checks_have_a_clock_of_their_own() -> None:
    session = new_session()
    session.watch = shared = Watch(shared=True)
    seen: list[Watch | None] = []

    class Look:
        name = "look"

        @hookimpl
        async def connect(self, session: Session) -> None:
            seen.append(session.watch)

    class Around:
        name = "around"

        @hookimpl
        async def connect(self, session: Session, call_next: CallNext) -> Reply:
            seen.append(session.watch)
            reply = await call_next()
            seen.append(session.watch)
            return reply

    with shared.scope:
        await asked(compiled(Around(), Look()), session)
    around, inside, after = seen
    assert after is around
    assert len({id(around), id(inside), id(shared)}) == 3
    assert session.watch is shared
