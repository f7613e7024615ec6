"""How much DNS one session may cause: so many questions that the cache cannot answer, and so much waiting for them.

The waiting is counted by the clock on the wall: ten questions at the same time cost the time of the slowest. A message
that was taken renews the budget, so that it binds who only makes work, and not who delivers all day.
"""

from __future__ import annotations

import time
from typing import Final

from .stash import Key

__all__ = ["BUDGET", "Budget"]


class Budget:
    """What is left. queries -- questions; seconds -- of waiting."""

    __slots__ = ("_asked", "_queries", "_running", "_seconds", "_since", "_spent")

    def __init__(self, queries: int, seconds: float) -> None:
        self._queries = queries
        self._seconds = seconds
        self._running = 0
        self._since = 0.0
        self.renew()

    def renew(self) -> None:
        """As new; questions that are on their way count from now."""
        self._asked = 0
        self._spent = 0.0
        self._since = time.monotonic()

    def begin(self) -> float:
        """One more question: the seconds that it may take, 0 when it must not be asked. `end()` is due in any case."""
        now = time.monotonic()
        if not self._running:
            self._since = now
        self._running += 1
        self._asked += 1
        if self._asked > self._queries:
            return 0.0
        left = self._seconds - self._spent - (now - self._since)
        return left if left > _NOTHING else 0.0

    def end(self) -> None:
        """The question is over."""
        self._running -= 1
        if not self._running:
            self._spent += time.monotonic() - self._since


# Seconds that are not worth a question; timers and the clock differ by less.
_NOTHING: Final = 0.01

# The budget of a session, whatever resolvers its middleware use.
BUDGET: Final[Key[Budget]] = Key("dns budget")
