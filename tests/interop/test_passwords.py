"""What other programs store of passwords is understood, and they understand what we make."""

from __future__ import annotations

import os
import subprocess
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from mailstack.middleware import authfile, authsql
from mailstack.services import passwords
from mailstack.services.passwords.make import MAKES
from mailstack.testing import Conversation, Dialog
from tests.interop.postgres import Postgres
from tests.middleware.auth.users import begin, open_auth, plain, scram

from .test_sql import cluster

__all__ = ["cluster"]

pytestmark = pytest.mark.interop

Program = Callable[[str], str]

PASSWORD = "right: pä'ss"


def output(*command: str, typed: str = "") -> str:
    return subprocess.run(command, input=typed, capture_output=True, text=True, check=True, timeout=60).stdout.strip()


async def login(smtp: Conversation, user: str, password: str = PASSWORD) -> int:
    return (await smtp.say(f"AUTH PLAIN {plain(user, password)}")).code


def test_dovecot_and_we_read_each_other(program: Program) -> None:
    doveadm = program("doveadm"), "-c", "/dev/null", "pw"
    known = set(output(*doveadm, "-l").split())
    wanted = "PLAIN CLEARTEXT SHA SHA1 SSHA SHA256 SSHA256 SHA512 SSHA512 SMD5 PLAIN-MD5 LDAP-MD5 MD5 MD5-CRYPT "
    wanted += "SHA256-CRYPT SHA512-CRYPT BLF-CRYPT ARGON2I ARGON2ID PBKDF2 CRYPT DES-CRYPT SCRAM-SHA-1 SCRAM-SHA-256"
    schemes = sorted(known & set(wanted.split()))
    assert len(schemes) > 20
    for scheme in (*schemes, "SSHA.hex", "SHA512.hex", "CRYPT.b64", "BLF-CRYPT.hex", "PLAIN.b64", "SCRAM-SHA-1.hex"):
        text = output(*doveadm, "-s", scheme, "-p", PASSWORD)
        stored = passwords.read(text, weak=True)
        assert stored.matches(PASSWORD), text
        assert not stored.matches("wrong")
    for scheme in MAKES:
        text = passwords.make(scheme, PASSWORD)
        assert "(verified)" in output(*doveadm, "-t", text, "-p", PASSWORD), text


def test_hashes_of_openssl_and_mkpasswd(program: Program) -> None:
    for option in ("-1", "-apr1", "-5", "-6"):
        assert passwords.read(output(program("openssl"), "passwd", option, PASSWORD)).matches(PASSWORD)
    for method in (
        "bcrypt",
        "bcrypt-a",
        "sha512crypt",
        "sha256crypt",
        "md5crypt",
        "descrypt",
        "yescrypt",
        "gost-yescrypt",
    ):
        text = output(program("mkpasswd"), "-s", "-m", method, typed=PASSWORD)
        assert passwords.read(text, weak=True).matches(PASSWORD)


async def test_a_file_of_htpasswd(program: Program, tmp_path: Path) -> None:
    file = tmp_path / "htpasswd"
    ways = {"bcrypt": "-B", "md5": "-m", "sha256": "-2", "sha512": "-5", "sha": "-s", "des": "-d"}
    for user, way in ways.items():
        create = () if file.exists() else ("-c",)
        output(program("htpasswd"), *create, "-i", way, str(file), user, typed=PASSWORD[:8])
    os.utime(file, (time.time() - 10,) * 2)
    entry = authfile.File(file, weak=True)
    for user in ways:
        async with Dialog(open_auth(), entry) as smtp:
            await begin(smtp)
            assert await login(smtp, user, "wrong") == 535
            assert await login(smtp, user, PASSWORD[:8]) == 235


VPOPMAIL = (
    "CREATE TABLE vpopmail (pw_name char(32) not null, pw_domain char(96) not null, pw_passwd char(40), pw_uid int, "
    "pw_gid int, pw_gecos char(48), pw_dir char(160), pw_shell char(20), pw_clear_passwd char(16), "
    "primary key (pw_name, pw_domain))"
)


async def test_the_passwords_of_postgresql_itself(cluster: Postgres) -> None:
    query = "SELECT rolpassword FROM pg_authid WHERE rolname = :user"
    for password, code in (("secret", 235), ("wrong", 535)):
        async with Dialog(open_auth(), authsql.SQL(cluster.url, query, offer="SCRAM-SHA-256")) as smtp:
            await begin(smtp)
            assert await scram(smtp, "SCRAM-SHA-256", "mail", password) == code
        async with Dialog(open_auth(), authsql.SQL(cluster.url, query)) as smtp:
            await begin(smtp)
            assert await login(smtp, "mail", password) == code
    async with Dialog(open_auth(failures=9), authsql.SQL(cluster.url, query)) as smtp:
        await begin(smtp)
        for user in ("' OR '1'='1", "mail'; DROP TABLE alias; --", "%s", ":user", "\\"):
            assert await login(smtp, user, "secret") == 535


async def test_vpopmail_with_columns_that_are_filled_with_blanks(cluster: Postgres) -> None:
    import psycopg

    with psycopg.connect(cluster.url.replace("+psycopg", ""), autocommit=True) as connection:
        connection.execute("DROP TABLE IF EXISTS vpopmail")
        connection.execute(VPOPMAIL)
        row = "INSERT INTO vpopmail VALUES (%s, 'example.org', %s, 0, %s, '', '', '', %s)"
        hashed = "$1$h3X1Vw3x$uv2NVx783qGVhbSxRev0J1"
        connection.execute(row, ("ann", hashed, 0, "secret"))
        connection.execute(row, ("bob", hashed, authsql.NO_SMTP, None))
    for user, code in (("ann@example.org", 235), ("bob@example.org", 535), ("ann@example.net", 535)):
        async with Dialog(open_auth(), authsql.vpopmail(cluster.url)) as smtp:
            await begin(smtp)
            assert await login(smtp, user, "secret") == code
    async with Dialog(open_auth(), authsql.vpopmail(cluster.url, offer="SCRAM-SHA-1")) as smtp:
        await begin(smtp)
        assert await scram(smtp, "SCRAM-SHA-1", "ann@example.org", "secret") == 235


async def test_a_server_that_hangs_or_is_gone_is_454(cluster: Postgres) -> None:
    query = "SELECT rolpassword FROM pg_authid WHERE rolname = :user"
    async with Dialog(open_auth(failures=9), authsql.SQL(cluster.url, query, timeout=0.3, pool=1)) as smtp:
        await begin(smtp)
        assert await login(smtp, "nobody") == 535
        cluster.freeze()
        try:
            assert await login(smtp, "mail", "secret") == 454
        finally:
            cluster.thaw()
        cluster.stop()
        try:
            assert await login(smtp, "mail", "secret") == 454
        finally:
            cluster.start()
    async with Dialog(open_auth(), authsql.SQL(cluster.url, query)) as smtp:
        await begin(smtp)
        assert await login(smtp, "mail", "secret") == 235
