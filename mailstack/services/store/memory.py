"""A store in the memory of one process: quick, bounded, and gone with it.

    Memory()                  # 100,000 entries, some 25 MB when it is full
    Memory(size=1_000_000)

Past `size` the entry goes that was not used for the longest time. Its name says all there is to do about a restart.
"""

from __future__ import annotations

import time
from collections import Counter, OrderedDict
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager

from mailstack import option

from .bounds import check
from .rate import Rate

__all__ = ["Memory"]

_Entry = tuple[float, bytes | int | float]  # when it ends, and what is kept


class Memory:
    """size -- entries. clock -- what time it is, in seconds; for tests."""

    def __init__(self, *, size: int = 100_000, clock: Callable[[], float] = time.monotonic) -> None:
        self.size = option.integer(size, name="Memory(size)", minimum=1)
        self._clock = clock
        self._entries: OrderedDict[str, _Entry] = OrderedDict()  # the last one was used last
        self._places: Counter[str] = Counter()
        self._open = 0
        self._read_only = False

    @asynccontextmanager
    async def opened(self, *, read_only: bool = False) -> AsyncIterator[None]:
        self._open += 1
        self._read_only = read_only
        try:
            yield
        finally:
            self._open -= 1

    @property
    def kept(self) -> int:
        """Entries, those among them that have ended too."""
        return len(self._entries)

    @property
    def held(self) -> int:
        """Places that are taken."""
        return sum(self._places.values())

    async def get(self, key: str) -> bytes | None:
        value = self._find(key)
        return value if isinstance(value, bytes) else None

    async def put(self, key: str, value: bytes, ttl: float, *, soon: bool = False) -> None:
        check(key, value, ttl)
        self._keep(key, value, self._clock() + ttl)

    async def put_new(self, key: str, value: bytes, ttl: float) -> bytes | None:
        check(key, value, ttl)
        found = self._find(key)
        if isinstance(found, bytes):
            return found
        self._keep(key, value, self._clock() + ttl)
        return None

    async def delete(self, key: str) -> None:
        self._must_be_open()
        if not self._read_only:
            self._entries.pop(key, None)

    async def items(self, prefix: str) -> AsyncGenerator[tuple[str, bytes, float], None]:
        self._must_be_open()
        now = self._clock()
        for key, (end, value) in tuple(self._entries.items()):
            if key.startswith(prefix) and isinstance(value, bytes) and end > now:
                yield key, value, end - now

    async def add(self, key: str, amount: int, ttl: float) -> int:
        check(key, ttl=ttl)
        found = self._find(key)
        total = (found if isinstance(found, int) else 0) + amount
        if amount:
            self._keep(key, total, self._clock() + ttl)
        return total

    async def take(self, key: str, rate: Rate, cost: int = 1) -> float:
        check(key)
        found = self._find(key)
        wait, whole = rate.take(found if isinstance(found, float) else 0.0, self._clock(), cost)
        if not wait:
            self._keep(key, whole, whole)
        return wait

    async def enter(self, places: Mapping[str, int]) -> str | None:
        self._must_be_open()
        for key, most in places.items():
            check(key)
            if self._places[key] >= most:
                return key
        if not self._read_only:
            self._places.update(dict.fromkeys(places, 1))
        return None

    async def leave(self, *keys: str) -> None:
        if self._read_only:
            return
        for key in keys:
            self._places[key] -= 1
            if self._places[key] <= 0:
                del self._places[key]

    def _find(self, key: str) -> bytes | int | float | None:
        self._must_be_open()
        entry = self._entries.get(key)
        if entry is None:
            return None
        if entry[0] <= self._clock():
            del self._entries[key]
            return None
        self._entries.move_to_end(key)
        return entry[1]

    def _keep(self, key: str, value: bytes | int | float, end: float) -> None:
        self._must_be_open()
        if self._read_only:
            return
        self._entries[key] = end, value
        self._entries.move_to_end(key)
        while len(self._entries) > self.size:
            self._entries.popitem(last=False)

    def _must_be_open(self) -> None:
        if not self._open:
            raise RuntimeError("the store is not open: write `async with store.opened()` in `lifespan`")
