"""Several lookups as one: the first that finds the key answers.

    lookup.First(lookup.File("overrides"), lookup.SQL(…))

One that cannot say is an error, and those behind it are not asked: its answer might have been another.
"""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager

from mailstack.option import ConfigError

from .inline import Written, as_source
from .source import Source, Table

__all__ = ["First"]


class First:
    """sources -- or what is written. With tables alone it is a table."""

    def __init__(self, *sources: Source | Written) -> None:
        self.sources = tuple(as_source(each, "First") for each in sources)
        if not self.sources:
            raise ConfigError("First() has no lookups", remedy="write First(lookup.File(…), lookup.SQL(…))")
        self.ready = all(getattr(each, "ready", False) for each in self.sources)
        if all(isinstance(each, Table) for each in self.sources):
            self.find_now = self._find_now

    @asynccontextmanager
    async def opened(self) -> AsyncIterator[None]:
        async with AsyncExitStack() as stack:
            for each in self.sources:
                await stack.enter_async_context(each.opened())
            yield

    async def find(self, key: str) -> str | None:
        for each in self.sources:
            if (found := await each.find(key)) is not None:
                return found
        return None

    def _find_now(self, key: str) -> str | None:
        for each in self.sources:
            assert isinstance(each, Table)
            if (found := each.find_now(key)) is not None:
                return found
        return None
