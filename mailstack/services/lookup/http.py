"""Lookups by HTTP: a question for each key, or a whole list that is fetched again and again.

    lookup.HTTP("https://example.org/users/{key}")                      # GET; 200: the body; 404, 204: not there
    lookup.HTTP("https://example.org/quota?user={key}", field="quota")  # GET; a field of the JSON object
    lookup.HTTP("https://example.org/quota", field="quota")             # POST {"key": …}, for there is no {key}
    lookup.HTTPFile("https://example.org/badhelo.txt", ttl="10m")       # lines as `File` reads them

The key stands in the URL percent-encoded. Each answer but 200, 204 and 404 is Unavailable, a redirect too. Answers are
kept for as long as their Cache-Control says (`max-age`, `no-cache`, `no-store`), a day at most, else for `ttl`; then
they are asked for with their ETag. When the server is down, late or talks nonsense, the last good answer holds for
`keep` more, and the log says so. That a key is not there is no such answer: what was unknown yesterday may be known
today, and mail for it waits.

A list is fetched at the start and then in the background; it answers at once, is enumerable (`entries`), and keeps what
it has while the server is down, and when it answers with an empty list or a web page. Until it was fetched for the
first time it is Unavailable. Its keys are compared without regard to letter case.

Fails: ConfigError when it is made; Unavailable as services/http.py says.

Needs `pip install "mailstack[http]"`.
"""

from __future__ import annotations

import json
import os
import re
import time
from collections import OrderedDict
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from typing import Any, NamedTuple
from urllib.parse import quote

from anyio import create_task_group, sleep

from mailstack import log, option
from mailstack.option import ConfigError

from ..http import Answer, Client, checked, shown
from .answer import joined, text, written
from .item import Item
from .source import Unavailable
from .table import table

__all__ = ["HTTP", "HTTPFile", "from_text"]

_MOST = 10_000  # answers that are kept
_DAY = 86_400.0
_SIGN = "{key}"
_MAX_AGE = re.compile(r"(?:^|[\s,])max-age=\"?([0-9]{1,10})", re.IGNORECASE)
_NOT_KEPT = re.compile(r"(?:^|[\s,])(?:no-store|no-cache)(?:$|[\s,=])", re.IGNORECASE)


class _Kept(NamedTuple):
    """value -- None: not there. fresh -- until when. etag -- "" for none."""

    value: str | None
    fresh: float
    etag: str


class HTTP:
    """url -- with {key} in its path or query for GET, without for POST. field -- of the JSON object that is the answer.

    headers -- to send along. ttl -- how long an answer that says nothing is kept, 5 min. keep -- how long it holds
    after that when the server is down, 1 d. size -- of an answer, 64 KiB. ca, timeout -- the client's.
    clock -- what time it is, for tests.
    """

    def __init__(
        self,
        url: str,
        *,
        field: str = "",
        headers: Mapping[str, str] | None = None,
        ttl: float | str = "5m",
        keep: float | str = "1d",
        size: int | str = "64k",
        ca: str | os.PathLike[str] | None = None,
        timeout: float | str = "5s",
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.url = url
        checked(url.replace(_SIGN, "key"), "HTTP(url)")
        if _SIGN in url.split("/", 3)[2]:
            raise ConfigError("HTTP(url): the key would name the host", remedy="write it behind the host")
        self.field = field
        self._headers = dict(headers or {})
        self._ttl = option.duration(ttl, name="HTTP(ttl)")
        self._keep = option.duration(keep, name="HTTP(keep)")
        self._client = Client(size=size, ca=ca, timeout=timeout, name="HTTP")
        self._clock = clock
        self._kept: OrderedDict[str, _Kept] = OrderedDict()  # what was asked for last is last

    def opened(self) -> AbstractAsyncContextManager[None]:
        return self._client.opened()

    async def find(self, key: str) -> str | None:
        # Dots alone would be steps in the path, and an empty key another resource.
        if written(key) is None or key in ("", ".", ".."):
            return None
        kept, now = self._kept.get(key), self._clock()
        if kept is not None:
            self._kept.move_to_end(key)
            if now < kept.fresh:
                return kept.value
        try:
            answer = await self._ask(key, kept.etag if kept else "")
            value = kept.value if kept and answer.status == 304 else self._value(answer)
        except Unavailable as error:
            if kept is None or kept.value is None or now >= kept.fresh + self._keep:
                raise
            log.warning("lookup", url=shown(self.url), problem=str(error), kept=True)
            return kept.value
        self._remember(key, value, answer, kept)
        return value

    async def _ask(self, key: str, etag: str) -> Answer:
        headers = self._headers | ({"If-None-Match": etag} if etag else {})
        if _SIGN in self.url:
            return await self._client.fetch("GET", self.url.replace(_SIGN, quote(key, safe="")), headers=headers)
        return await self._client.fetch("POST", self.url, headers=headers, json={"key": key})

    def _value(self, answer: Answer) -> str | None:
        if answer.status in (204, 404):
            return None
        if answer.status != 200:
            raise Unavailable(f"{shown(self.url)}: status {answer.status}")
        if not self.field:
            return text(answer.body).strip()
        try:
            found = json.loads(answer.body)[self.field]
        except (ValueError, KeyError, TypeError, RecursionError):
            raise Unavailable(f"{shown(self.url)}: no JSON object with a field {self.field!r}") from None
        return _plain(found, self.url)

    def _remember(self, key: str, value: str | None, answer: Answer, before: _Kept | None) -> None:
        if "no-store" in answer.header("cache-control").lower():
            self._kept.pop(key, None)
            return
        etag = answer.header("etag") or (before.etag if before and answer.status == 304 else "")
        self._kept[key] = _Kept(value, self._clock() + _age(answer, self._ttl), etag)
        self._kept.move_to_end(key)
        if len(self._kept) > _MOST:
            self._kept.popitem(last=False)


class HTTPFile:
    """url -- of the list. ttl -- how long it is kept when the answer says nothing, 5 min; at least a second.

    empty -- whether it may be empty. headers, size (10 MiB), ca, timeout -- as above.
    """

    def __init__(
        self,
        url: str,
        *,
        headers: Mapping[str, str] | None = None,
        ttl: float | str = "5m",
        empty: bool = False,
        size: int | str = "10M",
        ca: str | os.PathLike[str] | None = None,
        timeout: float | str = "5s",
    ) -> None:
        self.url = checked(url, "HTTPFile(url)")
        self._headers = dict(headers or {})
        self._ttl = option.duration(ttl, name="HTTPFile(ttl)", minimum=1)
        self._empty = option.boolean(empty, name="HTTPFile(empty)")
        self._client = Client(size=size, ca=ca, timeout=timeout, name="HTTPFile")
        self._entries: dict[str, str] | None = None
        self._etag = ""
        self._open = 0

    @asynccontextmanager
    async def opened(self) -> AsyncIterator[None]:
        self._open += 1
        try:
            async with self._client.opened(), create_task_group() as group:
                if self._open == 1:
                    wait = await self.fetch()
                    group.start_soon(self._keep_fetching, wait)
                yield
                group.cancel_scope.cancel()
        finally:
            self._open -= 1

    @property
    def entries(self) -> Mapping[str, str]:
        """All of it, keys in small letters. Unavailable before it was fetched."""
        if self._entries is None:
            raise Unavailable(f"{shown(self.url)}: it was not fetched yet")
        return self._entries

    def find_now(self, key: str) -> str | None:
        return self.entries.get(key.lower())

    async def find(self, key: str) -> str | None:
        return self.find_now(key)

    async def fetch(self) -> float:
        """Again, now; the seconds after which to do it once more. What is wrong with it is logged."""
        try:
            headers = self._headers | ({"If-None-Match": self._etag} if self._etag else {})
            answer = await self._client.fetch("GET", self.url, headers=headers)
            if answer.status == 200:
                self._entries, self._etag = self._read(answer), answer.header("etag")
            elif answer.status != 304:
                raise Unavailable(f"{shown(self.url)}: status {answer.status}")
        except (Unavailable, ConfigError) as error:
            log.warning("lookup", url=shown(self.url), problem=str(error), kept=self._entries is not None)
            return min(self._ttl, 60.0)
        return max(_age(answer, self._ttl), 1.0)

    def _read(self, answer: Answer) -> dict[str, str]:
        """The list. Unavailable for what is none: somebody says with 200 that he is down for maintenance."""
        if answer.header("content-type").lower().startswith("text/html"):
            raise Unavailable(f"{shown(self.url)}: a web page in place of the list")
        found = _entries(text(answer.body), shown(self.url))
        if not found and not self._empty:
            raise Unavailable(f"{shown(self.url)}: the list is empty, which only empty=True allows")
        return found

    async def _keep_fetching(self, wait: float) -> None:
        while True:
            await sleep(wait)
            wait = await self.fetch()


def from_text(text: str) -> HTTP:
    """From "https://host/users/{key}", or "https://host/quota?of={key}#field"; without {key} it is posted."""
    url, _, field = text.partition("#")
    return HTTP(url, field=field)


def _age(answer: Answer, ttl: float) -> float:
    """How long it may be kept, in seconds."""
    control = answer.header("cache-control")
    if _NOT_KEPT.search(control):
        return 0.0
    told = _MAX_AGE.search(control)
    return min(float(told[1]), _DAY) if told else ttl


def _plain(found: Any, url: str) -> str | None:
    """A value of JSON: null is none, an array is several."""
    values = found if isinstance(found, list) else [found]
    if any(isinstance(value, (dict, list)) for value in values):
        raise Unavailable(f"{shown(url)}: the field is neither text nor a number")
    return joined(values)


def _entries(body: str, where: str) -> dict[str, str]:
    lines = enumerate(body.split("\n"), 1)
    return table(item for number, line in lines if (item := Item.of_line(line, where, number)))
