"""Dovecot's protocol, and a Dovecot that is late, dies, or talks nonsense. The real one is in tests/interop."""

from __future__ import annotations

from base64 import b64decode
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
from anyio import BrokenResourceError, ClosedResourceError, EndOfStream, create_task_group, create_unix_listener
from anyio.abc import SocketStream
from hypothesis import given
from hypothesis import strategies as st

from mailstack.middleware.authdovecot import Dovecot
from mailstack.middleware.authdovecot.protocol import Answer, Dialogue, Nonsense, escape, hello, request, words
from mailstack.middleware.tls import TLS
from mailstack.option import ConfigError
from mailstack.session.credentials import Password
from tests.middleware.providers.logins import answers, asked, begin, dialog, judged, logged, login
from tests.tls import client_context, pem

HELLO = b"VERSION\t1\t2\nMECH\tPLAIN\tplaintext\nMECH\tLOGIN\tplaintext\nSPID\t17\nCUID\t1\nCOOKIE\tab\nDONE\n"

Respond = Callable[["Auth", list[str]], Awaitable[bytes | None]]


class Auth:
    """A Dovecot that answers each request as it is told: None closes the connection."""

    def __init__(self, respond: Respond, greeting: bytes = HELLO) -> None:
        self.respond = respond
        self.greeting = greeting
        self.heard: list[list[str]] = []
        self.connections = 0

    async def serve(self, stream: SocketStream) -> None:
        self.connections += 1
        held = b""
        async with stream:
            try:
                await stream.send(self.greeting)
                while True:
                    held += await stream.receive()
                    *lines, held = held.split(b"\n")
                    for line in lines:
                        said = line.decode().split("\t")
                        self.heard.append(said)
                        if said[0] != "AUTH":
                            continue
                        answer = await self.respond(self, said)
                        if answer is None:
                            return
                        await stream.send(answer)
            except (EndOfStream, BrokenResourceError, ClosedResourceError):
                pass

    @asynccontextmanager
    async def listening(self, path: Path) -> AsyncIterator[str]:
        async with await create_unix_listener(path) as listener, create_task_group() as group:
            group.start_soon(listener.serve, self.serve)
            yield f"unix:{path}"
            group.cancel_scope.cancel()


def says(answer: str) -> Respond:
    async def respond(auth: Auth, said: list[str]) -> bytes:
        return answer.format(id=said[1]).encode() + b"\n"

    return respond


async def answer_to(tmp_path: Path, said: str, greeting: bytes = HELLO) -> int | None:
    async with Auth(says(said), greeting).listening(tmp_path / "s") as address:
        return await asked(Dovecot(address, timeout="5s"), "ann", "right")


# What Dovecot hears.


async def test_dovecot_hears_who_asks_from_where_and_the_password_in_base64(tmp_path: Path) -> None:
    auth = Auth(says("OK\t{id}\tuser=Ann@Example.org\toriginal_user=ann"))
    async with auth.listening(tmp_path / "s") as address:
        async with dialog(Dovecot(address, service="submission"), client="2001:db8::7") as smtp:
            await begin(smtp)
            assert await login(smtp, "ann", "se\tcret") == 235
            assert smtp.session.user == "Ann@Example.org"
            client, server = smtp.session.client, smtp.session.server
    version, number, (verb, id, mechanism, *fields, told) = auth.heard
    assert version == ["VERSION", "1", "1"]
    assert number[0] == "CPID"
    assert 0 < int(number[1]) < 2**31
    assert (verb, id, mechanism) == ("AUTH", "1", "PLAIN")
    assert set(fields) == {
        "service=submission",
        "nologin",
        f"lip={server.host}",
        f"lport={server.port}",
        "rip=2001:db8::7",
        f"rport={client.port}",
    }
    assert b64decode(told.removeprefix("resp=")) == b"\0ann\0se\tcret"


async def test_dovecot_hears_of_tls(tmp_path: Path) -> None:
    auth = Auth(says("OK\t{id}\tuser=ann"))
    async with auth.listening(tmp_path / "s") as address:
        async with dialog(TLS(pem()), Dovecot(address)) as smtp:
            await begin(smtp)
            await smtp.say("STARTTLS")
            await smtp.start_tls(client_context())
            await smtp.say("EHLO client.example")
            assert await login(smtp, "ann", "right") == 235
    assert "secured" in auth.heard[-1]


# What Dovecot says.


@pytest.mark.parametrize(
    ("said", "reply"),
    [
        ("OK\t{id}\tuser=ann", 235),
        ("OK\t{id}", 235),
        ("OK\t{id}\tuser=ann\tnologin\treason=closed", 535),
        ("OK\t{id}\tuser=ann\tproxy\thost=192.0.2.1", 454),
        ("FAIL\t{id}\tuser=ann", None),
        ("FAIL\t{id}", None),
        ("FAIL\t{id}\tuser=ann\tuser_disabled", 535),
        ("FAIL\t{id}\tuser=ann\tcode=user_disabled", 535),
        ("FAIL\t{id}\tuser=ann\tpass_expired", 535),
        ("FAIL\t{id}\tuser=ann\tcode=pass_expired", 535),
        ("FAIL\t{id}\tuser=ann\tauthz", 535),
        ("FAIL\t{id}\tuser=ann\ttemp", 454),
        ("FAIL\t{id}\tuser=ann\tcode=temp_fail", 454),
        ("CONT\t{id}\tZ28gb24=", 454),
        ("NEWS\t{id}\nOK\t99\tuser=eve\nOK\t{id}\tuser=ann", 235),
        ("OK", 454),
        ("OK\tx", 454),
        ("x" * 70_000, 454),
    ],
)
async def test_what_dovecot_s_answer_means(tmp_path: Path, said: str, reply: int | None) -> None:
    assert await answer_to(tmp_path, said) == reply


@pytest.mark.parametrize(
    "greeting",
    [b"VERSION\t2\t0\n", b"* OK IMAP\r\n", b"VERSION\t1\t2\n" + b"MECH\tX\n" * 101, b"x" * 70_000],
)
async def test_a_greeting_that_is_not_dovecot_s_is_454(tmp_path: Path, greeting: bytes) -> None:
    assert await answer_to(tmp_path, "OK\t{id}", greeting) == 454


async def test_answers_find_who_asked_in_whatever_order_they_come(tmp_path: Path) -> None:
    waiting: list[str] = []

    async def backwards(auth: Auth, said: list[str]) -> bytes:
        waiting.append(said[1])
        if len(waiting) < 5:
            return b""
        return "".join(f"{'OK' if int(id) % 2 else 'FAIL'}\t{id}\n" for id in reversed(waiting)).encode()

    auth = Auth(backwards)
    async with auth.listening(tmp_path / "s") as address:
        codes = await answers(Dovecot(address), *[("ann", "right")] * 5)
    assert sorted(code or 0 for code in codes) == [0, 0, 235, 235, 235]
    assert auth.connections == 1


# Trouble.


async def test_a_dovecot_that_is_not_there_is_454(tmp_path: Path) -> None:
    assert await asked(Dovecot(f"unix:{tmp_path}/s"), "ann", "right") == 454


async def test_a_question_is_asked_once_more_when_the_connection_has_died(tmp_path: Path) -> None:
    async def dies(auth: Auth, said: list[str]) -> bytes | None:
        return f"OK\t{said[1]}\n".encode() if len(auth.heard) not in (4, 8) else None

    auth = Auth(dies)
    async with auth.listening(tmp_path / "s") as address, dialog(Dovecot(address)) as smtp:
        others = await smtp.several(2)
        for each in (smtp, *others):
            await begin(each)
            assert await login(each, "ann", "right") == 235
    assert auth.connections == 3


async def test_one_that_dies_of_each_question_is_454(tmp_path: Path) -> None:
    async def dies(auth: Auth, said: list[str]) -> None:
        return None

    auth = Auth(dies)
    async with auth.listening(tmp_path / "s") as address:
        assert await asked(Dovecot(address), "ann", "right") == 454
    assert auth.connections == 1


async def test_one_that_says_nothing_is_454_and_connected_to_anew(tmp_path: Path) -> None:
    async def silent_at_first(auth: Auth, said: list[str]) -> bytes:
        return b"" if auth.connections == 1 else f"OK\t{said[1]}\n".encode()

    auth = Auth(silent_at_first)
    async with auth.listening(tmp_path / "s") as address, dialog(Dovecot(address, timeout=0.3)) as smtp:
        [other] = await smtp.several(1)
        for each, code in ((smtp, 454), (other, 235)):
            await begin(each)
            assert await login(each, "ann", "right") == code
    assert auth.connections == 2


async def test_who_leaves_takes_nobody_s_connection_along(tmp_path: Path) -> None:
    async def silent_for_eve(auth: Auth, said: list[str]) -> bytes:
        eve = b64decode(said[-1].removeprefix("resp=")).startswith(b"\0eve")
        return b"" if eve else f"OK\t{said[1]}\n".encode()

    auth = Auth(silent_for_eve)
    async with auth.listening(tmp_path / "s") as address:
        provider: Any = Dovecot(address)

        async def ask(user: str) -> int:
            return int((await provider.auth(session=smtp.session, credentials=Password(user, "x"))).code)

        async with dialog(provider) as smtp:
            await begin(smtp)
            async with create_task_group() as group:
                group.start_soon(ask, "eve")
                assert await ask("ann") == 235
                group.cancel_scope.cancel()
            assert await ask("ann") == 235
    assert auth.connections == 1


async def test_nothing_secret_is_logged(tmp_path: Path) -> None:
    auth = Auth(says("FAIL\t{id}\ttemp"))
    async with auth.listening(tmp_path / "s") as address:
        with logged() as stream:
            assert (await judged(Dovecot(address), "ann", "se-cret"))[0] == 454
    assert "Dovecot is in trouble" in stream.getvalue()
    assert "se-cret" not in stream.getvalue()
    assert "AGFubgBzZS1jcmV0" not in stream.getvalue()


async def test_what_it_offers_is_what_dovecot_lists(tmp_path: Path) -> None:
    auth = Auth(says("OK\t{id}"), HELLO.replace(b"MECH\tPLAIN\tplaintext\n", b""))
    async with auth.listening(tmp_path / "s") as address:
        provider = Dovecot(address)
        assert ",".join(provider.mechanisms) == "PLAIN,LOGIN"
        assert await asked(provider, "ann", "right") == 454
        assert not provider.mechanisms


@pytest.mark.parametrize("options", [{"address": "127.0.0.1:0"}, {"at_once": 0}, {"timeout": "soon"}])
def test_options_that_make_no_sense_are_refused(options: dict[str, Any]) -> None:
    with pytest.raises(ConfigError):
        Dovecot(**options)


# Without I/O.


@given(st.lists(st.text(), min_size=1))
def test_a_word_comes_back_as_it_was_escaped(said: list[str]) -> None:
    line = "\t".join(map(escape, said)).encode()
    assert b"\n" not in line
    assert words(line) == said


@given(st.text(min_size=1), st.text(min_size=1), st.dictionaries(st.sampled_from(["rip", "lip"]), st.text(min_size=1)))
def test_a_request_is_one_line_whatever_is_said(user: str, password: str, fields: dict[str, str]) -> None:
    line = request(7, Password(user, password), fields)
    assert line.count(b"\n") == 1
    *start, told = line.decode().removesuffix("\n").split("\t")
    assert start[:3] == ["AUTH", "7", "PLAIN"]
    assert b64decode(told.removeprefix("resp=")).decode() == f"\0{user}\0{password}"
    assert words("\t".join(start[3:]).encode()) == [f"{name}={value}" for name, value in fields.items()] or not fields


@given(st.lists(st.integers(0, 200), max_size=8))
def test_cut_anywhere_the_answers_are_the_same(cuts: list[int]) -> None:
    octets = HELLO + b"OK\t1\tuser=a\x01tb\nFAIL\t2\ttemp\nCONT\t3\t\n"
    dialogue, found = Dialogue(), []
    edges = [0, *sorted(cuts), len(octets)]
    for start, end in pairwise(edges):
        found += dialogue.feed(octets[start:end])
    assert dialogue.mechanisms == frozenset(("PLAIN", "LOGIN"))
    assert found == [Answer("OK", 1, {"user": "a\tb"}), Answer("FAIL", 2, {"temp": ""}), Answer("CONT", 3, {"": ""})]


@given(st.lists(st.binary()))
def test_any_octets_are_answers_or_nonsense(pieces: list[bytes]) -> None:
    dialogue = Dialogue()
    try:
        dialogue.feed(HELLO)
        for piece in pieces:
            dialogue.feed(piece)
    except Nonsense:
        pass


def test_the_client_s_hello() -> None:
    assert hello(7) == b"VERSION\t1\t1\nCPID\t7\n"
