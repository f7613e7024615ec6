"""What every store promises, and what a file adds: it outlives its server, is shared, and says why it is of no use."""

from __future__ import annotations

import os
import sqlite3
import stat
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from typing import Any

import anyio
import pytest
from hypothesis import given
from hypothesis import strategies as st

from mailstack import ConfigError
from mailstack.services.store import KEY, VALUE, Memory, Rate, SQLite, Store, StoreError, key


class Clock:
    """Stands still unless told."""

    def __init__(self) -> None:
        self.now = 1_000_000.0

    def __call__(self) -> float:
        return self.now


Make = Callable[..., Any]


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture(params=["memory", "sqlite"])
def make(request: pytest.FixtureRequest, tmp_path: Path, clock: Clock) -> Make:
    """A store by its options; SQLite ones share a file."""
    if request.param == "memory":
        return lambda **options: Memory(clock=clock, **options)
    return lambda **options: SQLite(tmp_path / "store.db", clock=clock, **options)


# Every store.


async def test_a_value_is_kept_until_its_end(make: Make, clock: Clock) -> None:
    store = make()
    async with store.opened():
        assert await store.get("a") is None
        await store.put("a", b"one", 10)
        await store.put("a", b"two", 10)
        clock.now += 9.9
        assert await store.get("a") == b"two"
        clock.now += 0.2
        assert await store.get("a") is None


async def test_the_first_value_stays(make: Make, clock: Clock) -> None:
    store = make()
    async with store.opened():
        assert await store.put_new("a", b"one", 10) is None
        clock.now += 9
        assert await store.put_new("a", b"two", 10) == b"one"
        clock.now += 2
        assert await store.put_new("a", b"three", 10) is None
        await store.delete("a")
        assert await store.get("a") is None


async def test_what_is_put_soon_is_there_at_once(make: Make, clock: Clock) -> None:
    store = make()
    async with store.opened():
        await store.put("a", b"one", 10, soon=True)
        assert await store.get("a") == b"one"
        assert await store.put_new("a", b"two", 10) == b"one"
        await store.put("a", b"three", 10, soon=True)
        await store.put("a", b"four", 10)
        assert await store.get("a") == b"four"
        await store.put("a", b"five", 10, soon=True)
        await store.delete("a")
        assert await store.get("a") is None
        await store.put("a", b"six", 10, soon=True)
        clock.now += 11
        assert await store.get("a") is None


async def test_values_are_listed_by_how_their_keys_begin(make: Make, clock: Clock) -> None:
    store = make()
    async with store.opened():
        for number in range(600):
            await store.put(f"a/{number}", b"%d" % number, 10 + number, soon=number % 2 == 0)
        await store.put("b", b"other", 10)
        await store.add("a/count", 1, 10)
        clock.now += 15
        found = [(name, value, round(left)) async for name, value, left in store.items("a/")]
        assert sorted(found) == sorted((f"a/{n}", b"%d" % n, n - 5) for n in range(6, 600))


async def test_a_counter_counts_and_its_end_moves_on(make: Make, clock: Clock) -> None:
    store = make()
    async with store.opened():
        assert await store.add("a", 0, 10) == 0
        assert [await store.add("a", each, 10) for each in (1, 5, -2)] == [1, 6, 4]
        clock.now += 9
        assert await store.add("a", 1, 10) == 5
        clock.now += 9
        assert await store.add("a", 0, 10) == 5
        clock.now += 2
        assert await store.add("a", 0, 10) == 0


async def test_a_rate_allows_its_burst_and_then_its_pace(make: Make, clock: Clock) -> None:
    store, rate = make(), Rate.parse("6/1m", burst=2)
    async with store.opened():
        assert await store.take("a", rate) == 0.0
        assert await store.take("a", rate) == 0.0
        assert await store.take("a", rate) == pytest.approx(10)
        assert await store.take("b", rate) == 0.0
        clock.now += 10
        assert await store.take("a", rate) == 0.0
        assert await store.take("a", rate) == pytest.approx(10)
        clock.now += 20
        assert await store.take("a", rate, 2) == 0.0


async def test_a_clock_that_was_set_back_locks_nobody_out(make: Make, clock: Clock) -> None:
    store, rate = make(), Rate.parse("2/1m")
    async with store.opened():
        await store.take("a", rate, 2)
        clock.now -= 86_400
        assert await store.take("a", rate) <= 30


async def test_places_are_taken_all_or_none(make: Make) -> None:
    store = make()
    async with store.opened():
        assert await store.enter({"all": 3, "a": 2}) is None
        assert await store.enter({"all": 3, "a": 2}) is None
        assert await store.enter({"all": 3, "a": 2}) == "a"
        assert await store.enter({"all": 3, "b": 2}) is None
        assert await store.enter({"all": 3, "c": 2}) == "all"
        await store.leave("all", "a")
        assert await store.enter({"all": 3, "c": 2}) is None
        await store.leave()
        assert await store.enter({}) is None


async def test_what_was_not_held_gives_nothing_back(make: Make) -> None:
    store = make()
    async with store.opened():
        await store.leave("a", "a")
        assert await store.enter({"a": 1}) is None
        assert await store.enter({"a": 1}) == "a"


async def test_a_rehearsal_looks_and_takes_nothing(make: Make) -> None:
    store, rate = make(), Rate.parse("1/1h")
    async with store.opened(read_only=True):
        await store.put("a", b"one", 10)
        assert await store.put_new("a", b"one", 10) is None
        assert await store.get("a") is None
        assert await store.add("a", 1, 10) == 1
        assert await store.add("a", 1, 10) == 1
        assert [await store.take("a", rate) for _ in range(2)] == [0.0, 0.0]
        assert [await store.enter({"a": 1}) for _ in range(2)] == [None, None]
        await store.leave("a")
        await store.delete("a")


async def test_a_store_is_bounded(make: Make, clock: Clock) -> None:
    store = make(size=10)
    async with store.opened():
        for number in range(25):
            await store.put(f"k{number}", b"", 100 + number)
        if isinstance(store, SQLite):
            await store.beat()
        left = [number for number in range(25) if await store.get(f"k{number}") is not None]
        assert left == list(range(15, 25))


async def test_places_outlast_any_flood_of_other_entries(make: Make) -> None:
    store = make(size=2)
    async with store.opened():
        assert await store.enter({"a": 1}) is None
        for number in range(10):
            await store.put(f"k{number}", b"", 10)
        if isinstance(store, SQLite):
            await store.beat()
        assert await store.enter({"a": 1}) == "a"


@pytest.mark.parametrize("wrong", ["", "a b", "ü", "a\n", "k" * (KEY + 1)])
async def test_a_key_that_is_none_is_refused(make: Make, wrong: str) -> None:
    store = make()
    async with store.opened():
        calls: list[Callable[[], Any]] = [
            lambda: store.put(wrong, b"", 1),
            lambda: store.add(wrong, 1, 1),
            lambda: store.take(wrong, Rate.parse("1/1s")),
            lambda: store.enter({wrong: 1}),
        ]
        for call in calls:
            with pytest.raises(ValueError, match="is no key"):
                await call()


async def test_values_and_their_times_have_bounds(make: Make) -> None:
    store = make()
    async with store.opened():
        await store.put("a", b"x" * VALUE, 1)
        with pytest.raises(ValueError, match="more than"):
            await store.put("a", b"x" * (VALUE + 1), 1)
        for ttl in (0, -1, float("inf"), float("nan")):
            with pytest.raises(ValueError, match="is none"):
                await store.put("a", b"", ttl)


async def test_a_store_that_is_not_open_says_so(make: Make) -> None:
    store = make()
    with pytest.raises(RuntimeError, match="not open"):
        await store.get("a")
    with pytest.raises(RuntimeError, match="not open"):
        await store.enter({"a": 1})


async def test_it_stays_open_until_the_last_one_closes_it(make: Make) -> None:
    store = make()
    first, second = store.opened(), store.opened()
    async with second:
        async with first:
            await store.put("a", b"one", 10)
        assert await store.get("a") == b"one"


async def test_many_at_once_get_no_more_than_there_is(make: Make) -> None:
    store, rate = make(), Rate.parse("10/1h")
    allowed = []

    async def take() -> None:
        if not await store.take("a", rate) and await store.enter({"a": 7}) is None:
            allowed.append(1)

    async with store.opened():
        async with anyio.create_task_group() as group:
            for _ in range(40):
                group.start_soon(take)
        assert len(allowed) == 7


# Keys and rates.


@given(st.lists(st.text(), min_size=1), st.lists(st.text(), min_size=1))
def test_different_parts_make_different_keys_of_plain_text(one: list[str], other: list[str]) -> None:
    assert (key(*one) == key(*other)) is (one == other)
    made = key("x", *one)
    assert len(made) <= KEY
    assert made.isascii()
    assert made.isprintable()
    assert " " not in made


def test_a_long_key_is_cut_and_stays_different() -> None:
    assert len(key("x" * 1000)) == KEY
    assert key("x" * 1000) != key("x" * 1001)


@given(
    st.integers(1, 50),
    st.integers(1, 3600),
    st.integers(1, 20),
    st.lists(st.floats(0, 600), max_size=60),
)
def test_never_more_than_the_burst_and_the_pace(count: int, seconds: int, burst: int, steps: list[float]) -> None:
    rate = Rate(count, float(seconds), burst)
    now = whole = 0.0
    taken = 0
    for step in steps:
        now += step
        wait, whole = rate.take(whole, now)
        taken += not wait
        assert wait <= seconds / count + 1e-6
    assert taken <= burst + now * count / seconds + 1e-6


@given(st.integers(1, 50), st.integers(1, 3600), st.floats(0, 1e9))
def test_who_waits_as_long_as_told_is_allowed(count: int, seconds: int, now: float) -> None:
    rate = Rate(count, float(seconds), 1)
    _, whole = rate.take(0.0, now)
    wait, whole = rate.take(whole, now)
    assert wait > 0
    assert rate.take(whole, now + wait + 1e-6).wait == 0.0


@pytest.mark.parametrize("wrong", ["", "10", "10/", "/1m", "0/1m", "-1/1m", "10/0", "x/1m", "10/1m/2", 10])
def test_what_is_no_rate_is_told(wrong: Any) -> None:
    with pytest.raises(ConfigError, match="Rate"):
        Rate.parse(wrong, name="Rate(messages)")


def test_a_rate_says_what_it_is() -> None:
    assert str(Rate.parse("10/1m")) == "10/60"
    assert str(Rate.parse("10/1m", burst=3)) == "10/60/3"
    assert Rate.parse(Rate(1, 2.0, 3)) == Rate(1, 2.0, 3)


# A file.


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "store.db"


async def test_a_file_remembers_and_is_private(path: Path) -> None:
    store = SQLite(path)
    async with store.opened():
        await store.put("a", b"one", 1000)
        assert stat.S_IMODE(os.stat(path).st_mode) == 0o600
    async with SQLite(path).opened(), store.opened():
        assert await store.get("a") == b"one"


async def test_what_was_put_soon_is_written_within_a_second_and_at_the_end(path: Path) -> None:
    one, other = SQLite(path), SQLite(path)
    async with one.opened(), other.opened():
        await one.put("a", b"one", 100, soon=True)
        assert await other.get("a") is None
        await one.flush()  # as is done each second
        assert await other.get("a") == b"one"
        await one.put("b", b"two", 100, soon=True)
    async with other.opened():
        assert await other.get("b") == b"two"


async def test_what_cannot_be_written_now_is_written_later(path: Path) -> None:
    store = SQLite(path, timeout=0)
    async with store.opened():
        with closing(sqlite3.connect(path, isolation_level=None)) as busy:
            busy.execute("BEGIN IMMEDIATE")
            await store.put("a", b"one", 100, soon=True)
            await store.flush()
            assert await store.get("a") == b"one"
            for name in "bc":
                with pytest.raises(StoreError):  # so that nothing grows, and who asked can do as he was told
                    await store.put(name, b"two", 100, soon=True)
            busy.execute("ROLLBACK")
        await store.flush()
        await store.put("b", b"two", 100, soon=True)
        async with SQLite(path).opened():
            assert await store.get("a") == b"one"
    async with (again := SQLite(path)).opened():
        assert await again.get("a") == b"one"


async def test_two_servers_share_a_file(path: Path, clock: Clock) -> None:
    one, two = SQLite(path, clock=clock), SQLite(path, clock=clock)
    rate = Rate.parse("3/1h")
    async with one.opened(), two.opened():
        assert [await each.take("a", rate) == 0 for each in (one, two, one, two)] == [True, True, True, False]
        assert await one.enter({"a": 2}) is None
        assert await two.enter({"a": 2}) is None
        assert await one.enter({"a": 2}) == "a"
        await two.leave("a")
        assert await one.enter({"a": 2}) is None
        assert await two.put_new("b", b"two", 10) is None
        assert await one.put_new("b", b"one", 10) == b"two"


async def test_places_of_a_server_that_ended_are_free(path: Path) -> None:
    one, two = SQLite(path), SQLite(path)
    async with two.opened():
        async with one.opened():
            assert await one.enter({"a": 1}) is None
            assert await two.enter({"a": 1}) == "a"
        assert await two.enter({"a": 1}) is None


async def test_places_of_a_server_that_was_killed_are_free_in_a_minute(path: Path, clock: Clock) -> None:
    dead, alive = SQLite(path, clock=clock), SQLite(path, clock=clock)
    async with alive.opened():
        async with dead.opened():
            assert await dead.enter({"a": 1}) is None
            clock.now += 50
            await alive.beat()
            assert await alive.enter({"a": 1}) == "a"
            clock.now += 20
            assert await alive.enter({"a": 1}) is None
            await alive.beat()  # it has cleared the place of the dead one away
            [(servers,)] = sqlite3.connect(path).execute("SELECT count(DISTINCT server) FROM place")
            assert servers == 1


async def test_a_rehearsal_reads_the_file_and_leaves_it_alone(path: Path) -> None:
    rate = Rate.parse("1/1h")
    store = SQLite(path)
    async with store.opened():
        await store.put("a", b"one", 1000)
        await store.take("a-rate", rate)
    before = octets_of(path)
    async with store.opened(read_only=True):
        assert await store.get("a") == b"one"
        assert await store.take("a-rate", rate) > 0
        await store.put("a", b"two", 1000)
        assert await store.get("a") == b"one"
    assert octets_of(path) == before


async def test_a_rehearsal_makes_no_file(path: Path) -> None:
    store = SQLite(path)
    async with store.opened(read_only=True):
        assert await store.get("a") is None
    assert not os.listdir(path.parent)


def octets_of(path: Path) -> bytes:
    return path.read_bytes()


def damage(path: Path) -> None:
    """Behind its first page."""
    octets = path.read_bytes()
    path.write_bytes(octets[:4096] + b"\xff" * (len(octets) - 4196) + octets[-100:])


async def problem_of(store: SQLite) -> str:
    with pytest.raises(ConfigError) as raised:
        async with store.opened():
            pass
    assert str(store.path) in str(raised.value)
    return str(raised.value)


async def test_a_file_that_cannot_be_used_stops_the_start(tmp_path: Path) -> None:
    assert "mkdir -p" in await problem_of(SQLite(tmp_path / "absent" / "store.db"))
    assert "may write" in await problem_of(SQLite(tmp_path))
    (tmp_path / "text").write_text("no database at all, but long enough to be looked at" * 20)
    assert "not a database" in await problem_of(SQLite(tmp_path / "text"))


async def test_a_database_of_something_else_stops_the_start_and_stays(path: Path) -> None:
    database = sqlite3.connect(path)
    database.execute("CREATE TABLE mine (x)")
    database.execute("PRAGMA user_version = 0")
    database.close()
    assert "something else" in await problem_of(SQLite(path))
    database = sqlite3.connect(path)
    database.execute("DROP TABLE mine")
    database.execute("PRAGMA user_version = 99")
    database.close()
    assert "another version" in await problem_of(SQLite(path))


async def test_a_damaged_database_stops_the_start(path: Path) -> None:
    store = SQLite(path)
    async with store.opened():
        for number in range(200):
            await store.put(f"k{number}", b"x" * 100, 1000)
    damage(path)
    assert "move the file away" in await problem_of(SQLite(path))


async def test_a_lock_stops_the_start_and_is_a_store_error_later(path: Path) -> None:
    store = SQLite(path, timeout=0)
    async with store.opened():
        await store.put("a", b"one", 100)
        assert await store.enter({"a": 1}) is None
        other = sqlite3.connect(path, isolation_level=None)
        other.execute("BEGIN EXCLUSIVE")
        with pytest.raises(StoreError, match="locked"):
            await store.put("a", b"two", 100)
        await store.beat()
        await store.leave("a")  # owed
        assert "another program" in await problem_of(SQLite(path, timeout=0))
        other.execute("ROLLBACK")
        other.close()
        assert await store.enter({"a": 1}) is None
        assert await store.get("a") == b"one"


async def test_what_fails_in_the_middle_is_undone(path: Path) -> None:
    store = SQLite(path)
    async with store.opened():

        def half() -> None:
            store._keep("a", b"half", 100)
            raise RuntimeError("half")

        with pytest.raises(RuntimeError, match="half"):
            await store._do(half)
        assert await store.get("a") is None


def test_both_keep_the_contract() -> None:
    stores: list[Store] = [Memory(), SQLite("/nowhere")]
    assert len(stores) == 2
