"""The record of who said what in a session: logs, metrics, simulation and the live view all read this one.

It is bounded: a client that keeps a connection open and collects refusals pushes the oldest out.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator
from typing import NamedTuple

from ..wire.reply import Reply

LIMIT = 256


class Finding(NamedTuple):
    """One thing that one entry did.

    who -- the entry's name, or "core".
    phase -- the hook's name.
    outcome -- of a reply "accepted", "refused", "postponed", "scored", "overruled", "late", "fault"; of what is only
        observed the same with "would have"; "asked", "no opinion" and "not asked" in a rehearsal; "noted" of a note.
    reply -- what it answered, or None.
    seconds -- how long it (or the run of plain checks it stood in) took.
    detail -- free text for people; for a fault the exception's type and text. Never shown to the client.
    transaction -- of what is noted in a transaction: its id. command -- which of the session's commands it was for.
    """

    who: str
    phase: str
    outcome: str
    reply: Reply | None = None
    seconds: float = 0.0
    detail: str = ""
    transaction: str = ""
    command: int = 0


class Evidence:
    """The last `LIMIT` findings, oldest first."""

    __slots__ = ("_findings", "forgotten")

    def __init__(self) -> None:
        self._findings: deque[Finding] = deque(maxlen=LIMIT)
        self.forgotten = 0

    def add(self, finding: Finding) -> None:
        """Record; beyond the limit the oldest finding goes and `forgotten` counts it."""
        if len(self._findings) == LIMIT:
            self.forgotten += 1
        self._findings.append(finding)

    def __iter__(self) -> Iterator[Finding]:
        return iter(tuple(self._findings))

    def __len__(self) -> int:
        return len(self._findings)

    def since(self, seen: int) -> tuple[int, list[Finding]]:
        """How many there have been, and those that came after the first `seen`, as far as they are still here."""
        total = self.forgotten + len(self._findings)
        return total, list(self._findings)[-(total - seen) :] if total > seen else []

    def notes(self, who: str, transaction: str, command: int) -> list[str]:
        """What an entry noted of the session, and of one transaction: what it looked up, and what came back.

        command -- what was noted of other recipients than this command's stays out.
        """
        name, wanted = who.partition("#")[0], ("", transaction)
        noted = (each for each in self._findings if each.outcome == "noted" and each.who == name)
        return [
            each.detail
            for each in noted
            if each.transaction in wanted and (each.phase != "rcpt" or each.command == command)
        ]
