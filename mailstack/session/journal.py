"""What middleware changed, so that it can be taken back.

Every mutation by middleware (a vouch, a rewritten address, an added header, an EHLO keyword, a result) is recorded
with the way to undo it. `mark()` before an entry runs and `rollback(mark)` after it leave the session as it was: that
is how a rule is tried without effect. The core forgets the journal after each command.
"""

from __future__ import annotations

from collections.abc import Callable


class Journal:
    """A list of undo functions, newest last."""

    __slots__ = ("changes",)

    def __init__(self) -> None:
        self.changes: list[tuple[str, Callable[[], None]]] = []

    def record(self, what: str, undo: Callable[[], None]) -> None:
        """Note a change that was just made. `what` is for people: "vouched for <a@example.org>"."""
        self.changes.append((what, undo))

    def mark(self) -> int:
        """A place to come back to."""
        return len(self.changes)

    def since(self, mark: int) -> list[str]:
        """What was changed after `mark`, in words."""
        return [what for what, _ in self.changes[mark:]]

    def rollback(self, mark: int) -> list[str]:
        """Undo all changes after `mark`, the newest first; returns what they were."""
        undone = self.since(mark)
        while len(self.changes) > mark:
            self.changes.pop()[1]()
        return undone

    def forget(self) -> None:
        """The changes stand."""
        self.changes.clear()
