"""A stack made ready for sessions that did not happen: who is asked, and what is written down.

    pipeline = build(stack, rehearsal=True)

An entry with `rehearsable = True` promises that it reads its stores, writes nothing outside of the message at hand
while `session.rehearsal` is true, and logs what it would have done. Any other entry is not asked: its lives and notices
are left out, and in a phase a stand-in takes its place, which has no opinion and is recorded as "not asked" when its
turn has come. At `queue` a check is a handler or might be one, so that it is never asked, whatever it declares; an
onion there is asked like everywhere.

Each entry that is asked leaves a finding of its own beside that of its answer: "no opinion" when it said nothing, else
"asked"; `seconds` are its own, and `detail` says what it changed in the session. A stack that serves pays for none of
this: only a rehearsal's pipeline has the wrappers.
"""

from __future__ import annotations

import time
from collections.abc import Awaitable, Callable, Iterable
from dataclasses import replace
from typing import Any

from ..session.evidence import Finding
from ..session.session import Session
from ..session.stash import Key
from ..wire.reply import Reply
from .entry import Entry, Impl
from .hookspec import PHASES

# Whether somebody who might take the message had his turn in the `queue` of this transaction.
_TURN: Key[bool] = Key("rehearsal.turn")


def rehearse(entries: Iterable[Entry]) -> list[Entry]:
    """Change the implementations of loaded entries for a rehearsal.

    Returns copies of the entries that are not asked, each with the hooks that it is not asked in.
    """
    not_asked = []
    for entry in entries:
        hooks = {hook: impl for hook, impl in entry.impls.items() if not _is_asked(entry, impl)}
        if hooks:
            not_asked.append(Entry(entry.name, entry.plugin, entry.origin, hooks))
        for hook, impl in tuple(entry.impls.items()):
            if hook in PHASES:
                entry.impls[hook] = _stand_in(impl) if hook in hooks else _recorded(impl)
            elif hook in hooks:
                del entry.impls[hook]
    return not_asked


def _is_asked(entry: Entry, impl: Impl) -> bool:
    if getattr(entry.plugin, "rehearsable", False) is not True:
        return False
    return impl.hook != "queue" or impl.onion


def would_take(session: Session) -> bool:
    """At the end of `queue`: whether somebody would have been asked to take the message."""
    transaction = session.transaction
    return transaction is not None and transaction.stash.get(_TURN, False)


def _stand_in(impl: Impl) -> Impl:
    def not_asked(session: Session) -> None:
        session.evidence.add(Finding(impl.who, impl.hook, "not asked"))
        if impl.hook == "queue" and session.transaction is not None:
            session.transaction.stash[_TURN] = True

    return replace(impl, function=not_asked, arguments=("session",), is_async=False, onion=False, timeout=None)


def _recorded(impl: Impl) -> Impl:
    wrap = _onion if impl.onion else _waiting if impl.is_async else _plain
    return replace(impl, function=wrap(impl), arguments=("session", *impl.arguments))


class _Record:
    """What one call of one entry did: its time, and its changes; what lies below an onion is not its own."""

    __slots__ = ("_began", "_changes", "_impl", "_mark", "_seconds", "_session")

    def __init__(self, session: Session, impl: Impl) -> None:
        self._session = session
        self._impl = impl
        self._changes: list[str] = []
        self._seconds = 0.0
        self.resume()

    def pause(self) -> None:
        self._seconds += time.monotonic() - self._began
        self._changes += self._session.journal.since(self._mark)

    def resume(self) -> None:
        self._mark = self._session.journal.mark()
        self._began = time.monotonic()

    def end(self, answered: bool) -> None:
        self.pause()
        outcome = "asked" if answered else "no opinion"
        finding = Finding(self._impl.who, self._impl.hook, outcome, None, self._seconds, "; ".join(self._changes))
        self._session.evidence.add(finding)


def _plain(impl: Impl) -> Callable[..., Any]:
    def check(session: Session, *given: Any) -> Any:
        record = _Record(session, impl)
        try:
            reply = impl.function(*given)
        except Exception:
            record.end(True)
            raise
        record.end(reply is not None)
        return reply

    return check


def _waiting(impl: Impl) -> Callable[..., Awaitable[Any]]:
    async def check(session: Session, *given: Any) -> Any:
        record = _Record(session, impl)
        try:
            reply = await impl.function(*given)
        except Exception:
            record.end(True)
            raise
        record.end(reply is not None)
        return reply

    return check


def _onion(impl: Impl) -> Callable[..., Awaitable[Any]]:
    place = impl.arguments.index("call_next")

    async def onion(session: Session, *given: Any) -> Any:
        record = _Record(session, impl)
        inner: Reply | None = None

        async def call_next() -> Reply:
            nonlocal inner
            record.pause()
            try:
                inner = await given[place]()
                return inner
            finally:
                record.resume()

        try:
            reply = await impl.function(*given[:place], call_next, *given[place + 1 :])
        except Exception:
            record.end(True)
            raise
        record.end(inner is None or reply is not inner)
        return reply

    return onion
