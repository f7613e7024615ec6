"""Answers of another lookup, remembered.

    lookup.Cached(lookup.SQL(…), ttl="5m", negative="1m", keep="1d")

While the lookup cannot say, the last good answer holds for `keep` more, and the log says so; that a key is not there is
no such answer: what was unknown yesterday may be known today, and mail for it waits. Who asks for what is being asked
for, waits for that answer.
"""

from __future__ import annotations

import time
from collections import OrderedDict
from collections.abc import Callable
from contextlib import AbstractAsyncContextManager
from typing import Final, NamedTuple

from anyio import Event

from mailstack import log, option
from mailstack.option import ConfigError

from .given import sort
from .inline import Written, as_source
from .source import Source, Unavailable

__all__ = ["Cached"]

_LONGEST: Final = 1000  # characters of a key that is remembered: a client may send many long ones


class _Kept(NamedTuple):
    value: str | None
    since: float


class _Question:
    """One that is under way. done -- whether it came to an answer or an error: who was cancelled has neither."""

    __slots__ = ("done", "error", "over", "value")

    def __init__(self) -> None:
        self.over = Event()
        self.done = False
        self.error: Exception | None = None
        self.value: str | None = None


class Cached:
    """source -- whose answers. ttl, negative -- how long values, and that there is none, are remembered.

    keep -- how long after that a value holds while the source cannot say. size -- answers at most, the last used ones.
    clock -- seconds, for tests.
    """

    def __init__(
        self,
        source: Source | Written,
        *,
        ttl: str | float = "5m",
        negative: str | float = "1m",
        keep: str | float = 0,
        size: int = 10_000,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        if sort([source], "Cached").negated:
            raise ConfigError("Cached(Not(…)) cannot be asked for parents", remedy="write Not(Cached(…))")
        self._source = as_source(source, "Cached")
        self.ready = getattr(self._source, "ready", False)
        self._ttl = option.duration(ttl, name="Cached(ttl)")
        self._negative = option.duration(negative, name="Cached(negative)")
        self._keep = option.duration(keep, name="Cached(keep)")
        self._size = option.integer(size, name="Cached(size)", minimum=1)
        self._clock = clock
        self._kept: OrderedDict[str, _Kept] = OrderedDict()
        self._asking: dict[str, _Question] = {}
        self._down = False

    def opened(self) -> AbstractAsyncContextManager[None]:
        return self._source.opened()

    async def find(self, key: str) -> str | None:
        while True:
            kept = self._kept.get(key)
            if kept is not None and self._age(kept) < (self._negative if kept.value is None else self._ttl):
                self._kept.move_to_end(key)
                return kept.value
            question = self._asking.get(key)
            if question is None:
                return await self._ask_once(key, kept)
            await question.over.wait()
            if question.error is not None:
                raise Unavailable(str(question.error)) from question.error
            if question.done:
                return question.value

    async def _ask_once(self, key: str, kept: _Kept | None) -> str | None:
        question = self._asking[key] = _Question()
        try:
            question.value = await self._ask(key, kept)
            question.done = True
        except Exception as error:
            question.error = error
            raise
        finally:
            del self._asking[key]
            question.over.set()
        return question.value

    async def _ask(self, key: str, kept: _Kept | None) -> str | None:
        try:
            value = await self._source.find(key)
        except Exception as error:
            if kept is None or kept.value is None or self._age(kept) >= self._ttl + self._keep:
                raise
            if not self._down:
                log.warning("lookup", who="Cached", problem=f"{type(error).__name__}: {error}", kept=True)
            self._down = True
            return kept.value
        self._down = False
        if len(key) <= _LONGEST and len(value or "") <= _LONGEST * 10:
            self._kept[key] = _Kept(value, self._clock())
            self._kept.move_to_end(key)
            if len(self._kept) > self._size:
                self._kept.popitem(last=False)
        return value

    def _age(self, kept: _Kept) -> float:
        return self._clock() - kept.since
