"""Files that are read again when they have changed: what tells of a change, and the value that outlives a broken one.

    keys = Latest(read, path, complain=lambda error: log.error("keys", problem=str(error), kept=True))
    keys.value          # what `read()` made of the file as it is now; or, while that cannot be used, as it was before

For whatever is read as a whole, and quickly. Lists with includes have services/lookup/listing.py, databases that are
read in a thread services/lookup/on_disk.py.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from typing import Generic, TypeAlias, TypeVar

__all__ = ["Latest", "Mark", "mark"]

T = TypeVar("T")

Mark: TypeAlias = tuple[int, ...]


def mark(path: str | os.PathLike[str]) -> Mark:
    """What differs when a file or folder was changed, replaced, or given other rights; () where there is none.

    Its first two members are the time of the last change in nanoseconds since the epoch, and the size in octets.
    """
    try:
        found = os.stat(path)
    except OSError:
        return ()
    return found.st_mtime_ns, found.st_size, found.st_ino, found.st_ctime_ns


class Latest(Generic[T]):
    """read -- makes the value; what it raises the first time is yours. files -- what it reads; a folder is its entries.

    complain -- hears what `read` raised later, once for each change; the last good value stays.
    every -- seconds between two looks at the files; 0: a look at each question.
    """

    __slots__ = ("_complain", "_every", "_files", "_look_at", "_marks", "_read", "_value")

    def __init__(
        self,
        read: Callable[[], T],
        *files: str | os.PathLike[str],
        complain: Callable[[Exception], object],
        every: float = 0.0,
    ) -> None:
        self._read = read
        self._files = files
        self._complain = complain
        self._every = every
        self._marks = self._look()  # before it is read: what is written meanwhile is read once more
        self._value = read()

    @property
    def value(self) -> T:
        if time.monotonic() >= self._look_at and (marks := self._look()) != self._marks:
            self._marks = marks
            try:
                self._value = self._read()
            except Exception as error:
                self._complain(error)
        return self._value

    def _look(self) -> tuple[Mark, ...]:
        self._look_at = time.monotonic() + self._every
        return tuple(map(mark, self._files))
