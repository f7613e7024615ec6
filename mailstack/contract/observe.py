"""Observe: try an entry without effect.

    Observe(DNSBL("zen.spamhaus.org"))
    Observe(Stack(earlytalker.EarlyTalker(), When(predicate.secure, Policy())))

What is inside is asked as ever, and the mail goes on as if it were not there. Its verdict is evidence ("would have
refused", "would have accepted") and a line in the log ("would have been"). What it changed in the session (a vouch, a
rewritten address, a header field, a keyword, a result, `session.close()`) is undone as soon as it has spoken, and
recorded as "would have changed". When it fails or is late, that is recorded, and the mail goes on.

An onion's changes from before `call_next()` are undone before those below it are asked, those from after it at its end;
what others changed meanwhile stays. `call_next()` reaches those below once, whether the onion calls it or not, and no
cancel scope of the onion cuts it short.

What cannot be undone: effects outside of the session (a store, a log, a message to somebody), time that was spent, what
it began in the background. Its private stash is its own and stays, because it needs that to judge; `lifespan` runs, and
its notices are told. A handler (`queue`) would take the mail for good, and a `session` onion holds the conversation
itself: both are load errors.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

from anyio import CancelScope, Event, create_task_group

from .. import log
from ..option import ConfigError
from ..session.evidence import Finding
from ..session.hangup import Hangup
from ..session.session import Session
from ..wire.reply import Reply
from .entry import Entry, Impl, Origin
from .origin import origins
from .step import Step

# What cannot be tried without effect.
_FOR_GOOD = {
    "queue": ("it would take the mail for good", "leave the handler outside, and observe only checks"),
    "session": ("it holds the conversation itself", "observe an entry that decides in phases"),
}


class Observe:
    """One entry, or a Stack, When or Limit of entries, which only says what it would have done."""

    __slots__ = ("entry", "origins")
    idle = ""

    def __init__(self, entry: object) -> None:
        self.entry = entry
        self.origins: tuple[Origin, ...] = origins(1)

    def wrap(self, entry: Entry) -> None:
        """Mark what it implements; the compiler does the rest. ConfigError for what has effect all the same."""
        for hook, (why, remedy) in _FOR_GOOD.items():
            if hook in entry.impls:
                raise ConfigError(f"{entry.name} cannot be observed: it implements {hook}, {why}", remedy=remedy)
        entry.decided = True  # its failure means nothing, whatever a Limit outside says
        for hook, impl in entry.impls.items():
            entry.impls[hook] = replace(impl, observed=True, on_fault="pass")


def would_have(session: Session, impl: Impl, outcome: str, reply: Reply | None, seconds: float, detail: str) -> None:
    """Put on record what an observed entry did."""
    session.evidence.add(Finding(impl.who, impl.hook, f"would have {outcome}", reply, seconds, detail))
    if log.enabled("info"):
        transaction = session.transaction
        log.info(
            "would have been",
            session=session.id,
            queue_id=transaction.id if transaction else None,
            who=impl.who,
            phase=impl.hook,
            outcome=outcome,
            reply=None if reply is None else str(reply),
            detail=detail,
        )


def _undo(session: Session, impl: Impl, mark: int) -> None:
    """Take back what was changed since `mark`."""
    changes = session.journal.rollback(mark)
    if changes:
        would_have(session, impl, "changed", None, 0.0, "; ".join(changes))


# How the compiler runs it.


def observed_check(impl: Impl, ask: Step, after: Step) -> Step:
    """A check that is only asked. ask -- a step of it alone."""

    def run(session: Session, subject: Any) -> Any:
        mark = session.journal.mark()
        try:
            ask.call(session, subject)
        finally:
            _undo(session, impl, mark)
        return after.call(session, subject)

    async def run_async(session: Session, subject: Any) -> Any:
        mark = session.journal.mark()
        try:
            await ask.call(session, subject)
        finally:
            _undo(session, impl, mark)
        return await after.call(session, subject) if after.is_async else after.call(session, subject)

    return Step(run_async, True) if ask.is_async else Step(run, after.is_async)


def observed_onion(impl: Impl, around: Callable[[Step], Step], after: Step) -> Step:
    """An onion that is only asked. around -- puts it around a step.

    It runs in a task of its own, and what it would call next is run here: so its cancel scopes end at itself.
    """

    async def run(session: Session, subject: Any) -> Reply:
        play = _Play(session, impl)
        onion = around(Step(play.call_next, True))
        async with create_task_group() as group:
            group.start_soon(play.perform, onion, subject)
            try:
                await play.wanted.wait()
                if play.hangup is None:
                    answer = after.call(session, subject)
                    play.inner = await answer if after.is_async else answer
                    by = session.answered_by
            except Hangup as hangup:
                play.hangup = hangup
            finally:
                play.mark = session.journal.mark()
                play.given.set()
        _undo(session, impl, play.mark)
        if play.hangup is not None:
            raise play.hangup
        assert play.inner is not None
        session.answered_by = by
        return play.inner

    return Step(run, True)


class _Play:
    """One call of an observed onion, in two tasks: its own waits where those below it are asked in the other.

    wanted -- it has called next, or is through. given -- those below have answered: `inner`.
    hangup -- the client has left, whoever saw it first. mark -- where its own changes begin.
    """

    __slots__ = ("given", "hangup", "impl", "inner", "mark", "session", "wanted")

    def __init__(self, session: Session, impl: Impl) -> None:
        self.session = session
        self.impl = impl
        self.wanted = Event()
        self.given = Event()
        self.inner: Reply | None = None
        self.hangup: Hangup | None = None
        self.mark = session.journal.mark()

    async def perform(self, onion: Step, subject: Any) -> None:
        try:
            await onion.call(self.session, subject)
        except Hangup as hangup:
            self.hangup = hangup
        finally:
            self._let_go()

    async def call_next(self, session: Session, subject: Any) -> Reply | None:
        self._let_go()
        with CancelScope(shield=True):  # those below end it, in any case
            await self.given.wait()
        if self.hangup is not None:
            raise self.hangup
        return self.inner

    def _let_go(self) -> None:
        """Once: what it changed so far is undone, and those below have their turn."""
        if not self.wanted.is_set():
            _undo(self.session, self.impl, self.mark)
            self.wanted.set()


def observed_notice(call: Callable[..., Any], impl: Impl) -> Callable[..., Any]:
    """A notice that is told, and changes nothing."""

    def told(known: dict[str, Any]) -> Any:
        session: Session = known["session"]
        mark = session.journal.mark()
        try:
            return call(known)
        finally:
            _undo(session, impl, mark)

    async def told_async(known: dict[str, Any]) -> Any:
        session: Session = known["session"]
        mark = session.journal.mark()
        try:
            return await call(known)
        finally:
            _undo(session, impl, mark)

    return told_async if impl.is_async else told
