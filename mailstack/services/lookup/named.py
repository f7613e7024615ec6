"""A source by its name: text that a person types in a shell, "scheme:the rest".

    source = named("file:/etc/mail/domains")

`SCHEMES` holds who makes the source of each scheme: "module.function" of this package, imported when it is asked for.
The function takes the whole text, the scheme included, and raises ConfigError for what it cannot be.
"""

from __future__ import annotations

import difflib
from importlib import import_module
from typing import Any

from mailstack.option import ConfigError

from .source import Source

__all__ = ["SCHEMES", "named"]

# What `mailstack lookup` calls it -> who makes it, and an example for the person who misspelt it.
SCHEMES: dict[str, tuple[str, str]] = {
    "cdb": ("cdb.from_text", "cdb:/etc/mail/users.cdb"),
    "cidr": ("networks.from_text", "cidr:/etc/mail/networks"),
    "dbm": ("dbm.from_text", "dbm:/etc/mail/access"),
    "file": ("file.from_text", "file:/etc/mail/domains"),
    "http": ("http.from_text", "http://127.0.0.1/users/{key}"),
    "https": ("http.from_text", "https://example.org/users/{key}"),
    "ldap": ("ldap.from_text", "ldap://127.0.0.1/ou=people,dc=example,dc=org?mail?sub?(uid={key})"),
    "ldapi": ("ldap.from_text", "ldapi://%2Frun%2Fslapd%2Fldapi/dc=example,dc=org?mail?sub?(uid={key})"),
    "ldaps": ("ldap.from_text", "ldaps://ldap.example.org/ou=people,dc=example,dc=org?mail?sub?(uid={key})"),
    "mysql+pymysql": ("sql.from_text", "mysql+pymysql://mail@db/mail SELECT 1 FROM users WHERE name = :key"),
    "postgresql+psycopg": ("sql.from_text", "postgresql+psycopg://mail@db/mail SELECT 1 FROM users WHERE name = :key"),
    "redis": ("redis.from_text", "redis://127.0.0.1/0?set=domains"),
    "rediss": ("redis.from_text", "rediss://redis.example.org/0?set=domains"),
    "regexp": ("regexps.from_text", "regexp:/etc/mail/patterns"),
    "sql": ("sql.from_text", "sql:sqlite:////etc/mail/users.db SELECT 1 FROM users WHERE name = :key"),
    "sqlite": ("sqlite.from_text", "sqlite:/etc/mail/users.db SELECT 1 FROM users WHERE name = :key"),
}


def named(text: str) -> Source:
    """The source that the text names. ConfigError for an unknown scheme, and for what its maker refuses."""
    scheme, colon, _ = text.partition(":")
    if not colon or scheme.lower() not in SCHEMES:
        close = difflib.get_close_matches(scheme.lower(), SCHEMES, n=1)
        example = SCHEMES[close[0]][1] if close else "file:/etc/mail/domains"
        known = ", ".join(f"{each}:" for each in sorted(SCHEMES))
        raise ConfigError(f"{text!r} names no lookup", remedy=f'write "{example}"; there are {known}')
    module, _, function = SCHEMES[scheme.lower()][0].partition(".")
    make: Any = getattr(import_module(f".{module}", __package__), function)
    source: Source = make(text)
    return source
