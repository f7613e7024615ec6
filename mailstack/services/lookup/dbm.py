"""A lookup in a file of the dbm family: what `makemap`, `postmap` and Python's own `dbm` make.

    lookup.DBM("/etc/mail/access")              # access, or access.db, access.pag, access.dat

Which kind it is shows the file; Python must have the module for it. Debian's python3 reads Berkeley DB and ndbm (the
"hash:" and "dbm:" of others) itself, GNU dbm with the package python3-gdbm, `dbm.dumb` everywhere. Records whose key
and value end in a NUL, as Sendmail and Postfix write them, are found too. It is opened for reading, and again when it
was replaced or written to: whoever makes it writes another file and renames it.

Fails: ConfigError at the start, for a file that cannot be read or whose module is missing; Unavailable later. Letter
case counts, as it does for who made the file: those tools store keys in small letters.
"""

from __future__ import annotations

import dbm
import os
from collections.abc import Sequence
from contextlib import AbstractAsyncContextManager
from typing import Any

from mailstack.option import ConfigError

from .answer import joined, written
from .on_disk import Identity, OnDisk, by_content
from .source import Unavailable

__all__ = ["DBM", "from_text"]

_ENDINGS = (".db", ".pag", ".dat", "")  # in this order: "access" is often the text that "access.db" is made of
_PACKAGES = {"dbm.gnu": "python3-gdbm"}  # of Debian


class DBM:
    """path -- with or without the ending that its kind has. timeout -- for one question, 5 s."""

    def __init__(self, path: str | os.PathLike[str], *, timeout: float | str = "5s") -> None:
        self._file = OnDisk(path, timeout, open=_open, name="DBM", identity=_identity)

    def opened(self) -> AbstractAsyncContextManager[None]:
        return self._file.opened()

    async def find(self, key: str) -> str | None:
        octets = written(key)
        return None if octets is None else joined(await self._file.find(octets))


def from_text(text: str) -> DBM:
    """From "dbm:/etc/mail/access"."""
    return DBM(text.removeprefix("dbm:"))


class _Database:
    """One that is open, in the thread."""

    __slots__ = ("_database",)

    def __init__(self, database: Any) -> None:
        self._database = database

    def find(self, key: bytes) -> Sequence[object]:
        try:
            for each in (key, key + b"\0"):
                if each in self._database:
                    return [bytes(self._database[each]).removesuffix(b"\0")]
        except _ERRORS as error:
            raise Unavailable(str(error)) from error
        return []

    def close(self) -> None:
        self._database.close()


class _Copy(dict[bytes, bytes]):
    """All of a `dbm.dumb`, which opens its file again for each value: a replaced one would be read by the old index."""

    def __init__(self, database: Any) -> None:
        super().__init__((key, database[key]) for key in database)
        database.close()

    def close(self) -> None:
        self.clear()


def _open(path: str) -> _Database:
    bare = path.removesuffix(_ending(path))
    kind = dbm.whichdb(path) or dbm.whichdb(bare)
    name = path if dbm.whichdb(path) else bare
    if not kind:
        raise Unavailable("it is of no kind that Python's dbm knows")
    try:
        mode: Any = "ru" if kind == "dbm.gnu" else "r"  # u: not locked against who writes it
        database = dbm.open(name, mode)  # noqa: SIM115
        return _Database(_Copy(database) if kind == "dbm.dumb" else database)
    except _ERRORS as error:
        if "not available" in str(error):
            raise ConfigError(
                f"DBM({path!r}) is a file for {kind}, which this Python does not have",
                remedy=f"apt install {_PACKAGES.get(kind, 'python3')}, or make a SQLite or CDB file of it",
            ) from error
        raise Unavailable(str(error)) from error


def _ending(path: str) -> str:
    return next((each for each in _ENDINGS[:-1] if path.endswith(each) and os.path.exists(path)), "")


def _identity(path: str) -> Identity:
    for ending in _ENDINGS:
        if os.path.exists(path + ending):
            return by_content(path + ending)
    return by_content(path)


_ERRORS = (*dbm.error, KeyError, SyntaxError, TypeError, UnicodeError)  # dbm.dumb parses its index as Python
