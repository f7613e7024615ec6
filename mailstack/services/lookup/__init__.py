"""Lookups: one concept for every list of things."""

from __future__ import annotations

from .cdb import CDB
from .dbm import DBM
from .http import HTTP, HTTPFile
from .ldap import LDAP
from .redis import Redis
from .source import Source, Table, Unavailable
from .sql import SQL
from .sqlite import SQLite

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
