"""A lookup in a database of a server: PostgreSQL, MySQL, MariaDB, and whatever else SQLAlchemy speaks to.

    lookup.SQL("postgresql+psycopg://mail:secret@db/mail", "SELECT target FROM aliases WHERE address = :key")

The value is the first column, of all rows. NULL is no value: where the row alone counts, ask for something that is
never NULL ("SELECT 1 …"). The key is bound to `:key` and stands nowhere else. A query is rolled back: it changes
nothing. Give the database's user no more than SELECT. Several lookups may share one `services.sql.Database`, and so its
connections.

Fails: ConfigError when it is made; Unavailable as services/sql.py says. A database that is down does not keep a server
from starting: mail that needs it is deferred.

Needs `pip install "mailstack[sql]"` and a driver, for instance `pip install "psycopg[binary]"`.
"""

from __future__ import annotations

from contextlib import AbstractAsyncContextManager

from mailstack.option import ConfigError

from ..sql import Database
from .answer import joined, written

__all__ = ["SQL", "from_text"]


class SQL:
    """url -- as SQLAlchemy writes it, or a Database. query -- with `:key`. pool -- connections, 5. timeout -- 5 s."""

    def __init__(
        self, url: str | Database, query: str, *, pool: int | None = None, timeout: float | str | None = None
    ) -> None:
        if isinstance(url, Database):
            if pool is not None or timeout is not None:
                raise ConfigError("SQL: pool and timeout are the Database's", remedy="write them there")
            self.database = url
        else:
            self.database = Database(url, pool=pool or 5, timeout="5s" if timeout is None else timeout)
        self.query = query
        if self.database.parameters(query) != {"key"}:
            raise ConfigError(
                f"SQL(query): {query!r} does not ask for the key, or for something else too",
                remedy='write "… WHERE address = :key"',
            )

    def opened(self) -> AbstractAsyncContextManager[None]:
        return self.database.opened()

    async def find(self, key: str) -> str | None:
        if written(key) is None:
            return None
        return joined(row[0] for row in await self.database.rows(self.query, key=key))


def from_text(text: str) -> SQL:
    """From "postgresql+psycopg://user@host/database SELECT … WHERE name = :key", of any dialect behind "sql:"."""
    url, _, query = text.removeprefix("sql:").partition(" ")
    return SQL(url, query)
