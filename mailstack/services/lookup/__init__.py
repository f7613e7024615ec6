"""Lookups: one concept for every list of things.

    from mailstack import lookup

    recipients.Domains("example.org", lookup.File("domains"))
    recipients.Users("example.org", known=lookup.Cached(lookup.SQL(…), keep="1d"))

Keys in, values out (source.py). Lists that are written, and files, are gathered into one table; all others are asked
key by key. Middleware asks through `domains`, `addresses`, `networks`, `words` and `Setting` (door.py), which know the
order of the keys.
"""

from __future__ import annotations

from .addresses import addresses
from .cached import Cached
from .cdb import CDB
from .dbm import DBM
from .domains import domains
from .door import Door
from .file import File
from .first import First
from .function import Function
from .http import HTTP, HTTPFile
from .inline import Inline
from .item import Item
from .ldap import LDAP
from .listing import Listed, Listing
from .named import named
from .negated import Not
from .networks import Networks, networks
from .redis import Redis
from .regexps import Regexps
from .setting import Setting
from .source import Source, Table, Unavailable
from .sql import SQL
from .sqlite import SQLite
from .words import words

__all__ = [
    "CDB",
    "DBM",
    "HTTP",
    "LDAP",
    "SQL",
    "Cached",
    "Door",
    "File",
    "First",
    "Function",
    "HTTPFile",
    "Inline",
    "Item",
    "Listed",
    "Listing",
    "Networks",
    "Not",
    "Redis",
    "Regexps",
    "SQLite",
    "Setting",
    "Source",
    "Table",
    "Unavailable",
    "addresses",
    "domains",
    "named",
    "networks",
    "words",
]
