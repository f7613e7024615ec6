"""Lookups without a backend, alone and combined: what they find, and that an error is never "not there"."""

from __future__ import annotations

import sqlite3
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, closing
from functools import partial
from pathlib import Path

import pytest
from anyio import Event, create_task_group
from anyio.lowlevel import checkpoint
from hypothesis import given
from hypothesis import strategies as st

from mailstack import ConfigError, lookup
from mailstack.services.lookup import Source, Table, Unavailable


class Backend:
    """A source that waits, and is sometimes down. asked -- the keys, in order. open -- how often it is."""

    def __init__(self, **entries: str) -> None:
        self.entries = entries
        self.asked: list[str] = []
        self.down = False
        self.open = 0

    @asynccontextmanager
    async def opened(self) -> AsyncIterator[None]:
        self.open += 1
        yield
        self.open -= 1

    async def find(self, key: str) -> str | None:
        await checkpoint()
        self.asked.append(key)
        if self.down:
            raise ConnectionRefusedError("down")
        return self.entries.get(key)


HOSTILE = [
    "",
    "a\n",
    "a\r\nb",
    "*",
    "a*",
    "a%",
    "(",
    "[",
    "\\",
    "a\0",
    " a",
    "a ",
    "$include a",
    "#a",
    "x" * 500,
    "\ud800",
]


@pytest.mark.parametrize(
    "source",
    [
        lookup.Inline("a", {"b": "2"}),
        lookup.Inline({"a": ""}, ["b"]),
        lookup.Regexps("/a/", {"/b/": "2"}),
        lookup.Function({"a": "", "b": "2"}.get),
        lookup.First("a", {"b": "2"}),
        lookup.First(lookup.Inline("a"), lookup.Function({"b": "2"}.get)),
        lookup.Cached({"a": "", "b": "2"}),
    ],
    ids=lambda source: type(source).__name__,
)
async def test_keys_are_found_and_nothing_else_is(source: Source) -> None:
    assert isinstance(source, Source)
    async with source.opened():
        assert await source.find("a") == ""
        assert await source.find("b") in ("2", "")
        for key in HOSTILE:
            assert await source.find(key) is None
            if isinstance(source, Table):
                assert source.find_now(key) is None


def test_what_is_a_table_and_what_waits() -> None:
    async def ask(key: str) -> None: ...

    class Asks:
        async def __call__(self, key: str) -> None: ...

    waiting = [lookup.Function(ask), lookup.Function(partial(ask)), lookup.Function(Asks())]
    assert not [each for each in (*waiting, Backend(), lookup.Cached("a")) if isinstance(each, Table)]
    for each in waiting:
        assert not isinstance(lookup.First("a", each), Table)
        assert not isinstance(lookup.Not(each), Table)
    for table in (lookup.Inline(), lookup.Function(str), lookup.First("a"), lookup.Not("a"), lookup.Networks()):
        assert isinstance(table, Table)


@pytest.mark.parametrize(
    ("given", "words"),
    [
        (lambda: lookup.Inline(1), "is no list"),  # type: ignore[arg-type]
        (lambda: lookup.Inline(b"a"), "is no list"),  # type: ignore[arg-type]
        (lambda: lookup.Inline({"a": 1}), "is not text"),
        (lambda: lookup.Inline({"a": "1"}, {"A": "2"}), "twice"),
        (lambda: lookup.First(), "no lookups"),
        (lambda: lookup.Function("a"), "is no function"),  # type: ignore[arg-type]
        (lambda: lookup.Function(lambda: None), "takes no key"),  # type: ignore[arg-type, misc]
        (lambda: lookup.Regexps("a"), "is no regular expression"),
        (lambda: lookup.Regexps("/(/"), "is no regular expression"),
        (lambda: lookup.Regexps("/(a+)+/"), "a repeat of what"),
        (lambda: lookup.Regexps("/a/s"), "there are no flags 's'"),
        (lambda: lookup.Networks("example.org"), "is not a network"),
        (lambda: lookup.Networks({"10.0.0.0/8": "1"}, {"10.0.0.0/8": "2"}), "twice"),
        (lambda: lookup.Cached(lookup.Not("a")), "cannot be asked for parents"),
        (lambda: lookup.Cached(lookup.First(lookup.Not("a"))), "cannot be asked for parents"),
        (lambda: lookup.Cached("a", size=0), "size"),
        (lambda: lookup.domains(lookup.File, name="D"), "File is a class"),
        (lambda: lookup.domains(len, name="D"), "is a function"),
        (lambda: lookup.domains("a b", name="D"), "is not a domain"),
    ],
)
def test_mistakes_are_told(given: Callable[[], object], words: str) -> None:
    with pytest.raises(ConfigError, match=words) as raised:
        given()
    assert raised.value.remedy


async def test_a_query_that_sqlite_does_not_take_is_told_as_such(tmp_path: Path) -> None:
    path = tmp_path / "users.db"
    with closing(sqlite3.connect(path)) as database:
        database.execute("CREATE TABLE users (name TEXT)")
    with pytest.raises(ConfigError, match="no such column: nope") as raised:
        async with lookup.SQLite(path, "SELECT nope FROM users WHERE name = :key").opened():
            pass
    assert "look at the query" in raised.value.remedy


# Expressions and networks.


def test_the_first_expression_that_matches_the_whole_key_answers(tmp_path: Path) -> None:
    (tmp_path / "list").write_text("/b.*/ third # comment\n/c/c counts\n/x{2} y/ blank\n")
    source = lookup.Regexps({"/a.*/": "first", "/ab/": "second"}, lookup.File(tmp_path / "list"))
    wanted = {"ab": "first", "A\nB": "first", "bc": "third", "xab": None, "c": "counts", "C": None, "xx y": "blank"}
    assert {key: source.find_now(key) for key in wanted} == wanted
    with pytest.raises(Unavailable, match="too long"):
        source.find_now("a" * 513)


def test_a_mistake_in_a_file_of_expressions_is_told_with_its_line(tmp_path: Path) -> None:
    (tmp_path / "list").write_text("/a/\n\n/(a+)*/\n")
    with pytest.raises(ConfigError) as raised:
        lookup.Regexps(lookup.File(tmp_path / "list"))
    assert (raised.value.file, raised.value.line) == (str(tmp_path / "list"), 3)


def test_networks_are_asked_by_addresses(tmp_path: Path) -> None:
    (tmp_path / "list").write_text("192.0.2.0/24 net\n192.0.2.7 host # one\n2001:db8::/32 six\n")
    source = lookup.Networks(lookup.File(tmp_path / "list"), "::ffff:198.51.100.0/120")
    wanted = {
        "192.0.2.1": "net",
        "192.0.2.7": "host",
        "::ffff:192.0.2.7": "host",
        "2001:DB8::1": "six",
        "198.51.100.9": "",
        "203.0.113.1": None,
        "192.0.2.0/24": None,
        "192.0.2.7\n": None,
        "fe80::1%eth0": None,
        "example.org": None,
    }
    assert {key: source.find_now(key) for key in wanted} == wanted


# Functions.


@pytest.mark.parametrize(("answer", "value"), [("x", "x"), (True, ""), (False, None), (None, None), (5, "5"), (0, "0")])
async def test_what_a_function_may_answer(answer: str | bool | int | None, value: str | None) -> None:
    async def ask(key: str) -> str | bool | int | None:
        return answer

    assert lookup.Function(lambda key: answer).find_now("key") == value
    assert await lookup.Function(ask).find("key") == value


async def test_what_makes_no_sense_is_no_answer() -> None:
    async def ask(key: str) -> None: ...

    with pytest.raises(Unavailable, match="list"):
        await lookup.Function(lambda key: [key]).find("a")  # type: ignore[arg-type, return-value]
    with pytest.raises(Unavailable, match="coroutine"):
        lookup.Function(lambda key: ask(key)).find_now("a")
    assert await lookup.Function(lambda key: ask(key)).find("a") is None


# Combinations.


async def test_an_error_of_the_first_is_an_error_although_the_second_might_know() -> None:
    first, second = Backend(), Backend(a="2")
    both = lookup.First(first, second)
    async with both.opened():
        assert (first.open, second.open) == (1, 1)
        assert await both.find("a") == "2"
        first.down = True
        with pytest.raises(ConnectionRefusedError):
            await both.find("a")
        with pytest.raises(ConnectionRefusedError):
            await lookup.Not(both).find("a")
    assert (first.open, second.open) == (0, 0)


async def test_not_is_the_other_way_round() -> None:
    assert await lookup.Not(Backend(a="1"), value="stranger").find("a") is None
    assert await lookup.Not(Backend(a="1"), value="stranger").find("b") == "stranger"


class Clock:
    now = 1000.0

    def __call__(self) -> float:
        return self.now


async def test_answers_are_remembered_for_their_time() -> None:
    backend, clock = Backend(a="1"), Clock()
    cached = lookup.Cached(backend, ttl=10, negative=5, clock=clock)
    for key in "aabbab":
        assert await cached.find(key) == backend.entries.get(key)
    assert backend.asked == ["a", "b"]
    clock.now += 6
    await cached.find("a")
    await cached.find("b")
    assert backend.asked == ["a", "b", "b"]
    clock.now += 6
    await cached.find("a")
    assert backend.asked == ["a", "b", "b", "a"]


async def test_the_last_good_answer_holds_while_the_backend_is_down_and_an_absence_does_not(
    caplog: pytest.LogCaptureFixture,
) -> None:
    backend, clock = Backend(a="1"), Clock()
    cached = lookup.Cached(backend, ttl=10, negative=5, keep=100, clock=clock)
    await cached.find("a")
    await cached.find("b")
    backend.down = True
    clock.now += 11
    assert [await cached.find("a") for _ in range(3)] == ["1"] * 3
    assert caplog.text.count("kept=true") == 1
    with pytest.raises(ConnectionRefusedError):
        await cached.find("b")
    with pytest.raises(ConnectionRefusedError):
        await cached.find("c")
    clock.now += 100
    with pytest.raises(ConnectionRefusedError):
        await cached.find("a")
    backend.down = False
    assert await cached.find("a") == "1"


async def test_a_client_that_asks_for_many_or_long_keys_fills_nothing() -> None:
    backend = Backend()
    cached = lookup.Cached(backend, size=3, clock=Clock())
    for number in range(100):
        await cached.find(f"{number}")
    await cached.find("x" * 2000)
    assert len(cached._kept) == 3
    await cached.find("99")
    await cached.find("x" * 2000)
    assert backend.asked[101:] == ["x" * 2000]


async def test_who_asks_for_what_is_asked_for_waits_for_that_answer() -> None:
    go = Event()
    asked: list[str] = []
    answers: list[object] = []

    async def ask(key: str) -> str:
        asked.append(key)
        await go.wait()
        if key == "bad":
            raise ConnectionError("down")
        return "1"

    cached = lookup.Cached(lookup.Function(ask))

    async def client(key: str) -> None:
        try:
            answers.append(await cached.find(key))
        except (ConnectionError, Unavailable) as error:
            answers.append(str(error))

    async with create_task_group() as group:
        for key in ("good", "bad") * 5:
            group.start_soon(client, key)
        for _ in range(10):
            await checkpoint()
        go.set()
    assert sorted(asked) == ["bad", "good"]
    assert sorted(map(str, answers)) == ["1"] * 5 + ["down"] * 5


async def test_who_leaves_while_he_asks_leaves_the_question_to_the_next() -> None:
    go = Event()
    asked: list[str] = []

    async def ask(key: str) -> str:
        asked.append(key)
        await go.wait()
        return "1"

    cached = lookup.Cached(lookup.Function(ask))
    answers: list[str | None] = []

    async def client() -> None:
        answers.append(await cached.find("a"))

    async with create_task_group() as group:
        async with create_task_group() as leaving:
            leaving.start_soon(client)
            while not asked:
                await checkpoint()
            group.start_soon(client)
            await checkpoint()
            leaving.cancel_scope.cancel()
        while len(asked) < 2:
            await checkpoint()
        go.set()
    assert answers == ["1"]


@given(st.dictionaries(st.text("abAB.@", min_size=1, max_size=5), st.just("")), st.text("abAB.@", max_size=5))
def test_inline_is_a_mapping_without_letter_case(entries: dict[str, str], key: str) -> None:
    found = lookup.Inline(entries).find_now(key)
    assert (found is not None) == (key.lower() in {each.lower() for each in entries})
