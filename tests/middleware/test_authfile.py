"""Logins against a file of users, which changes."""

from __future__ import annotations

import os
import time
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mailstack.middleware import authfile
from mailstack.middleware.authfile import Line, parse
from mailstack.option import ConfigError
from mailstack.services import passwords
from mailstack.services.lookup import listing
from mailstack.services.passwords import threads
from mailstack.testing import Conversation, Dialog
from tests.middleware.auth.users import Users, begin, open_auth, plain, scram

SSHA = passwords.make("SSHA512", "right")
BCRYPT = "$2b$04$uQa1DVeyFJ9yg2Gkurar3.Sb0uxEshMPftCitGfDecVhf8vovuTgS"
KEYS = passwords.make("SCRAM-SHA-256", "right")
POSTGRES = "SCRAM-SHA-256$" + KEYS.partition("}")[2].replace(",", ":", 1).replace(",", "$", 1).replace(",", ":", 1)


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return tmp_path / "users"


def write(file: Path, *lines: str, age: float = 10) -> None:
    """Put the file in the place of the old one, last written some seconds ago."""
    new = file.with_suffix(".new")
    new.write_text("\n".join(lines) + "\n", encoding="utf-8")
    new.chmod(0o640)
    os.utime(new, (time.time() - age,) * 2)
    new.replace(file)


async def login(smtp: Conversation, user: str, password: str = "right") -> int:
    return (await smtp.say(f"AUTH PLAIN {plain(user, password)}")).code


async def identity(entry: object, user: str, password: str = "right", **options: Any) -> str | None:
    """Who the client is after a login; None: refused."""
    async with Dialog(open_auth(), entry, **options) as smtp:
        await begin(smtp)
        code = await login(smtp, user, password)
        assert code == (535 if smtp.session.user is None else 235)
        return smtp.session.user


@pytest.mark.parametrize(
    ("line", "found"),
    [
        (f"ann:{SSHA}", Line("ann", SSHA)),
        (f" ann@example.org :{BCRYPT}", Line("ann@example.org", BCRYPT)),
        (f"ann:{SSHA}:1000:1000::/home/ann:/bin/sh", Line("ann", SSHA)),
        (f"ann:{SSHA}::::::nologin", Line("ann", SSHA, True)),
        (f"ann:{SSHA}::::::userdb_mail=x nologin=why user=ann.b", Line("ann", SSHA, True, (), "ann.b")),
        (f"ann:{KEYS}", Line("ann", KEYS)),
        (f"ann:{POSTGRES}", Line("ann", POSTGRES)),
        (f"ann:{POSTGRES}:::::: nologin", Line("ann", POSTGRES, True)),
        ("ann:", Line("ann", "")),
        ("ann:{PLAIN}a:b", Line("ann", "{PLAIN}a")),
    ],
)
def test_a_line_is_taken_apart(line: str, found: Line) -> None:
    assert parse(line) == found


@pytest.mark.parametrize(
    "line",
    [
        "ann",
        ":x",
        " :x",
        "a\tb:x",
        f"ann:{SSHA}::::::nopassword",
        f"ann:{SSHA}::::::allow_nets=here",
        "a:::::::allow_nets",
    ],
)
def test_what_is_no_line_is_refused_and_not_shown(line: str) -> None:
    with pytest.raises(ConfigError) as caught:
        parse(line)
    assert SSHA not in str(caught.value)


@given(st.text(), st.text(alphabet=":$,= {}SCRAM-sha1256nolgi"))
def test_any_line_is_read_or_refused(user: str, rest: str) -> None:
    try:
        line = parse(f"{user}:{rest}")
    except ConfigError:
        return
    assert line.user
    assert ":" not in line.user


async def test_users_of_all_sorts(file: Path) -> None:
    write(
        file,
        "# the users",
        "",
        f"Ann:{SSHA}",
        f"bob@Example.ORG:{KEYS}",
        "carl:{PLAIN}right:1000:1000::/home/carl:/bin/sh",
        f"locked:!{SSHA}",
        f"closed:{SSHA}::::::nologin",
        f"other:{SSHA}::::::user=real.name",
        f"two:{SSHA}",
        f"two:{passwords.make('SSHA512', 'second')}",
        f"rené:{SSHA}",
    )
    entry = authfile.File(file)
    assert await identity(entry, "ann") == "Ann"
    assert await identity(entry, "ANN", "wrong") is None
    assert await identity(entry, "bob@example.org") == "bob@Example.ORG"
    assert await identity(entry, "bob") is None
    assert await identity(entry, "carl") == "carl"
    assert await identity(entry, "locked") is None
    assert await identity(entry, "closed") is None
    assert await identity(entry, "other") == "real.name"
    assert await identity(entry, "two") == await identity(entry, "two", "second") == "two"
    assert await identity(entry, "René") == "rené"
    assert await identity(entry, "nobody") is None
    strict = authfile.File(file, case_sensitive=True)
    assert await identity(strict, "ann") is None
    assert await identity(strict, "bob@EXAMPLE.org") == "bob@Example.ORG"


async def test_names_without_a_domain_are_at_that_domain(file: Path) -> None:
    write(file, f"ann:{SSHA}", f"bob@xn--bcher-kva.example:{SSHA}", f"carl@example.net:{SSHA}")
    entry = authfile.File(file, domain="Bücher.example")
    assert await identity(entry, "ann") == "ann@xn--bcher-kva.example"
    assert await identity(entry, "ann@bücher.example") == "ann@xn--bcher-kva.example"
    assert await identity(entry, "bob") == "bob@xn--bcher-kva.example"
    assert await identity(entry, "carl") is None
    assert await identity(entry, "carl@example.net") == "carl@example.net"


async def test_a_user_may_be_let_in_from_some_networks_only(file: Path) -> None:
    write(file, f"ann:{SSHA}::::::allow_nets=192.0.2.0/24,2001:db8::/32")
    entry = authfile.File(file)
    assert await identity(entry, "ann", client="192.0.2.9") == "ann"
    assert await identity(entry, "ann", client="2001:db8::1") == "ann"
    assert await identity(entry, "ann", client="198.51.100.1") is None
    assert await identity(entry, "ann", client="") is None


async def test_who_is_not_in_the_file_may_be_known_to_the_next(file: Path) -> None:
    write(file, f"ann:{SSHA}")
    next_one = Users(bob="right", ann="other")
    async with Dialog(open_auth(failures=9), authfile.File(file), next_one) as smtp:
        await begin(smtp)
        assert await login(smtp, "ann", "other") == 535
        assert await login(smtp, "bob") == 235
    assert next_one.asked == ["bob"]


@pytest.mark.parametrize(
    ("lines", "offered"),
    [
        ([f"ann:{SSHA}"], ""),
        ([f"ann:{SSHA}", f"ann:{KEYS}"], "SCRAM-SHA-256"),
        ([f"ann:{KEYS}", "bob:{PLAIN}right"], "SCRAM-SHA-256"),
        ([f"ann:{KEYS}", f"bob:{SSHA}"], ""),
        ([f"ann:{KEYS}", f"bob:!{SSHA}"], "SCRAM-SHA-256"),
        (["ann:{PLAIN}right", "bob:{CLEARTEXT}x"], "CRAM-MD5 SCRAM-SHA-1 SCRAM-SHA-256"),
        (["ann:!"], ""),
    ],
)
def test_scram_is_offered_if_all_can_use_it(file: Path, lines: list[str], offered: str) -> None:
    write(file, *lines)
    assert authfile.File(file).mechanisms == ("PLAIN", "LOGIN", *offered.split())
    assert "SCRAM-SHA-1" in authfile.File(file, offer="SCRAM-SHA-1").mechanisms


async def test_scram_with_keys_of_dovecot_and_of_postgresql_and_clear_text(file: Path) -> None:
    write(file, f"ann:{SSHA}", f"ann:{KEYS}", f"bob:{POSTGRES}", "carl:{PLAIN}right")
    for user in ("ann", "bob", "carl", "nobody"):
        for password in ("right", "wrong"):
            async with Dialog(open_auth(), authfile.File(file)) as smtp:
                await begin(smtp)
                good = password == "right" and user != "nobody"
                assert await scram(smtp, "SCRAM-SHA-256", user, password) == (235 if good else 535)


async def test_wrong_password_unknown_user_and_locked_user_cost_the_same(
    file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    compared: list[str] = []
    original = threads._matches

    async def counted(stored: passwords.Stored, password: str) -> bool:
        compared.append(stored.scheme)
        return await original(stored, password)

    monkeypatch.setattr(threads, "_matches", counted)
    write(file, f"ann:{BCRYPT}", f"ann:{KEYS}", f"closed:!{BCRYPT}", "clear:{PLAIN}x")
    async with Dialog(open_auth(failures=9), authfile.File(file)) as smtp:
        await begin(smtp)
        for user in ("ann", "nobody", "closed"):
            for password in ("wrong", "x" * 100, "with\u00e9"):
                assert await login(smtp, user, password) == 535
    assert compared == ["BLF-CRYPT"] * 9


async def test_nothing_secret_is_logged(file: Path, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level("DEBUG", "mailstack")
    write(file, f"ann:{SSHA}", "bob:{PLAIN}hidden-one")
    async with Dialog(open_auth(failures=9), authfile.File(file, every=0)) as smtp:
        await begin(smtp)
        await login(smtp, "ann", "hidden-two")
        write(file, "bob:hidden-three")
        await login(smtp, "bob", "hidden-one")
    assert "kept=" in caplog.text
    assert "hidden" not in caplog.text
    assert plain("bob", "hidden-one") not in caplog.text
    assert SSHA[12:] not in caplog.text


# The file changes.


async def test_the_file_is_read_again(file: Path) -> None:
    write(file, f"ann:{SSHA}")
    async with Dialog(open_auth(failures=9), authfile.File(file, every=0)) as smtp:
        await begin(smtp)
        assert await login(smtp, "bob") == 535
        write(file, f"bob:{SSHA}", f"bob:{KEYS}", age=5)
        assert await login(smtp, "ann") == 535
        assert "SCRAM-SHA-256" in smtp.session.mechanisms
        assert await login(smtp, "bob") == 235


async def test_a_file_that_is_being_written_is_not_read_yet(file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(listing, "STILL", 1000.0)
    write(file, f"ann:{SSHA}", age=2000)
    async with Dialog(open_auth(failures=9), authfile.File(file, every=0)) as smtp:
        await begin(smtp)
        for lines in ("bo",), (f"bob:{SSHA}",):
            write(file, *lines, age=0)
            assert await login(smtp, "bob") == 535
        write(file, *lines, age=2000)
        assert await login(smtp, "bob") == 235


@pytest.mark.parametrize(
    "lines",
    [
        ["ann"],
        ["# nobody"],
        [f"bob:{SSHA}", "ann:clear"],
        ["ann:{SHA}5en6G6MezRroT3XKqkdPOmY/BfQ="],
        [f"ann:{SSHA[:40]}"],
    ],
)
async def test_a_broken_file_changes_nothing_and_is_one_error(
    file: Path, lines: list[str], caplog: pytest.LogCaptureFixture
) -> None:
    write(file, f"ann:{SSHA}")
    async with Dialog(open_auth(failures=9), authfile.File(file, every=0)) as smtp:
        await begin(smtp)
        write(file, *lines, age=5)
        assert await login(smtp, "nobody") == 535
        assert await login(smtp, "nobody") == 535
        [problem] = [each for each in caplog.messages if "kept=" in each]
        assert f"{file}:{len(lines)}" in problem or "no users" in problem
        os.unlink(file)
        assert await login(smtp, "ann") == 235
        assert len([each for each in caplog.messages if "kept=" in each]) == 2


async def test_a_file_that_changes_while_it_is_read_is_read_once_more(
    file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write(file, f"ann:{SSHA}")
    entry = authfile.File(file, every=0)
    original = authfile._Lines.read
    changed: list[Path] = []

    def read(self: Any, marks: Any) -> Any:
        yield from original(self, marks)
        if not changed:
            changed.append(file)
            write(file, f"carl:{SSHA}", age=4)

    async with Dialog(open_auth(failures=9), entry) as smtp:
        await begin(smtp)
        monkeypatch.setattr(authfile._Lines, "read", read)
        write(file, f"bob:{SSHA}", age=5)
        assert await login(smtp, "bob") == 535
        assert await login(smtp, "carl") == 235


# The start.


@pytest.mark.parametrize(
    ("lines", "number", "words"),
    [
        ([f"ann:{SSHA}", "bob"], 2, "no user"),
        (["", "#", "ann:my-secret"], 3, "{PLAIN}"),
        (["ann:{SHA}5en6G6MezRroT3XKqkdPOmY/BfQ="], 1, "weak=True"),
        (["ann:{NOPE}my-secret"], 1, "NOPE is not known"),
        ([f"ann:{SSHA}"] * 21, 21, "more than 20"),
        (["ann:$2b$31$" + "a" * 53], 1, "would take"),
        ([f"ann:{SSHA}::::::nopassword"], 1, "everybody"),
    ],
)
def test_mistakes_are_told_with_their_line(file: Path, lines: list[str], number: int, words: str) -> None:
    write(file, *lines)
    with pytest.raises(ConfigError) as caught:
        authfile.File(file)
    assert str(caught.value).startswith(f"{file}:{number}: ")
    assert words in str(caught.value)
    assert "secret" not in str(caught.value)


def test_a_pipe_is_no_file_and_is_not_waited_for(file: Path) -> None:
    os.mkfifo(file)
    with pytest.raises(ConfigError, match="it is no file"):
        authfile.File(file)


def test_a_file_that_cannot_be_read_is_told(file: Path) -> None:
    for make in (lambda: None, lambda: file.write_bytes(b"\xff\xfe:x\n"), lambda: file.write_text("\n# none\n")):
        make()
        with pytest.raises(ConfigError, match=str(file)):
            authfile.File(file)


async def test_weak_ones_are_taken_when_told(file: Path) -> None:
    write(file, "ann:{SHA}5en6G6MezRroT3XKqkdPOmY/BfQ=", "bob:DEGwNUf5grajc")
    entry = authfile.File(file, weak=True)
    assert await identity(entry, "ann", "secret") == "ann"
    assert await identity(entry, "bob", "secret") == "bob"


@pytest.mark.parametrize(("mode", "warned"), [(0o644, True), (0o602, True), (0o640, False)])
async def test_a_file_that_everybody_may_read_is_a_warning(
    file: Path, mode: int, warned: bool, caplog: pytest.LogCaptureFixture
) -> None:
    write(file, f"ann:{SSHA}")
    os.chmod(file, mode)
    async with Dialog(open_auth(), authfile.File(file)):
        pass
    assert ("everybody on this machine" in caplog.text) is warned
