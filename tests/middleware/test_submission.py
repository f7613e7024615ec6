"""What people's own programs send leaves as a proper message."""

from __future__ import annotations

import re
from email.utils import parsedate_to_datetime

import pytest

from mailstack import Server, Stack
from mailstack.middleware.submission import Submission, discreet
from mailstack.option import ConfigError
from mailstack.testing import Conversation, Dialog, Vouch
from mailstack.wire.header import Header

WHOLE = b"From: Ann <ann@example.org>\r\nDate: Mon, 2 Nov 2026 10:00:00 +0000\r\nMessage-ID: <1@example.org>\r\n"


def server(entry: Submission, **options: object) -> Server:
    return Server(
        Stack(entry, Vouch()),
        hostname="mx.example.org",
        **{"received": lambda session, transaction: None, **options},  # type: ignore[arg-type]
    )


async def sent(smtp: Conversation, data: bytes, sender: str = "ann@example.org") -> Header:
    """The header section as the handler got it."""
    assert await smtp.message(sender, "bob@example.net", data) == 250
    return Header(smtp.messages[-1].content.partition(b"\r\n\r\n")[0] + b"\r\n")


async def test_who_has_not_logged_in_is_told_to() -> None:
    async with Dialog(server(Submission())) as smtp:
        await smtp.banner()
        await smtp.say("EHLO client.example")
        assert str(await smtp.say("MAIL FROM:<ann@example.org>")) == "530 5.7.0 authentication required"
        smtp.session.user = "ann"
        assert await smtp.say("MAIL FROM:<ann@example.org>") == 250


async def test_what_is_missing_is_added_below_the_rest() -> None:
    async with Dialog(server(Submission(required=False))) as smtp:
        header = await sent(smtp, b"Subject: hi\r\n\r\nbody\r\n")
        assert [field.name for field in header.fields] == ["Subject", "From", "Date", "Message-ID"]
        assert header.get("From") == "ann@example.org"
        assert parsedate_to_datetime(header.get("Date", "")).tzinfo is not None
        assert re.fullmatch(r"<[0-9a-f]+\.[0-9a-f]+@mx\.example\.org>", header.get("Message-ID", ""))
        again = await sent(smtp, b"Subject: hi\r\n\r\nbody\r\n")
        assert again.get("Message-ID") != header.get("Message-ID")


async def test_what_is_there_stays_as_it_came() -> None:
    async with Dialog(server(Submission(required=False))) as smtp:
        assert (await sent(smtp, WHOLE + b"\r\nbody\r\n")).raw == WHOLE
        assert smtp.messages[-1].content.endswith(b"\r\n\r\nbody\r\n")


async def test_a_message_without_header_section_gets_one() -> None:
    async with Dialog(server(Submission(required=False))) as smtp:
        await sent(smtp, b"no header here, a line of text\r\nand another\r\n")
        assert smtp.messages[-1].content.endswith(b"\r\n\r\nno header here, a line of text\r\nand another\r\n")


async def test_blind_copies_stay_blind() -> None:
    async with Dialog(server(Submission(required=False))) as smtp:
        header = await sent(
            smtp,
            b"bcc: a@example.org\r\nBCC: b@example.org,\r\n c@example.org\r\nResent-Bcc: d@example.org\r\n"
            b"Return-Path: <e@example.org>\r\n" + WHOLE + b"\r\nBcc: this is text\r\n",
        )
        assert header.raw == WHOLE
        assert b"Bcc: this is text" in smtp.messages[-1].content


async def test_what_is_dropped_may_be_chosen() -> None:
    async with Dialog(server(Submission(required=False, drop=["User-Agent"]))) as smtp:
        header = await sent(smtp, b"Bcc: a@example.org\r\nUser-Agent: x\r\n" + WHOLE + b"\r\n")
        assert next(field.name for field in header.fields) == "Bcc"
        assert "User-Agent" not in header


async def test_a_sender_in_utf8_stands_in_from_as_it_is() -> None:
    async with Dialog(server(Submission(required=False))) as smtp:
        await smtp.banner()
        await smtp.say("EHLO client.example")
        await smtp.say("MAIL FROM:<ännchen@example.org> SMTPUTF8".encode())
        await smtp.say("RCPT TO:<bob@example.net>")
        await smtp.say("DATA")
        assert await smtp.say("Subject: hi\r\n\r\nbody\r\n.") == 250
        assert "From: ännchen@example.org\r\n".encode() in smtp.messages[0].content


@pytest.mark.parametrize(
    ("sender", "data", "reply"),
    [
        ("", b"Subject: hi\r\n\r\n", "550 5.6.0 the message has no From, and no sender who could stand there"),
        ("ann@example.org", b"From: a@b.c\r\nFrom: d@e.f\r\n\r\n", "550 5.6.0 the message has more than one From"),
    ],
)
async def test_a_message_of_nobody_or_of_two_is_refused(sender: str, data: bytes, reply: str) -> None:
    async with Dialog(server(Submission(required=False))) as smtp:
        assert str(await smtp.message(sender, "bob@example.net", data)) == reply


@pytest.mark.parametrize(
    ("line", "code"),
    [
        ("MAIL FROM:<ann@printer>", 553),
        ("MAIL FROM:<ann@example.org>", 250),
        ("MAIL FROM:<ann@[192.0.2.1]>", 250),
        ("MAIL FROM:<>", 250),
        ("RCPT TO:<bob@localhost>", 550),
        ("RCPT TO:<bob@example.net>", 250),
        ("RCPT TO:<postmaster>", 250),
    ],
)
async def test_a_domain_of_one_word_is_known_to_nobody_else(line: str, code: int) -> None:
    for entry, expected in ((Submission(required=False), code), (Submission(required=False, qualified=False), 250)):
        async with Dialog(server(entry)) as smtp:
            await smtp.banner()
            await smtp.say("EHLO client.example")
            if line.startswith("RCPT"):
                await smtp.say("MAIL FROM:<ann@example.org>")
            assert await smtp.say(line) == expected


async def test_discreet_hides_where_people_write_their_mail() -> None:
    async with Dialog(server(Submission(required=False), received=discreet), client="198.51.100.7") as smtp:
        stranger = await sent(smtp, WHOLE + b"\r\n")
        assert "198.51.100.7" in stranger.get("Received", "")
        smtp.session.user = "ann"
        await smtp.say("RSET")
        user = await sent(smtp, WHOLE + b"\r\n")
        assert user.get("Received", "").startswith("by mx.example.org with ESMTPA id ")
        assert b"198.51.100.7" not in user.raw


@pytest.mark.parametrize("drop", ["Bcc:", ["a b"], [""], [3]])
def test_what_is_no_header_field_is_an_error(drop: object) -> None:
    with pytest.raises(ConfigError, match=r"Submission\(drop\)"):
        Submission(drop=drop)  # type: ignore[arg-type]
