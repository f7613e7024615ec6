"""SQLite, dbm and cdb: what is found, what is not, and what is neither: damaged, half-written, replaced, hanging."""

from __future__ import annotations

import dbm.dumb
import os
import shutil
import sqlite3
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from mailstack import ConfigError
from mailstack.services.lookup import Source, Unavailable
from mailstack.services.lookup.cdb import CDB, _Database, _hash, _pair
from mailstack.services.lookup.dbm import DBM
from mailstack.services.lookup.sqlite import SQLite

QUERY = "SELECT target FROM alias WHERE name = :key ORDER BY target"
RECORDS = {"ann": "ann@example.org", "list": "one, two", "é": "ü", "empty": ""}


def files_of(folder: Path) -> list[Path]:
    return [each for each in folder.iterdir() if each.is_file()]


def make_sqlite(path: Path, records: dict[str, str]) -> None:
    path.unlink(missing_ok=True)
    database = sqlite3.connect(path)
    database.execute("CREATE TABLE alias (name, target)")
    rows = [(key, each) for key, value in records.items() for each in value.split(", ")]
    database.executemany("INSERT INTO alias VALUES (?, ?)", rows)
    database.commit()
    database.close()


def make_cdb(path: Path, records: dict[str, str]) -> None:
    path.write_bytes(
        cdb([(key.encode(), each.encode()) for key, value in records.items() for each in value.split(", ")])
    )


def make_dbm(path: Path, records: dict[str, str]) -> None:
    for each in path.parent.glob(f"{path.name}.*"):
        each.unlink()
    with dbm.dumb.open(str(path), "n") as database:
        for key, value in records.items():
            database[key.encode()] = value.encode()


def cdb(records: list[tuple[bytes, bytes]]) -> bytes:
    """A constant database, as its author describes it."""
    slots: list[list[tuple[int, int]]] = [[] for _ in range(256)]
    body = bytearray(2048)
    out = bytearray(2048)
    for key, value in records:
        slots[_hash(key) & 255].append((_hash(key), len(out)))
        out += _pair.pack(len(key), len(value)) + key + value
    for number, held in enumerate(slots):
        table = [(0, 0)] * (2 * len(held))
        for code, position in held:
            at = (code >> 8) % len(table)
            while table[at][1]:
                at = (at + 1) % len(table)
            table[at] = (code, position)
        _pair.pack_into(body, 8 * number, len(out), len(table))
        out += b"".join(_pair.pack(*each) for each in table)
    return bytes(body) + bytes(out[2048:])


MAKERS: dict[str, tuple[Callable[[Path, dict[str, str]], None], Callable[[Path], Source]]] = {
    "sqlite": (make_sqlite, lambda path: SQLite(path, QUERY)),
    "cdb": (make_cdb, CDB),
    "dbm": (make_dbm, DBM),
}


@pytest.mark.parametrize("kind", MAKERS)
async def test_what_is_there_is_found_and_nothing_else(kind: str, tmp_path: Path) -> None:
    make, source_of = MAKERS[kind]
    make(tmp_path / "db", RECORDS)
    source: Source = source_of(tmp_path / "db")
    async with source.opened():
        for key, value in RECORDS.items():
            assert await source.find(key) == value
        for absent in ("", "bob", "ANN", "ann\0", "ann\0x", "\ud800", "ann' OR '1'='1", "ann\r\n", "x" * 70_000):
            assert await source.find(absent) is None
    with pytest.raises(RuntimeError, match="not open"):
        await source.find("ann")


@pytest.mark.parametrize("kind", MAKERS)
async def test_a_replaced_file_is_read_and_a_bad_or_missing_one_is_not(kind: str, tmp_path: Path) -> None:
    make, source_of = MAKERS[kind]
    make(tmp_path / "db", {"ann": "old"})
    source: Source = source_of(tmp_path / "db")
    async with source.opened(), source.opened():
        assert await source.find("ann") == "old"
        (tmp_path / "next").mkdir()
        make(tmp_path / "next" / "db", {"ann": "new"})
        for made in sorted((tmp_path / "next").iterdir()):
            os.replace(made, tmp_path / made.name)
        assert await source.find("ann") == "new"
        kept = files_of(tmp_path)
        for each in kept:
            (tmp_path / "half").write_bytes(b"(half")
            os.replace(tmp_path / "half", each)
        assert await source.find("ann") == "new"
        for each in kept:
            each.unlink()
        assert await source.find("ann") == "new"
        make(tmp_path / "db", {"ann": "newest"})
        assert await source.find("ann") == "newest"


@pytest.mark.parametrize("kind", MAKERS)
async def test_a_file_that_cannot_be_opened_stops_the_start(kind: str, tmp_path: Path) -> None:
    _, source_of = MAKERS[kind]
    source: Source = source_of(tmp_path / "db")
    with pytest.raises(ConfigError, match="cannot be opened"):
        async with source.opened():
            pass
    for name in ("db", "db.dat", "db.dir"):
        (tmp_path / name).write_bytes(b"no database of any kind\n" * 200)
    with pytest.raises(ConfigError, match="cannot be opened"):
        async with source.opened():
            pass


async def test_a_file_for_a_module_that_this_python_lacks_says_what_to_install(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "db").write_bytes(b"\xce\x9a\x57\x13" + bytes(1000))  # as GNU dbm begins
    monkeypatch.setattr(dbm, "_modules", {"dbm.dumb": dbm.dumb})
    monkeypatch.setattr(dbm, "_defaultmod", dbm.dumb)
    with pytest.raises(ConfigError, match=r"dbm\.gnu") as told:
        async with DBM(tmp_path / "db").opened():
            pass
    assert "python3-gdbm" in str(told.value)


async def test_a_cdb_that_is_written_over_is_no_answer_until_it_is_whole(tmp_path: Path) -> None:
    path = tmp_path / "db"
    make_cdb(path, RECORDS)
    whole = path.read_bytes()
    source = CDB(path)
    async with source.opened():
        path.write_bytes(whole[:100])
        for _ in range(2):
            with pytest.raises(Unavailable, match="damaged"):
                await source.find("ann")
        path.write_bytes(whole)
        assert await source.find("ann") == RECORDS["ann"]


def test_a_cdb_cut_short_anywhere_never_says_that_a_key_is_not_there(tmp_path: Path) -> None:
    path = tmp_path / "db"
    make_cdb(path, RECORDS)
    whole = path.read_bytes()
    for length in range(len(whole)):
        path.write_bytes(whole[:length])
        with pytest.raises(Unavailable):
            database = _Database(str(path))
            try:
                assert all(database.find(key.encode()) for key in RECORDS)
            finally:
                database.close()


@given(st.lists(st.tuples(st.integers(0, 2400), st.integers(0, 255)), max_size=8))
@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_a_damaged_cdb_ends_in_an_answer_or_in_unavailable(tmp_path: Path, changes: list[tuple[int, int]]) -> None:
    octets = bytearray(cdb([(key.encode(), value.encode()) for key, value in RECORDS.items()]))
    for position, octet in changes:
        octets[position % len(octets)] = octet
    path = tmp_path / "db"
    path.write_bytes(octets)
    try:
        database = _Database(str(path))
    except Unavailable:
        return
    try:
        for key in (*RECORDS, "absent"):
            try:
                database.find(key.encode())
            except Unavailable:
                pass
    finally:
        database.close()


async def test_a_record_that_ends_in_nul_is_found_by_its_text(tmp_path: Path) -> None:
    (tmp_path / "c").write_bytes(cdb([(b"ann\0", b"one\0"), (b"bob", b"two")]))
    with dbm.dumb.open(str(tmp_path / "d"), "n") as database:
        database[b"ann\0"] = b"one\0"
    sources: list[Source] = [CDB(tmp_path / "c"), DBM(tmp_path / "d")]
    for source in sources:
        async with source.opened():
            assert await source.find("ann") == "one"
            assert await source.find("ann\0") is None


async def test_a_value_that_is_no_text_is_no_answer(tmp_path: Path) -> None:
    (tmp_path / "c").write_bytes(cdb([(b"ann", b"\xff")]))
    source = CDB(tmp_path / "c")
    async with source.opened():
        with pytest.raises(Unavailable, match="not UTF-8"):
            await source.find("ann")


async def test_sqlite_answers_in_text_and_null_is_no_value(tmp_path: Path) -> None:
    path = tmp_path / "db"
    database = sqlite3.connect(path)
    database.execute("CREATE TABLE t (name, value)")
    rows = [("number", 5), ("real", 0.5), ("octets", b"x"), ("null", None), ("some", None), ("some", "one")]
    database.executemany("INSERT INTO t VALUES (?, ?)", rows)
    database.commit()
    source = SQLite(path, "SELECT value FROM t WHERE name = :key")
    async with source.opened():
        keys = ("number", "real", "octets", "null", "some")
        assert [await source.find(key) for key in keys] == ["5", "0.5", "x", None, "one"]
        database.execute("INSERT INTO t VALUES ('late', 'yes')")
        database.commit()
        assert await source.find("late") == "yes"
    database.close()


async def test_sqlite_waits_for_a_lock_and_for_a_query_as_long_as_it_may(tmp_path: Path) -> None:
    path = tmp_path / "db"
    make_sqlite(path, RECORDS)
    endless = "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n) SELECT count(*) FROM n WHERE i = :key"
    slow, locked = SQLite(path, endless, timeout=0.1), SQLite(path, QUERY, timeout=0.1)
    async with slow.opened():
        with pytest.raises(Unavailable):
            await slow.find("ann")
    writer = sqlite3.connect(path, isolation_level=None)
    async with locked.opened():
        writer.execute("BEGIN EXCLUSIVE")
        with pytest.raises(Unavailable):
            await locked.find("ann")
        writer.execute("ROLLBACK")
        writer.close()


@pytest.mark.parametrize(
    "query",
    ["SELECT 1", "SELECT x FROM y WHERE z = '" + "key'", "SELECT nothing FROM alias WHERE name = :key", "DROP :key"],
)
async def test_a_query_of_no_use_is_told_at_the_start(tmp_path: Path, query: str) -> None:
    make_sqlite(tmp_path / "db", RECORDS)
    with pytest.raises(ConfigError):
        async with SQLite(tmp_path / "db", query).opened():
            pass


async def test_sqlite_is_opened_for_reading(tmp_path: Path) -> None:
    make_sqlite(tmp_path / "db", RECORDS)
    source = SQLite(tmp_path / "db", "DELETE FROM alias WHERE name = :key RETURNING name")
    async with source.opened():
        with pytest.raises(Unavailable, match="readonly"):
            await source.find("ann")


def run_tinycdb(path: Path, lines: str) -> None:
    program = shutil.which("cdb")
    if program is None:
        if os.environ.get("MAILSTACK_REQUIRE_INTEROP"):
            pytest.fail("cdb is not installed")
        pytest.skip("cdb is not installed")
    subprocess.run([program, "-c", "-m", str(path)], input=lines.encode(), check=True)


@pytest.mark.interop
async def test_what_tinycdb_makes_is_read(tmp_path: Path) -> None:
    lines = "".join(f"key{number} value {number}\n" for number in range(2000)) + "key7 another\n"
    run_tinycdb(tmp_path / "db", lines)
    source = CDB(tmp_path / "db")
    async with source.opened():
        assert await source.find("key7") == "value 7, another"
        assert await source.find("key1999") == "value 1999"
        assert await source.find("key2000") is None
