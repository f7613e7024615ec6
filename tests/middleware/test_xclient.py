"""Whom a trusted proxy speaks for, and who may not."""

from __future__ import annotations

import logging

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mailstack import ConfigError, Limits, Reply, Session, When, hookimpl, predicate
from mailstack.middleware.proxy import Proxy
from mailstack.middleware.xclient import XClient
from mailstack.testing import Conversation, Dialog, Vouch
from tests import proxies

OFFERED = "NAME ADDR PORT PROTO HELO LOGIN DESTADDR DESTPORT"
FILTER = "192.0.2.1"


def dialog(*stack: object, client: str = FILTER, **options: object) -> Dialog:
    return Dialog(XClient(FILTER), *stack, Vouch(), client=client, **options)  # type: ignore[arg-type]


def facts(smtp: Conversation) -> tuple[object, ...]:
    session = smtp.session
    return str(session.client), str(session.server), session.helo, session.user


async def test_the_trusted_alone_are_offered_it() -> None:
    async with dialog() as smtp:
        assert f"XCLIENT {OFFERED}" in (await smtp.say("EHLO filter.example")).text.splitlines()
        assert "XCLIENT" not in (await smtp.say("HELO filter.example")).text
    async with dialog(client="192.0.2.99") as smtp:
        assert "XCLIENT" not in (await smtp.say("EHLO filter.example")).text


async def test_the_conversation_begins_anew_as_that_of_the_client() -> None:
    async with dialog() as smtp:
        assert await smtp.say("EHLO filter.example") == 250
        command = "XCLIENT NAME=mx.example.net ADDR=198.51.100.7 PORT=4711 PROTO=ESMTP HELO=mx.example.net LOGIN=anna"
        answer = await smtp.say(f"{command} DESTADDR=203.0.113.1 DESTPORT=587")
        assert (answer.code, answer.text) == (220, "mx.test ESMTP mailstack")
        assert facts(smtp) == ("198.51.100.7:4711", "203.0.113.1:587", "mx.example.net", "anna")
        assert await smtp.say("MAIL FROM:<a@example.org>") == 503
        assert f"XCLIENT {OFFERED}" in (await smtp.say("EHLO mx.example.net")).text.splitlines()
        assert await smtp.message("a@example.org", "b@example.org") == 250
        assert b"[198.51.100.7]" in smtp.messages[0].content


SAID = [
    ("ADDR=198.51.100.7", ("198.51.100.7:0", "192.0.2.2:25", None, None)),
    ("addr=IPv6:2001:DB8:0::7 port=25", ("[2001:db8::7]:25", "192.0.2.2:25", None, None)),
    ("ADDR=IPV6:::ffff:198.51.100.7", ("198.51.100.7:0", "192.0.2.2:25", None, None)),
    ("PORT=99", ("192.0.2.1:99", "192.0.2.2:25", None, None)),
    ("ADDR=[UNAVAILABLE]", ("0.0.0.0:0", "192.0.2.2:25", None, None)),
    ("ADDR=[tempunavail] PORT=[unavailable]", ("0.0.0.0:0", "192.0.2.2:25", None, None)),
    ("DESTADDR=IPV6:2001:db8::1", (None, "[2001:db8::1]:0", None, None)),
    ("DESTPORT=587", (None, "192.0.2.2:587", None, None)),
    ("HELO=mx.example.net", (None, "192.0.2.2:25", "mx.example.net", None)),
    ("HELO=[UNAVAILABLE] LOGIN=[UNAVAILABLE]", (None, "192.0.2.2:25", None, None)),
    ("LOGIN=anna+40example.org", (None, "192.0.2.2:25", None, "anna@example.org")),
    ("LOGIN=gr+C3+BC+C3+9Fe", (None, "192.0.2.2:25", None, "grüße")),
    ("LOGIN=a+3Db+20c", (None, "192.0.2.2:25", None, "a=b c")),
    ("NAME=[UNAVAILABLE]", (None, "192.0.2.2:25", None, None)),
    ("NAME=[TEMPUNAVAIL] PROTO=smtp", (None, "192.0.2.2:25", None, None)),
]


@pytest.mark.parametrize(("argument", "expected"), SAID)
async def test_each_attribute_is_read(argument: str, expected: tuple[str | None, ...]) -> None:
    async with dialog() as smtp:
        await smtp.banner()
        before = str(smtp.session.client)
        assert await smtp.say(f"XCLIENT {argument}") == 220
        assert facts(smtp) == (expected[0] or before, *expected[1:])


@pytest.mark.parametrize(
    ("argument", "name", "result"),
    [
        ("ADDR=198.51.100.7 NAME=MX.example.net.", "mx.example.net", "pass"),
        ("NAME=mx_1.example.net", "mx_1.example.net", "pass"),
        ("ADDR=198.51.100.7 NAME=[UNAVAILABLE]", None, "permerror"),
        ("ADDR=198.51.100.7 NAME=[tempunavail]", None, "temperror"),
        ("ADDR=[UNAVAILABLE]", None, "permerror"),
        ("ADDR=[UNAVAILABLE] NAME=mx.example.net", "mx.example.net", "pass"),
    ],
)
async def test_the_name_that_is_told_is_the_client_s(argument: str, name: str | None, result: str) -> None:
    async with dialog() as smtp:
        assert await smtp.say(f"XCLIENT {argument}") == 220
        assert await smtp.say("EHLO mx.example.net") == 250
        assert (smtp.session.client.reverse.name, smtp.session.client.reverse.result) == (name, result)
        assert smtp.session.client_name == (name if result == "pass" else None)


WRONG = [
    "",
    "ADDR",
    "ADDR=",
    "=198.51.100.7",
    "ADDR=198.51.100.7 ADDR=198.51.100.8",
    "ADDR=198.51.100.7 COLOUR=blue",
    "ADDR=198.51.100",
    "ADDR=198.51.100.256",
    "ADDR=0198.51.100.7",
    "ADDR=mx.example.net",
    "ADDR=2001:db8::7",
    "ADDR=IPV6:198.51.100.7",
    "ADDR=IPV6:fe80::1%eth0",
    "ADDR=[198.51.100.7]",
    "ADDR=198.51.100.7/32",
    "PORT=-1",
    "PORT=65536",
    "PORT=0x19",
    "PORT=25x",
    "PROTO=LMTP",
    "PROTO=[UNAVAILABLE]",
    "HELO=mx+20example.net",
    "HELO=mx+0D+0Aexample.net",
    "NAME=mx+00.example.net",
    "NAME=[198.51.100.7]",
    "NAME=mx+3B.example.net",
    "NAME=b+C3+BCcher.example",
    "LOGIN=anna+0D+0AMAIL",
    "LOGIN=anna+ff",
    "LOGIN=anna+4",
    "LOGIN=anna=eve",
    f"LOGIN={'a' * 256}",
    f"HELO={'a' * 256}",
    "DESTADDR=here",
    "DESTPORT=smtp",
]


@pytest.mark.parametrize("argument", WRONG)
async def test_what_is_malformed_changes_nothing(argument: str) -> None:
    async with dialog() as smtp:
        assert await smtp.say("EHLO filter.example") == 250
        before = facts(smtp)
        assert await smtp.say(f"XCLIENT {argument}") == 501
        assert facts(smtp) == before
        assert await smtp.message("a@example.org", "b@example.org") == 250


# Attack 18 of the peers' list: a stranger who says that he is somebody else.


async def test_a_stranger_is_refused_and_stays_who_he_is(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO, "mailstack")
    async with dialog(client="203.0.113.66") as smtp:
        assert await smtp.say("EHLO evil.example") == 250
        before = facts(smtp)
        for argument in ("ADDR=192.0.2.1", "LOGIN=anna", "nonsense", ""):
            answer = await smtp.say(f"XCLIENT {argument}")
            assert (answer.code, answer.status) == (550, "5.7.0")
        assert facts(smtp) == before
    assert "event=xclient" not in caplog.text


async def test_permission_never_comes_from_what_xclient_said() -> None:
    async with Dialog(XClient("192.0.2.1"), When(predicate.client_in("198.51.100.7"), XClient("198.51.100.7"))) as smtp:
        assert await smtp.say("XCLIENT ADDR=198.51.100.7") == 220
        assert await smtp.say("XCLIENT ADDR=198.51.100.8") == 220  # the filter is trusted still
    async with Dialog(XClient("198.51.100.7"), client="192.0.2.1") as smtp:
        assert await smtp.say("XCLIENT ADDR=198.51.100.7") == 550


async def test_what_several_commands_say_adds_up() -> None:
    async with dialog() as smtp:
        assert await smtp.say("XCLIENT HELO=mx.example.net LOGIN=anna DESTADDR=203.0.113.1") == 220
        assert await smtp.say("XCLIENT ADDR=198.51.100.7 PORT=4711") == 220
        assert facts(smtp) == ("198.51.100.7:4711", "203.0.113.1:0", "mx.example.net", "anna")
        assert await smtp.say("XCLIENT LOGIN=[UNAVAILABLE] PORT=4712") == 220
        assert facts(smtp) == ("198.51.100.7:4712", "203.0.113.1:0", "mx.example.net", None)


async def test_one_client_has_neither_login_nor_name_of_the_one_before() -> None:
    async with dialog() as smtp:
        assert await smtp.say("XCLIENT ADDR=198.51.100.7 PORT=4711 NAME=mx.example.net LOGIN=anna") == 220
        assert await smtp.message("a@example.org", "b@example.org") == 250
        assert await smtp.say("XCLIENT ADDR=198.51.100.8") == 220
        assert facts(smtp) == ("198.51.100.8:0", "192.0.2.2:25", None, None)
        assert smtp.session.client.reverse.name is None
        assert await smtp.say("XCLIENT PORT=4712 NAME=mx.example.com") == 220
        assert await smtp.say("EHLO me") == 250
        assert await smtp.say("XCLIENT PORT=4713") == 220
        assert facts(smtp) == ("198.51.100.8:4713", "192.0.2.2:25", None, None)
        assert smtp.session.client.reverse.name == "mx.example.com"


async def test_not_within_a_transaction() -> None:
    async with dialog() as smtp:
        assert await smtp.say("EHLO filter.example") == 250
        assert await smtp.say("MAIL FROM:<a@example.org>") == 250
        assert await smtp.say("XCLIENT ADDR=198.51.100.7") == 503
        assert await smtp.say("RCPT TO:<b@example.org>") == 250
        assert await smtp.say("XCLIENT ADDR=198.51.100.7") == 503
        assert await smtp.say("RSET") == 250
        assert await smtp.say("XCLIENT ADDR=198.51.100.7") == 220


class Blocked:
    """Refuses one network at the door, and remembers whom it saw."""

    def __init__(self) -> None:
        self.seen: list[str] = []

    @hookimpl
    def connect(self, session: Session) -> Reply | None:
        self.seen.append(session.client.host)
        return Reply(554, "not you") if session.client.host.startswith("198.51.100.") else None


async def test_policy_is_asked_from_connect_on() -> None:
    blocked = Blocked()
    async with dialog(blocked) as smtp:
        assert await smtp.say("EHLO filter.example") == 250
        assert await smtp.say("XCLIENT ADDR=198.51.100.7") == 554
        assert await smtp.say("EHLO filter.example") == 503
        assert blocked.seen == [FILTER, "198.51.100.7"]


async def test_conditions_see_the_new_client() -> None:
    class Home:
        @hookimpl
        def ehlo(self) -> Reply:
            return Reply(250, "welcome home")

    async with dialog(When(predicate.client_in("10.0.0.0/8"), Home())) as smtp:
        assert "welcome" not in (await smtp.say("EHLO filter.example")).text
        assert await smtp.say("XCLIENT ADDR=10.1.2.3") == 220
        assert "welcome" in (await smtp.say("EHLO filter.example")).text


async def test_an_unknown_client_has_none_of_the_rights_of_its_proxy() -> None:
    class Relay:
        @hookimpl
        def rcpt(self) -> Reply:
            return Reply(550, "the proxy's own right")

    async with dialog(When(predicate.client_in(FILTER), Relay())) as smtp:
        assert await smtp.say("XCLIENT ADDR=[UNAVAILABLE]") == 220
        assert await smtp.message("a@example.org", "b@example.org") == 250


async def test_it_is_pipelined_at_the_end_of_a_group() -> None:
    async with dialog() as smtp:
        await smtp.banner()
        await smtp.send(b"EHLO filter.example\r\nNOOP\r\nXCLIENT ADDR=198.51.100.7\r\n")
        assert [answer.code for answer in await smtp.replies(3)] == [250, 250, 220]


async def test_behind_a_proxy_header_its_client_is_the_one_that_is_judged() -> None:
    for client, code in (("198.51.100.7", 220), ("203.0.113.66", 550)):
        async with Dialog(Proxy(), XClient("198.51.100.7"), client=FILTER, proxy="192.0.2.0/28") as smtp:
            await smtp.send(proxies.text(client))
            assert await smtp.say("XCLIENT LOGIN=anna") == code


async def test_a_client_of_a_unix_socket_is_none_of_the_trusted() -> None:
    async with dialog(client="") as smtp:
        assert await smtp.say("XCLIENT PORT=25") == 550


async def test_a_login_is_forgotten_where_it_is_not_said_again() -> None:
    async with dialog() as smtp:
        await smtp.banner()
        smtp.session.user = "filter"
        assert await smtp.say("XCLIENT ADDR=198.51.100.7") == 220
        assert smtp.session.user is None


@settings(deadline=None, max_examples=30)
@given(st.lists(st.binary(max_size=60), max_size=5))
async def test_any_argument_is_answered(words: list[bytes]) -> None:
    async with dialog(limits=Limits(errors=1000)) as smtp:
        for opening in (b"", b"ADDR=", b"PORT=", b"LOGIN=", b"HELO=", b"NAME="):
            line = b"XCLIENT " + b" ".join(opening + word for word in words)
            answer = await smtp.say(line.replace(b"\r", b"").replace(b"\n", b""))
            assert answer.code in (220, 500, 501)
            assert not [each for each in smtp.evidence if each.outcome == "fault"]


@pytest.mark.parametrize("trusted", [(), ("mx.example.net",), ("192.0.2.1/24",)])
def test_whom_it_trusts_must_make_sense(trusted: tuple[str, ...]) -> None:
    with pytest.raises(ConfigError, match="XClient"):
        XClient(*trusted)
