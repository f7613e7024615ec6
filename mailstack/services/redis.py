"""A Redis or Valkey server, asked from async code: for lookups, and for the store that servers share.

    client = redis.Client("redis://127.0.0.1/0")
    async with client.opened():
        value = await client.run(lambda redis: redis.get("key"))

What `run` is given gets a client of coredis. Promised: each call has a deadline, waiting for a connection included; a
connection that was lost is made again, and the call repeated, so that a server that was restarted is hardly noticed. A
call may therefore be done twice: ask for what may be. The password of the URL stands in no log and no error.

Fails: ConfigError when it is made; `lookup.Unavailable` when the server is down, late or refuses. RuntimeError when it
is not open.

Needs `pip install "mailstack[redis]"`.
"""

from __future__ import annotations

import os
import ssl
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import Any, TypeVar
from urllib.parse import unquote, urlsplit

import anyio

from mailstack import extra, option
from mailstack.option import ConfigError

from .unavailable import Unavailable

__all__ = ["Client"]

T = TypeVar("T")

_LOST = (OSError, anyio.BrokenResourceError, anyio.ClosedResourceError, anyio.EndOfStream)
_TRIES = 3


class Client:
    """url -- "redis://user:password@host:port/database", "rediss://…" for TLS, "unix:///path?db=0".

    ca -- the PEM file of who signs its certificates; default: the system's. pool -- connections at once, 10. timeout --
    for one call, 5 s. name -- what errors call it.
    """

    def __init__(
        self,
        url: str,
        *,
        ca: str | os.PathLike[str] | None = None,
        pool: int = 10,
        timeout: float | str = "5s",
        name: str = "Redis",
    ) -> None:
        self._coredis = extra.require("coredis", "mailstack[redis]")
        self.timeout = option.duration(timeout, name=f"{name} timeout", minimum=0.001)
        self._options, self._shown = _parsed(url, ca, name)
        self._options["max_connections"] = option.integer(pool, name=f"{name} pool", minimum=1)
        self._open: list[Any] = []  # one for each who opened it: coredis closes them where they were opened

    def __str__(self) -> str:
        """The URL without its password."""
        return self._shown

    @property
    def is_open(self) -> bool:
        return bool(self._open)

    @asynccontextmanager
    async def opened(self) -> AsyncIterator[None]:
        """Hold it open; several may. It connects when first asked: a server may start before its Redis."""
        exceptions = self._coredis.exceptions
        again = self._coredis.retry.ConstantRetryPolicy((exceptions.ConnectionError,), retries=_TRIES - 1, delay=0.01)
        client = self._coredis.Redis(verify_version=False, retry_policy=again, **self._options)
        async with client:
            self._open.append(client)
            try:
                yield
            finally:
                self._open.remove(client)

    async def run(self, ask: Callable[[Any], Awaitable[T]]) -> T:
        """What it answers. Unavailable."""
        if not self._open:
            raise RuntimeError("the client is not open: write `async with client.opened()` in `lifespan`")
        try:
            with anyio.fail_after(self.timeout):
                return await ask(self._open[0])
        except TimeoutError as error:
            raise Unavailable(f"{self}: no answer in {self.timeout:g} s") from error
        except (self._coredis.exceptions.RedisError, *_LOST) as error:
            raise Unavailable(f"{self}: {str(error) or type(error).__name__}") from error


def _parsed(url: str, ca: str | os.PathLike[str] | None, name: str) -> tuple[dict[str, Any], str]:
    """coredis' options, and what may be shown."""
    try:
        parts = urlsplit(url)
        known = parts.scheme in ("redis", "rediss", "unix") and bool(
            parts.path if parts.scheme == "unix" else parts.hostname
        )
        database = parts.query.removeprefix("db=") if parts.scheme == "unix" else parts.path.strip("/")
        if not known or (parts.scheme != "unix" and parts.query) or parts.fragment:
            raise ValueError
        options: dict[str, Any] = {"db": int(database or 0)}
        port = parts.port or 6379
    except ValueError:
        raise ConfigError(
            f"{name}: this is no URL of a Redis server",
            remedy='write "redis://user:password@host:6379/0", "rediss://…" or "unix:///run/redis.sock?db=0"',
        ) from None
    if parts.scheme == "unix":
        options["unix_socket_path"] = unquote(parts.path)
    else:
        options |= {"host": parts.hostname, "port": port}
    if parts.scheme == "rediss":
        options["ssl_context"] = _context(ca, name)
    options |= {"username": unquote(parts.username) if parts.username else None}
    options |= {"password": unquote(parts.password) if parts.password else None}
    shown = f"{parts.scheme}://{parts.hostname or ''}{f':{parts.port}' if parts.port else ''}{parts.path}"
    return options, shown


def _context(ca: str | os.PathLike[str] | None, name: str) -> ssl.SSLContext:
    try:
        return ssl.create_default_context(cafile=ca)
    except OSError as error:
        raise ConfigError(
            f"{name}: ca={str(ca)!r} cannot be used: {error.strerror or error}",
            remedy="name a PEM file of certificates",
        ) from error
