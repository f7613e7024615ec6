"""Comparing passwords takes a processor's time, and keeps nothing else waiting.

    await matches(stored, password)        # in a thread; at most so many at once, at most so many that wait

One processor is left for mail. `WAITING` more comparisons may wait their turn; who comes then hears that it is too busy
(`Busy`), at once: a thousand clients that guess cost no more than that, and a login that would only be late is refused
for now. A comparison that has begun is waited for even if its client leaves, so none goes on unseen.

The limits are those of an event loop: all providers of a server share them.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable
from typing import Final

from anyio import CapacityLimiter, to_thread
from anyio.lowlevel import RunVar

from mailstack import log

from .stored import Stored

__all__ = ["WAITING", "Busy", "is_full", "matches"]

WAITING: Final = 200
INSTANT: Final = 1e-5  # seconds of work for which no thread is worth its while


class Busy(Exception):
    """Too many passwords are being compared."""


class _Line:
    """Who is compared, and who waits for that. It counts by itself: a limiter counts only who has begun to wait."""

    __slots__ = ("inside", "limiter", "told")

    def __init__(self) -> None:
        self.limiter = CapacityLimiter(max(1, (os.cpu_count() or 1) - 1))
        self.inside = 0
        self.told = False

    def is_full(self) -> bool:
        """Once for each time that it fills, the log says so."""
        full = self.inside >= WAITING + self.limiter.total_tokens
        if full and not self.told:
            self.told = True
            log.warning("too many passwords to compare", waiting=WAITING)
        return full

    async def run(self, work: Callable[[], bool]) -> bool:
        if self.is_full():
            raise Busy(f"{WAITING} comparisons of passwords wait already")
        self.inside += 1
        try:
            return await to_thread.run_sync(work, limiter=self.limiter)
        finally:
            self.inside -= 1
            self.told = self.told and self.inside > 0


_line: RunVar[_Line] = RunVar("comparisons of passwords")


def line() -> _Line:
    """That of this event loop."""
    found = _line.get(None)
    if found is None:
        found = _Line()
        _line.set(found)
    return found


async def matches(stored: Iterable[Stored], password: str) -> bool:
    """Whether it is one of these. Wrong ones have cost the work of all. Busy."""
    found = False
    for each in stored:
        found = found or await _matches(each, password)
    return found


async def _matches(stored: Stored, password: str) -> bool:
    if stored.work < INSTANT:
        return stored.matches(password)
    return await line().run(lambda: stored.matches(password))


def is_full() -> bool:
    """Whether `matches` would be Busy."""
    return line().is_full()
