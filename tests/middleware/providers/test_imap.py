"""IMAP's responses, and servers that say everything but yes. The real one is in tests/interop."""

from __future__ import annotations

import re
from base64 import b64encode
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from itertools import pairwise
from pathlib import Path
from typing import Any

import anyio
import pytest
from anyio import create_task_group
from anyio.abc import SocketAttribute, SocketStream
from anyio.streams.tls import TLSStream
from hypothesis import given
from hypothesis import strategies as st

from mailstack.middleware.authimap import IMAP
from mailstack.middleware.authimap.protocol import Nonsense, Reader, Response
from mailstack.option import ConfigError
from tests.middleware.providers.logins import AWKWARD, answers, asked, judged, logged
from tests.tls import authority_pem, server_context

PLAIN = b64encode(b"\0ann\0right").decode()
LITERAL = re.compile(rb"\{([0-9]+)(\+?)\}\r\n\Z")


class Imap:
    """A server with these capabilities, for which ann's password is right; `script` has other answers to commands.

    A command is its words; a literal is in it as it is. What the script says for "" is the greeting.
    """

    def __init__(self, capabilities: str = "IMAP4rev1 AUTH=PLAIN SASL-IR", **script: str) -> None:
        self.script = {"": f"* OK [CAPABILITY {capabilities}] hello", "CAPABILITY": "* BYE not asked", **script}
        self.script.setdefault("CAPABILITY", f"* CAPABILITY {capabilities}\r\n{{tag}} OK")
        self.heard: list[bytes] = []

    async def serve(self, stream: Any) -> None:
        async with stream:
            try:
                await self._talk(stream)
            except (anyio.EndOfStream, anyio.BrokenResourceError, anyio.ClosedResourceError):
                pass

    async def _talk(self, stream: Any) -> None:
        await stream.send(self.script[""].encode() + b"\r\n")
        while True:
            tag, _, command = (await self._command(stream)).partition(b" ")
            self.heard.append(command)
            name = command.split()[0].decode("ascii", "replace").upper()
            answer = self.script.get(name) or self._judged(command)
            await stream.send(answer.replace("{tag}", tag.decode("ascii", "replace")).encode() + b"\r\n")
            if name == "STARTTLS":
                stream = await TLSStream.wrap(
                    stream, ssl_context=server_context("127.0.0.1"), standard_compatible=False
                )

    async def _command(self, stream: Any) -> bytes:
        """With its literals, and with what AUTHENTICATE waits for."""
        said = b""
        while True:
            said += await self._until_line(stream)
            literal = LITERAL.search(said)
            if literal is not None:
                if not literal[2]:
                    await stream.send(b"+ go on\r\n")
                end = len(said) + int(literal[1])
                while len(said) < end:
                    said += await stream.receive(end - len(said))
            elif said.split()[1:] == [b"AUTHENTICATE", b"PLAIN"]:
                await stream.send(b"+\r\n")
                return said.rstrip() + b" " + (await self._until_line(stream)).rstrip()
            else:
                return said.removesuffix(b"\r\n")

    async def _until_line(self, stream: Any) -> bytes:
        said = b""
        while not said.endswith(b"\r\n"):
            said += await stream.receive(1)
        return said

    def _judged(self, command: bytes) -> str:
        right = command in (f"AUTHENTICATE PLAIN {PLAIN}".encode(), _login("ann", "right"), _login("ann", "right", "+"))
        return "{tag} OK in" if right else "{tag} NO [AUTHENTICATIONFAILED] who are you?"

    @asynccontextmanager
    async def listening(self, path: Path | None = None) -> AsyncIterator[str]:
        """At a UNIX socket, or at a port."""
        opened = await (anyio.create_unix_listener(path) if path else anyio.create_tcp_listener(local_host="127.0.0.1"))
        async with opened as listener, create_task_group() as group:
            group.start_soon(listener.serve, self.serve)
            yield f"unix:{path}" if path else f"127.0.0.1:{listener.extra(SocketAttribute.local_port)}"
            group.cancel_scope.cancel()


def _login(user: str, password: str, sign: str = "") -> bytes:
    words = (f"{{{len(each.encode())}{sign}}}\r\n{each}" for each in (user, password))
    return " ".join(("LOGIN", *words)).encode()


async def answer_of(tmp_path: Path, imap: Imap, password: str = "right") -> int | None:
    async with imap.listening(tmp_path / "s") as address:
        return await asked(IMAP(address, encryption="none", timeout="5s"), "ann", password)


# How the password goes.


async def test_by_authenticate_in_one_go(tmp_path: Path) -> None:
    imap = Imap()
    assert await answer_of(tmp_path, imap) == 235
    assert imap.heard == [f"AUTHENTICATE PLAIN {PLAIN}".encode(), b"LOGOUT"]


async def test_by_authenticate_in_two_steps(tmp_path: Path) -> None:
    assert await answer_of(tmp_path, Imap("IMAP4rev1 auth=plain")) == 235


@pytest.mark.parametrize(("more", "sign"), [("", ""), (" LITERAL+", "+")])
async def test_by_login_with_literals(tmp_path: Path, more: str, sign: str) -> None:
    imap = Imap("IMAP4rev1" + more)
    assert await answer_of(tmp_path, imap) == 235
    assert imap.heard == [_login("ann", "right", sign), b"LOGOUT"]


@pytest.mark.parametrize("capabilities", ["IMAP4rev1", "IMAP4rev1 LITERAL+", "AUTH=PLAIN", "AUTH=PLAIN SASL-IR"])
async def test_nothing_that_is_said_becomes_a_command(tmp_path: Path, capabilities: str) -> None:
    imap = Imap(capabilities)
    async with imap.listening(tmp_path / "s") as address:
        logins = [("ann", text) for text in AWKWARD]
        assert await answers(IMAP(address, encryption="none"), *logins) == [None] * len(logins)
    said = [command for command in imap.heard if command != b"LOGOUT"]
    expected = [_login(*login, "+" if "LITERAL+" in capabilities else "") for login in logins]
    if "AUTH=PLAIN" in capabilities:
        expected = [b"AUTHENTICATE PLAIN " + b64encode(f"\0{user}\0{told}".encode()) for user, told in logins]
    assert sorted(said) == sorted(expected)


async def test_a_server_that_says_nothing_of_its_capabilities_is_asked(tmp_path: Path) -> None:
    imap = Imap(**{"": "* OK hello", "CAPABILITY": "* CAPABILITY IMAP4rev1 AUTH=PLAIN SASL-IR\r\n{tag} OK done"})
    assert await answer_of(tmp_path, imap) == 235


# What it says.


@pytest.mark.parametrize(
    ("said", "reply"),
    [
        ("{tag} OK [CAPABILITY IMAP4rev1 IDLE] in", 235),
        ("* CAPABILITY IMAP4rev1\r\n* 5 EXISTS\r\n{tag} ok", 235),
        ("{tag} NO no", None),
        ("{tag} NO [AUTHENTICATIONFAILED] no", None),
        ("{tag} no [authorizationfailed] no", 535),
        ("{tag} NO [EXPIRED] no", 535),
        ("{tag} NO [CONTACTADMIN] no", 535),
        ("{tag} NO [UNAVAILABLE] no", 454),
        ("{tag} NO [SERVERBUG] no", 454),
        ("{tag} NO [INUSE] no", 454),
        ("{tag} NO [PRIVACYREQUIRED] no", 454),
        ("{tag} BAD what", 454),
        ("* BYE [UNAVAILABLE] later\r\n{tag} OK in", 454),
        ("A99 OK in", 454),
        ("+ ", 454),
        (" ", 454),
        ("{tag} ok" + "x" * 70_000, 454),
        ("* LIST {99999}", 454),
        ("* 1 EXISTS\r\n" * 200 + "{tag} OK", 454),
    ],
)
async def test_what_the_answer_means(tmp_path: Path, said: str, reply: int | None) -> None:
    assert await answer_of(tmp_path, Imap(AUTHENTICATE=said)) == reply


@pytest.mark.parametrize(
    "greeting", ["* PREAUTH you are in", "* BYE [UNAVAILABLE] later", "220 mx.test ESMTP", "+ hello", "x" * 70_000]
)
async def test_who_does_not_greet_hears_no_password(tmp_path: Path, greeting: str) -> None:
    imap = Imap(**{"": greeting})
    assert await answer_of(tmp_path, imap) == 454
    assert imap.heard == []


@pytest.mark.parametrize("capabilities", ["IMAP4rev1 LOGINDISABLED", "IMAP4rev1 LOGINDISABLED AUTH=CRAM-MD5"])
async def test_who_takes_no_passwords_hears_none(tmp_path: Path, capabilities: str) -> None:
    imap = Imap(capabilities)
    assert await answer_of(tmp_path, imap) == 454
    assert imap.heard == []


@pytest.mark.parametrize("step", ["", "CAPABILITY", "AUTHENTICATE"])
async def test_a_server_that_is_not_there_or_says_nothing_is_454(tmp_path: Path, step: str) -> None:
    class Silent(Imap):
        async def _talk(self, stream: SocketStream) -> None:
            if step:
                await stream.send(
                    b"* OK " + (b"[CAPABILITY AUTH=PLAIN]" if step == "AUTHENTICATE" else b"") + b"hi\r\n"
                )
            await anyio.sleep_forever()

    async with Silent().listening(tmp_path / "s") as address:
        assert await asked(IMAP(address, encryption="none", timeout=0.2), "ann", "right") == 454
    assert await asked(IMAP(f"unix:{tmp_path}/t", encryption="none"), "ann", "right") == 454


# TLS.


async def test_starttls_comes_before_all_else_and_what_was_said_in_clear_is_forgotten() -> None:
    imap = Imap("IMAP4rev1 STARTTLS LOGINDISABLED", STARTTLS="{tag} OK go on")
    imap.script["CAPABILITY"] = "* CAPABILITY IMAP4rev1 AUTH=PLAIN\r\n{tag} OK"
    async with imap.listening() as address:
        assert await judged(IMAP(address, encryption="starttls", ca=authority_pem()), "ann", "right") == (235, "ann")
    assert imap.heard[:3] == [b"STARTTLS", b"CAPABILITY", f"AUTHENTICATE PLAIN {PLAIN}".encode()]


@pytest.mark.parametrize(
    ("capabilities", "said"),
    [
        ("IMAP4rev1 AUTH=PLAIN", "{tag} OK"),  # somebody on the way has taken it out
        ("IMAP4rev1 STARTTLS", "{tag} NO"),
        ("IMAP4rev1 STARTTLS", "{tag} BAD"),
        ("IMAP4rev1 STARTTLS", "{tag} OK go on\r\n* CAPABILITY IMAP4rev1 AUTH=PLAIN"),
    ],
)
async def test_without_starttls_no_password_is_said(capabilities: str, said: str) -> None:
    class Clear(Imap):
        """It does not begin TLS."""

        async def _talk(self, stream: SocketStream) -> None:
            await stream.send(self.script[""].encode() + b"\r\n")
            while True:
                tag, _, command = (await self._command(stream)).partition(b" ")
                self.heard.append(command)
                await stream.send(said.replace("{tag}", tag.decode()).encode() + b"\r\n")

    imap = Clear(capabilities)
    async with imap.listening() as address:
        assert await asked(IMAP(address, encryption="starttls", ca=authority_pem()), "ann", "right") == 454
    assert set(imap.heard) <= {b"STARTTLS"}


async def test_nothing_secret_is_logged(tmp_path: Path) -> None:
    async with Imap(AUTHENTICATE="{tag} BAD you said AGFubgBzZS1jcmV0").listening(tmp_path / "s") as address:
        with logged() as stream:
            assert (await judged(IMAP(address, encryption="none"), "ann", "se-cret"))[0] == 454
    assert "the server answers BAD" in stream.getvalue()
    assert "se-cret" not in stream.getvalue()
    assert "AGFubgBzZS1jcmV0" not in stream.getvalue()


@pytest.mark.parametrize(
    "options",
    [
        {"address": "imap.example.org:0"},
        {"address": "imap.example.org", "encryption": "ssl"},
        {"address": "imap.example.org", "ca": "/nowhere.pem"},
        {"address": "unix:/run/imap"},
        {"address": "imap.example.org", "at_once": 0},
    ],
)
def test_options_that_make_no_sense_are_refused(options: dict[str, Any]) -> None:
    with pytest.raises(ConfigError):
        IMAP(**options)


# Without I/O.

TALK = (
    b"* OK [CAPABILITY IMAP4rev1 AUTH=PLAIN] ready {3}\r\n+ {4}\r\n+\r\n* LIST () {5}\r\na\r\nbc {2}\r\nx\n end\r\n"
    b"a1 no [expired] sorry\n* 5 EXISTS\r\n"
)
HEARD = [
    Response("*", "OK", "CAPABILITY", "IMAP4rev1 AUTH=PLAIN"),
    Response("+", "", "", "{4}"),
    Response("+", "", "", ""),
    Response("*", "LIST", "", "() {5}\r\na\r\nbc {2}\r\nx\n end"),
    Response("A1", "NO", "EXPIRED", ""),
    Response("*", "5", "", "EXISTS"),
]


@given(st.lists(st.integers(0, len(TALK)), max_size=8))
def test_cut_anywhere_the_responses_are_the_same(cuts: list[int]) -> None:
    reader, heard = Reader(), []
    for start, end in pairwise([0, *sorted(cuts), len(TALK)]):
        heard += reader.feed(TALK[start:end])
    assert heard == HEARD
    assert not reader.held


@given(st.lists(st.binary()))
def test_any_octets_are_responses_or_nonsense(pieces: list[bytes]) -> None:
    reader = Reader()
    try:
        for piece in pieces:
            reader.feed(piece)
    except Nonsense:
        pass
