"""A database behind SQLAlchemy, asked from async code: for lookups and for providers of AUTH.

    database = sql.Database("postgresql+psycopg://mail:secret@db/mail")
    async with database.opened():
        rows = await database.rows("SELECT quota FROM users WHERE name = :name", name=name)

Any database of SQLAlchemy whose driver is not an asyncio one: its synchronous engine works in threads of our own, which
is right on every backend. Values go in as bound parameters (`:name`) and in no other way. Each query is a transaction
that is rolled back: what is asked changes nothing.

Promised: at most `pool` queries at once, each with a deadline. A connection that has died is replaced before it is used
(`pool_pre_ping`). Neither the password of the URL nor a parameter's value stands in a log or an error.

Fails: ConfigError when it is made, for a URL that cannot be used or a driver that is not installed, with the command of
pip; `lookup.Unavailable` for a query that could not be answered: the server is down or late, the query is wrong, more
than `MOST` rows came. RuntimeError when it is not open.

Needs `pip install "mailstack[sql]"` and a driver: psycopg, pymysql, …; that for SQLite comes with Python.
"""

from __future__ import annotations

import math
from collections.abc import AsyncIterator, Callable, Iterable, Mapping
from contextlib import asynccontextmanager, suppress
from typing import Any

from anyio import CancelScope

from mailstack import extra, option
from mailstack.option import ConfigError

from .unavailable import Unavailable
from .workers import Workers

__all__ = ["MOST", "Database"]

MOST = 10_000  # rows of one answer

Row = tuple[Any, ...]


def _libpq(seconds: float) -> dict[str, int]:
    return {"connect_timeout": max(2, math.ceil(seconds)), "tcp_user_timeout": math.ceil(seconds * 1000)}


def _mysql(seconds: float) -> dict[str, int]:
    return dict.fromkeys(("connect_timeout", "read_timeout", "write_timeout"), math.ceil(seconds))


# What tells a driver to give up, so that no thread waits for a machine that has gone. What the URL says, stays.
_DEADLINES: Mapping[str, Callable[[float], dict[str, int]]] = {
    "psycopg": _libpq,
    "psycopg2": _libpq,
    "pymysql": _mysql,
    "mysqldb": _mysql,
}
_DRIVERS = {"MySQLdb": "mysqlclient", "psycopg": "psycopg[binary]", "psycopg2": "psycopg2-binary"}  # module: package


class Database:
    """url -- as SQLAlchemy writes it: "dialect+driver://user:password@host/name". pool -- connections, 5.

    timeout -- how long a query may take, connecting included, 5 s. name -- what errors call it.
    """

    def __init__(self, url: str, *, pool: int = 5, timeout: float | str = "5s", name: str = "SQL(url)") -> None:
        self._sqlalchemy = extra.require("sqlalchemy", "mailstack[sql]")
        self.pool = option.integer(pool, name=f"{name} pool", minimum=1)
        self.timeout = option.duration(timeout, name=f"{name} timeout", minimum=0.001)
        self._engine = self._make(url, name)
        self._workers: Workers | None = None
        self._open = 0

    def __str__(self) -> str:
        """The URL without its password."""
        return str(self._engine.url.render_as_string(hide_password=True))

    def parameters(self, query: str) -> frozenset[str]:
        """The names that a query has parameters for: {"key"} for "… WHERE name = :key"."""
        return frozenset(self._sqlalchemy.text(query).compile().params)

    @asynccontextmanager
    async def opened(self) -> AsyncIterator[None]:
        """Hold it open; several may. It connects when first asked: a server may start before its database."""
        if not self._open:
            self._workers = Workers(self.pool, timeout=self.timeout)
        self._open += 1
        try:
            yield
        finally:
            self._open -= 1
            if not self._open:
                await self._close()

    async def rows(self, query: str, /, **parameters: object) -> list[Row]:
        """All rows of the answer, as tuples. Unavailable."""
        if self._workers is None:
            raise RuntimeError("the database is not open: write `async with database.opened()` in `lifespan`")
        try:
            return await self._workers.run(lambda: self._ask(query, parameters))
        except TimeoutError as error:
            raise Unavailable(f"{self}: {str(error) or f'no answer in {self.timeout:g} s'}") from error
        except (self._sqlalchemy.exc.SQLAlchemyError, OSError, UnicodeError) as error:
            raise Unavailable(f"{self}: {_first_line(error)}") from error

    def _ask(self, query: str, parameters: Mapping[str, object]) -> list[Row]:
        """In a thread."""
        with self._engine.connect() as connection:
            found = _tuples(connection.execute(self._sqlalchemy.text(query), parameters).fetchmany(MOST + 1))
        if len(found) > MOST:
            raise Unavailable(f"{self}: more than {MOST} rows")
        return found

    async def _close(self) -> None:
        workers, self._workers = self._workers, None
        assert workers is not None
        with CancelScope(shield=True), suppress(TimeoutError):
            await workers.run(self._engine.dispose)
        workers.close()

    def _make(self, url: str, name: str) -> Any:
        """The engine. Nothing connects yet."""
        try:
            parsed = self._sqlalchemy.engine.make_url(url)
            dialect = parsed.get_dialect()
            if dialect.is_async:
                raise ConfigError(
                    f"{name}: {dialect.driver} is a driver for asyncio alone",
                    remedy='name a synchronous one: "postgresql+psycopg://…", "mysql+pymysql://…", "sqlite:///…"',
                )
            given = _deadlines(dialect.driver, self.timeout)
            return self._sqlalchemy.create_engine(
                parsed,
                poolclass=self._sqlalchemy.pool.QueuePool,
                pool_size=self.pool,
                max_overflow=self.pool,  # for calls that hang
                pool_timeout=self.timeout,
                pool_pre_ping=True,
                hide_parameters=True,
                connect_args={key: value for key, value in given.items() if key not in parsed.query},
            )
        except (self._sqlalchemy.exc.ArgumentError, ValueError) as error:  # NoSuchModuleError is one
            raise ConfigError(
                f"{name}: this is no URL of a database: {_first_line(error).replace(str(url), '…')}",
                remedy='write "postgresql+psycopg://user:password@host/database" or "sqlite:////path/to/file.db"',
            ) from None
        except ModuleNotFoundError as error:
            module = error.name or "driver"
            raise ConfigError(
                f"{name}: the driver {module} is not installed", remedy=f'pip install "{_DRIVERS.get(module, module)}"'
            ) from None


def _deadlines(driver: str, seconds: float) -> dict[str, int]:
    make = _DEADLINES.get(driver)
    return make(seconds) if make else {}


def _tuples(rows: Iterable[Iterable[Any]]) -> list[Row]:
    return [tuple(row) for row in rows]


def _first_line(error: BaseException) -> str:
    """What went wrong, without SQLAlchemy's copy of the query."""
    return str(getattr(error, "orig", None) or error).strip().partition("\n")[0]
