"""An HTTP server, asked from async code: one request, one bounded answer, one deadline.

    client = http.Client(size="64k")
    async with client.opened():
        answer = await client.fetch("GET", "https://example.org/users/ann")
        answer.status, answer.header("etag"), answer.body

Promised: certificates are checked. An answer larger than `size` is given up in the middle; compressed ones are not
asked for, and refused. Redirects are not followed, so a request goes where it was sent and nowhere else; neither the
environment's proxies nor its .netrc are looked at. Connections are kept. What is shown of an URL is without its user,
its password and its query.

Fails: ConfigError when it is made; `lookup.Unavailable` when there is no answer, not in time, too much of it, or one
that makes no sense. RuntimeError when it is not open. A status is an answer, whatever it says.

Needs `pip install "mailstack[http]"`.
"""

from __future__ import annotations

import os
import ssl
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import urlsplit

import anyio

from mailstack import extra, option
from mailstack.option import ConfigError

from .unavailable import Unavailable

__all__ = ["Answer", "Client", "checked", "shown"]


@dataclass(frozen=True, slots=True)
class Answer:
    """status -- the number. headers -- their names in small letters. body -- its octets."""

    status: int
    headers: Mapping[str, str] = field(default_factory=dict)
    body: bytes = b""

    def header(self, name: str) -> str:
        """Its value, "" when there is none."""
        return self.headers.get(name, "")


class Client:
    """size -- of an answer, at most, 1 MiB. timeout -- for all of a request, 5 s. pool -- connections at once, 10.

    ca -- the PEM file of who signs the servers' certificates; default: the system's. name -- what errors call it.
    """

    def __init__(
        self,
        *,
        size: int | str = "1M",
        timeout: float | str = "5s",
        pool: int = 10,
        ca: str | os.PathLike[str] | None = None,
        name: str = "HTTP",
    ) -> None:
        self._httpx = extra.require("httpx2", "mailstack[http]")
        self.size = option.size(size, name=f"{name}(size)")
        self.timeout = option.duration(timeout, name=f"{name}(timeout)", minimum=0.001)
        self._limits = self._httpx.Limits(max_connections=option.integer(pool, name=f"{name} pool", minimum=1))
        self._context = _context(ca, name)
        self._client: Any = None
        self._open = 0

    @asynccontextmanager
    async def opened(self) -> AsyncIterator[None]:
        """Hold it open; several may."""
        if not self._open:
            self._client = self._httpx.AsyncClient(
                verify=self._context, timeout=None, limits=self._limits, follow_redirects=False, trust_env=False
            )
        self._open += 1
        try:
            yield
        finally:
            self._open -= 1
            if not self._open:
                client, self._client = self._client, None
                with anyio.CancelScope(shield=True):
                    await client.aclose()

    async def fetch(
        self, method: str, url: str, *, headers: Mapping[str, str] | None = None, json: object = None
    ) -> Answer:
        """The answer, whatever its status. Unavailable."""
        if self._client is None:
            raise RuntimeError("the client is not open: write `async with client.opened()` in `lifespan`")
        try:
            with anyio.fail_after(self.timeout):
                return await self._fetch(method, url, {"Accept-Encoding": "identity", **(headers or {})}, json)
        except TimeoutError as error:
            raise Unavailable(f"{shown(url)}: no answer in {self.timeout:g} s") from error
        except (self._httpx.HTTPError, self._httpx.InvalidURL, OSError, UnicodeError) as error:
            raise Unavailable(f"{shown(url)}: {type(error).__name__}") from error

    async def _fetch(self, method: str, url: str, headers: Mapping[str, str], json: object) -> Answer:
        async with self._client.stream(method, url, headers=headers, json=json) as answer:
            if answer.headers.get("content-encoding", "identity") != "identity":
                raise Unavailable(f"{shown(url)}: the answer is compressed, which was not asked for")
            body = bytearray()
            with anyio.CancelScope() as enough:  # a loop that is left would leave httpx2's generators to the collector
                async for octets in answer.aiter_raw():
                    body += octets
                    if len(body) > self.size:
                        enough.cancel()
            if len(body) > self.size:
                raise Unavailable(f"{shown(url)}: the answer has more than {self.size} octets")
            return Answer(
                answer.status_code, {name.lower(): value for name, value in answer.headers.items()}, bytes(body)
            )


def checked(url: str, name: str) -> str:
    """The URL, if it is one of HTTP. ConfigError."""
    try:
        parts = urlsplit(url)
        valid = parts.scheme in ("http", "https") and bool(parts.hostname) and parts.port != 0
    except ValueError:
        valid = False
    if not valid or not url.isascii() or not url.isprintable() or " " in url:
        raise ConfigError(f"{name}: this is no URL of HTTP", remedy='write "https://host/path"')
    return url


def shown(url: str) -> str:
    """What may be told of it."""
    parts = urlsplit(url)
    host = f"[{parts.hostname}]" if ":" in (parts.hostname or "") else parts.hostname
    return f"{parts.scheme}://{host}{f':{parts.port}' if parts.port else ''}{parts.path}"


def _context(ca: str | os.PathLike[str] | None, name: str) -> ssl.SSLContext:
    try:
        return ssl.create_default_context(cafile=ca)
    except OSError as error:
        raise ConfigError(
            f"{name}: ca={str(ca)!r} cannot be used: {error.strerror or error}",
            remedy="name a PEM file of certificates",
        ) from error
