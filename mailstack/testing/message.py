"""Sessions, senders, recipients and messages made by hand, for the direct test of a check without a conversation.

    session = make_session("192.0.2.1", sender="a@example.org", recipients=["b@example.org"])
    message = make_message("Subject: hi\\n\\nhello\\n", session)
    assert check.message(session, message) is None

What needs a connection (`session.start` and its kin) fails here with a word about `Dialog`; `input_waits` answers what
`talks` says, and `session.close(reply)` is remembered in `closed(session)`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import TYPE_CHECKING, Any, NoReturn, cast

from ..session.journal import Journal
from ..session.lookup import NO_NAME, ReverseName
from ..session.message import Message
from ..session.session import Link, Peer, Session
from ..session.spool import SpoolFolder
from ..session.transaction import Recipient, Sender, Transaction
from ..wire.address import Address
from ..wire.header import Header, HeaderSplitter
from ..wire.reply import Reply

if TYPE_CHECKING:
    from ..services.resolver import Resolver

__all__ = ["closed", "make_message", "make_recipient", "make_sender", "make_session"]

_ALL = 1 << 40  # octets: everything stays in memory, where no folder is needed


class _NoLine:
    """Stands where the connection would."""

    def __init__(self, talks: bool) -> None:
        self._talks = talks
        self.closed: list[Reply | None] = []
        self.session: Session | None = None
        self.names: Resolver | None = None

    async def input_waits(self, seconds: float) -> bool:
        return self._talks

    def resolver(self) -> Resolver:
        from .resolver import FakeResolver

        assert self.session is not None
        if self.names is None:
            self.names = FakeResolver()
        return self.names.of(self.session)

    async def name(self) -> ReverseName:
        assert self.session is not None
        return self.session.client.reverse

    def close_after(self, reply: Reply | None) -> Callable[[], None]:
        self.closed.append(reply)
        return lambda: self.closed.remove(reply)

    def __getattr__(self, name: str) -> NoReturn:
        raise AssertionError(f"this session has no connection for {name!r}: test it with mailstack.testing.Dialog")


def make_session(
    client: str = "192.0.2.1",
    *,
    port: int | None = 40001,
    helo: str | None = "client.example.org",
    esmtp: bool = True,
    keywords: Mapping[str, str] | None = None,
    user: str | None = None,
    secure: bool = False,
    hostname: str = "mx.test",
    listener: str = "",
    lmtp: bool = False,
    rehearsal: bool = False,
    talks: bool = False,
    sender: str | Sender | None = None,
    recipients: Iterable[str | Recipient] = (),
    resolver: Resolver | None = None,
    client_name: str | None = None,
) -> Session:
    """A session whose facts are as given; with a `sender` it has a transaction. port -- None for a UNIX socket.

    resolver -- what `session.resolver` asks; default: a `FakeResolver` without records. client_name -- confirmed.
    """
    link = _NoLine(talks)
    session = Session(
        "session1",
        Peer(client, port, ReverseName(client_name, "pass") if client_name else NO_NAME),
        Peer("192.0.2.2", 25),
        link=cast(Link, link),
        hostname=hostname,
        listener=listener,
        lmtp=lmtp,
        rehearsal=rehearsal,
    )
    link.session, link.names = session, resolver
    session.helo, session.esmtp, session.user, session.secure = helo, esmtp and helo is not None, user, secure
    session.keywords = dict(keywords or {})
    if sender is not None:
        given = sender if isinstance(sender, Sender) else make_sender(sender, session)
        session.transaction = Transaction("message1", given, session.journal)
        for each in recipients:
            recipient = each if isinstance(each, Recipient) else make_recipient(each, session, accepted=True)
            session.transaction.recipients.append(recipient)
    return session


def closed(session: Session) -> list[Reply | None]:
    """What `session.close()` was called with so far."""
    return cast(_NoLine, session._link).closed


def make_sender(address: str = "a@example.org", session: Session | None = None, **parameters: Any) -> Sender:
    """A sender; "" is the null one. parameters -- typed, as a check sees them: `SIZE=1000, SMTPUTF8=True`."""
    return Sender(_address(address), parameters, _journal(session))


def make_recipient(
    address: str = "b@example.org", session: Session | None = None, *, accepted: bool = False, **parameters: Any
) -> Recipient:
    """A recipient; "postmaster" may stand without a domain. accepted -- whether somebody has vouched."""
    recipient = Recipient(_address(address), parameters, _journal(session))
    if accepted:
        recipient.accept()
    return recipient


def make_message(content: bytes | str = b"Subject: test\r\n\r\ntest\r\n", session: Session | None = None) -> Message:
    """A complete message; it becomes that of the session's transaction. A text's LF line ends become CRLF."""
    if isinstance(content, str):
        content = content.replace("\r\n", "\n").replace("\n", "\r\n").encode()
    splitter = HeaderSplitter(max_size=_ALL, max_line=_ALL)
    body = splitter.feed(content)
    if not splitter.complete:
        body = splitter.finish()
    spool = SpoolFolder(memory_each=_ALL, memory_total=_ALL).spool()
    spool.write(body)
    message = Message("message1", Header(splitter.raw), spool, _journal(session), blank_line=splitter.separator)
    message.received_size = len(content)
    if session is not None and session.transaction is not None:
        session.transaction.message = message
    return message


def _address(text: str) -> Address:
    if not text:
        return Address.NULL
    return Address(text, "") if text.lower() == "postmaster" else Address.parse(text)


def _journal(session: Session | None) -> Journal:
    return Journal() if session is None else session.journal
