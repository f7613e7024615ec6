"""auth: what nobody may find in a log, and what fail2ban must find there."""

from __future__ import annotations

import logging
import re
from collections.abc import Callable
from io import StringIO
from pathlib import Path

import pytest

from mailstack import Limits, Reply, hookimpl, log
from mailstack.middleware.auth import Auth, cram_md5
from mailstack.session.credentials import TOKEN, Challenge, Credentials, Password, Token
from mailstack.testing import Dialog
from mailstack.wire.command import Command, parse_command
from tests.middleware.auth.users import EVERY, Users, b64, begin, open_auth, plain, scram, unb64

SECRET = "correct-horse-battery"


class Careless:
    """Fails in every way, with the credentials in its hands."""

    name = "careless"
    mechanisms = EVERY

    @hookimpl
    async def auth(self, credentials: Credentials) -> Reply | None:
        if credentials.user == "fault":
            return self._fail(credentials)
        if credentials.user == "odd":
            return credentials  # type: ignore[return-value]
        raise LookupError(credentials)

    def _fail(self, credentials: Credentials) -> Reply:
        raise RuntimeError("the database said no")


class Watching:
    """Breaks on the very command, and tells of it."""

    @hookimpl
    def command(self, command: Command) -> Reply | None:
        if command.verb == "AUTH":
            raise ValueError(f"what is {command}?")
        return None


# What the secret looks like on the wire and in memory; the middle of a base64 text, wherever it begins.
SHAPES = [SECRET, *(b64("x" * shift + SECRET)[4:24] for shift in range(3))]


def found(text: str) -> list[str]:
    return [shape for shape in SHAPES if shape in text]


async def talk(*stack: object) -> str:
    """Say the secret in all the ways there are; what the evidence keeps."""
    lines = [f"AUTH PLAIN {plain(user, SECRET)}" for user in ("fault", "odd", "ann")]
    async with Dialog(*stack, limits=Limits(errors=99, auth_line=2048)) as smtp:
        await begin(smtp)
        token = b64(f"auth=Bearer {SECRET}\1\1")
        for line in (*lines, f"AUTH XOAUTH2 {token}", f"AUTH PLAIN {plain(SECRET)} x"):
            if await smtp.say(line) == 334:
                await smtp.say("")
        for second in (b64(SECRET), SECRET, b64(SECRET * 200), f"{b64(SECRET)} x", b64(f"{SECRET}\0")):
            if await smtp.say("AUTH LOGIN") == 334:
                await smtp.say(b64("ann"))
                await smtp.say(second)
        await smtp.say(f"AUTH PLAIN {b64(SECRET * 200)}")
        await smtp.say(f"AUTH {b64(SECRET)}")
        await smtp.say(f" AUTH PLAIN {plain(password=SECRET)}")
        await scram(smtp, "SCRAM-SHA-256", "ann", SECRET)
        return repr(list(smtp.evidence)) + str(list(smtp.evidence))


@pytest.mark.parametrize("format", ["console", "logfmt", "json"])
@pytest.mark.parametrize("other", [Careless, lambda: Users(ann="other"), Watching])
async def test_no_log_and_no_evidence_has_the_secret(other: Callable[[], object], format: str) -> None:
    stream = StringIO()
    log.configure("debug", format, stream)
    try:
        evidence = await talk(*([other()] if other is Watching else []), open_auth(failures=99), other())
    finally:
        log.reset()
    assert stream.getvalue()
    assert found(stream.getvalue()) == []
    assert found(evidence) == []


async def test_nor_has_the_log_of_an_application(caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.DEBUG):
        await talk(open_auth(failures=99), Careless())
    assert found(caplog.text) == []


def test_nothing_that_holds_a_secret_shows_it() -> None:
    things: list[object] = [
        Password("ann", SECRET),
        Token("ann", SECRET),
        cram_md5.Proof("ann", b"x", SECRET),
        parse_command(f"AUTH PLAIN {b64(SECRET)}".encode()),
        Auth(secret=SECRET),
    ]
    for thing in things:
        assert found(f"{thing!r} {thing} {[thing]}") == []
    assert isinstance(things[2], Challenge)
    assert TOKEN


# fail2ban.

MANUAL = Path(__file__).parents[3] / "docs" / "auth.md"


def filter_of_the_manual() -> str:
    """The failregex, with fail2ban's <ADDR> written out."""
    matched = re.search(r"^failregex = (.*)$", MANUAL.read_text(), re.MULTILINE)
    assert matched is not None
    return matched[1].replace("<ADDR>", r"\[?(?P<address>[0-9a-f.:]+)\]?")


async def logged(user: str, password: str, client: str, mechanism: str = "PLAIN", provider: object = None) -> str:
    stream = StringIO()
    log.configure("info", "logfmt", stream)
    try:
        async with Dialog(open_auth(), provider or Users(ann="right"), client=client) as smtp:
            await begin(smtp)
            if mechanism == "PLAIN":
                await smtp.say(f"AUTH PLAIN {plain(user, password)}")
            else:
                challenge = unb64((await smtp.say("AUTH CRAM-MD5")).text)
                await smtp.say(b64(f"{user} {cram_md5.digest(password, challenge.encode())}"))
    finally:
        log.reset()
    return stream.getvalue()


@pytest.mark.parametrize("client", ["192.0.2.7", "2001:db8::7"])
@pytest.mark.parametrize("mechanism", ["PLAIN", "CRAM-MD5"])
async def test_fail2ban_finds_who_failed(mechanism: str, client: str) -> None:
    text = await logged("ann", "wrong", client, mechanism)
    found = [m["address"] for line in text.splitlines() if (m := re.search(filter_of_the_manual(), line))]
    assert found == [client]
    line = next(line for line in text.splitlines() if "authentication failed" in line)
    assert "user=ann" in line
    assert f"mechanism={mechanism}" in line


async def test_nobody_gets_another_banned() -> None:
    forged = 'x client=198.51.100.1:9 user=y reply="535 5.7.8 authentication failed"'
    text = await logged(forged, "wrong", "192.0.2.7")
    found = [m["address"] for line in text.splitlines() if (m := re.search(filter_of_the_manual(), line))]
    assert found == ["192.0.2.7"]


async def test_neither_success_nor_trouble_is_a_reason() -> None:
    for text in (await logged("ann", "right", "192.0.2.7"), await logged("x", "y", "192.0.2.7", provider=Careless())):
        assert not re.search(filter_of_the_manual(), text)
