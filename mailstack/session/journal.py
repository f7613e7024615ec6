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
        self.changes: list[tuple[str, object, Callable[[], None]]] = []

    def record(self, what: str, undo: Callable[[], None], whom: object = None) -> None:
        """Note a change that was just made, in words: "vouched for", and `whom`, which is written out only if asked."""
        self.changes.append((what, whom, undo))

    def mark(self) -> int:
        """A place to come back to."""
        return len(self.changes)

    def since(self, mark: int) -> list[str]:
        """What was changed after `mark`, in words."""
        return [what if whom is None else f"{what} <{whom}>" for what, whom, _ in self.changes[mark:]]

    def rollback(self, mark: int) -> list[str]:
        """Undo all changes after `mark`, the newest first; returns what they were."""
        undone = self.since(mark)
        while len(self.changes) > mark:
            self.changes.pop()[2]()
        return undone

    def forget(self) -> None:
        """The changes stand."""
        self.changes.clear()
