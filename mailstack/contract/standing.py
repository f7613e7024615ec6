"""What an entry has against a client: a refusal that was not answered when it was found, and is not forgotten.

One at `connect` holds for the session, until `connect` is asked again. One at `ehlo` holds as long as the greeting that
it was about is the one in force: a later EHLO takes its place only if it is accepted. All others hold for the
transaction at hand. The first one of a transaction counts.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from ..session.session import Session
from ..session.stash import Key
from ..wire.reply import Reply

_Greeted = tuple[str, Reply | None]  # the name that was given at EHLO, and what there is against it


class _Held:
    """At connect and ehlo. greeted -- of the greeting in force. asked -- of the newest, which may not be accepted."""

    __slots__ = ("asked", "connect", "greeted")

    def __init__(self) -> None:
        self.connect: Reply | None = None
        self.greeted: _Greeted = ("", None)
        self.asked: _Greeted = ("", None)


_SESSION: Key[dict[str, _Held]] = Key("standing.session")
_TRANSACTION: Key[dict[str, tuple[str, Reply]]] = Key("standing.transaction")


class Standing:
    """The refusals that are kept under one name; the memory itself is the session's."""

    __slots__ = ("name",)

    def __init__(self, name: str) -> None:
        self.name = name

    def begin(self, session: Session, phase: str, subject: Any) -> None:
        """The entry is about to be asked anew: what it said before of the same matter counts no more."""
        if phase == "connect":
            self._held(session).connect = None
        elif phase == "ehlo":
            held = self._held(session)
            if held.asked[0] == session.helo:
                held.greeted = held.asked
            held.asked = (subject.hostname, None)

    def keep(self, session: Session, phase: str, reply: Reply) -> Callable[[], None] | None:
        """Keep a refusal; returns how to take that back, or None where one is kept already."""
        if phase == "connect":
            held = self._held(session)
            held.connect = reply
            return lambda: setattr(held, "connect", None)
        if phase == "ehlo":
            held = self._held(session)
            held.asked = (held.asked[0], reply)
            return lambda: setattr(held, "asked", (held.asked[0], None))
        assert session.transaction is not None
        kept = session.transaction.stash.setdefault(_TRANSACTION, {})
        if self.name in kept:
            return None
        kept[self.name] = (phase, reply)

        def undo() -> None:
            del kept[self.name]

        return undo

    def found(self, session: Session) -> tuple[str, Reply] | None:
        """The refusal that holds now, if there is one: its phase, and the reply."""
        held = session.stash.get(_SESSION, {}).get(self.name)
        if held is not None:
            if held.connect is not None:
                return "connect", held.connect
            name, reply = held.asked if held.asked[0] == session.helo else held.greeted
            if reply is not None and name == session.helo:
                return "ehlo", reply
        transaction = session.transaction
        return None if transaction is None else transaction.stash.get(_TRANSACTION, {}).get(self.name)

    def _held(self, session: Session) -> _Held:
        return session.stash.setdefault(_SESSION, {}).setdefault(self.name, _Held())
