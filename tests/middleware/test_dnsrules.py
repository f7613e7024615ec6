"""resolvable, helo, fcrdns: what names say of a client and a sender; bogusbounce and noop."""

from __future__ import annotations

from typing import Any

import pytest

from mailstack.middleware import bogusbounce, fcrdns, helo, noop, resolvable
from mailstack.option import ConfigError
from mailstack.testing import SERVFAIL, Conversation, Dialog, FakeResolver, Vouch

SOMEWHERE = "93.184.216.34"


async def rcpt(smtp: Conversation, sender: str = "ann@example.org", hello: str = "client.example.org") -> str:
    """The reply to RCPT."""
    await smtp.banner()
    await smtp.say(f"EHLO {hello}")
    assert await smtp.say(f"MAIL FROM:<{sender}>") == 250
    return str(await smtp.say("RCPT TO:<bob@example.net>"))


# resolvable.

SENDERS = {
    "good.example": {"MX": ["10 dead.example", "20 mx.good.example"]},
    "mx.good.example": {"A": SOMEWHERE},
    "host.example": {"AAAA": "2a00::1"},
    "null.example": {"MX": "0 ."},
    "inside.example": {"MX": ["10 mx.inside.example", "20 mx2.inside.example"]},
    "mx.inside.example": {"A": "127.0.0.1"},
    "mx2.inside.example": {"A": ["10.0.0.1", "192.168.1.1"]},
    "half.example": {"A": ["127.0.0.1", SOMEWHERE]},
    "nowhere.example": {"MX": "10 dead.example"},
    "nothing.example": {"TXT": "hello"},
    "mapped.example": {"AAAA": "::ffff:127.0.0.1"},
    "sixtofour.example": {"AAAA": "2002:7f00:1::1"},
    "nat64.example": {"AAAA": "64:ff9b::7f00:1"},
    "behind.example": {"AAAA": "64:ff9b::5db8:d822"},
    "broken.example": SERVFAIL,
    "doubtful.example": {"MX": ["10 broken.example", "20 mx.inside.example"]},
}


@pytest.mark.parametrize(
    ("sender", "reply"),
    [
        ("a@good.example", "250"),
        ("a@host.example", "250"),
        ("a@half.example", "250"),
        ("a@[192.0.2.1]", "250"),
        ("", "250"),
        ("a@absent.example", "550 5.1.8 the sender's domain absent.example cannot be answered to: it has neither MX"),
        ("a@nothing.example", "550 5.1.8 "),
        ("a@null.example", "550 5.7.27 "),
        ("a@nowhere.example", "550 5.1.8 the sender's domain nowhere.example cannot be answered to: none of its"),
        ("a@inside.example", "550 5.1.8 the sender's domain inside.example cannot be answered to: its servers are"),
        ("a@mapped.example", "550 5.1.8 "),
        ("a@sixtofour.example", "550 5.1.8 "),
        ("a@nat64.example", "550 5.1.8 "),
        ("a@behind.example", "250"),
        ("a@broken.example", "451 4.4.3 the domain broken.example cannot be looked up now"),
        ("a@doubtful.example", "451 4.4.3 "),
    ],
)
async def test_a_sender_must_be_one_that_can_be_answered_to(sender: str, reply: str) -> None:
    async with Dialog(resolvable.Resolvable(), Vouch(), resolver=FakeResolver(SENDERS)) as smtp:
        assert (await rcpt(smtp, sender)).startswith(reply)


@pytest.mark.parametrize(
    ("options", "sender", "reply"),
    [
        ({"temporary": True}, "a@absent.example", "450 4.1.8"),
        ({"temporary": True}, "a@null.example", "450 4.7.27"),
        ({"trouble": "pass"}, "a@broken.example", "250"),
        ({"literals": False}, "a@[192.0.2.1]", "550 5.1.8"),
        ({"impossible": ["93.184.216.0/24"]}, "a@good.example", "550 5.1.8"),
        ({"impossible": []}, "a@inside.example", "250"),
    ],
)
async def test_resolvable_as_configured(options: dict[str, Any], sender: str, reply: str) -> None:
    async with Dialog(resolvable.Resolvable(**options), Vouch(), resolver=FakeResolver(SENDERS)) as smtp:
        assert (await rcpt(smtp, sender)).startswith(reply)


# helo. The client is 192.0.2.1, the server mx.test.

NAMES = {
    "here.example": {"A": "192.0.2.1"},
    "near.example": {"A": "192.0.2.77"},
    "far.example": {"A": SOMEWHERE},
    "broken.example": SERVFAIL,
    "192.0.2.1": "mail.kin.example",
    "mail.kin.example": {"A": "192.0.2.1"},
    "other.kin.example": {"A": SOMEWHERE},
}


@pytest.mark.parametrize(
    ("hello", "lenient", "rfc", "strict"),
    [
        ("here.example", 250, 250, 250),
        ("near.example", 250, 250, 250),
        ("other.kin.example", 250, 250, 250),
        ("broken.example", 250, 250, 250),
        ("[192.0.2.1]", 250, 250, 550),
        ("far.example", 250, 250, 550),
        ("absent.example", 250, 550, 550),
        ("printer", 250, 550, 550),
        ("under_score.here.example", 250, 550, 550),
        ("-x.example", 250, 550, 550),
        ("localhost", 550, 550, 550),
        ("MX.Test", 550, 550, 550),
        ("192.0.2.1", 550, 550, 550),
        ("[192.0.2.9]", 550, 550, 550),
        ("[127.0.0.1]", 550, 550, 550),
        ("[IPv6:2001:db8::1]", 550, 550, 550),
    ],
)
async def test_a_name_is_judged_by_its_level(hello: str, lenient: int, rfc: int, strict: int) -> None:
    for level, code in (("lenient", lenient), ("rfc", rfc), ("strict", strict)):
        entry = helo.Helo(level)  # type: ignore[arg-type]
        async with Dialog(entry, Vouch(), resolver=FakeResolver(NAMES)) as smtp:
            reply = await rcpt(smtp, hello=hello)
            assert reply.startswith(str(code)), (level, reply)


async def test_a_rule_may_stay_out_and_a_refusal_be_temporary() -> None:
    entry = helo.Helo("strict", without=("literal", "unknown"), temporary=True)
    for hello, code in (("[192.0.2.1]", "250"), ("absent.example", "250"), ("far.example", "450")):
        async with Dialog(entry, Vouch(), resolver=FakeResolver(NAMES)) as smtp:
            assert (await rcpt(smtp, hello=hello)).startswith(code)


async def test_the_last_name_counts_and_clients_here_pass() -> None:
    async with Dialog(helo.Helo(), Vouch(), resolver=FakeResolver(NAMES)) as smtp:
        await smtp.banner()
        await smtp.say("EHLO localhost")
        await smtp.say("EHLO here.example")
        await smtp.say("MAIL FROM:<>")
        assert await smtp.say("RCPT TO:<bob@example.net>") == 250
    async with Dialog(helo.Helo(), Vouch(), client="127.0.0.1") as smtp:
        assert (await rcpt(smtp, hello="localhost")).startswith("250")


def test_a_level_or_rule_that_does_not_exist_is_an_error() -> None:
    with pytest.raises(ConfigError, match="level"):
        helo.Helo("harsh")  # type: ignore[arg-type]
    with pytest.raises(ConfigError, match="without"):
        helo.Helo(without="manners")


# fcrdns.

POINTERS = {
    "192.0.2.1": "good.example",
    "good.example": {"A": "192.0.2.1"},
    "192.0.2.2": "liar.example",
    "liar.example": {"A": SOMEWHERE},
    "192.0.2.4": SERVFAIL,
}


@pytest.mark.parametrize(
    ("client", "nothing", "name", "confirmed", "iprev"),
    [
        ("192.0.2.1", 250, 250, 250, "pass"),
        ("192.0.2.2", 250, 250, 550, "fail"),
        ("192.0.2.3", 250, 550, 550, "permerror"),
        ("192.0.2.4", 250, 451, 451, "temperror"),
    ],
)
async def test_a_client_has_a_name_that_leads_back(
    client: str, nothing: int, name: int, confirmed: int, iprev: str
) -> None:
    for require, code in (("nothing", nothing), ("name", name), ("confirmed", confirmed)):
        entry = fcrdns.FCrDNS(require=require)  # type: ignore[arg-type]
        async with Dialog(entry, Vouch(), resolver=FakeResolver(POINTERS), client=client) as smtp:
            assert (await rcpt(smtp)).startswith(str(code)), require
            if require == "nothing":
                await smtp.say("DATA")
                await smtp.say("Subject: hi\r\n\r\nbody\r\n.")
                content = smtp.messages[0].content
                assert f"iprev={iprev} policy.iprev={client}".encode() in content.replace(b"\r\n\t", b" ")


async def test_who_needs_no_name_passes() -> None:
    async with Dialog(fcrdns.FCrDNS(require="confirmed"), Vouch(), client="127.0.0.1") as smtp:
        assert (await rcpt(smtp)).startswith("250")


# bogusbounce and noop.


async def test_a_bounce_has_one_recipient_and_no_return_path() -> None:
    async with Dialog(bogusbounce.BogusBounce(), Vouch()) as smtp:
        assert (await rcpt(smtp, "")).startswith("250")
        assert str(await smtp.say("RCPT TO:<c@example.net>")) == "550 5.7.1 a bounce has one recipient"
        await smtp.say("DATA")
        assert await smtp.say("Return-Path: <>\r\n\r\nbody\r\n.") == 250
        assert await smtp.message("", "b@example.net", b"Return-Path: <a@b.c>\r\n\r\n") == 550
        assert await smtp.message("a@b.c", "b@example.net", b"Return-Path: <a@b.c>\r\n\r\n") == 250
        assert await smtp.message("a@b.c", ["b@example.net", "c@example.net"], b"A: b\r\n\r\n") == 250


async def test_postmaster_and_abuse_hear_of_bounces_too() -> None:
    async with Dialog(bogusbounce.BogusBounce(), Vouch()) as smtp:
        assert (await rcpt(smtp, "")).startswith("250")
        assert await smtp.say("RCPT TO:<postmaster@example.net>") == 250
        await smtp.say("RSET")
        roles = ["abuse@example.net", "postmaster@example.net"]
        assert await smtp.message("", roles, b"Return-Path: <a@b.c>\r\n\r\n") == 250


async def test_noop_without_end_ends() -> None:
    async with Dialog(noop.Noop(3)) as smtp:
        await smtp.banner()
        assert [(await smtp.say(verb)).code for verb in ("NOOP", "NOOP", "EHLO x", "NOOP", "NOOP")] == [250] * 5
        assert await smtp.say("NOOP") == 421
        await smtp.closed()
