"""A lookup in Redis or Valkey.

    lookup.Redis("redis://127.0.0.1/0", prefix="alias:")      # GET alias:KEY
    lookup.Redis("redis://127.0.0.1/0", hash="quota")         # HGET quota KEY
    lookup.Redis("redis://127.0.0.1/0", set="domains")        # SISMEMBER domains KEY; the key alone counts

Letter case counts. Several lookups may share one `services.redis.Client`, and so its connections.

Fails: ConfigError when it is made; Unavailable when the server is down, late or refuses, also when what lies under the
key is of another kind. A server that is down does not keep a mail server from starting: mail that needs it is deferred.

Needs `pip install "mailstack[redis]"`.
"""

from __future__ import annotations

import os
from contextlib import AbstractAsyncContextManager
from urllib.parse import parse_qsl

from mailstack.option import ConfigError

from ..redis import Client
from .answer import text, written

__all__ = ["Redis", "from_text"]


class Redis:
    """url -- of a server, or a Client. prefix -- stands before each key. hash, set -- where to look instead.

    ca, timeout -- the Client's.
    """

    def __init__(
        self,
        url: str | Client,
        *,
        prefix: str = "",
        hash: str | None = None,
        set: str | None = None,
        ca: str | os.PathLike[str] | None = None,
        timeout: float | str = "5s",
    ) -> None:
        if hash is not None and set is not None:
            raise ConfigError("Redis: hash and set exclude each other", remedy="give one of them, or neither")
        self.client = url if isinstance(url, Client) else Client(url, ca=ca, timeout=timeout, name="Redis")
        self.prefix, self.hash, self.set = prefix, hash, set

    def opened(self) -> AbstractAsyncContextManager[None]:
        return self.client.opened()

    async def find(self, key: str) -> str | None:
        octets = written(key)
        if octets is None:
            return None
        field = self.prefix.encode() + octets
        if self.set is not None:
            among = self.set
            return "" if await self.client.run(lambda redis: redis.sismember(among, field)) else None
        if self.hash is not None:
            within = self.hash
            value = await self.client.run(lambda redis: redis.hget(within, field))
        else:
            value = await self.client.run(lambda redis: redis.get(field))
        return None if value is None else text(value)


def from_text(text: str) -> Redis:
    """From "redis://host/0?prefix=alias:", "…?hash=quota" or "…?set=domains"."""
    url, _, query = text.partition("?")
    options = dict(parse_qsl(query))
    if unknown := options.keys() - {"prefix", "hash", "set"}:
        raise ConfigError(f"Redis: there is no {sorted(unknown)[0]!r}", remedy='write "redis://127.0.0.1/0?hash=quota"')
    return Redis(url, prefix=options.get("prefix", ""), hash=options.get("hash"), set=options.get("set"))
