"""A lookup in an SQLite database.

    lookup.SQLite("/etc/mail/users.db", "SELECT quota FROM users WHERE address = :key")

The value is the first column, of all rows. NULL is no value: where the row alone counts, ask for something that is
never NULL ("SELECT 1 …", "SELECT coalesce(quota, '') …"). The key is bound to `:key` and stands nowhere else. The
database is opened for reading; another program may write to it meanwhile, and may replace it. To make one:

    sqlite3 /etc/mail/users.db "CREATE TABLE users (address TEXT PRIMARY KEY COLLATE NOCASE, quota)"

Fails: ConfigError at the start, for a file that is no database, or a query that it cannot answer; Unavailable later,
also when a query takes longer than `timeout` or another program keeps the database locked for so long.
"""

from __future__ import annotations

import os
import re
import sqlite3
import time
from contextlib import AbstractAsyncContextManager
from urllib.parse import quote

from mailstack.option import ConfigError

from .answer import joined, written
from .on_disk import OnDisk, by_inode
from .source import Unavailable

__all__ = ["SQLite", "from_text"]

_KEY = re.compile(r":key\b")
_REMEDY = "look at the query, and at whether the file is a database of SQLite"
_STEPS = 10_000  # of SQLite's machine between two looks at the clock, about a millisecond
_MOST = 10_000  # rows of one answer


class SQLite:
    """path -- the database. query -- one SELECT with `:key`. timeout -- for one question, 5 s."""

    def __init__(self, path: str | os.PathLike[str], query: str, *, timeout: float | str = "5s") -> None:
        if not _KEY.search(query):
            raise ConfigError(
                f"SQLite(query): {query!r} does not ask for the key", remedy='write "… WHERE address = :key"'
            )
        self.query = query
        self._file = OnDisk(path, timeout, open=self._open, name="SQLite", remedy=_REMEDY, identity=by_inode)

    def opened(self) -> AbstractAsyncContextManager[None]:
        return self._file.opened()

    async def find(self, key: str) -> str | None:
        octets = written(key)
        return None if octets is None else joined(await self._file.find(octets))

    def _open(self, path: str) -> _Database:
        return _Database(path, self.query, self._file.timeout)


def from_text(text: str) -> SQLite:
    """From "sqlite:/path/to/users.db SELECT … WHERE name = :key"."""
    path, _, query = text.removeprefix("sqlite:").partition(" ")
    return SQLite(path, query)


class _Database:
    """One that is open, in the thread."""

    __slots__ = ("_connection", "_deadline", "_query", "_timeout")

    def __init__(self, path: str, query: str, timeout: float) -> None:
        self._query = query
        self._timeout = timeout
        self._deadline = 0.0
        with _told():
            self._connection = sqlite3.connect(
                f"file:{quote(path)}?mode=ro", uri=True, timeout=timeout, check_same_thread=False, isolation_level=None
            )
        try:
            with _told():
                self._connection.execute("PRAGMA query_only = 1")
                self._connection.execute(f"EXPLAIN {query}", {"key": ""}).close()
        except BaseException:
            self._connection.close()
            raise
        self._connection.set_progress_handler(lambda: time.monotonic() > self._deadline, _STEPS)

    def find(self, key: bytes) -> list[object]:
        self._deadline = time.monotonic() + self._timeout
        with _told():
            rows = self._connection.execute(self._query, {"key": key.decode()}).fetchmany(_MOST + 1)
        if len(rows) > _MOST:
            raise Unavailable(f"more than {_MOST} rows")
        return [row[0] for row in rows]

    def close(self) -> None:
        self._connection.close()


class _told:
    """What SQLite says, said as Unavailable."""

    __slots__ = ()

    def __enter__(self) -> None: ...

    def __exit__(self, kind: object, error: BaseException | None, traceback: object) -> None:
        if isinstance(error, (sqlite3.Error, sqlite3.Warning)):
            raise Unavailable(str(error)) from error
