"""A stack with something of everything, for the transcripts beside it."""

from mailstack import (
    CallNext,
    Listener,
    Message,
    Recipient,
    Reply,
    Sender,
    Server,
    Session,
    Stack,
    Unless,
    When,
    hookimpl,
    predicate,
)
from mailstack.handlers import discard
from mailstack.middleware import recipients, subjecttag


class Door:
    rehearsable = True

    @hookimpl
    def connect(self, session: Session) -> Reply | None:
        return Reply(554, "not you", close=True) if session.client.host == "203.0.113.66" else None

    @hookimpl
    async def ehlo(self, hostname: str) -> Reply | None:
        return Reply(550, "that is my name", status="5.7.1") if hostname == "mx.example.org" else None


class Senders:
    rehearsable = True

    @hookimpl
    def mail(self, session: Session, sender: Sender) -> Reply | None:
        if sender.address.local == "broken":
            raise OSError("the list of senders\x1b[2J is not there")
        if sender.address.local == "spammer":
            return Reply(550, "no mail from you", status="5.7.1")
        session.note("Senders", "mail", "not on the list")
        return None


class Counter:
    """Keeps a count in a file, and does not promise anything."""

    @hookimpl
    def connect(self) -> None:
        raise AssertionError("it was asked")

    @hookimpl
    def rcpt(self) -> None:
        raise AssertionError("it was asked")


class Greylist:
    rehearsable = True

    @hookimpl
    def rcpt(self, recipient: Recipient) -> Reply | None:
        return Reply(451, "come back later", status="4.7.1") if recipient.address.local == "new" else None


class Size:
    rehearsable = True

    @hookimpl
    def data(self, session: Session) -> Reply | None:
        assert session.transaction is not None
        return Reply(452, "not for so many") if len(session.transaction.recipients) > 2 else None


class Scanner:
    rehearsable = True

    @hookimpl
    async def headers(self, message: Message) -> Reply | None:
        return Reply(550, "no Subject", status="5.6.0") if "Subject" not in message.header else None

    @hookimpl
    async def message(self, message: Message, call_next: CallNext) -> Reply:
        if b"virus" in await message.read():
            return Reply(554, "a virus", status="5.7.1")
        message.add_header("X-Scanned", "yes")
        return await call_next()


class Quota:
    """An onion around the handler."""

    rehearsable = True

    @hookimpl
    async def queue(self, session: Session, call_next: CallNext) -> Reply:
        assert session.transaction is not None
        if any(each.address.local == "full" for each in session.transaction.recipients):
            return Reply(452, "the mailbox is full", status="4.2.2")
        return await call_next()


server = Server(
    Stack(
        Door(),
        Counter(),
        Unless(predicate.authenticated, Senders(), Greylist()),
        When(predicate.listener("inside"), Size()),
        recipients.Domains("example.org"),
        Scanner(),
        subjecttag.SubjectTag("[list]"),
        Quota(),
        discard.Discard(),
    ),
    [Listener("127.0.0.1:2525", name="outside"), Listener("127.0.0.1:2526", name="inside")],
    hostname="mx.example.org",
)
