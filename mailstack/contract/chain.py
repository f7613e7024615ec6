"""One phase, compiled: a function of (session, subject) that asks the entries in order and ends in the core's answer.

The steps are built from the end of the stack to its beginning. Consecutive plain checks are one function without any
scope (`unroll` writes it); a stretch with async checks is one under one cancel scope and one clock; an onion is a step
of its own around all that follows; a condition is one `if`. What is observed, postponed or scored stands alone: its
answer is not the chain's. A phase that nobody implements is the core's own function.

Every call is guarded. What an entry raises is judged by its `on_fault` (see `fault`); `Hangup` and cancellation pass.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, MutableMapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any, NamedTuple

from anyio import get_cancelled_exc_class

from ..session.credentials import Credentials
from ..session.evidence import Finding
from ..session.session import Session
from ..session.watch import Watch
from ..wire.reply import Reply
from . import unroll
from .entry import Impl, Origin
from .fault import ContractError, Late, OnFault, failure_in, judge, no_answer
from .observe import observed_check, observed_onion, would_have
from .predicate import Predicate
from .step import Step as Step

Call = Callable[[Session, Any], Any]


class Greeting(NamedTuple):
    """The subject of `ehlo`."""

    verb: str
    hostname: str
    words: tuple[str, ...]
    keywords: MutableMapping[str, str]


class Claim(NamedTuple):
    """The subject of `auth`."""

    mechanism: str
    credentials: Credentials


@dataclass(frozen=True, slots=True)
class Branch:
    """Nodes under a condition. observed -- whether the condition is part of what is only tried."""

    predicate: Predicate
    negated: bool
    nodes: tuple[Node, ...]
    origin: Origin
    observed: bool = False


Node = Impl | Branch

_HAND_OVER = ("message", "queue")  # they share one limit

# What each phase is about, by the names that implementations use.
SUBJECTS: dict[str, tuple[str, ...]] = {
    "connect": (),
    "ehlo": Greeting._fields,
    "auth": Claim._fields,
    "mail": ("sender",),
    "rcpt": ("recipient",),
    "data": ("chunked",),
    "headers": ("message",),
    "message": ("message",),
    "queue": ("message",),
    "command": ("command",),
}


def compile_chain(nodes: Sequence[Node], end: Call, limit: float) -> Step:
    """The chain of one phase.

    end -- the core's plain answer. limit -- seconds for each run of checks, and for each onion.
    """
    return _before(Step(end, False), nodes, limit)


def _before(after: Step, nodes: Sequence[Node], limit: float) -> Step:
    for group in reversed(list(_groups(nodes))):
        first = group[0]
        if isinstance(first, Branch):
            after = _condition(first, _before(after, first.nodes, limit), after)
        else:
            impls = [node for node in group if isinstance(node, Impl)]
            together = impls[0].plain and not impls[0].onion
            after = _checks(impls, after, limit) if together else _alone(impls[0], after, limit)
    return after


def _groups(nodes: Sequence[Node]) -> Iterable[list[Node]]:
    """Branches, onions and checks with a limit or a wrapper of their own stand alone; other checks run together."""
    run: list[Node] = []
    for node in nodes:
        if isinstance(node, Impl) and not node.onion and node.timeout is None and node.plain:
            run.append(node)
            continue
        if run:
            yield run
            run = []
        yield [node]
    if run:
        yield run


def _checks(impls: list[Impl], after: Step, limit: float) -> Step:
    """A stretch of checks: the plain ones at either side of the async ones need no scope."""
    waits = [index for index, impl in enumerate(impls) if impl.is_async or impl.timeout is not None]
    if not waits:
        return _plain_run(impls, after)
    first, last = waits[0], waits[-1] + 1
    rest = _plain_run(impls[last:], after)
    apart = _plain_run(impls[:first], _timed_run(impls[first:last], rest, limit))
    return _shared_run(impls, after, limit, apart) if _may_share(impls) else apart


def _alone(impl: Impl, after: Step, limit: float) -> Step:
    """An onion, or what a wrapper stands around."""
    if impl.onion and impl.observed:
        return observed_onion(impl, partial(_onion, impl, limit=limit), after)
    if impl.onion:
        return _onion(impl, after, limit)
    step = _checks([impl], _NO_OPINION if impl.observed else after, limit)
    if impl.outlets:
        step = _begun(impl, step)
    return observed_check(impl, step, after) if impl.observed else step


_NO_OPINION = Step(lambda session, subject: None, False)


def _begun(impl: Impl, step: Step) -> Step:
    """A check whose refusals go elsewhere: there it is told when the check is asked anew."""

    def run(session: Session, subject: Any) -> Any:
        for outlet in impl.outlets:
            outlet.begin(session, impl, subject)
        return step.call(session, subject)

    return Step(run, step.is_async)


# Runs of checks.


def _plain_run(impls: list[Impl], after: Step) -> Step:
    if not impls:
        return after
    ask = unroll.plain(impls, SUBJECTS[impls[0].hook], _settled, _fault)
    follow = after.call

    def run(session: Session, subject: Any) -> Any:
        reply = ask(session, subject)
        return follow(session, subject) if reply is None else reply

    async def run_before_async(session: Session, subject: Any) -> Reply:
        reply = ask(session, subject)
        return await follow(session, subject) if reply is None else reply

    return Step(run_before_async, True) if after.is_async else Step(run, False)


def _may_share(impls: Sequence[Impl]) -> bool:
    """Whether the conversation's own watch can serve.

    When its scope is cancelled for lateness, nothing may wait until it is renewed. So a run that may go on after a
    fault ("pass", or postponed), that has a limit of its own, or that the core shields (`queue`), has its own watch;
    so has a run inside an onion.
    """
    return all(
        impl.timeout is None and impl.on_fault != "pass" and impl.hook != "queue" and impl.plain for impl in impls
    )


def _shared_run(impls: list[Impl], after: Step, limit: float, apart: Step) -> Step:
    """A stretch of checks of which some wait, under the conversation's own watch."""

    def overdue(watch: Watch, impl: Impl, reply: object) -> None:
        raise Late(f"over its time of {limit:g} s")

    def failed(session: Session, watch: Watch, impl: Impl, error: BaseException, began: float) -> Reply:
        """The answer to what a check raised; what is not its own goes on."""
        if isinstance(error, BaseExceptionGroup):
            error = _not_hangup(error, watch)
        elif watch.expired and isinstance(error, get_cancelled_exc_class()):
            error = Late(f"cancelled after {limit:g} s")
        if not isinstance(error, Exception):
            raise error
        reply = _fault(session, impl, error, began)
        assert reply is not None
        return reply

    hand_over = impls[0].hook in _HAND_OVER  # which share one limit
    ask = unroll.shared(
        impls,
        SUBJECTS[impls[0].hook],
        after,
        "min(began + limit, session.hand_over_by)" if hand_over else "began + limit",
        apart.call,
        failed,
        settled=_settled,
        overdue=overdue,
        limit=limit,
    )
    return Step(ask, True)


def _timed_run(impls: list[Impl], after: Step, limit: float) -> Step:
    """Checks of which some wait, under a watch and a scope of their own."""
    subjects = SUBJECTS[impls[0].hook]
    first, timeout = impls[0], impls[0].timeout  # a check with a limit of its own stands alone
    follow, follow_waits = after

    def overdue(watch: Watch, impl: Impl, reply: object) -> None:
        if not _taken(impl, reply):
            raise Late(f"over its time of {timeout or limit:g} s")

    ask_all = unroll.timed(impls, subjects, _settled, overdue)

    async def run(session: Session, subject: Any) -> Reply:
        around = session.watch
        ask, remaining = ask_all, impls
        reply: Reply | None
        while True:
            session.watch = watch = Watch(around, timer=timeout is not None)
            watch.who, watch.began = first, time.monotonic()
            watch.wind(_time_for(session, first, limit))
            error: Exception
            try:
                with watch.scope:
                    reply = await ask(session, subject, watch)
                    break
                error = Late(f"cancelled after {timeout or limit:g} s")  # the scope swallowed its own cancellation
            except Exception as raised:
                error = raised
            except BaseExceptionGroup as group:
                error = _not_hangup(group, watch)
            finally:
                watch.stop()
                session.watch = around
            reply = _fault(session, watch.who, error, watch.began)
            remaining = remaining[_place(remaining, watch.who) + 1 :]
            if reply is not None or not remaining:
                break
            ask = unroll.timed(remaining, subjects, _settled, overdue)
        if reply is not None:
            return reply
        answer: Reply = await follow(session, subject) if follow_waits else follow(session, subject)
        return answer

    return Step(run, True)


def _place(impls: Sequence[Impl], wanted: object) -> int:
    return next(index for index, impl in enumerate(impls) if impl is wanted)


def _onion(impl: Impl, after: Step, limit: float) -> Step:
    call = _adapt(impl)
    follow, follow_waits = after

    async def run(session: Session, subject: Any) -> Reply | None:  # None where it is only observed
        began = time.monotonic()
        inner: Reply | None = None
        around = session.watch
        watch = Watch(around, timer=impl.timeout is not None)
        watch.wind(_time_for(session, impl, limit))

        async def call_next() -> Reply:
            nonlocal inner
            session.answered_by = "core"  # an answer from before is not the answer any more
            watch.pause()
            try:
                inner = await follow(session, subject) if follow_waits else follow(session, subject)
                return inner
            finally:
                watch.resume()

        session.watch = watch
        watch.who = impl
        error: Exception
        try:
            with watch.scope:
                reply = await call(session, subject, call_next)
                if watch.late and not _taken(impl, reply):
                    raise Late(f"over its time of {impl.timeout or limit:g} s")
                return inner if inner is not None and reply is inner else _settled(session, impl, reply, began)
            error = Late(f"cancelled after {impl.timeout or limit:g} s")  # the scope swallowed its own cancellation
        except Exception as raised:
            error = raised
        except BaseExceptionGroup as group:
            error = _not_hangup(group, watch)
        finally:
            session.watch = around
        verdict = _fault(session, impl, error, began)
        if inner is not None and (verdict is None or (impl.hook == "queue" and inner.positive)):
            return inner  # what is below has spoken; at queue, it has the message
        if verdict is None:
            verdict = await follow(session, subject) if follow_waits else follow(session, subject)
        return verdict

    return Step(run, True)


def _condition(branch: Branch, inside: Step, outside: Step) -> Step:
    """One `if`. A predicate that raises is a fault of its own."""
    predicate, negated = branch.predicate, branch.negated
    words = f"{'unless' if negated else 'when'} {predicate}"
    on_fault: OnFault = "pass" if branch.observed else "defer"
    asked = Impl(words, _hook_of(branch), predicate, ("session",), False, False, on_fault=on_fault)

    def choose(session: Session, subject: Any) -> Step | Reply:
        try:
            return inside if predicate(session, subject) is not negated else outside
        except Exception as error:
            return _fault(session, asked, error, time.monotonic()) or outside

    def run(session: Session, subject: Any) -> Any:
        chosen = choose(session, subject)
        return chosen.call(session, subject) if isinstance(chosen, Step) else chosen

    async def run_async(session: Session, subject: Any) -> Reply:
        chosen = choose(session, subject)
        if isinstance(chosen, Reply):
            return chosen
        reply: Reply = await chosen.call(session, subject) if chosen.is_async else chosen.call(session, subject)
        return reply

    waits = inside.is_async or outside.is_async
    return Step(run_async if waits else run, waits)


def _hook_of(node: Node) -> str:
    return _hook_of(node.nodes[0]) if isinstance(node, Branch) else node.hook


# What the steps share.


def _time_for(session: Session, impl: Impl, limit: float) -> float:
    """Seconds that this entry has: its own limit, or the phase's; `message` and `queue` share one."""
    if impl.timeout is not None:
        return impl.timeout
    if impl.hook in _HAND_OVER:
        return min(limit, session.hand_over_by - time.monotonic())
    return limit


def _taken(impl: Impl, reply: object) -> bool:
    """What `queue` has taken is taken, however late: after a 451 the client would send it a second time."""
    return impl.hook == "queue" and isinstance(reply, Reply) and reply.positive


def _settled(session: Session, impl: Impl, reply: object, began: float) -> Reply | None:
    """The entry has answered: put it on record. None where the answer is not the chain's."""
    if not isinstance(reply, Reply):
        raise ContractError(f"{no_answer(reply)} instead of a Reply" + ("" if impl.onion else " or None"))
    seconds = time.monotonic() - began
    if impl.outlets and reply.refused and _let_out(session, impl, reply, seconds):
        return None
    outcome = "refused" if reply.refused else "accepted"
    if impl.observed:
        would_have(session, impl, outcome, reply, seconds, "")
        return None
    session.answered_by = impl.who
    session.evidence.add(Finding(impl.who, impl.hook, outcome, reply, seconds))
    return reply


def _fault(session: Session, impl: Impl, error: Exception, began: float) -> Reply | None:
    seconds = time.monotonic() - began
    reply = judge(session, impl.who, impl.hook, error, impl.on_fault, seconds)
    if reply is not None and _let_out(session, impl, reply, seconds, fault=True):
        session.answered_by = "core"
        return None
    return reply


def _let_out(session: Session, impl: Impl, reply: Reply, seconds: float, *, fault: bool = False) -> bool:
    """Whether an outlet has taken the refusal; the innermost wrapper comes first."""
    return any(outlet.take(session, impl, reply, seconds, fault=fault) for outlet in impl.outlets)


def _not_hangup(group: BaseExceptionGroup[BaseException], watch: Watch) -> Exception:
    """The failure that the group is; raises what is none (see `failure_in`)."""
    if watch.shared and watch.expired and group.split(get_cancelled_exc_class())[1] is None:
        return Late("cancelled in its own task group")
    return failure_in(group)


def _adapt(impl: Impl) -> Callable[..., Any]:
    """An onion as a function of (session, subject, call_next)."""
    subjects = SUBJECTS[impl.hook]
    function = impl.function
    names = ("session", *subjects, "call_next")
    order = tuple(names.index(name) for name in impl.arguments)
    several = len(subjects) != 1

    def call(session: Session, subject: Any, call_next: Any) -> Any:
        given = (session, *(subject or ()), call_next) if several else (session, subject, call_next)
        return function(*[given[index] for index in order])

    return call
