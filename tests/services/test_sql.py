"""The door to SQL databases, as far as it needs none but SQLite: what it refuses, and what it tells."""

from __future__ import annotations

import builtins
import sqlite3
from pathlib import Path
from typing import Any

import pytest

from mailstack import ConfigError
from mailstack.services.lookup import SQL, Unavailable

pytest.importorskip("sqlalchemy")

from mailstack.services.sql import Database


@pytest.mark.parametrize(
    ("url", "words"),
    [
        ("", "no URL of a database"),
        ("mail:secret", "no URL of a database"),
        ("nosuch://u:secret@h/d", "no URL of a database"),
        ("postgresql+nosuch://u:secret@h/d", "no URL of a database"),
        ("postgresql+asyncpg://u:secret@h/d", "asyncio alone"),
        ("sqlite+aiosqlite:///x", "asyncio alone"),
        ("postgresql+pg8000://u:secret@h/d", 'pip install "pg8000"'),
        ("postgresql+psycopg://u:secret@h:x/d", "no URL of a database"),
    ],
)
def test_an_url_of_no_use_is_told_without_its_password(url: str, words: str) -> None:
    with pytest.raises(ConfigError) as told:
        Database(url)
    assert words in str(told.value)
    assert "secret" not in str(told.value)


def test_without_sqlalchemy_the_command_of_pip_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    import_module = builtins.__import__

    def absent(name: str, *rest: Any) -> Any:
        if name == "sqlalchemy":
            raise ModuleNotFoundError(name=name)
        return import_module(name, *rest)

    monkeypatch.setattr("importlib.import_module", absent)
    with pytest.raises(ConfigError) as told:
        Database("sqlite://")
    assert 'pip install "mailstack[sql]"' in str(told.value)


def test_a_query_must_ask_for_the_key_and_for_nothing_else() -> None:
    for query in ("SELECT 1", "SELECT :other", "SELECT :key, :other"):
        with pytest.raises(ConfigError, match="does not ask for the key"):
            SQL("sqlite://", query)
    with pytest.raises(ConfigError, match="the Database's"):
        SQL(Database("sqlite://"), "SELECT :key", pool=3)


async def test_lookups_share_a_database_and_change_nothing(tmp_path: Path) -> None:
    path = tmp_path / "db"
    with sqlite3.connect(path) as connection:
        connection.execute("CREATE TABLE t (name, value)")
        connection.execute("INSERT INTO t VALUES ('ann', 'one')")
    connection.close()
    database = Database(f"sqlite:///{path}")
    one, two = (
        SQL(database, "SELECT value FROM t WHERE name = :key"),
        SQL(database, "SELECT 1 FROM t WHERE :key = name"),
    )
    async with one.opened(), two.opened():
        assert [await one.find("ann"), await two.find("ann"), await two.find("bob")] == ["one", "1", None]
        assert await database.rows("DELETE FROM t WHERE name = :name RETURNING name", name="ann") == [("ann",)]
        assert await one.find("ann") == "one"
        with pytest.raises(Unavailable, match="syntax error"):
            await database.rows("SELEKT :key", key="private")


def test_the_password_is_not_shown() -> None:
    pytest.importorskip("psycopg")
    assert str(Database("postgresql+psycopg://u:secret@h/d")) == "postgresql+psycopg://u:***@h/d"
