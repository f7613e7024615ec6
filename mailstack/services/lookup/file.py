"""A lookup in a file, or in all files of a folder: a key a line, or a key, blanks and its value.

    lookup.File("/etc/mailstack/domains")

    # what is ours                          comments and blank lines are passed over
    example.org
    example.net      50M                    a key and a value
    $include more-domains                   relative to this file; a folder means all its files

It is read again when it has changed, or what it includes has: see listing.py for when, and for what a broken one does.
Keys are compared without regard to letter case. A key that has two values is a mistake. UTF-8.
"""

from __future__ import annotations

import os
from collections.abc import AsyncIterator, Iterable
from contextlib import asynccontextmanager

from mailstack import option

from .item import Item
from .lines import Marks, read
from .listing import Listing
from .table import table

__all__ = ["File"]


class File:
    """path -- of a file or folder. every -- seconds between two looks at it.

    ConfigError, with the line, when it is first used: where it was given to something in a configuration.
    """

    ready = True

    def __init__(self, path: str | os.PathLike[str], *, every: str | float = "1s") -> None:
        self.path = os.path.abspath(os.path.expanduser(path))
        self.every = option.duration(every, name="File(every)")
        self._listing: Listing[dict[str, str]] | None = None

    def read(self, marks: Marks) -> Iterable[Item]:
        return read(self.path, marks)

    @property
    def entries(self) -> dict[str, str]:
        """All of it, keys in small letters."""
        if self._listing is None:
            self._listing = Listing([self], table, name=self.path)
        return self._listing.current

    @asynccontextmanager
    async def opened(self) -> AsyncIterator[None]:
        len(self.entries)  # ConfigError
        yield

    def find_now(self, key: str) -> str | None:
        return self.entries.get(key.lower())

    async def find(self, key: str) -> str | None:
        return self.find_now(key)


def from_text(text: str) -> File:
    """file:PATH"""
    return File(text.partition(":")[2])
