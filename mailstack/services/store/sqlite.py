"""A store in an SQLite file: it outlives the server, and several servers of one machine may share it.

    SQLite("/var/lib/mailstack/limits.db")

The file is made if it is missing, with mode 0600; its folder must be there. Two more lie beside it while it is open
(-wal, -shm). It must be on a local disk: SQLite does not lock over NFS. A power failure may lose the last moments, and
nothing else. `sqlite3 FILE 'select * from entry'` shows what is kept.

The database is written in one worker thread of its own, so that the event loop never waits for a disk: 100 to 150 µs
for a call, of which SQLite takes 16. A value is read where it is asked for, in 10 µs: it lies in memory as a rule, and
in WAL mode nobody who writes makes a reader wait. What is put `soon` is remembered at once, and written with all else
that came within a second: one commit.

Who shares it sees one set of values, rates and places. Places belong to the server that took them: it says every ten
seconds that it lives, and what belongs to one that has not said so for a minute is free again.

Fails: at the start ConfigError for a file that cannot be opened, is locked, damaged, or of something else; later
`StoreError`, when it stays locked for `timeout`, or the disk is full.
"""

from __future__ import annotations

import os
import secrets
import sqlite3
import time
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Iterator, Mapping
from contextlib import asynccontextmanager, contextmanager
from typing import Any, TypeVar
from urllib.parse import quote

from anyio import CancelScope, CapacityLimiter, Lock, create_task_group, sleep, to_thread

from mailstack import log, option
from mailstack.option import ConfigError

from .bounds import StoreError, check
from .rate import Rate

__all__ = ["SQLite"]

T = TypeVar("T")

SCHEMA = 1  # PRAGMA user_version
BEAT = 10.0  # seconds between two signs of life
LIFE = 60.0  # seconds that one holds
SOON = 1.0  # seconds until what is put `soon` is written
_MOST_SOON = 10_000  # values that wait for that

_TABLES = (
    "CREATE TABLE entry (key TEXT PRIMARY KEY, value, expires REAL NOT NULL) WITHOUT ROWID",
    "CREATE INDEX entry_by_end ON entry (expires)",
    "CREATE TABLE server (id TEXT PRIMARY KEY, expires REAL NOT NULL) WITHOUT ROWID",
    "CREATE TABLE place (key TEXT, server TEXT, held INTEGER NOT NULL, PRIMARY KEY (key, server)) WITHOUT ROWID",
    f"PRAGMA user_version = {SCHEMA}",
)
_HELD = "SELECT sum(held) FROM place JOIN server ON server = id WHERE key = ? AND (expires > ? OR id = ?)"
_FIND = "SELECT value FROM entry WHERE key = ? AND expires > ?"
_SOME = "SELECT key, value, expires FROM entry WHERE key >= ? AND key < ? AND expires > ? ORDER BY key LIMIT 500"
_KEEP = "INSERT OR REPLACE INTO entry VALUES (?, ?, ?)"
_HOLD = "INSERT INTO place VALUES (?, ?, ?) ON CONFLICT (key, server) DO UPDATE SET held = held + excluded.held"


class SQLite:
    """path -- the file. size -- entries; what is more goes within ten seconds, those first that end first.

    timeout -- how long to wait for another process. make_folder -- whether its folder is made (0700) too.
    clock -- what time it is, in seconds since 1970; for tests.
    """

    def __init__(
        self,
        path: str | os.PathLike[str],
        *,
        size: int = 1_000_000,
        timeout: float | str = "2s",
        make_folder: bool = False,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self.path = os.path.abspath(os.path.expanduser(path))
        self.size = option.integer(size, name="SQLite(size)", minimum=1)
        self._timeout = option.duration(timeout, name="SQLite(timeout)")
        self._make_folder = make_folder
        self._clock = clock
        self._own = secrets.token_hex(8)
        self._database: sqlite3.Connection | None = None
        self._limiter: CapacityLimiter | None = None
        self._read_only = False
        self._open = 0
        self._opening = Lock()
        self._flushing = Lock()
        self._reader: sqlite3.Connection | None = None
        self._soon: dict[str, tuple[bytes, float]] = {}  # what is to be written: value and end, by key
        self._going: dict[str, tuple[bytes, float]] = {}  # what is being written
        self._problem = ""  # why the last write of them failed
        self._owed: list[str] = []  # places that were left, and are not given back yet

    @asynccontextmanager
    async def opened(self, *, read_only: bool = False) -> AsyncIterator[None]:
        async with self._opening:
            if not self._open:
                self._limiter = CapacityLimiter(1)
                self._read_only = read_only
                self._owed = []
                await to_thread.run_sync(self._connect, limiter=self._limiter)
            self._open += 1
        try:
            async with create_task_group() as group:
                if not read_only:
                    group.start_soon(self._live)
                yield
                group.cancel_scope.cancel()
        finally:
            if self._open == 1:
                with CancelScope(shield=True):
                    await self.flush()
            self._open -= 1
            if not self._open:
                with CancelScope(shield=True):
                    await to_thread.run_sync(self._close, limiter=self._limiter)

    # The contract.

    async def get(self, key: str) -> bytes | None:
        pending = self._soon.get(key) or self._going.get(key)
        if pending is not None:
            return pending[0] if pending[1] > self._clock() else None
        if self._reader is None:
            value = await self._do(self._find, key)
        else:
            try:
                row = self._reader.execute(_FIND, (key, self._clock())).fetchone()
                value = row and row[0]
            except sqlite3.Error:  # a checkpoint, another program's lock: the thread can wait for it
                value = await self._do(self._find, key)
        return value if isinstance(value, bytes) else None

    async def put(self, key: str, value: bytes, ttl: float, *, soon: bool = False) -> None:
        check(key, value, ttl)
        if not soon:
            await self._settle(key)
            await self._do(self._keep, key, value, ttl)
        elif not self._read_only:
            self._must_be_open()
            if self._problem:
                raise StoreError(self._problem)
            self._soon[key] = value, self._clock() + ttl
            if len(self._soon) >= _MOST_SOON:
                await self.flush()

    async def flush(self) -> None:
        """Write what was put `soon`. What cannot be written now is tried again; until then nothing more is taken."""
        if not self._soon and not self._going:
            return
        with CancelScope(shield=True):
            async with self._flushing:
                self._soon, self._going = {}, self._soon
                try:
                    await self._do(self._keep_all, self._going)
                    self._problem = ""
                except StoreError as error:
                    if str(error) != self._problem:
                        log.warning("store", path=self.path, problem=str(error))
                    self._problem = str(error)
                    self._soon = {**self._going, **self._soon}
                finally:
                    self._going = {}

    async def _settle(self, key: str) -> None:
        """What is pending for this key is written before something else happens to it."""
        if key in self._soon or key in self._going:
            await self.flush()

    async def items(self, prefix: str) -> AsyncGenerator[tuple[str, bytes, float], None]:
        await self.flush()
        last, end = prefix, prefix + "\x7f"  # keys are printable ASCII
        while found := await self._do(self._some, last, end):
            for key, value, expires in found:
                if isinstance(value, bytes):
                    yield key, value, expires - self._clock()
            last = found[-1][0] + "\0"

    def _some(self, first: str, end: str) -> list[tuple[str, Any, float]]:
        assert self._database is not None
        return self._database.execute(_SOME, (first, end, self._clock())).fetchall()

    async def put_new(self, key: str, value: bytes, ttl: float) -> bytes | None:
        check(key, value, ttl)
        await self._settle(key)

        def change() -> bytes | None:
            found = self._find(key)
            if isinstance(found, bytes):
                return found
            self._keep(key, value, ttl)
            return None

        return await self._do(change)

    async def delete(self, key: str) -> None:
        await self._settle(key)
        await self._do(self._change, "DELETE FROM entry WHERE key = ?", (key,))

    async def add(self, key: str, amount: int, ttl: float) -> int:
        check(key, ttl=ttl)

        def change() -> int:
            found = self._find(key)
            total = (found if isinstance(found, int) else 0) + amount
            if amount:
                self._keep(key, total, ttl)
            return total

        return await self._do(change)

    async def take(self, key: str, rate: Rate, cost: int = 1) -> float:
        check(key)

        def change() -> float:
            found, now = self._find(key), self._clock()
            wait, whole = rate.take(found if isinstance(found, float) else 0.0, now, cost)
            if not wait:
                self._keep(key, whole, whole - now)
            return wait

        return await self._do(change)

    async def enter(self, places: Mapping[str, int]) -> str | None:
        for key in places:
            check(key)

        def change() -> str | None:
            now = self._clock()
            for key, most in places.items():
                if (self._one(_HELD, (key, now, self._own)) or 0) >= most:
                    return key
            for key in places:
                self._change(_HOLD, (key, self._own, 1))
            return None

        return await self._do(change)

    async def leave(self, *keys: str) -> None:
        if self._read_only:
            return
        self._owed += keys
        try:
            with CancelScope(shield=True):
                await self._do(lambda: None)
        except StoreError as error:
            log.warning("store", path=self.path, problem=str(error))

    # In the thread.

    def _connect(self) -> None:
        self._reader = None
        with self._refusing():
            absent = not os.path.exists(self.path)
            if self._read_only and absent:  # nothing is remembered yet
                self._database = self._to_file(":memory:", "memory")
                self._create(self._database)
                return
            if absent:
                if self._make_folder:
                    os.makedirs(os.path.dirname(self.path), mode=0o700, exist_ok=True)
                os.close(os.open(self.path, os.O_RDWR | os.O_CREAT, 0o600))
            self._database = database = self._to_file(self.path, "ro" if self._read_only else "rw")
            try:
                self._prepare(database)
                if not self._read_only:
                    self._reader = self._to_file(self.path, "ro", 0.0)
            except BaseException:
                database.close()
                raise

    def _to_file(self, path: str, mode: str, timeout: float | None = None) -> sqlite3.Connection:
        return sqlite3.connect(
            f"file:{quote(path)}?mode={mode}",
            uri=True,
            timeout=self._timeout if timeout is None else timeout,
            isolation_level=None,
            check_same_thread=False,
        )

    def _prepare(self, database: sqlite3.Connection) -> None:
        [version] = database.execute("PRAGMA user_version").fetchone()
        [tables] = database.execute("SELECT count(*) FROM sqlite_schema").fetchone()
        if version != SCHEMA and (version or tables or self._read_only):
            raise ConfigError(
                f"SQLite({self.path!r}): the file is a database of something else, or of another version",
                remedy="name a file of its own, or move this one away: it holds nothing that lasts",
            )
        [found] = database.execute("PRAGMA quick_check(1)").fetchone()
        if found != "ok":
            raise sqlite3.DatabaseError(found)
        if self._read_only:
            return
        database.execute("PRAGMA journal_mode = WAL")
        database.execute("PRAGMA synchronous = NORMAL")
        if not tables:
            self._create(database)
        self._transaction(self._beat)

    def _create(self, database: sqlite3.Connection) -> None:
        """Make the tables, unless another server was quicker."""
        database.execute("BEGIN EXCLUSIVE")
        try:
            if not database.execute("SELECT count(*) FROM sqlite_schema").fetchone()[0]:
                for statement in _TABLES:
                    database.execute(statement)
            database.execute("COMMIT")
        except BaseException:
            database.execute("ROLLBACK")
            raise

    @contextmanager
    def _refusing(self) -> Iterator[None]:
        """What goes wrong at the start is told to the person who wrote the path."""
        try:
            yield
        except (OSError, sqlite3.Error, StoreError) as error:
            problem = error.strerror if isinstance(error, OSError) else str(error)
            raise ConfigError(
                f"SQLite({self.path!r}) cannot be used: {problem}", remedy=_remedy(error, self.path)
            ) from error

    def _close(self) -> None:
        database, self._database = self._database, None
        reader, self._reader = self._reader, None
        assert database is not None
        if reader is not None:
            reader.close()
        try:
            if not self._read_only:
                database.execute("DELETE FROM place WHERE server = ?", (self._own,))
                database.execute("DELETE FROM server WHERE id = ?", (self._own,))
        except sqlite3.Error as error:
            log.warning("store", path=self.path, problem=str(error))  # they are free in a minute
        finally:
            database.close()

    def _one(self, query: str, values: tuple[object, ...]) -> Any:
        assert self._database is not None
        row = self._database.execute(query, values).fetchone()
        return row and row[0]

    def _change(self, query: str, values: tuple[object, ...]) -> None:
        assert self._database is not None
        if not self._read_only:
            self._database.execute(query, values)

    def _find(self, key: str) -> Any:
        return self._one(_FIND, (key, self._clock()))

    def _keep(self, key: str, value: bytes | int | float, ttl: float) -> None:
        self._change(_KEEP, (key, value, self._clock() + ttl))

    def _keep_all(self, values: Mapping[str, tuple[bytes, float]]) -> None:
        assert self._database is not None
        self._database.executemany(_KEEP, [(key, value, end) for key, (value, end) in values.items()])

    def _transaction(self, work: Callable[..., T], *values: object) -> T:
        """All or nothing; whoever comes at the same time waits. What is owed is paid first."""
        database, owed = self._database, tuple(self._owed)
        assert database is not None
        try:
            database.execute("BEGIN" if self._read_only else "BEGIN IMMEDIATE")
            try:
                for key in owed:
                    self._change("UPDATE place SET held = held - 1 WHERE key = ? AND server = ?", (key, self._own))
                    self._change("DELETE FROM place WHERE key = ? AND server = ? AND held <= 0", (key, self._own))
                result = work(*values)
                database.execute("COMMIT")
            except BaseException:
                if database.in_transaction:
                    database.execute("ROLLBACK")
                raise
        except sqlite3.Error as error:
            raise StoreError(f"{self.path}: {error}") from error
        del self._owed[: len(owed)]
        return result

    def _beat(self) -> None:
        """Say that this server lives, and clear away what nobody will ask for."""
        now = self._clock()
        self._change("INSERT OR REPLACE INTO server VALUES (?, ?)", (self._own, now + LIFE))
        self._change("DELETE FROM server WHERE expires <= ?", (now,))
        self._change("DELETE FROM place WHERE server NOT IN (SELECT id FROM server)", ())
        self._change("DELETE FROM entry WHERE expires <= ?", (now,))
        surplus = self._one("SELECT count(*) FROM entry", ()) - self.size
        if surplus > 0:
            self._change("DELETE FROM entry WHERE key IN (SELECT key FROM entry ORDER BY expires LIMIT ?)", (surplus,))

    async def beat(self) -> None:
        """What is done every ten seconds."""
        try:
            await self._do(self._beat)
        except StoreError as error:
            log.warning("store", path=self.path, problem=str(error))

    async def _live(self) -> None:
        while True:
            for _ in range(round(BEAT / SOON)):
                await sleep(SOON)
                await self.flush()
            await self.beat()

    def _must_be_open(self) -> None:
        if not self._open:
            raise RuntimeError("the store is not open: write `async with store.opened()` in `lifespan`")

    async def _do(self, work: Callable[..., T], *values: object) -> T:
        self._must_be_open()
        return await to_thread.run_sync(self._transaction, work, *values, limiter=self._limiter)


def _remedy(error: Exception, path: str) -> str:
    words = str(error)
    if isinstance(error, FileNotFoundError):
        return f"make its folder: mkdir -p {os.path.dirname(path)}"
    if isinstance(error, OSError) or "readonly" in words or "unable to open" in words:
        return "name a file that this user may write, in a folder that he may write too"
    if "locked" in words:
        return "another program holds it: end that one"
    return "move the file away, with those that end in -wal and -shm: it holds nothing that lasts"
