"""What all sessions share: the cache, and questions on their way, which equal ones join.

The first who asks goes; others wait for what it brings. When it is cancelled (its client has left, its time is up),
that is nobody else's business: one of those who wait goes in its place.
"""

from __future__ import annotations

import time
from typing import Protocol

from anyio import Event

from .cache import Cache
from .message import Reading
from .name import Question
from .outcome import Outcome
from .statistics import Statistics

__all__ = ["Shared", "Source"]


class Source(Protocol):
    """Where answers come from."""

    async def fetch(self, question: Question) -> Reading:
        """The outcome, whatever it is. ValueError for a type that cannot be asked for."""


class _Flight:
    """A question on its way. outcome -- None when it was given up."""

    __slots__ = ("landed", "outcome")

    def __init__(self) -> None:
        self.landed = Event()
        self.outcome: Outcome | None = None


class Shared:
    """A source behind a cache."""

    __slots__ = ("_flights", "cache", "source", "statistics")

    def __init__(self, source: Source, cache: Cache, statistics: Statistics) -> None:
        self.source = source
        self.cache = cache
        self.statistics = statistics
        self._flights: dict[Question, _Flight] = {}

    def known(self, question: Question) -> Outcome | None:
        """What the cache has; never waits."""
        self.statistics.asked += 1
        outcome = self.cache.get(question, time.monotonic())
        self.statistics.cached += outcome is not None
        return outcome

    def knows(self, question: Question) -> bool:
        """Whether the cache has it; counted nowhere."""
        return self.cache.get(question, time.monotonic()) is not None

    async def ask(self, question: Question) -> Outcome:
        """Wait for the answer, of one's own question or an equal one."""
        while (flight := self._flights.get(question)) is not None:
            self.statistics.joined += 1
            await flight.landed.wait()
            if flight.outcome is not None:
                return flight.outcome
        return await self._go(question)

    async def _go(self, question: Question) -> Outcome:
        flight = self._flights[question] = _Flight()
        try:
            outcome, octets = await self.source.fetch(question)
            self.cache.put(question, outcome, octets, time.monotonic())
            self.statistics.count(outcome)
            flight.outcome = outcome
            return outcome
        finally:
            del self._flights[question]
            flight.landed.set()
