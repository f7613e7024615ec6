"""What middleware changes arrives at the end of the stack, and nothing of it outlives its transaction."""

from collections.abc import MutableMapping
from pathlib import Path

import pytest

from mailstack import Address, CallNext, Limits, Message, Recipient, Reply, Sender, Session, hookimpl
from mailstack.testing import Dialog, Vouch


class Editor:
    """Edits the header section in every way there is."""

    @hookimpl
    async def message(self, message: Message) -> None:
        message.replace_header("Subject", "new")
        message.remove_header("X-Gone")
        message.rename_header("X-Old", "X-New")
        message.append_header("X-Below", "last")
        message.add_header("X-Above", "first")
        assert message.body_size == sum([len(chunk) async for chunk in message.body_chunks()])
        assert message.size == len(await message.read()) == sum(map(len, message.blocks()))


@pytest.mark.parametrize("memory_each", [0, 100_000], ids=["in a file", "in memory"])
async def test_edits_of_the_header_section_arrive_and_the_body_stays_as_it_is(memory_each: int) -> None:
    async with Dialog(Vouch(), Editor(), limits=Limits(memory_each=memory_each)) as smtp:
        body = b"x" * 5000 + b"\r\n"
        header = b"Subject: old\r\nX-Gone: 1\r\nX-Gone: 2\r\nX-Old: 3\r\n\r\n"
        assert await smtp.message("a@example.org", "b@example.org", header + body) == 250
        content = smtp.messages[0].content
        assert content.startswith(b"X-Above: first\r\nReceived: ")
        assert content.endswith(b"\r\nSubject: new\r\nX-New: 3\r\nX-Below: last\r\n\r\n" + body)


class Rewriter:
    @hookimpl
    def mail(self, sender: Sender) -> None:
        sender.rewrite(Address.parse("bounces@example.net"))

    @hookimpl
    def rcpt(self, recipient: Recipient) -> None:
        recipient.rewrite(Address.parse(f"{recipient.address.local}@example.net"))


async def test_rewritten_addresses_are_what_the_handler_sees() -> None:
    async with Dialog(Rewriter(), Vouch()) as smtp:
        assert await smtp.message("a@example.org", ["b@example.org", "c@example.org"]) == 250
        [delivery] = smtp.messages
        assert (delivery.sender, delivery.recipients) == ("bounces@example.net", ["b@example.net", "c@example.net"])
        assert b"for <" not in delivery.content


class Files:
    """Leaves files and folders behind."""

    def __init__(self) -> None:
        self.paths: list[Path] = []

    @hookimpl
    def message(self, session: Session) -> None:
        assert session.transaction is not None
        file, folder = session.transaction.temp_file(), session.transaction.temp_dir()
        file.write_text("x")
        (folder / "inside").write_text("y")
        assert (file.stat().st_mode & 0o777, folder.stat().st_mode & 0o777) == (0o600, 0o700)
        self.paths += [file, folder]


async def test_temporary_files_go_with_the_transaction() -> None:
    files = Files()
    async with Dialog(Vouch(), files) as smtp:
        await smtp.message("a@example.org", "b@example.org")
        assert files.paths
        assert not any(path.exists() for path in files.paths)


class YesMan:
    """Says yes to a recipient without vouching for it."""

    @hookimpl
    async def rcpt(self) -> Reply:
        return Reply(250, "fine by me")


async def test_a_positive_answer_alone_is_no_permission_to_relay() -> None:
    async with Dialog(YesMan()) as smtp:
        answer = await smtp.message("a@example.org", "b@example.org")
        assert (answer.code, answer.text) == (550, "relaying denied")


class Strict:
    @hookimpl
    async def rcpt(self, call_next: CallNext) -> Reply:
        await call_next()
        return Reply(550, "nobody")


@pytest.mark.parametrize("recipient", ["postmaster", "POSTMASTER"])
async def test_the_postmaster_is_heard_whatever_policy_says(recipient: str) -> None:
    async with Dialog(Strict(), Vouch()) as smtp:
        assert await smtp.message("a@example.org", recipient) == 250
        assert [each.outcome for each in smtp.evidence if each.phase == "rcpt"] == ["refused", "overruled"]
        assert await smtp.message("a@example.org", f"{recipient}@example.org") == 550


class Offer:
    """Changes what EHLO offers."""

    @hookimpl
    def ehlo(self, keywords: MutableMapping[str, str]) -> None:
        keywords["XTEST"] = "one two"
        keywords.pop("SIZE", None)


async def test_the_parser_follows_what_ehlo_has_offered() -> None:
    async with Dialog(Offer(), Vouch()) as smtp:
        answer = await smtp.say("EHLO me")
        assert answer.keywords["XTEST"] == "one two"
        assert "SIZE" not in answer.keywords
        assert smtp.session.keywords == answer.keywords
        assert await smtp.say("MAIL FROM:<a@example.org> SIZE=10") == 555
        assert await smtp.say("MAIL FROM:<a@example.org> BODY=8BITMIME") == 250


async def test_a_header_section_without_end_that_is_too_large_is_refused() -> None:
    async with Dialog(Vouch(), limits=Limits(header_section=4000, header_line=2000)) as smtp:
        answer = await smtp.message("a@example.org", "b@example.org", b"X-Long: " + b"x" * 3000)
        assert (answer.code, answer.status) == (552, "5.3.4")
        assert smtp.messages == []


class Noter:
    @hookimpl
    def connect(self, session: Session) -> None:
        session.note("noter", "connect", "seen")


async def test_a_note_is_evidence() -> None:
    async with Dialog(Noter()) as smtp:
        await smtp.banner()
        assert [(each.who, each.outcome, each.detail) for each in smtp.evidence] == [("noter", "noted", "seen")]
        assert len(smtp.evidence) == 1
