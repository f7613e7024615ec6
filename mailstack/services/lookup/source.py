"""What every source of answers is: keys in, values out.

    found = await source.find("example.org")     # its value, "" where the key alone counts; None when it is not there
    async with source.opened(): ...              # in `lifespan`: pools, connections, files

A source that cannot say raises `Unavailable`, or whatever its library raises: never None, for "it is not there" may
bounce mail and "I cannot say" must defer it. A source that holds all it knows in memory is a `Table`: it answers at
once, so that plain checks can ask it.
"""

from __future__ import annotations

from contextlib import AbstractAsyncContextManager
from typing import Protocol, runtime_checkable

from ..unavailable import Unavailable

__all__ = ["Source", "Table", "Unavailable"]


@runtime_checkable
class Source(Protocol):
    """Answers for keys. Keys are text; a source escapes them by its backend's own means."""

    def opened(self) -> AbstractAsyncContextManager[None]:
        """Hold it open; several may, at once, and it closes with the last one. ConfigError when that cannot be."""

    async def find(self, key: str) -> str | None:
        """The value of this key, or None when there is none. Several values are one text, parted by ", "."""


@runtime_checkable
class Table(Source, Protocol):
    """A source that never waits."""

    def find_now(self, key: str) -> str | None:
        """As `find`."""
