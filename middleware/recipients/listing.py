"""Lists that are written in the configuration or in files, and are kept up to date.

    listing = Listing(("example.org", file("domains")), make)   # make(items) -> whatever answers questions
    listing.current                                             # what `make` gave, of the files as they are now

A file has one item a line; blank lines and what begins with "#" are passed over; UTF-8. It is looked at again when a
question comes and the last look was `every` ago, and read when it has changed and has lain still for a second. What
is wrong with it when the configuration is loaded is a ConfigError with the file's line. Later it is an `error` in the
log, once for each change, and the list stays as it was: a broken file never makes mail bounce. Best replace a file in
one step (`mv new domains`): who writes it in place for longer than a second has half of it taken for the whole.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Final, Generic, NamedTuple, TypeVar

from mailstack import log, option
from mailstack.option import ConfigError

__all__ = ["File", "Item", "Listing", "file"]

T = TypeVar("T")

STILL: Final = 1.0  # seconds for which a file that has changed must have lain still


class Item(NamedTuple):
    """One item, and where it stands: None for the configuration itself."""

    text: str
    file: str | None = None
    line: int | None = None

    @contextmanager
    def blamed(self) -> Iterator[None]:
        """Give a ConfigError the place of this item."""
        try:
            yield
        except ConfigError as error:
            if error.file is None:
                error.file, error.line = self.file, self.line
            raise


class File(NamedTuple):
    """A file of items. every -- seconds between two looks."""

    path: str
    every: float

    def items(self) -> Iterator[Item]:
        """What it holds now. ConfigError when it cannot be read."""
        try:
            with open(self.path, encoding="utf-8-sig") as lines:
                for number, line in enumerate(lines, 1):
                    text = line.strip()
                    if text and not text.startswith("#"):
                        yield Item(text, self.path, number)
        except (OSError, UnicodeError) as error:
            why = error.strerror if isinstance(error, OSError) else "it is not UTF-8"
            raise ConfigError(f"{self.path} cannot be read: {why}", remedy="mend the file or its rights") from error

    def state(self) -> tuple[int, ...]:
        """What differs when it was changed."""
        try:
            found = os.stat(self.path)
        except OSError:
            return ()
        return found.st_mtime_ns, found.st_size, found.st_ino

    def still(self) -> bool:
        """Whether nobody seems to be writing it just now."""
        try:
            return not 0 <= time.time() - os.stat(self.path).st_mtime < STILL
        except OSError:
            return True


def file(path: str | os.PathLike[str], *, every: str | float = "1s") -> File:
    """A file of items, one a line, for anything here that takes a list. every -- the time between two looks at it."""
    return File(os.path.abspath(os.path.expanduser(path)), option.duration(every, name="file(every)"))


class Listing(Generic[T]):
    """What `make` makes of the items. ConfigError as it raises."""

    __slots__ = ("_every", "_files", "_given", "_look_at", "_make", "_seen", "_value")

    def __init__(self, given: Sequence[Item | File], make: Callable[[Sequence[Item]], T]) -> None:
        self._given = given
        self._make = make
        self._files = tuple(each for each in given if isinstance(each, File))
        self._every = min((each.every for each in self._files), default=0.0)
        self._seen = self._state()
        self._look_at = time.monotonic() + self._every
        self._value = self._read()

    @property
    def current(self) -> T:
        """The newest one that was sound."""
        if self._files and time.monotonic() >= self._look_at:
            self._look()
        return self._value

    def _look(self) -> None:
        self._look_at = time.monotonic() + self._every
        state = self._state()
        if state == self._seen or not all(each.still() for each in self._files):
            return
        self._seen = state
        try:
            self._value = self._read()
        except ConfigError as error:
            log.error("list not read again", who="recipients", reason=str(error))
        else:
            log.info("list read again", who="recipients", files=" ".join(each.path for each in self._files))

    def _read(self) -> T:
        items: list[Item] = []
        for each in self._given:
            items += each.items() if isinstance(each, File) else (each,)
        return self._make(items)

    def _state(self) -> tuple[tuple[int, ...], ...]:
        return tuple(each.state() for each in self._files)


def given(values: Sequence[str | File]) -> list[Item | File]:
    """Arguments as a configuration has them: text, or files."""
    return [each if isinstance(each, File) else Item(each) for each in values]
