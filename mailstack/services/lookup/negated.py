"""A lookup turned round: what is not in it is in this.

    lookup.Not(lookup.File("/etc/mailstack/strangers"))

Where a list of domains, addresses or networks is wanted, "not in it" means in no way: neither as itself nor by a parent
or a network around it. That the lookup cannot say, is neither.
"""

from __future__ import annotations

from contextlib import AbstractAsyncContextManager

from .first import First
from .inline import Written
from .source import Source, Table

__all__ = ["Not"]


class Not:
    """sources -- or what is written. value -- of what is found. Of tables it is a table."""

    def __init__(self, *sources: Source | Written, value: str = "") -> None:
        self.source = First(*sources)
        self.value = value
        self.ready = self.source.ready
        if isinstance(self.source, Table):
            self.find_now = self._find_now

    def opened(self) -> AbstractAsyncContextManager[None]:
        return self.source.opened()

    async def find(self, key: str) -> str | None:
        return self.value if await self.source.find(key) is None else None

    def _find_now(self, key: str) -> str | None:
        return self.value if self.source._find_now(key) is None else None
