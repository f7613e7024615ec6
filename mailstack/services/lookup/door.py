"""The door through which middleware asks: one question of one kind, whatever holds the answers.

    door = domains("example.org", lookup.SQL(…), name="Domains")       # or addresses(), networks(), words()
    door.waits                                # False: lists, files and other tables alone, and `find_now` may be asked
    value = door.find_now("mail.example.org")
    value = await door.find("mail.example.org")                        # always
    async with door.opened(): ...             # in `lifespan`

None means that it is not there. What a source raises passes: whoever asks must not take it for a "no".

Text and files are gathered into one table. Other sources are asked key by key, the most specific key first; for each
key the table answers first, then the sources in their order. `Not(…)` is asked last, with all keys.
"""

from __future__ import annotations

import time
from collections.abc import AsyncIterator, Callable, Iterable, Iterator, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from typing import Any, Generic, Protocol, TypeVar

from mailstack.option import ConfigError

from .given import Sorted, sort
from .item import Item
from .listing import Listing
from .source import Unavailable

__all__ = ["Door", "Found", "Parse"]

S = TypeVar("S", contravariant=True)
T = TypeVar("T")
T_co = TypeVar("T_co", covariant=True)

Parse = Callable[[str], T]  # a value as it is written → as it is wanted; ConfigError. Never None.


class Found(Protocol[S, T_co]):
    """A table made of items, which answers questions of one kind."""

    def find(self, subject: S) -> T_co | None:
        """The value of the most specific key."""

    def steps(self, subject: S) -> Iterator[tuple[T_co | None, str | None]]:
        """Key by key, the most specific first: its value here, and the key that sources are asked for, if any."""

    def __len__(self) -> int: ...


class Door(Generic[S, T]):
    """given -- text, lists, mappings, sources. make -- the table of the items. parse -- makes values of sources.

    waits -- see above. ready -- whether nobody has to open it. fixed -- whether all was written in the configuration.

    name -- the option, as its user knows it. remedy -- what to write when nothing is there at all; without it, nothing
    is a list too. A file that was emptied keeps its last items then.

    ConfigError.
    """

    __slots__ = ("_asked", "_listing", "_make", "_name", "_negated", "_parse", "find_now", "fixed", "ready", "waits")

    def __init__(
        self,
        given: Iterable[object],
        make: Callable[[Sequence[Item]], Found[S, T]],
        parse: Parse[T],
        *,
        name: str,
        remedy: str = "",
    ) -> None:
        sorted = sort(given, name)
        self._name = name
        self._parse = parse
        self._asked: tuple[Any, ...] = sorted.asked
        self._negated = [(Door(each.source.sources, make, parse, name=name), each) for each in sorted.negated]
        self._make = make
        self._listing = Listing(sorted.listed, self._checked(make, remedy, sorted), name=name)
        self.waits = sorted.waits
        self.ready = sorted.ready
        self.find_now: Callable[[S], T | None]
        if self._asked or self._negated:
            self.find_now = self._find_now
        elif self._listing.fixed:
            self.find_now = self._listing.current.find
        else:
            listing = self._listing
            self.find_now = lambda subject: listing.current.find(subject)
        self.fixed = self._listing.fixed and not self._asked and not self._negated

    def _checked(
        self, make: Callable[[Sequence[Item]], Found[S, T]], remedy: str, sorted: Sorted
    ) -> Callable[[Sequence[Item]], Found[S, T]]:
        if not remedy or sorted.asked or sorted.negated:
            return make

        def checked(items: Sequence[Item]) -> Found[S, T]:
            made = make(items)
            if not len(made):
                raise ConfigError(f"{self._name}: there is nothing in it", remedy=remedy)
            return made

        return checked

    @property
    def table(self) -> Found[S, T]:
        """What is held in memory, as it is now."""
        return self._listing.current

    def at_once(self) -> Door[S, T]:
        """Itself, for who can neither wait nor open anything: ConfigError when one of its sources wants that."""
        if self.waits or not self.ready:
            remedy = "put what is asked into a file, lookup.File(…)"
            raise ConfigError(f"{self._name} takes lists and files, and no lookup that waits", remedy=remedy)
        return self

    def _find_now(self, subject: S) -> T | None:
        for held, key in self._listing.current.steps(subject):
            if held is not None:
                return held
            if key is not None:
                for each in self._asked:
                    if (found := each.find_now(key)) is not None:
                        return self._parsed(found)
        for door, negated in self._negated:
            if door.find_now(subject) is None:
                return self._parsed(negated.value)
        return None

    async def find(self, subject: S, told: Callable[[str], object] | None = None) -> T | None:
        """The value, or None. told -- hears, where somebody had to be asked, what came back and how long it took."""
        if not self.waits:
            return self.find_now(subject)
        if told is None:
            return await self._find(subject)
        began, came = time.monotonic(), "no answer"
        try:
            found = await self._find(subject)
            came = "not found" if found is None else "found"
        except Unavailable as error:
            came = str(error)
            raise
        finally:
            told(f"{subject}: {came} ({self._sources}, {time.monotonic() - began:.3f} s)")
        return found

    @property
    def _sources(self) -> str:
        """Who is asked, for people."""
        names = [type(each).__name__ for each in self._asked]
        return ", ".join(names + [door._sources for door, _ in self._negated])

    async def _find(self, subject: S) -> T | None:
        for held, key in self._listing.current.steps(subject):
            if held is not None:
                return held
            if key is not None:
                for each in self._asked:
                    if (found := await each.find(key)) is not None:
                        return self._parsed(found)
        for door, negated in self._negated:
            if await door._find(subject) is None:
                return self._parsed(negated.value)
        return None

    def _parsed(self, value: str) -> T:
        try:
            return self._parse(value)
        except ConfigError as error:
            raise Unavailable(f"{self._name}: a value that makes no sense: {error.message}") from error

    @asynccontextmanager
    async def opened(self) -> AsyncIterator[None]:
        """Hold its sources open."""
        async with AsyncExitStack() as stack:
            for each in self._asked:
                await stack.enter_async_context(each.opened())
            for door, _ in self._negated:
                await stack.enter_async_context(door.opened())
            yield
