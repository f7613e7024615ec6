"""Twenty policies that cost as little as a policy can: a trivial test in each envelope phase, and never an opinion."""

from collections.abc import MutableMapping

from mailstack.contract.hookspec import hookimpl
from mailstack.session.message import Message
from mailstack.session.session import Session
from mailstack.session.transaction import Recipient, Sender
from mailstack.wire.reply import Reply

REFUSED = Reply(550, "not from you")
ASYNC_EVERY = 10


class Cheap:
    """Plain functions, as most policy is."""

    def __init__(self, number: int) -> None:
        self.unwanted = f"unwanted{number}.example"
        self.most = 64 * 1024 * 1024 + number

    @hookimpl
    def connect(self, session: Session) -> Reply | None:
        return REFUSED if session.client.host == self.unwanted else None

    @hookimpl
    def ehlo(self, hostname: str, keywords: MutableMapping[str, str]) -> Reply | None:
        return REFUSED if hostname == self.unwanted else None

    @hookimpl
    def mail(self, sender: Sender) -> Reply | None:
        return REFUSED if sender.address.domain == self.unwanted else None

    @hookimpl
    def rcpt(self, session: Session, recipient: Recipient) -> Reply | None:
        return REFUSED if recipient.address.domain == self.unwanted else None

    @hookimpl
    def data(self, session: Session) -> Reply | None:
        return REFUSED if session.helo == self.unwanted else None

    @hookimpl
    def message(self, message: Message) -> Reply | None:
        return REFUSED if message.received_size > self.most else None


class CheapAsync:
    """The same as coroutines."""

    def __init__(self, number: int) -> None:
        self.cheap = Cheap(number)

    @hookimpl
    async def connect(self, session: Session) -> Reply | None:
        return self.cheap.connect(session)

    @hookimpl
    async def ehlo(self, hostname: str, keywords: MutableMapping[str, str]) -> Reply | None:
        return self.cheap.ehlo(hostname, keywords)

    @hookimpl
    async def mail(self, sender: Sender) -> Reply | None:
        return self.cheap.mail(sender)

    @hookimpl
    async def rcpt(self, session: Session, recipient: Recipient) -> Reply | None:
        return self.cheap.rcpt(session, recipient)

    @hookimpl
    async def data(self, session: Session) -> Reply | None:
        return self.cheap.data(session)

    @hookimpl
    async def message(self, message: Message) -> Reply | None:
        return self.cheap.message(message)


def cheap(count: int) -> list[object]:
    """`count` of them; every tenth is async."""
    return [CheapAsync(number) if number % ASYNC_EVERY == 0 else Cheap(number) for number in range(1, count + 1)]


class Vouch:
    """The one check without which nothing would be accepted."""

    @hookimpl
    def rcpt(self, recipient: Recipient) -> None:
        recipient.accept()
