"""Lookups with a backend, from text that a person types."""

from __future__ import annotations

import sqlite3
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest

from mailstack import ConfigError
from mailstack.services.lookup import CDB, DBM, HTTP, LDAP, SQL, Redis, SQLite
from mailstack.services.lookup.named import SCHEMES, named

KINDS = {"cdb": CDB, "dbm": DBM, "http": HTTP, "redis": Redis, "sql": SQL, "sqlite": SQLite, "ldap": LDAP}
NEEDS = {"http": "httpx2", "redis": "coredis", "sql": "sqlalchemy", "ldap": "ldap"}
DRIVERS = {"mysql+pymysql": "pymysql", "postgresql+psycopg": "psycopg"}


@pytest.mark.parametrize("scheme", [each for each, (maker, _) in SCHEMES.items() if maker.partition(".")[0] in KINDS])
def test_the_example_of_each_scheme_makes_its_source(scheme: str) -> None:
    maker, example = SCHEMES[scheme]
    kind = maker.partition(".")[0]
    if kind in NEEDS:
        pytest.importorskip(NEEDS[kind], exc_type=ImportError)
    if scheme in DRIVERS and find_spec(DRIVERS[scheme]) is None:
        with pytest.raises(ConfigError, match="driver"):
            named(example)
        return
    source: Any = named(example)
    assert isinstance(source, KINDS[kind])


async def test_what_was_typed_is_asked(tmp_path: Path) -> None:
    path = tmp_path / "db"
    with sqlite3.connect(path) as connection:
        connection.execute("CREATE TABLE users (name, quota)")
        connection.execute("INSERT INTO users VALUES ('ann', 5)")
    connection.close()
    source = named(f"sqlite:{path} SELECT quota FROM users WHERE name = :key")
    async with source.opened():
        assert await source.find("ann") == "5"
        assert await source.find("bob") is None


def test_parts_of_an_url_are_options() -> None:
    pytest.importorskip("coredis")
    pytest.importorskip("httpx2")
    redis: Any = named("redis://127.0.0.1/0?hash=quota")
    assert (redis.hash, redis.set, redis.prefix) == ("quota", None, "")
    http: Any = named("https://example.org/q?of={key}#quota")
    assert (http.url, http.field) == ("https://example.org/q?of={key}", "quota")


def test_parts_of_an_ldap_url_are_those_of_rfc_4516() -> None:
    pytest.importorskip("ldap", exc_type=ImportError)
    source: Any = named("ldaps://h:636/ou=people,dc=example?mail?sub?(uid={key})")
    assert (source.directory.url, source.base, source.attribute) == ("ldaps://h:636", "ou=people,dc=example", "mail")
    assert (source.scope, source.filter) == ("subtree", "(uid={key})")
    source = named("ldap://127.0.0.1/uid={key},ou=a%20b")
    assert (source.base, source.attribute, source.scope) == ("uid={key},ou=a b", "", "base")


@pytest.mark.parametrize(
    "text",
    [
        "sqlite:/x.db",
        "sqlite:/x.db SELECT 1",
        "http://h\n/",
        "redis://h/0?hsh=x",
        "redis://h/0?hash=a&set=b",
        "redis://h/zero",
        "ldap://h/dc=x?mail?all?(uid={key})",
        "ldap://h/dc=x?mail,cn?sub?(uid={key})",
        "ldap://h/dc=x?mail?sub?(uid=ann)",
        "ldap://h/dc=x?mail?sub?(uid={key})?ext",
        "sql:nothing",
        "postgresql+psycopg://h/d",
    ],
)
def test_what_cannot_be_a_lookup_is_told(text: str) -> None:
    with pytest.raises(ConfigError):
        named(text)
