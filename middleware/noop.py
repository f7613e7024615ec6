"""noop: an end for clients that say NOOP and nothing else.

    noop.Noop(3)

After so many NOOPs in a row the session ends with 421. A client that waits for something says a NOOP now and then; one
that says them without end wants to hold a connection. Any other command begins the count anew.
"""

from __future__ import annotations

from typing import Final

from mailstack import option
from mailstack.contract.hookspec import hookimpl
from mailstack.session.session import Session
from mailstack.session.stash import Key
from mailstack.wire.command import Command
from mailstack.wire.reply import Reply

__all__ = ["Noop"]

_ENOUGH: Final = Reply(421, "that was NOOP often enough", status="4.7.0", close=True)


class Noop:
    """End the session at this many NOOPs in a row. most -- at least 1."""

    rehearsable = True

    def __init__(self, most: int = 10) -> None:
        self._most = option.integer(most, name="Noop", minimum=1)
        # How many there were, and which command of the session the last one was.
        self._seen: Key[tuple[int, int]] = Key("noops")

    @hookimpl
    def command(self, session: Session, command: Command) -> Reply | None:
        if command.verb != "NOOP":
            return None
        seen, last = session.stash.get(self._seen, (0, -1))
        seen = seen + 1 if last == session.command_count - 1 else 1
        session.stash[self._seen] = seen, session.command_count
        return _ENOUGH if seen >= self._most else None
