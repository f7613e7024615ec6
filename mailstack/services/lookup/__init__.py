"""Lookups: one concept for every list of things.

Those with a library or a server behind them are imported when they are first named.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from .source import Source, Table, Unavailable

__all__ = [
    "CDB",
    "DBM",
    "HTTP",
    "LDAP",
    "SQL",
    "HTTPFile",
    "Redis",
    "SQLite",
    "Source",
    "Table",
    "Unavailable",
]

if TYPE_CHECKING:
    from .cdb import CDB
    from .dbm import DBM
    from .http import HTTP, HTTPFile
    from .ldap import LDAP
    from .redis import Redis
    from .sql import SQL
    from .sqlite import SQLite
else:
    _HOME = {
        "CDB": "cdb",
        "DBM": "dbm",
        "HTTP": "http",
        "HTTPFile": "http",
        "LDAP": "ldap",
        "Redis": "redis",
        "SQL": "sql",
        "SQLite": "sqlite",
    }

    def __getattr__(name):
        from importlib import import_module

        if name not in _HOME:
            raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
        globals()[name] = found = getattr(import_module(f".{_HOME[name]}", __name__), name)
        return found
