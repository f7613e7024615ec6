"""Redis as a store and as a lookup: what every store promises, several servers, a Redis that dies, hangs, returns."""

from __future__ import annotations

import gc
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import anyio
import pytest

from mailstack import ConfigError
from mailstack.services.lookup import Unavailable
from mailstack.services.lookup.redis import Redis as Lookup
from mailstack.services.redis import Client
from mailstack.services.store import Rate, StoreError
from mailstack.services.store.redis import LIFE, Redis
from tests.interop import redis_server
from tests.services.test_store import (
    Clock,
    Make,
    clock,
    test_a_clock_that_was_set_back_locks_nobody_out,
    test_a_counter_counts_and_its_end_moves_on,
    test_a_key_that_is_none_is_refused,
    test_a_rate_allows_its_burst_and_then_its_pace,
    test_a_rehearsal_looks_and_takes_nothing,
    test_a_store_that_is_not_open_says_so,
    test_a_value_is_kept_until_its_end,
    test_it_stays_open_until_the_last_one_closes_it,
    test_many_at_once_get_no_more_than_there_is,
    test_places_are_taken_all_or_none,
    test_the_first_value_stays,
    test_values_and_their_times_have_bounds,
    test_values_are_listed_by_how_their_keys_begin,
    test_what_is_put_soon_is_there_at_once,
    test_what_was_not_held_gives_nothing_back,
)

__all__ = [
    "clock",
    "test_a_clock_that_was_set_back_locks_nobody_out",
    "test_a_counter_counts_and_its_end_moves_on",
    "test_a_key_that_is_none_is_refused",
    "test_a_rate_allows_its_burst_and_then_its_pace",
    "test_a_rehearsal_looks_and_takes_nothing",
    "test_a_store_that_is_not_open_says_so",
    "test_a_value_is_kept_until_its_end",
    "test_it_stays_open_until_the_last_one_closes_it",
    "test_many_at_once_get_no_more_than_there_is",
    "test_places_are_taken_all_or_none",
    "test_the_first_value_stays",
    "test_values_and_their_times_have_bounds",
    "test_values_are_listed_by_how_their_keys_begin",
    "test_what_is_put_soon_is_there_at_once",
    "test_what_was_not_held_gives_nothing_back",
]

pytestmark = [
    pytest.mark.interop,
    # coredis leaves the streams of a connection that could not be made to the collector
    pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning"),
    pytest.mark.filterwarnings("ignore::ResourceWarning"),
]


@pytest.fixture(autouse=True)
def collected() -> Iterator[None]:
    """What coredis left is collected here, where it may be, and not in another test."""
    gc.freeze()  # nobody need look at all the tests there are, which takes a third of a second
    yield
    gc.collect()
    gc.unfreeze()


@pytest.fixture
def server(tmp_path: Path, program: Callable[[str], str]) -> Iterator[redis_server.RedisServer]:
    program("redis-server")
    pytest.importorskip("coredis")
    running = redis_server.start(tmp_path)
    yield running
    running.kill()


@pytest.fixture
def make(server: redis_server.RedisServer, clock: Clock) -> Make:
    return lambda **options: Redis(server.url, **{"clock": clock, **options})


# The store.


async def test_by_the_clock_of_redis_it_is_the_same(make: Make) -> None:
    store, rate = make(clock=None), Rate.parse("2/1h")
    async with store.opened():
        await store.put("a", b"\0\xff\r\n one", 1000)
        assert await store.get("a") == b"\0\xff\r\n one"
        assert await store.put_new("a", b"", 1000) == b"\0\xff\r\n one"
        assert [await store.take("r", rate) for _ in range(2)] == [0.0, 0.0]
        assert await store.take("r", rate) == pytest.approx(1800, abs=60)
        assert await store.add("n", 2**40, 1000) == 2**40
        assert await store.put_new("b", b"", 1000) is None
        assert await store.get("b") == b""


async def test_servers_share_it_and_a_prefix_parts_them(make: Make) -> None:
    one, two, other = make(), make(), make(prefix="other:")
    rate = Rate.parse("3/1h")
    async with one.opened(), two.opened(), other.opened():
        assert [await each.take("a", rate) == 0 for each in (one, two, one, two)] == [True, True, True, False]
        assert await other.take("a", rate) == 0
        assert await one.enter({"a": 2}) is None
        assert await two.enter({"a": 2}) is None
        assert await one.enter({"a": 2}) == "a"
        assert await other.enter({"a": 2}) is None
        await two.leave("a")
        assert await one.enter({"a": 2}) is None


async def test_everything_in_it_has_an_end_of_redis_own(make: Make, server: redis_server.RedisServer) -> None:
    store, client = make(clock=None), Client(server.url)
    async with store.opened(), client.opened():
        await store.put("a", b"", 10)
        await store.add("b", 1, 10)
        await store.take("c", Rate.parse("1/1m"))
        await store.enter({"d": 1})
        for key in await client.run(lambda redis: redis.keys("*")):
            left = await client.run(lambda redis, key=key: redis.ttl(key))  # type: ignore[misc]
            assert 0 < left <= 2 * LIFE


async def test_places_of_a_server_that_ended_are_free(make: Make) -> None:
    one, two = make(), make()
    async with two.opened():
        async with one.opened():
            assert await one.enter({"a": 1}) is None
            assert await two.enter({"a": 1}) == "a"
        assert await two.enter({"a": 1}) is None


async def test_places_of_a_server_that_was_killed_are_free_in_a_minute(make: Make, clock: Clock) -> None:
    dead, alive = make(), make()
    async with alive.opened(), dead.opened():
        assert await dead.enter({"a": 1}) is None
        clock.now += LIFE - 10
        assert await alive.enter({"a": 1}) == "a"
        clock.now += 20
        assert await alive.enter({"a": 1}) is None
        await dead.beat()  # it was alive, only slow: what it holds counts again
        await alive.leave("a")
        assert await alive.enter({"a": 1}) == "a"


async def test_a_redis_that_forgot_everything_is_told_what_is_held(
    make: Make, server: redis_server.RedisServer
) -> None:
    one, two = make(), make()
    async with one.opened(), two.opened():
        assert await one.enter({"a": 1, "b": 5}) is None
        server.kill()
        with pytest.raises(StoreError):
            await one.get("a")
        with pytest.raises(StoreError):
            await one.enter({"b": 5})
        await one.leave("b")  # it cannot be told now
        await two.beat()
        server.start()
        assert await one.get("a") is None
        await one.beat()
        assert await two.enter({"a": 1}) == "a"
        for _ in range(5):
            assert await two.enter({"b": 5}) is None
        assert await two.enter({"b": 5}) == "b"


@pytest.mark.every_backend
async def test_a_redis_that_hangs_is_an_error_in_time_and_then_works_again(
    make: Make, server: redis_server.RedisServer
) -> None:
    store = make(timeout=0.2)
    async with store.opened():
        assert await store.enter({"a": 2}) is None
        server.freeze()
        try:
            with pytest.raises(StoreError, match="no answer in"):
                await store.take("r", Rate.parse("1/1h"))
            with pytest.raises(StoreError):
                await store.enter({"a": 2})
            await store.leave("a")
        finally:
            server.thaw()
        await store.beat()
        assert [await store.enter({"a": 2}) for _ in range(3)] == [None, None, "a"]


async def test_a_redis_that_is_down_lets_a_server_start(make: Make, server: redis_server.RedisServer) -> None:
    server.kill()
    store = make()
    async with store.opened():
        with pytest.raises(StoreError):
            await store.get("a")
        server.start()
        assert await store.get("a") is None


# The lookup.


@pytest.mark.every_backend
async def test_keys_hashes_and_sets_are_looked_up(server: redis_server.RedisServer) -> None:
    client = Client(server.url)
    plain, within, among = Lookup(client, prefix="p:"), Lookup(client, hash="h"), Lookup(server.url, set="s")
    async with client.opened(), plain.opened(), within.opened(), among.opened():
        await client.run(lambda redis: redis.set("p:ann", "one"))
        await client.run(lambda redis: redis.set("p:bad", b"\xff"))
        await client.run(lambda redis: redis.hset("h", {"ann": "two", "é b\r\n*": ""}))
        await client.run(lambda redis: redis.sadd("s", ["ann"]))
        assert [await each.find("ann") for each in (plain, within, among)] == ["one", "two", ""]
        assert await within.find("é b\r\n*") == ""
        for absent in ("bob", "ann\0", "\ud800", "*", ""):
            assert [await each.find(absent) for each in (plain, within, among)] == [None, None, None]
        with pytest.raises(Unavailable, match="UTF-8"):
            await plain.find("bad")
        wrong = Lookup(client, hash="s")
        with pytest.raises(Unavailable, match="wrong kind"):
            await wrong.find("ann")


async def test_a_redis_that_dies_or_hangs_is_never_not_found(server: redis_server.RedisServer) -> None:
    source = Lookup(server.url, timeout=0.3)
    async with source.opened():
        assert await source.find("ann") is None
        server.freeze()
        try:
            with pytest.raises(Unavailable, match="no answer"):
                await source.find("ann")
        finally:
            server.thaw()
        assert await source.find("ann") is None
        server.kill()
        with pytest.raises(Unavailable):
            await source.find("ann")
        server.start()
        assert await source.find("ann") is None
        async with anyio.create_task_group() as group:
            for number in range(50):
                group.start_soon(source.find, str(number))
    with pytest.raises(RuntimeError, match="not open"):
        await source.find("ann")


async def test_over_tls_it_must_show_a_certificate_of_the_authority(
    tmp_path: Path, program: Callable[[str], str]
) -> None:
    program("redis-server")
    server = redis_server.start(tmp_path, tls=True)
    try:
        good, bad = Lookup(server.tls_url, ca=tmp_path / "ca.pem"), Lookup(server.tls_url)
        wrong = Lookup(server.tls_url.replace("a%20secret", "wrong"), ca=tmp_path / "ca.pem")
        async with good.opened(), bad.opened(), wrong.opened():
            assert await good.find("ann") is None
            for each in (bad, wrong):
                with pytest.raises(Unavailable) as told:
                    await each.find("ann")
                assert "secret" not in str(told.value)
    finally:
        server.kill()


@pytest.mark.parametrize(
    "url",
    ["", "127.0.0.1", "http://h/0", "redis:///0", "redis://h/x", "redis://:secret@h/x", "unix://", "redis://h:x/0"],
)
def test_what_is_no_url_is_told_without_its_password(url: str) -> None:
    for make_one in (Lookup, Redis, Client):
        with pytest.raises(ConfigError) as told:
            make_one(url)
        assert "secret" not in str(told.value)


def test_a_password_is_not_shown() -> None:
    client: Any = Client("rediss://user:secret@redis.example.org:6380/2")
    assert str(client) == "rediss://redis.example.org:6380/2"
