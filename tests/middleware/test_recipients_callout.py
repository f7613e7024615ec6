"""Callout: what is asked, what is remembered, and what the client hears when the next server does not answer."""

import logging
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import anyio
import pytest

from mailstack import ConfigError, Listener, Server, Stack, hookimpl
from mailstack.middleware import tls
from mailstack.middleware.auth import Auth
from mailstack.middleware.recipients import Addresses, Callout, callout
from mailstack.middleware.recipients.callout import Memory, _Answer
from mailstack.services.client import TLS, Login
from mailstack.session.credentials import PASSWORD, Credentials, Password
from mailstack.testing import Answer, Conversation, Dialog
from mailstack.testing.message import make_recipient, make_session
from mailstack.testing.rehearsal import Script, rehearse
from mailstack.wire.reply import Reply
from tests.nexthop import Cut, NextHop
from tests.tls import authority_pem, pem

TAKEN, RELAY, UNKNOWN, LATER = (250, "2.1.5"), (550, "5.7.1"), (550, "5.1.1"), (451, "4.4.3")


def mailboxes(line: bytes) -> str:
    """A server at which ann is somebody."""
    for name, reply in REPLIES.items():
        if b"<" + name.encode() in line:
            return reply
    return "550 5.1.1 never heard of"


REPLIES = {
    "ann@": "250 ok",
    "busy@": "450 4.2.1 later",
    "full@": "552 5.2.2 mailbox full",
    "plain@": "550 no",
    "relay@": "554 5.7.1 relay access denied",
    "closing@": "421 4.3.2 going down",
}


@asynccontextmanager
async def asking(hop: NextHop, **options: Any) -> AsyncIterator[Conversation]:
    """A client of a server that asks that one, in a transaction."""
    entry = Callout(hop.address, "example.org", **{"timeout": 20, **options})
    with anyio.fail_after(30):
        async with Dialog(entry) as smtp:
            await begin(smtp)
            yield smtp


async def begin(smtp: Conversation) -> None:
    for command in ("EHLO me", "MAIL FROM:<a@example.net> SMTPUTF8"):
        assert await smtp.say(command) == 250


async def ask(smtp: Conversation, *locals: str) -> list[tuple[int, str | None]]:
    return [judged(await smtp.say(f"RCPT TO:<{local}@example.org>")) for local in locals]


def judged(answer: Answer) -> tuple[int, str | None]:
    return answer.code, answer.status


@pytest.mark.parametrize(
    ("local", "heard"),
    [
        ("ann", TAKEN),
        ("eve", UNKNOWN),
        ("plain", UNKNOWN),
        ("busy", LATER),
        ("closing", LATER),
        ("full", (550, "5.2.2")),
        ("relay", UNKNOWN),
    ],
)
async def test_the_next_server_knows_who_exists(local: str, heard: tuple[int, str]) -> None:
    async with NextHop("PIPELINING", RCPT=mailboxes) as hop, asking(hop) as smtp:
        assert await ask(smtp, local) == [heard]
        [noted] = [finding.detail for finding in smtp.evidence if finding.outcome == "noted"]
        assert noted.startswith(f"{local}@example.org at {hop.address}: ")
        assert hop.said("EHLO") == ["EHLO mx.test"]
        assert hop.said("MAIL") == ["MAIL FROM:<>"]
        assert hop.said("RCPT") == [f"RCPT TO:<{local}@example.org>"]
        assert not hop.said("DATA")


async def test_its_words_are_not_passed_on() -> None:
    async with NextHop(RCPT="550 5.1.1 internal-host-7 says no") as hop, asking(hop) as smtp:
        answer = await smtp.say("RCPT TO:<eve@example.org>")
        assert answer.text == "no such mailbox here"


async def test_it_is_asked_for_its_domains_alone_and_not_for_roles_or_routes() -> None:
    async with NextHop(RCPT=mailboxes) as hop, asking(hop) as smtp:
        for path, heard in (
            ("ann@example.net", RELAY),
            ("ann%elsewhere.example@example.org", RELAY),
            ('"ann@elsewhere.example"@example.org', RELAY),
            ("postmaster@example.org", TAKEN),
            ("ABUSE@example.org", TAKEN),
            ("postmaster", TAKEN),
        ):
            assert judged(await smtp.say(f"RCPT TO:<{path}>")) == heard
        assert hop.connections == 0


# What is remembered.


async def test_an_answer_is_remembered_for_its_time(monkeypatch: pytest.MonkeyPatch) -> None:
    now = 1000.0
    monkeypatch.setattr(callout, "monotonic", lambda: now)
    async with NextHop(RCPT=mailboxes) as hop, asking(hop, positive="2h", negative="1h") as smtp:
        for later, asked in ((0.0, 2), (3599.0, 2), (2.0, 3), (3598.0, 3), (10.0, 5)):
            now += later
            assert await ask(smtp, "ann", "Eve", "ANN") == [TAKEN, UNKNOWN, TAKEN]
            assert len(hop.said("RCPT")) == asked
        assert hop.connections == 1


async def test_what_is_for_now_only_is_not_remembered() -> None:
    async with NextHop(RCPT=["450 later", "450 later", "250 ok"]) as hop, asking(hop) as smtp:
        assert await ask(smtp, "ann", "ann", "ann", "ann") == [LATER, LATER, TAKEN, TAKEN]
        assert len(hop.said("RCPT")) == 3


async def test_nothing_is_remembered_for_no_time_and_letter_case_counts_where_it_shall() -> None:
    async with NextHop(RCPT=mailboxes) as hop, asking(hop, positive=0, negative=0) as smtp:
        assert await ask(smtp, "ann", "ann") == [TAKEN, TAKEN]
        assert len(hop.said("RCPT")) == 2
    async with NextHop(RCPT=mailboxes) as hop, asking(hop, case_sensitive=True) as smtp:
        assert await ask(smtp, "ann", "Ann", "ann") == [TAKEN, UNKNOWN, TAKEN]


async def test_it_forgets_the_least_recently_used() -> None:
    async with NextHop() as hop, asking(hop, remember=2) as smtp:
        await ask(smtp, "a", "b", "a", "c", "a", "b")
        assert hop.said("RCPT") == [f"RCPT TO:<{local}@example.org>" for local in "abcb"]


def test_the_memory_is_bounded_and_drops_what_is_over() -> None:
    memory, answer = Memory(3), _Answer(None)
    for number in range(10):
        memory.put((str(number), "x"), answer, 100.0)
    assert len(memory) == 3
    assert memory.get(("9", "x"), 99.0) is answer
    assert memory.get(("9", "x"), 100.0) is None
    assert len(memory) == 2


async def test_who_asks_for_the_same_waits_for_one_answer() -> None:
    async with NextHop(RCPT=[None, "250 ok"]) as hop:
        entry, first, taken = Callout(hop.address, "example.org", timeout=20), anyio.CancelScope(), 0

        async def one(scope: anyio.CancelScope) -> None:
            nonlocal taken
            session = make_session(sender="a@example.net")
            recipient = make_recipient("ann@example.org", session)
            with scope:
                assert await entry.rcpt(session, recipient) is None
                taken += recipient.accepted

        async def several() -> None:
            async with anyio.create_task_group() as group:
                group.start_soon(one, first)
                await hop.reached("RCPT")
                for _ in range(3):
                    group.start_soon(one, anyio.CancelScope())
                await anyio.wait_all_tasks_blocked()
                assert len(hop.said("RCPT")) == 1
                first.cancel()  # another one takes over, and asks anew

        with anyio.fail_after(20):
            await entry.lifespan(SimpleNamespace(addresses=[], hostname="mx.test"), several)
        assert taken == 3
        assert len(hop.said("RCPT")) == 2


# When it does not answer.


@pytest.mark.parametrize(
    "replies",
    [
        {"banner": "554 go away"},
        {"banner": Cut},
        {"banner": None},
        {"HELLO": "550 who are you"},
        {"MAIL": "550 no bounces here"},
        {"MAIL": "451 later"},
        {"RCPT": Cut},
        {"RCPT": None},
        {"RCPT": "nonsense"},
    ],
    ids=str,
)
async def test_without_an_answer_the_client_comes_again(
    replies: dict[str, Any], caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.WARNING, "mailstack"):
        async with NextHop(**replies) as hop, asking(hop, timeout=0.2) as smtp:
            assert await ask(smtp, "ann") == [LATER]
            connections = hop.connections
            # For a moment it is not asked again.
            assert await ask(smtp, "bob") == [LATER]
            assert hop.connections == connections
    assert len([record for record in caplog.records if "callout failed" in record.getMessage()]) == 1


async def test_nobody_is_there_and_then_somebody_is(monkeypatch: pytest.MonkeyPatch) -> None:
    now = 1000.0
    monkeypatch.setattr(callout, "monotonic", lambda: now)
    async with NextHop(banner=["421 not yet", "220 hello"], RCPT=mailboxes) as hop, asking(hop) as smtp:
        assert await ask(smtp, "ann") == [LATER]
        now += 5
        assert await ask(smtp, "ann") == [TAKEN]


async def test_a_connection_that_died_meanwhile_is_made_anew() -> None:
    async with NextHop(RCPT=["250 ok", Cut, "250 ok"]) as hop, asking(hop) as smtp:
        assert await ask(smtp, "ann", "bob") == [TAKEN, TAKEN]
        assert hop.connections == 2


async def test_a_utf8_address_needs_a_server_that_takes_it() -> None:
    async with NextHop() as hop, asking(hop) as smtp:
        assert await ask(smtp, "jörg") == [(554, "5.6.7")]
    async with NextHop("SMTPUTF8", "8BITMIME") as hop, asking(hop) as smtp:
        assert await ask(smtp, "jörg") == [TAKEN]


async def test_another_sender_for_a_server_that_takes_no_bounces() -> None:
    async with NextHop(RCPT=mailboxes) as hop, asking(hop, sender="probe@example.org") as smtp:
        assert await ask(smtp, "ann") == [TAKEN]
        assert hop.said("MAIL") == ["MAIL FROM:<probe@example.org>"]


async def test_no_more_connections_than_allowed() -> None:
    async with NextHop(RCPT=mailboxes) as hop:
        async with (
            Dialog(Callout(hop.address, "example.org", connections=2)) as smtp,
            anyio.create_task_group() as group,
        ):
            for number, line in enumerate([smtp, *await smtp.several(5)]):
                await begin(line)
                group.start_soon(ask, line, f"eve{number}")
        assert len(hop.said("RCPT")) == 6
        assert hop.most_open <= 2


# Servers of our own.


@pytest.mark.parametrize("address", ["127.0.0.1:0", "0.0.0.0:0", "[::]:0", "[::1]:0"])
async def test_it_never_asks_itself(address: str, caplog: pytest.LogCaptureFixture) -> None:
    port = await free_port()
    host = address.rpartition(":")[0]
    there = "[::1]" if host == "[::1]" else "127.0.0.1"
    stack = Stack(Callout(f"{there}:{port}", "example.org"), Addresses("x@example.net"))
    with caplog.at_level(logging.WARNING, "mailstack"):
        async with Server(stack, [Listener(f"{host}:{port}")], hostname="mx.test"):
            stream = await anyio.connect_tcp(there.strip("[]"), port)
            async with stream:
                lines = b"EHLO me\r\nMAIL FROM:<a@example.net>\r\nRCPT TO:<ann@example.org>\r\nQUIT\r\n"
                await stream.send(lines)
                heard = b""
                while b"221 " not in heard:
                    heard += await stream.receive()
    assert b"\r\n451 4.4.3 " in heard
    assert any("this server itself" in record.getMessage() for record in caplog.records)


async def free_port() -> int:
    async with await anyio.create_tcp_listener(local_host="127.0.0.1") as listener:
        port: int = listener.extra(anyio.abc.SocketAttribute.local_port)
        return port


@pytest.mark.parametrize("lmtp", [False, True])
async def test_a_server_of_ours_is_asked_over_a_unix_socket(lmtp: bool, tmp_path: Path) -> None:
    place = f"unix:{tmp_path / 's'}"
    known = Stack(Addresses("ann@example.org"))
    async with Server(known, [Listener(place, lmtp=lmtp)], hostname="next.test"):
        async with Dialog(Callout(place, "example.org", lmtp=lmtp)) as smtp:
            await begin(smtp)
            assert await ask(smtp, "ann", "eve") == [TAKEN, UNKNOWN]


class OnlyUnderTLS:
    """Who may ask: those who have logged in, under TLS."""

    mechanisms = PASSWORD

    @hookimpl
    def auth(self, credentials: Credentials) -> Reply | None:
        assert isinstance(credentials, Password)
        return Reply(235 if credentials.password == "right" else 535)


@pytest.mark.parametrize(
    ("options", "heard"),
    [
        ({}, LATER),
        ({"login": Login("ann", password="wrong")}, LATER),
        ({"login": Login("ann", password="right")}, LATER),  # its certificate must be right then, and who signed this?
        ({"login": Login("ann", password="right"), "tls": "encrypt"}, TAKEN),
        ({"login": Login("ann", password="right"), "tls": "none"}, LATER),
        ({"login": Login("ann", password="right"), "tls": TLS("verify", ca=authority_pem(), name="mx.test")}, TAKEN),
    ],
)
async def test_a_server_that_wants_tls_and_a_login_gets_them(options: dict[str, Any], heard: tuple[int, str]) -> None:
    entries = tls.TLS(str(pem())), Auth(required=True, delay=0), OnlyUnderTLS(), Addresses("ann@example.org")
    async with Server(Stack(*entries), [Listener("127.0.0.1:0")], hostname="mx.test") as server:
        port = server.addresses[0][1]
        async with Dialog(Callout(f"127.0.0.1:{port}", "example.org", **options)) as smtp:
            await begin(smtp)
            assert await ask(smtp, "ann") == [heard]


async def test_tls_that_is_wanted_and_not_offered_is_451() -> None:
    async with NextHop(RCPT=mailboxes) as hop:
        async with asking(hop, tls="encrypt") as smtp:
            assert await ask(smtp, "ann") == [LATER]
        assert not hop.said("MAIL")


async def test_a_rehearsal_asks_too_and_sends_nothing() -> None:
    async with NextHop(RCPT=mailboxes) as hop:
        server = Server(Stack(Callout(hop.address, "example.org"), lambda message: None), [], hostname="mx.test")
        script = Script(sender="a@example.net", recipients=("ann@example.org", "eve@example.org"))
        report = await rehearse(server, script)
        assert [each.verdict for each in report.recipients] == ["accepted", "refused"]
        assert len(hop.said("RCPT")) == 2
        assert not hop.said("DATA")


@pytest.mark.parametrize(
    ("arguments", "options", "words"),
    [
        (("192.0.2.1",), {}, "nothing in it"),
        (("192.0.2.1:0", "example.org"), {}, "port 0"),
        (("", "example.org"), {}, "Callout"),
        (("192.0.2.1", "user@example.org"), {}, "not a domain"),
        (("192.0.2.1", "example.org"), {"timeout": 0}, "timeout"),
        (("192.0.2.1", "example.org"), {"positive": "long"}, "positive"),
        (("192.0.2.1", "example.org"), {"remember": 0}, "remember"),
        (("192.0.2.1", "example.org"), {"connections": 0}, "connections"),
        (("192.0.2.1", "example.org"), {"sender": "nobody"}, "sender"),
    ],
)
def test_what_makes_no_sense_is_told(arguments: tuple[str, ...], options: dict[str, Any], words: str) -> None:
    with pytest.raises(ConfigError, match=words):
        Callout(*arguments, **options)


def test_a_refusal_tells_no_more_than_it_must() -> None:
    for given in (Reply(550, "x", status="5.1.1"), Reply(553, "x"), Reply(554, "x"), Reply(550, "x", status="5.7.1")):
        assert judged_by(given) == UNKNOWN
    assert judged_by(Reply(552, "x", status="5.2.2")) == (550, "5.2.2")


def judged_by(reply: Reply) -> tuple[int, str | None]:
    refusal = callout._refusal(reply)
    return refusal.code, refusal.status
