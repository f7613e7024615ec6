"""The message phase: what the core writes, keeps and decides between the first octet and the reply."""

import shutil
from email import message_from_bytes

import pytest

from mailstack import Limits, Message, Reply, Server, Session, Stack, Transaction, hookimpl
from mailstack.server.house import Received as Maker
from mailstack.testing import Conversation, Dialog, Vouch

LATER = Reply(450, "later")
NEVER = Reply(550, "never")
GOOD = Reply(250, "good")


class Verdicts:
    """Answers each recipient on its own."""

    def __init__(self, *verdicts: Reply | None) -> None:
        self.verdicts = verdicts

    @hookimpl
    def message(self, session: Session) -> None:
        assert session.transaction is not None
        for recipient, verdict in zip(session.transaction.recipients, self.verdicts, strict=True):
            if verdict is not None:
                recipient.answer(verdict)


@pytest.mark.parametrize(
    ("verdicts", "code"),
    [
        ((None, None), 250),
        ((GOOD, GOOD), 250),
        ((GOOD, None), 250),
        ((NEVER, NEVER), 550),
        ((LATER, LATER), 450),
        ((LATER, NEVER), 450),
        ((NEVER, LATER), 450),
        ((NEVER, None), 451),
        ((NEVER, GOOD), 451),
        ((GOOD, LATER), 450),
        ((None, LATER), 450),
    ],
)
async def test_the_recipients_verdicts_become_one_reply(verdicts: tuple[Reply | None, ...], code: int) -> None:
    async with Dialog(Vouch(), Verdicts(*verdicts)) as smtp:
        assert await smtp.message("a@example.org", ["b@example.org", "c@example.org"]) == code
        assert bool(smtp.messages) is (code == 250)


class Received:
    def __init__(self, field: str | bytes | None) -> None:
        self.field = field

    def __call__(self, session: Session, transaction: Transaction) -> str | bytes | None:
        return self.field


async def content_of(smtp: Conversation, *recipients: str, sender: str = "a@example.org") -> bytes:
    assert await smtp.message(sender, recipients or ["b@example.org"], "Subject: x\n\n") == 250
    return smtp.messages[-1].content


@pytest.mark.parametrize(
    ("field", "opening"),
    [
        ("from here; now", b"Received: from here; now\r\nSubject: x\r\n"),
        (b"Received: by us\r\n", b"Received: by us\r\nSubject: x\r\n"),
        (None, b"Subject: x\r\n"),
        ("", b"Subject: x\r\n"),
    ],
)
async def test_the_received_field_may_be_ones_own(field: str | bytes | None, opening: bytes) -> None:
    async with Dialog(Server(Stack(Vouch()), [], received=Received(field))) as smtp:
        assert (await content_of(smtp)).startswith(opening)


async def test_the_received_field_names_a_single_recipient_and_never_several() -> None:
    async with Dialog(Vouch(), client="2001:db8::1") as smtp:
        one = message_from_bytes(await content_of(smtp))["Received"]
        assert one.startswith("from client.example.org ([IPv6:2001:db8::1])\r\n\tby mx.test with ESMTP id ")
        assert "for <b@example.org>;" in one
        several = message_from_bytes(await content_of(smtp, "b@example.org", "c@example.org"))["Received"]
        assert "for" not in several
        await smtp.say("HELO old.example.org")
        assert "with SMTP id" in message_from_bytes(await content_of(smtp))["Received"]


async def test_the_received_field_of_a_local_client_and_of_an_international_message() -> None:
    async with Dialog(Vouch(), client="") as smtp:
        for line in ("EHLO me", "MAIL FROM:<a@example.org> SMTPUTF8", "RCPT TO:<grün@example.org>", "DATA"):
            await smtp.say(line)
        await smtp.send(b".\r\n")
        assert await smtp.reply() == 250
        field = smtp.messages[0].content.decode()
        assert "from me (local)\r\n" in field
        assert "with UTF8SMTP id" in field
        assert "for <grün@example.org>;" in field


class Results:
    @hookimpl
    def message(self, session: Session) -> None:
        assert session.transaction is not None
        session.transaction.results.add("spf", "pass", {"smtp.mailfrom": "exa mple.org\r\nX: y"}, reason='a "reason"')
        session.transaction.results.add("dkim", "none")


async def test_results_are_written_by_the_core_and_forged_ones_removed() -> None:
    forged = "Authentication-Results: mx.test; spf=pass\nAuthentication-Results: other.test; spf=fail\n\n"
    async with Dialog(Vouch(), Results()) as smtp:
        assert await smtp.message("a@example.org", "b@example.org", forged) == 250
        fields = message_from_bytes(smtp.messages[0].content).get_all("Authentication-Results", [])
        assert [" ".join(field.split()) for field in fields] == [
            'mx.test; spf=pass reason="a \\"reason\\"" smtp.mailfrom="exa mple.org??X: y"; dkim=none',
            "other.test; spf=fail",
        ]


class Headers:
    def __init__(self, reply: Reply) -> None:
        self.reply = reply
        self.asked = 0

    @hookimpl
    async def headers(self, message: Message) -> Reply:
        assert message.body_size == 0
        self.asked += 1
        return self.reply


async def test_a_verdict_on_the_header_section_waits_for_the_end_of_the_data() -> None:
    headers = Headers(NEVER)
    async with Dialog(Vouch(), headers) as smtp:
        for line in ("EHLO me", "MAIL FROM:<a@example.org>", "RCPT TO:<b@example.org>", "DATA"):
            await smtp.say(line)
        await smtp.send(b"Subject: x\r\n\r\n" + b"QUIT\r\n" * 1000)
        await smtp.send(b".\r\nNOOP\r\n")
        assert await smtp.replies(2) == [550, 250]
        assert (headers.asked, smtp.messages) == (1, [])


async def test_a_positive_verdict_on_the_header_section_goes_on() -> None:
    async with Dialog(Vouch(), Headers(GOOD)) as smtp:
        assert await smtp.message("a@example.org", "b@example.org") == 250
        assert len(smtp.messages) == 1


@pytest.mark.parametrize("octets", [100_000, 2_000_000], ids=["at the end", "on the way"])
async def test_a_spool_that_cannot_be_written_is_452_and_the_session_goes_on(octets: int) -> None:
    async with Dialog(Vouch(), limits=Limits(memory_each=0)) as smtp:
        house = smtp.dialog.server._house
        assert house is not None
        shutil.rmtree(house.spool.path)
        answer = await smtp.message("a@example.org", "b@example.org", b"\r\n" + b"x" * octets)
        assert (answer.code, answer.status) == (452, "4.3.1")
        assert await smtp.say("NOOP") == 250


@pytest.mark.parametrize("name", ["Received", "received", "RECEIVED", "Received ", "Received\t"])
async def test_a_loop_is_seen_however_the_received_fields_are_written(name: str) -> None:
    async with Dialog(Vouch(), limits=Limits(received_fields=10)) as smtp:
        answer = await smtp.message("a@example.org", "b@example.org", f"{name}: from a by b; now\n" * 20 + "\n")
        assert (answer.code, answer.status) == (554, "5.4.6")


async def test_a_body_that_speaks_of_received_is_no_loop() -> None:
    async with Dialog(Vouch(), limits=Limits(received_fields=10)) as smtp:
        header = "Subject: x\nX-Other-Received: y\n" * 20
        assert await smtp.message("a@example.org", "b@example.org", header + "\n" + "Received: z\n" * 50) == 250


def raising(session: Session, transaction: Transaction) -> str:
    raise ZeroDivisionError


def no_field(session: Session, transaction: Transaction) -> bytes:
    return b"Received: by me"


def two_lines(session: Session, transaction: Transaction) -> str:
    return "by me\r\nX-Forged: yes"


@pytest.mark.parametrize("broken", [raising, no_field, two_lines])
async def test_a_function_that_fails_to_make_the_received_field_is_a_fault(broken: Maker) -> None:
    async with Dialog(Server(Stack(Vouch()), [], received=broken)) as smtp:
        for _ in range(2):
            answer = await smtp.message("a@example.org", "b@example.org", "Subject: hi\n\n" + "body\n" * 1000)
            assert answer == 451
            assert answer.status == "4.3.0"
        assert await smtp.say("NOOP") == 250
        assert smtp.messages == []


def refuse(message: Message) -> Reply:
    return Reply(452, "full")


async def keep(session: Session, message: Message) -> None:
    assert session.transaction is not None


@pytest.mark.parametrize(("handler", "code"), [(refuse, 452), (keep, 250)])
async def test_a_function_is_a_handler(handler: object, code: int) -> None:
    async with Dialog(Vouch(), handler=handler) as smtp:
        assert await smtp.message("a@example.org", "b@example.org") == code
