"""What middleware remembers beyond one session: small values, counters, rates and places, by key.

    from mailstack.services import store

    class Greylist:
        def __init__(self, *, store: store.Store | None = None) -> None:
            self.store = chosen(store, name="Greylist(store)")

        @hookimpl
        async def lifespan(self, server, call_next):
            async with self.store.opened(read_only=server.rehearsal):
                await call_next()

        @hookimpl
        async def rcpt(self, session, recipient):
            wait = await self.store.take(key("greylist", session.client.host), Rate.parse("5/1m"))

`Memory` is one process's own and ends with it. `SQLite` is a file: it outlives the server, and several servers of one
machine may share it. `Redis` is shared by servers on several machines. All keep the contract below.

Promises of every store:

* Each call is atomic, whatever else goes on in this process or in another one that shares the store.
* Everything has an end: values and counters have a `ttl`, rates pass by themselves, places come back when their holder
  leaves, or dies. The number of entries is bounded; past it those go first that were not used for the longest time
  (SQLite: those that end first; Redis: as its `maxmemory-policy` says). Places are never taken from who holds them.
* `opened(read_only=True)` is for rehearsals: what would change the store only looks. A middleware that keeps all it
  remembers in a store needs no other care to be rehearsable.
* A `key` is text of at most `KEY` octets, a value of at most `VALUE`. `key(…)` makes keys of anything a client said.

Fails: ConfigError when `opened` finds a store that cannot be used (file and remedy); `StoreError` later, which in a
check is a fault like any other: `Limit(x, on_fault=…)` decides, by default the client hears 451. RuntimeError for a
store that is not open.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping
from contextlib import AbstractAsyncContextManager
from typing import Protocol

from .bounds import KEY, VALUE, StoreError, key
from .memory import Memory
from .rate import Rate
from .redis import Redis
from .sqlite import SQLite
from .usual import chosen, usual

__all__ = ["KEY", "VALUE", "Memory", "Rate", "Redis", "SQLite", "Store", "StoreError", "chosen", "key", "usual"]


class Store(Protocol):
    """The contract. `ttl` is in seconds, from now on."""

    def opened(self, *, read_only: bool = False) -> AbstractAsyncContextManager[None]:
        """Hold it open; several may, at once, and it closes with the last one. ConfigError when that cannot be."""

    async def get(self, key: str) -> bytes | None:
        """The value, or None."""

    async def put(self, key: str, value: bytes, ttl: float, *, soon: bool = False) -> None:
        """Keep the value, in place of another one. soon -- it costs less, and a crash within a second may forget it.

        StoreError; with `soon` from the first write that failed until one has succeeded.
        """

    async def put_new(self, key: str, value: bytes, ttl: float) -> bytes | None:
        """Keep the value and return None, unless there is one: that is returned and stays as it is, its end too."""

    async def delete(self, key: str) -> None:
        """Forget what is kept by this key."""

    def items(self, prefix: str) -> AsyncIterator[tuple[str, bytes, float]]:
        """The values whose keys begin so, in no order, each with the seconds until its end. For tools: it takes long,
        and what changes meanwhile is seen or not."""

    async def add(self, key: str, amount: int, ttl: float) -> int:
        """Add to a counter, which begins at 0; its sum. Each call sets its end anew. 0 only reads."""

    async def take(self, key: str, rate: Rate, cost: int = 1) -> float:
        """Take so much from what the rate allows this key: 0.0, or the seconds to wait, when nothing was taken."""

    async def enter(self, places: Mapping[str, int]) -> str | None:
        """Take one place under each key, where no more than so many may be held at once; None. All of them or none:
        else the first key that is full."""

    async def leave(self, *keys: str) -> None:
        """Give back one place under each. It never fails: what cannot be told to others now is told later."""
