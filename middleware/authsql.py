"""authsql: logins whose passwords lie in an SQL database.

    authsql.SQL("postgresql+psycopg://mail:secret@db/mail", "SELECT password FROM users WHERE login = :user")
    authsql.SQL(
        "mysql+pymysql://mail:secret@db/mail",
        "SELECT hash, scram, active FROM users WHERE name = :local AND domain = :domain",
        columns=("stored", "stored", "enabled"),
        offer="SCRAM-SHA-256",
    )
    authsql.vpopmail("mysql+pymysql://vpopmailuser:vpoppasswd@127.0.0.1/vpopmail")

The query gets `:user`, the name that the client gave, `:local`, what stands before its last "@", and `:domain`, the
rest; they are bound, and stand nowhere else. Names come in lower case, unless `case_sensitive=True`. A name without a
domain gets `domain`; where the query asks for `:domain` and there is none, nobody is asked and the user is unknown.

What the columns are is said by `columns`; NULL and empty text are nothing:
    stored      a hash or keys for SCRAM, in any form of services/passwords/stored.py: "$2y$…", "{SSHA512}…",
                "SCRAM-SHA-256$…", with `weak=True` also what is no protection. "!" or "*" locks the user.
    clear       the password itself, without "{PLAIN}" before it
    identity    who the user is once he has logged in; else he is the name that was asked for, completed
    enabled     whether he may log in: true, 1, "y"; of several rows those count that are enabled
Several rows are several passwords of one user, at most 20 in all. No row: another provider may know the user. A row
without a password, or a locked one: 535.

EHLO offers what needs a password, PLAIN and LOGIN. Of SCRAM and CRAM-MD5 a client picks one because it is offered, and
then it must not fail: name them in `offer` where all users have what they need (`SCRAM-SHA-256`: keys or clear text).

A database that is down, late, or answers what makes no sense is 454, and an error in the log that names no secret. A
query may take `timeout`; it is rolled back, so it changes nothing; give the database's user no more than SELECT.
Comparing the password is done here, in threads (services/passwords). Keep one scheme and cost for all users: an unknown
one costs what the slowest that was seen costs.

`vpopmail` asks the table of vpopmail with MySQL or PostgreSQL, in its usual form (all domains in one table): pw_passwd
and pw_clear_passwd of pw_name and pw_domain, but not of users whose flag NO_SMTP is set. `clear=False` where it was
built without clear text; `weak=True` where passwords are DES-CRYPT. Alias domains are not known to the table.

Needs `pip install "mailstack[sql,auth]"` and a driver: psycopg, pymysql.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from typing import Final

from mailstack import option
from mailstack.contract.hookspec import LiveOn, hookimpl
from mailstack.option import ConfigError
from mailstack.services import passwords
from mailstack.services.lookup import Unavailable
from mailstack.services.sql import Database
from mailstack.session.credentials import Challenge, Credentials, Password
from mailstack.wire.reply import Reply

__all__ = ["SQL", "vpopmail"]

COLUMNS: Final = ("stored", "clear", "identity", "enabled")
PARAMETERS: Final = frozenset(("user", "local", "domain"))
NO_SMTP: Final = 0x800  # of vpopmail's pw_gid

_YES: Final = ("1", "t", "true", "y", "yes", "on")
_TABLE: Final = re.compile(r"[A-Za-z_][A-Za-z0-9_]*(?:\.[A-Za-z_][A-Za-z0-9_]*)?")


class SQL:
    """url -- as SQLAlchemy writes it, or a `services.sql.Database`. query, columns -- as above.

    offer -- mechanisms beside PLAIN and LOGIN: "SCRAM-SHA-256", "SCRAM-SHA-1", "CRAM-MD5".
    weak -- whether hashes that are no protection are taken. domain -- of who gives none.
    case_sensitive -- whether names come as the client wrote them.
    pool -- connections at once, 5. timeout -- how long a query may take, 5 s.

    ConfigError for a URL, a query or columns that make no sense, and for a library that is missing.
    """

    name = "authsql"
    rehearsable = True

    def __init__(
        self,
        url: str | Database,
        query: str,
        *,
        columns: str | Iterable[str] = "stored",
        offer: str | Iterable[str] = (),
        weak: bool = False,
        domain: str | None = None,
        case_sensitive: bool = False,
        pool: int = 5,
        timeout: float | str = "5s",
    ) -> None:
        database = url if isinstance(url, Database) else Database(url, pool=pool, timeout=timeout, name="SQL(url)")
        self._database = database
        self._query = query
        self._columns = _columns(columns)
        self._asked = _parameters(self._database, query)
        self.mechanisms = passwords.offered(offer, name="SQL(offer)")
        self._weak = option.boolean(weak, name="SQL(weak)")
        self._domain = "" if domain is None else option.domain(domain, name="SQL(domain)")
        self._case = option.boolean(case_sensitive, name="SQL(case_sensitive)")
        self._judge = passwords.Judge()

    @hookimpl
    async def lifespan(self, call_next: LiveOn) -> None:
        async with self._database.opened():
            await call_next()

    @hookimpl
    async def auth(self, credentials: Credentials) -> Reply | None:
        if not isinstance(credentials, Password | Challenge):
            return None
        return await self._judge.judge(credentials, await self._account(credentials.user))

    async def _account(self, name: str) -> passwords.Account | None:
        """What the database has of the user. Unavailable."""
        name = name if self._case else name.lower()
        local, _, domain = name.rpartition("@") if "@" in name else (name, "", self._domain)
        if not name.isprintable() or ("domain" in self._asked and not domain):
            return None
        user = f"{local}@{domain}" if domain else local
        values = {"user": user, "local": local, "domain": domain}
        rows = await self._database.rows(self._query, **{key: values[key] for key in self._asked})
        try:
            return self._read(user, rows) if rows else None
        except passwords.Unreadable as error:
            raise Unavailable(f"{self._database}: of {user!r}: {error}") from None

    def _read(self, user: str, rows: Sequence[Sequence[object]]) -> passwords.Account:
        found: dict[str, list[str]] = {column: [] for column in COLUMNS}
        for row in rows:
            if len(row) != len(self._columns):
                words = f"{len(row)} columns, and not {len(self._columns)}: {', '.join(self._columns)}"
                raise Unavailable(f"{self._database}: the query gives {words}")
            cells = [(column, _text(value)) for column, value in zip(self._columns, row, strict=True)]
            if all(text.lower() in _YES for column, text in cells if column == "enabled"):
                for column, text in cells:
                    if text:
                        found[column].append(text)
        identity = found["identity"][0] if found["identity"] else user
        return passwords.account(identity, found["stored"], clear=found["clear"], weak=self._weak)


def _columns(given: str | Iterable[str]) -> tuple[str, ...]:
    columns = tuple(
        option.choice(each, *COLUMNS, name="SQL(columns)") for each in ([given] if isinstance(given, str) else given)
    )
    if not {"stored", "clear"} & set(columns):
        raise ConfigError("SQL(columns) has no password", remedy='name what the columns are: columns=("stored", …)')
    return columns


def _parameters(database: Database, query: str) -> frozenset[str]:
    asked = database.parameters(query)
    if unknown := asked - PARAMETERS:
        raise ConfigError(f"SQL(query) has :{min(unknown)}", remedy="there are :user, :local and :domain")
    if not asked & {"user", "local"}:
        raise ConfigError(
            "SQL(query) asks for no user", remedy='write "SELECT password FROM users WHERE login = :user"'
        )
    return asked


def _text(value: object) -> str:
    """A cell. Numbers are those of `enabled`."""
    match value:
        case None:
            return ""
        case str():
            return value
        case bytes() | bytearray() | memoryview():
            try:
                return bytes(value).decode()
            except UnicodeDecodeError:
                raise passwords.Unreadable("a column is not UTF-8") from None
        case _:
            return str(int(value)) if isinstance(value, int) else str(value)


def vpopmail(
    url: str | Database,
    *,
    table: str = "vpopmail",
    clear: bool = True,
    offer: str | Iterable[str] = (),
    weak: bool = False,
    domain: str | None = None,
    pool: int = 5,
    timeout: float | str = "5s",
) -> SQL:
    """`SQL` with the query for vpopmail's table. clear -- whether it has pw_clear_passwd; the rest is as in `SQL`."""
    if not _TABLE.fullmatch(table):
        raise ConfigError(f"vpopmail(table): {table!r} is no name of a table", remedy='write table="vpopmail"')
    with_clear = option.boolean(clear, name="vpopmail(clear)")
    # CHAR columns are filled with blanks.
    query = (
        f"SELECT rtrim(pw_passwd){', rtrim(pw_clear_passwd)' if with_clear else ''}, "
        f"CASE WHEN (coalesce(pw_gid, 0) & {NO_SMTP}) = 0 THEN 1 ELSE 0 END "
        f"FROM {table} WHERE pw_name = :local AND pw_domain = :domain"
    )
    columns = ("stored", "clear", "enabled") if with_clear else ("stored", "enabled")
    return SQL(url, query, columns=columns, offer=offer, weak=weak, domain=domain, pool=pool, timeout=timeout)
