"""A store in Redis or Valkey: it outlives the server, and servers on several machines share it.

    Redis("redis://127.0.0.1/0")
    Redis("rediss://mail:secret@redis.example.org/0", prefix="mx:", timeout="1s")

Who shares it sees one set of values, rates and places, by the clock of Redis. Each call is one Lua script, some 200 µs
away. Places belong to the server that took them: it says every ten seconds that it lives, what belongs to one that has
not said so for a minute is free again, and what Redis has forgotten is told to it anew.

How much is kept is Redis' own limit: everything has an end, and with `maxmemory` and `maxmemory-policy volatile-ttl`
those go first that end first. One server (or one address that is always the primary), no cluster. A failover may
forget the last moments. `redis-cli --scan --pattern 'mailstack:*'` shows the keys.

Fails: at the start ConfigError for an URL that cannot be used; when Redis does not answer, `StoreError`, at the start
too only in the checks that need it: mail is deferred, and the server runs.

Needs `pip install "mailstack[redis]"`.
"""

from __future__ import annotations

import os
import re
import secrets
from collections import Counter
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Mapping, Sequence
from contextlib import asynccontextmanager
from functools import partial
from typing import Any

from anyio import CancelScope, Lock, create_task_group, fail_after, sleep

from mailstack import log

from ..redis import Client
from ..unavailable import Unavailable
from .bounds import StoreError, check
from .rate import Rate

__all__ = ["Redis"]

BEAT = 10.0  # seconds between two signs of life
LIFE = 60.0  # seconds that one holds
_KEPT = int(2000 * LIFE)  # milliseconds that Redis keeps a place nobody speaks of
_AT_ONCE = 500  # keys in one call of the beat

# ARGV[1] is the time, "" for that of Redis; ARGV[2] is "r" when nothing may be changed. An entry is "KIND END PAYLOAD":
# v value, c counter, w time at which a rate is whole again. Its end is in it, for tests have a clock of their own.
_COMMON = """
local now = tonumber(ARGV[1])
if not now then local t = redis.call('TIME'); now = t[1] + t[2] / 1000000 end
local writes = ARGV[2] ~= 'r'
local function find(kind)
    local entry = redis.call('GET', KEYS[1])
    if not entry then return nil end
    local k, ends, from = string.match(entry, '^(%a) ([%d.]+) ()')
    if k ~= kind or tonumber(ends) <= now then return nil end
    return string.sub(entry, from)
end
local function keep(kind, payload, ttl)
    if writes then
        local entry = kind .. ' ' .. string.format('%.6f', now + ttl) .. ' ' .. payload
        redis.call('SET', KEYS[1], entry, 'PX', math.ceil(ttl * 1000))
    end
end
"""
_SCRIPTS = {
    "get": "return find('v')",
    "item": """
        local found = find('v')
        if not found then return nil end
        local ends = tonumber(string.match(redis.call('GET', KEYS[1]), '^%a ([%d.]+) '))
        return string.format('%.6f', ends - now) .. ' ' .. found""",
    "put": "keep('v', ARGV[3], tonumber(ARGV[4]))",
    "put_new": """
        local found = find('v')
        if not found then keep('v', ARGV[3], tonumber(ARGV[4])) end
        return found""",
    "delete": "if writes then redis.call('DEL', KEYS[1]) end",
    "add": """
        local total = (tonumber(find('c')) or 0) + tonumber(ARGV[3])
        if tonumber(ARGV[3]) ~= 0 then keep('c', string.format('%.0f', total), tonumber(ARGV[4])) end
        return string.format('%.0f', total)""",
    # Rate.take, and what it says of clocks that were set back
    "take": """
        local each, most, cost = tonumber(ARGV[3]), tonumber(ARGV[4]), tonumber(ARGV[5])
        local whole = tonumber(find('w')) or 0
        local owed = math.min(math.max(whole - now, 0), most)
        local wait = owed + cost * each - most
        if wait > math.max(1e-9 * most, 2e-6) then return string.format('%.6f', wait) end
        local ttl = owed + cost * each
        if ttl > 0 then keep('w', string.format('%.6f', now + ttl), ttl) end
        return '0'""",
    # KEYS: who lives, then the places. ARGV: own name, milliseconds that a place is kept, seconds that a sign of life
    # holds, and for each place how many there are and how many are held here.
    "enter": """
        local own, kept = ARGV[3], ARGV[4]
        for i = 2, #KEYS do
            local held = redis.call('HGETALL', KEYS[i])
            local sum = tonumber(ARGV[2 * i + 3])
            for j = 1, #held, 2 do
                if held[j] ~= own then
                    local lives = tonumber(redis.call('ZSCORE', KEYS[1], held[j]) or 0)
                    if lives > now then sum = sum + tonumber(held[j + 1])
                    elseif writes then redis.call('HDEL', KEYS[i], held[j]) end
                end
            end
            if sum >= tonumber(ARGV[2 * i + 2]) then return i - 2 end
        end
        if writes then
            redis.call('ZADD', KEYS[1], string.format('%.6f', now + tonumber(ARGV[5])), own)
            redis.call('PEXPIRE', KEYS[1], kept)
            for i = 2, #KEYS do
                redis.call('HSET', KEYS[i], own, ARGV[2 * i + 3] + 1)
                redis.call('PEXPIRE', KEYS[i], kept)
            end
        end
        return -1""",
    # The same, and for each place how many are held here.
    "tell": """
        local own, kept = ARGV[3], ARGV[4]
        redis.call('ZADD', KEYS[1], string.format('%.6f', now + tonumber(ARGV[5])), own)
        redis.call('ZREMRANGEBYSCORE', KEYS[1], '-inf', string.format('%.6f', now))
        redis.call('PEXPIRE', KEYS[1], kept)
        for i = 2, #KEYS do
            if tonumber(ARGV[i + 4]) > 0 then
                redis.call('HSET', KEYS[i], own, ARGV[i + 4])
                redis.call('PEXPIRE', KEYS[i], kept)
            else
                redis.call('HDEL', KEYS[i], own)
            end
        end""",
    "end": "redis.call('ZREM', KEYS[1], ARGV[3])",
}


class Redis:
    """url -- of the server, or a Client of services/redis.py. prefix -- stands before each key; who shares a prefix
    shares the store. ca -- as the Client's. timeout -- for one call. clock -- what time it is, for tests.
    """

    def __init__(
        self,
        url: str | Client,
        *,
        prefix: str = "mailstack:",
        ca: str | os.PathLike[str] | None = None,
        timeout: float | str = "2s",
        clock: Callable[[], float] | None = None,
    ) -> None:
        self._client = url if isinstance(url, Client) else Client(url, ca=ca, timeout=timeout, name="Redis(url)")
        self._prefix = prefix
        self._clock = clock
        self._own = secrets.token_hex(8)
        self._read_only = False
        self._open = 0
        self._held: Counter[str] = Counter()  # places of this server: the truth, of which Redis is told
        self._untold: set[str] = set()  # keys whose places Redis may have otherwise
        self._telling = Lock()

    @asynccontextmanager
    async def opened(self, *, read_only: bool = False) -> AsyncIterator[None]:
        async with self._client.opened():
            if not self._open:
                self._read_only = read_only
            self._open += 1
            try:
                async with create_task_group() as group:
                    if not read_only:
                        group.start_soon(self._live)
                    yield
                    group.cancel_scope.cancel()
            finally:
                self._open -= 1
                if not self._open:
                    with CancelScope(shield=True):
                        await self._end()

    # The contract.

    async def get(self, key: str) -> bytes | None:
        found = await self._do("get", [key])
        return None if found is None else bytes(found)

    async def put(self, key: str, value: bytes, ttl: float, *, soon: bool = False) -> None:
        check(key, value, ttl)
        await self._do("put", [key], value, ttl)

    async def put_new(self, key: str, value: bytes, ttl: float) -> bytes | None:
        check(key, value, ttl)
        found = await self._do("put_new", [key], value, ttl)
        return None if found is None else bytes(found)

    async def delete(self, key: str) -> None:
        await self._do("delete", [key])

    async def items(self, prefix: str) -> AsyncGenerator[tuple[str, bytes, float], None]:
        self._must_be_open()
        pattern = re.sub(r"([*?\[\]\\])", r"\\\1", self._prefix + prefix) + "*"
        cursor: object = 0
        while True:
            try:
                cursor, keys = await self._client.run(partial(_scan, cursor=cursor, pattern=pattern))
            except Unavailable as error:
                raise StoreError(str(error)) from error
            for name in keys:
                key = bytes(name).decode().removeprefix(self._prefix)
                found = await self._do("item", [key])
                if found is not None:
                    ends, _, value = bytes(found).partition(b" ")
                    yield key, value, float(ends)
            if not int(cursor):  # type: ignore[call-overload]
                return

    async def add(self, key: str, amount: int, ttl: float) -> int:
        check(key, ttl=ttl)
        return int(await self._do("add", [key], amount, ttl))

    async def take(self, key: str, rate: Rate, cost: int = 1) -> float:
        check(key)
        each = rate.seconds / rate.count
        return float(await self._do("take", [key], each, rate.burst * each, cost))

    async def enter(self, places: Mapping[str, int]) -> str | None:
        self._must_be_open()
        for key in places:
            check(key)
        if not places:
            return None
        keys = list(places)
        async with self._turn():
            await self._tell(())
            before = {key: self._held[key] for key in keys}
            if not self._read_only:
                self._untold.update(keys)  # until it is known what came of it
            counts = [number for key in keys for number in (places[key], before[key])]
            full = int(await self._do("enter", self._place_keys(keys), self._own, _KEPT, LIFE, *counts))
            if full < 0 and not self._read_only:
                self._held.update(dict.fromkeys(keys, 1))
            told = {key: count + (full < 0) for key, count in before.items()}
            self._untold -= {key for key in keys if self._held[key] == told[key]}  # others left meanwhile
        return None if full < 0 else keys[full]

    async def leave(self, *keys: str) -> None:
        if self._read_only:
            return
        for key in keys:
            if self._held[key] > 0:
                self._held[key] -= 1
                self._untold.add(key)
            if not self._held[key]:
                del self._held[key]
        try:
            with CancelScope(shield=True):
                async with self._turn():
                    await self._tell(())
        except StoreError as error:
            log.warning("store", redis=str(self._client), problem=str(error))

    # Places.

    async def beat(self) -> None:
        """What is done every ten seconds: say that this server lives, and what it holds."""
        try:
            async with self._turn():
                await self._tell(self._held, beat=True)
        except StoreError as error:
            log.warning("store", redis=str(self._client), problem=str(error))

    @asynccontextmanager
    async def _turn(self) -> AsyncIterator[None]:
        """One after the other: Redis is told of numbers, which must not overtake each other."""
        try:
            with fail_after(self._client.timeout):
                await self._telling.acquire()
        except TimeoutError as error:
            raise StoreError(f"{self._client}: no answer in {self._client.timeout:g} s") from error
        try:
            yield
        finally:
            self._telling.release()

    async def _tell(self, keys: Sequence[str] | Mapping[str, int], *, beat: bool = False) -> None:
        """What is held under these keys, and under those that Redis may have otherwise."""
        wanted = list(dict.fromkeys([*keys, *self._untold]))
        for start in range(0, max(len(wanted), beat), _AT_ONCE):
            some = wanted[start : start + _AT_ONCE]
            told = {key: self._held[key] for key in some}
            await self._do("tell", self._place_keys(some), self._own, _KEPT, LIFE, *told.values())
            self._untold -= {key for key in some if self._held[key] == told[key]}

    def _place_keys(self, keys: Sequence[str]) -> list[str]:
        return [" servers", *(f" place {key}" for key in keys)]  # blanks: no key of an entry has any

    async def _live(self) -> None:
        while True:
            await sleep(BEAT)  # entering is a sign of life too
            await self.beat()

    async def _end(self) -> None:
        self._held.clear()
        self._untold.clear()
        if not self._read_only:
            try:
                await self._call("end", self._place_keys(()), self._own)
            except StoreError as error:
                log.warning("store", redis=str(self._client), problem=str(error))  # they are free in a minute

    # Redis.

    def _must_be_open(self) -> None:
        if not self._open:
            raise RuntimeError("the store is not open: write `async with store.opened()` in `lifespan`")

    async def _do(self, script: str, keys: Sequence[str], *values: object) -> Any:
        self._must_be_open()
        return await self._call(script, keys, *values)

    async def _call(self, script: str, keys: Sequence[str], *values: object) -> Any:
        named = [self._prefix + key for key in keys]
        now = f"{self._clock():.6f}" if self._clock else ""
        arguments = [now, "r" if self._read_only else "w", *map(_written, values)]
        try:
            return await self._client.run(
                lambda redis: redis.register_script(_COMMON + _SCRIPTS[script])(named, arguments)
            )
        except Unavailable as error:
            raise StoreError(str(error)) from error


async def _scan(redis: Any, cursor: object, pattern: str) -> Any:
    return await redis.scan(cursor, match=pattern, count=500)


def _written(value: object) -> str | bytes:
    return value if isinstance(value, bytes) else f"{value:.9f}" if isinstance(value, float) else str(value)
