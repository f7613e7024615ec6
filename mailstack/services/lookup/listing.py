"""Lists that are written in the configuration or in files, gathered into one table and kept up to date.

    listing = Listing((Item("example.org"), File("domains")), make, name="Domains")
    listing.current                       # what `make(items)` gave, of the files as they are now

Files are looked at when a question comes and the last look was their `every` ago, and read when one has changed and all
have lain still for a second; what changed while it was read is left for the next look. Large ones are read in a thread
while the old table answers. What is wrong with a file when the configuration is loaded is a ConfigError with its line.
Later it is an `error` in the log, once for each change, and the table stays as it was: a broken file never makes mail
bounce. Best replace a file in one step (`mv new domains`): who writes it in place, and pauses for longer than a second,
has half of it taken for the whole.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterable, Sequence
from threading import Thread
from typing import Final, Generic, Protocol, TypeVar, runtime_checkable

from mailstack import log
from mailstack.option import ConfigError

from ..files import Mark, mark
from .item import Item
from .lines import Marks

__all__ = ["Listed", "Listing"]

T = TypeVar("T")

STILL: Final = 1.0  # seconds for which a file that has changed must have lain still
LARGE: Final = 1 << 18  # octets, from which on reading would be felt by whoever waits for the event loop


@runtime_checkable
class Listed(Protocol):
    """A list that can be read as a whole. every -- seconds between two looks at its files."""

    every: float

    def read(self, marks: Marks) -> Iterable[Item]:
        """What it holds now. marks -- gets the files that this depends on, as they were before. ConfigError."""


class Listing(Generic[T]):
    """What `make` makes of the items. name -- what the log calls it. ConfigError as `make` raises."""

    __slots__ = ("_every", "_given", "_look_at", "_make", "_marks", "_name", "_reading", "_value")

    def __init__(
        self, given: Sequence[Item | Listed], make: Callable[[Sequence[Item]], T], *, name: str = "lookup"
    ) -> None:
        self._given = given
        self._make = make
        self._name = name
        self._reading = False
        marks: Marks = {}
        self._value = self._read(marks)
        # What is being written just now, is to be read once more.
        self._marks = {path: each if _is_still(each) else () for path, each in marks.items()}
        self._every = min((each.every for each in given if not isinstance(each, Item)), default=0.0)
        self._look_at = time.monotonic() + self._every if marks else math.inf

    @property
    def fixed(self) -> bool:
        """Whether it depends on no file, and stays as it is."""
        return self._look_at == math.inf

    @property
    def current(self) -> T:
        """The newest one that was sound."""
        if time.monotonic() >= self._look_at:
            self._look()
        return self._value

    def _look(self) -> None:
        self._look_at = time.monotonic() + self._every
        if self._reading:
            return
        now = {path: mark(path) for path in self._marks}
        if now == self._marks or not all(map(_is_still, now.values())):
            return
        self._reading = True
        if sum(each[1] for each in now.values() if each) >= LARGE:
            try:
                Thread(target=self._read_again, args=(now,), name="mailstack lookup", daemon=True).start()
            except RuntimeError:  # no more threads: at the next look perhaps
                self._reading = False
        else:
            self._read_again(now)

    def _read_again(self, now: Marks) -> None:
        """In a thread, when it is large."""
        marks: Marks = {}
        try:
            value = self._read(marks)
        except Exception as error:
            told = log.error if isinstance(error, ConfigError) else log.exception
            told("lookup", who=self._name, problem=str(error), kept=True)
            self._marks = now | marks
        else:
            if marks == {path: mark(path) for path in marks}:  # else somebody has written meanwhile
                self._value, self._marks = value, marks
                log.info("lookup", who=self._name, did="read again")
        finally:
            self._reading = False

    def _read(self, marks: Marks) -> T:
        items: list[Item] = []
        for each in self._given:
            items += (each,) if isinstance(each, Item) else each.read(marks)
        return self._make(items)


def _is_still(mark: Mark) -> bool:
    """Whether nobody seems to be writing the file just now."""
    return not mark or not 0 <= time.time() - mark[0] / 1e9 < STILL
