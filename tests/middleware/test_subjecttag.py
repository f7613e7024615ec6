"""A tag stands in front of the Subject, and no other octet changes."""

import pytest

from mailstack import ConfigError, Server, Stack
from mailstack.middleware.subjecttag import SubjectTag
from mailstack.testing import Dialog, Vouch


async def tagged(data: bytes, tag: str = "[list]") -> bytes:
    """The message behind the tagger."""
    server = Server(Stack(Vouch(), SubjectTag(tag)), received=lambda session, transaction: None)
    async with Dialog(server) as smtp:
        assert await smtp.message("a@example.org", "b@example.org", data) == 250
        return smtp.messages[0].content


CASES = {
    "a plain subject": (
        b"A: b\r\nSubject: hi\r\nC: d\r\n\r\nbody\r\n",
        b"A: b\r\nSubject: [list] hi\r\nC: d\r\n\r\nbody\r\n",
    ),
    "no subject": (b"A: b\r\n\r\nbody\r\n", b"A: b\r\nSubject: [list]\r\n\r\nbody\r\n"),
    "no header": (b"\r\nbody\r\n", b"Subject: [list]\r\n\r\nbody\r\n"),
    "tagged already": (b"Subject: Re: [list] hi\r\n\r\n", b"Subject: Re: [list] hi\r\n\r\n"),
    "tagged in an encoded word": (b"Subject: =?utf-8?q?[list]_gr=C3=BC=C3=9Fe?=\r\n\r\n",) * 2,
    "an encoded word": (b"Subject: =?utf-8?q?=C3=BC?=\r\n\r\n", b"Subject: [list] =?utf-8?q?=C3=BC?=\r\n\r\n"),
    "an empty subject": (b"Subject:\r\n\r\n", b"Subject: [list] \r\n\r\n"),
    "no blank after the colon": (b"subject:hi\r\n\r\n", b"Subject: [list] hi\r\n\r\n"),
    "folded": (b"Subject:\r\n long\r\n\tstory\r\n\r\n", b"Subject: [list] \r\n long\r\n\tstory\r\n\r\n"),
    "octets that are no text": (b"Subject: \xff\x01\xfe\r\n\r\n", b"Subject: [list] \xff\x01\xfe\r\n\r\n"),
    "two subjects": (b"Subject: a\r\nSubject: b\r\n\r\n", b"Subject: [list] a\r\nSubject: b\r\n\r\n"),
    "a very long subject": (b"Subject: " + b"x" * 5000 + b"\r\n\r\n", b"Subject: [list] " + b"x" * 5000 + b"\r\n\r\n"),
    "a subject in the body": (b"A: b\r\n\r\nSubject: x\r\n", b"A: b\r\nSubject: [list]\r\n\r\nSubject: x\r\n"),
}


@pytest.mark.parametrize(("data", "expected"), CASES.values(), ids=CASES.keys())
async def test_the_tag_stands_in_front_and_nothing_else_changes(data: bytes, expected: bytes) -> None:
    assert await tagged(data) == expected


async def test_a_tag_beyond_ascii_is_encoded() -> None:
    assert await tagged(b"Subject: hi\r\n\r\n", "[grüße]") == b"Subject: =?utf-8?b?W2dyw7zDn2Vd?= hi\r\n\r\n"


async def test_a_message_that_ends_inside_its_subject_is_tagged() -> None:
    async with Dialog(Vouch(), SubjectTag("[list]")) as smtp:
        for line in ("EHLO me", "MAIL FROM:<a@example.org>", "RCPT TO:<b@example.org>"):
            assert await smtp.say(line) == 250
        await smtp.send(b"BDAT 11 LAST\r\nSubject: hi")
        assert await smtp.reply() == 250
        assert smtp.messages[0].content.endswith(b"\r\nSubject: [list] hi")


@pytest.mark.parametrize("tag", ["a\r\nBcc: eve@example.org", "\0", "\x1b[1m"])
def test_a_tag_that_cannot_stand_in_a_header_is_refused(tag: str) -> None:
    with pytest.raises(ConfigError, match="cannot stand in a header field"):
        SubjectTag(tag)
