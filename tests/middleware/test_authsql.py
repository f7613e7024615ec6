"""Logins against an SQL database: here SQLite, in tests/interop PostgreSQL."""

from __future__ import annotations

import sqlite3
from pathlib import Path

import pytest

from mailstack.middleware import authsql
from mailstack.option import ConfigError
from mailstack.services import passwords
from mailstack.services.passwords import threads
from mailstack.services.passwords.stored import Stored
from mailstack.services.sql import Database
from mailstack.testing import Conversation, Dialog
from tests.middleware.auth.users import begin, open_auth, plain, scram

QUERY = "SELECT password FROM users WHERE login = :user"
SSHA = passwords.make("SSHA512", "right")
SCRAM = passwords.make("SCRAM-SHA-256", "right")


@pytest.fixture
def url(tmp_path: Path) -> str:
    file = tmp_path / "users.db"
    with sqlite3.connect(file) as database:
        database.execute("CREATE TABLE users (login, password, scram, clear, real, active)")
        database.executemany(
            "INSERT INTO users VALUES (?, ?, ?, ?, ?, ?)",
            [
                ("ann@example.org", SSHA, SCRAM, None, "ann", 1),
                ("two@example.org", SSHA, None, None, None, 1),
                ("two@example.org", None, None, "second ", None, "y"),
                ("two@example.org", None, None, "third", None, 0),
                ("locked", "!" + SSHA, SCRAM, None, None, True),
                ("none", None, "", None, None, 1),
                ("broken", "secret-hash", None, None, None, 1),
                ("weak", "{SHA}5en6G6MezRroT3XKqkdPOmY/BfQ=", None, None, None, 1),
                ("binary", SSHA.encode(), None, None, None, 1),
            ],
        )
    database.close()
    return f"sqlite:///{file}"


async def login(smtp: Conversation, user: str, password: str = "right") -> int:
    return (await smtp.say(f"AUTH PLAIN {plain(user, password)}")).code


@pytest.mark.parametrize(
    ("user", "password", "code"),
    [
        ("ann@example.org", "right", 235),
        ("Ann@Example.ORG", "right", 235),
        ("ann@example.org", "wrong", 535),
        ("binary", "right", 235),
        ("nobody", "right", 535),
        ("none", "", 535),
        ("none", "right", 535),
        ("locked", "right", 535),
        ("' OR '1'='1", "right", 535),
        ("x'; DROP TABLE users; --", "right", 535),
        ("%", "right", 535),
    ],
)
async def test_a_query_with_one_column(url: str, user: str, password: str, code: int) -> None:
    async with Dialog(open_auth(failures=9), authsql.SQL(url, QUERY)) as smtp:
        await begin(smtp)
        assert await login(smtp, user, password) == code
        assert smtp.session.user == (user.lower() if code == 235 else None)
        assert [each for each in smtp.evidence if each.outcome == "fault"] == []


ALL = "SELECT password, scram, clear, real, active FROM users WHERE login = :local || '@' || :domain"
COLUMNS = ("stored", "stored", "clear", "identity", "enabled")


async def test_a_query_with_many_columns_and_rows(url: str) -> None:
    entry = authsql.SQL(url, ALL, columns=COLUMNS, domain="Example.org", offer="SCRAM-SHA-256")
    for user, password, code, identity in (
        ("ann", "right", 235, "ann"),
        ("two", "right", 235, "two@example.org"),
        ("two", "second ", 235, "two@example.org"),
        ("two", "third", 535, None),
        ("ann@elsewhere.example", "right", 535, None),
    ):
        async with Dialog(open_auth(), entry) as smtp:
            await begin(smtp)
            assert await login(smtp, user, password) == code
            assert smtp.session.user == identity


async def test_scram_is_offered_when_told_and_works_for_keys_and_clear_text(url: str) -> None:
    async with Dialog(open_auth(), authsql.SQL(url, ALL, columns=COLUMNS, offer="scram-sha-256")) as smtp:
        await begin(smtp)
        assert smtp.session.mechanisms == ("LOGIN", "PLAIN", "SCRAM-SHA-256")
        assert await scram(smtp, "SCRAM-SHA-256", "two@example.org", "right") == 535  # has other clear text
        assert await scram(smtp, "SCRAM-SHA-256", "two@example.org", "second ") == 235
    async with Dialog(open_auth(), authsql.SQL(url, ALL, columns=COLUMNS, offer="SCRAM-SHA-256")) as smtp:
        await begin(smtp)
        assert await scram(smtp, "SCRAM-SHA-256", "ann@example.org", "wrong") == 535
        assert await scram(smtp, "SCRAM-SHA-256", "ann@example.org", "right") == 235
    assert authsql.SQL(url, QUERY).mechanisms == ("PLAIN", "LOGIN")


async def test_who_has_no_domain_is_not_asked_for_where_the_query_wants_one(url: str) -> None:
    async with Dialog(open_auth(), authsql.SQL(url, ALL, columns=COLUMNS)) as smtp:
        await begin(smtp)
        assert await login(smtp, "ann") == 535


async def test_a_stored_text_that_makes_no_sense_is_454_and_shown_nowhere(
    url: str, caplog: pytest.LogCaptureFixture
) -> None:
    async with Dialog(open_auth(), authsql.SQL(url, QUERY)) as smtp:
        await begin(smtp)
        assert await login(smtp, "broken", "my-secret") == 454
        assert await login(smtp, "weak", "my-secret") == 454
        assert "'broken'" in caplog.text
        assert "secret" not in caplog.text
        assert "5en6G6" not in caplog.text
    async with Dialog(open_auth(), authsql.SQL(url, QUERY, weak=True)) as smtp:
        await begin(smtp)
        assert await login(smtp, "weak", "secret") == 235


@pytest.mark.parametrize(
    "query",
    ["SELECT password FROM gone WHERE login = :user", "SELECT 1, 2 WHERE :user = :user", "SELECT :user WHERE ("],
)
async def test_trouble_is_454_and_no_login(url: str, query: str) -> None:
    async with Dialog(open_auth(), authsql.SQL(url, query)) as smtp:
        await begin(smtp)
        for user in ("ann@example.org", "nobody"):
            assert await login(smtp, user) == 454
        assert await smtp.say("NOOP") == 250


async def test_a_database_that_is_not_there_is_454(tmp_path: Path) -> None:
    for url in (f"sqlite:///{tmp_path}/no/folder.db", "postgresql+psycopg://mail:secret@127.0.0.1:1/mail"):
        async with Dialog(open_auth(), authsql.SQL(url, QUERY)) as smtp:
            await begin(smtp)
            assert await login(smtp, "ann") == 454


async def test_a_database_that_is_late_is_454(url: str) -> None:
    endless = "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i+1 FROM n LIMIT 30000000) SELECT max(i), :user FROM n"
    entry = authsql.SQL(url, endless, columns=("stored", "identity"), timeout=0.05)
    async with Dialog(open_auth(), entry) as smtp:
        await begin(smtp)
        assert await login(smtp, "ann") == 454
        assert await smtp.say("NOOP") == 250


async def test_a_wrong_password_and_an_unknown_user_cost_the_same_comparisons(
    url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    compared: list[str] = []
    original = threads._matches

    async def counted(stored: Stored, password: str) -> bool:
        compared.append(stored.scheme)
        return await original(stored, password)

    monkeypatch.setattr(threads, "_matches", counted)
    async with Dialog(open_auth(failures=9), authsql.SQL(url, QUERY)) as smtp:
        await begin(smtp)
        for user in ("ann@example.org", "nobody", "locked", "none"):
            assert await login(smtp, user, "wrong") == 535
    assert compared == ["SSHA512"] * 4


async def test_a_database_may_be_shared(url: str) -> None:
    database = Database(url)
    async with Dialog(open_auth(), authsql.SQL(database, QUERY), authsql.SQL(database, QUERY)) as smtp:
        await begin(smtp)
        assert await login(smtp, "ann@example.org") == 235


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"query": "SELECT :password"}, ":password"),
        ({"query": "SELECT 1"}, "no user"),
        ({"query": QUERY, "columns": "identity"}, "no password"),
        ({"query": QUERY, "columns": "hash"}, "not known"),
        ({"query": QUERY, "offer": "OAUTHBEARER"}, "not known"),
        ({"query": QUERY, "url": "nonsense"}, "no URL"),
    ],
)
def test_mistakes_are_told_at_once(url: str, options: dict[str, str], words: str) -> None:
    with pytest.raises(ConfigError, match=words):
        authsql.SQL(**{"url": url, **options})  # type: ignore[arg-type]


async def test_the_table_of_vpopmail(tmp_path: Path) -> None:
    file = tmp_path / "vpopmail.db"
    with sqlite3.connect(file) as database:
        database.execute(
            "CREATE TABLE vpopmail (pw_name char(32) not null, pw_domain char(96) not null, pw_passwd char(40), "
            "pw_uid int, pw_gid int, pw_gecos char(48), pw_dir char(160), pw_shell char(20), pw_clear_passwd char(16), "
            "primary key (pw_name, pw_domain))"
        )
        rows = [
            ("ann", "example.org", "$1$h3X1Vw3x$uv2NVx783qGVhbSxRev0J1   ", 0, "secret   "),
            ("bob", "example.org", "$1$h3X1Vw3x$uv2NVx783qGVhbSxRev0J1", authsql.NO_SMTP | 1, None),
            ("des", "example.org", "DEGwNUf5grajc", 0, None),
        ]
        for name, domain, password, gid, clear in rows:
            database.execute(
                "INSERT INTO vpopmail VALUES (?, ?, ?, 0, ?, '', '', '', ?)", (name, domain, password, gid, clear)
            )
    database.close()
    url = f"sqlite:///{file}"
    for options, user, password, code in (
        ({}, "Ann@example.org", "secret", 235),
        ({}, "ann", "secret", 535),
        ({"domain": "example.org"}, "ann", "secret", 235),
        ({}, "bob@example.org", "secret", 535),
        ({}, "des@example.org", "secret", 454),
        ({"weak": True, "clear": False}, "des@example.org", "secret", 235),
    ):
        async with Dialog(open_auth(), authsql.vpopmail(url, **options)) as smtp:
            await begin(smtp)
            assert await login(smtp, user, password) == code
    async with Dialog(open_auth(), authsql.vpopmail(url, offer="SCRAM-SHA-1")) as smtp:
        await begin(smtp)
        assert await scram(smtp, "SCRAM-SHA-1", "ann@example.org", "secret") == 235
    with pytest.raises(ConfigError, match="no name of a table"):
        authsql.vpopmail(url, table="vpopmail; DROP TABLE vpopmail")
