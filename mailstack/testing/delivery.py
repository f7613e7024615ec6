"""A message as it arrived, and what a test wants to know of it.

    [mail] = mailbox.messages
    assert (mail.sender, mail.recipients) == ("shop@example.org", ["ann@example.net"])
    assert mail.subject == "Welcome" and "Dear Ann" in mail.text

The octets are the truth. `email` and what is read from it are parsed when asked for, by the standard library, which
takes whatever octets there are and lists what is wrong with them in `email.defects`.
"""

from __future__ import annotations

import email
import email.policy
from collections.abc import Mapping
from dataclasses import dataclass, field
from email.message import EmailMessage
from typing import Any

from ..session.message import Message
from ..session.session import Session

__all__ = ["Delivery", "delivery"]


@dataclass(frozen=True, slots=True)
class Delivery:
    """A message that reached the end of the stack.

    sender, recipients -- as text, "" for the null sender, rewritten where policy did so.
    content -- the octets as handed over, with the fields that the stack added. id -- the queue id.
    helo -- the name that the client gave. user -- who it logged in as, or None. secure -- whether it came under TLS.
    client -- its numeric address, "" for a UNIX socket.
    parameters -- the typed parameters of MAIL: {"SIZE": 1000, "SMTPUTF8": True}.
    """

    sender: str
    recipients: list[str]
    content: bytes
    id: str
    helo: str | None = None
    user: str | None = None
    secure: bool = False
    client: str = ""
    parameters: Mapping[str, Any] = field(default_factory=dict)

    @property
    def email(self) -> EmailMessage:
        """The message, parsed anew each time."""
        return email.message_from_bytes(self.content, policy=email.policy.default)

    @property
    def subject(self) -> str:
        """The Subject field, decoded; "" without one."""
        return str(self.email["Subject"] or "")

    @property
    def text(self) -> str:
        """The plain text that a reader would be shown, decoded, lines ending in LF; "" without any."""
        return self._body("plain")

    @property
    def html(self) -> str:
        """The HTML that a reader would be shown; "" without any."""
        return self._body("html")

    @property
    def attachments(self) -> list[EmailMessage]:
        """The parts that are attached: `get_filename()` and `get_content()` of each say the rest."""
        return list(self.email.iter_attachments())

    def _body(self, kind: str) -> str:
        part = self.email.get_body((kind,))
        return "" if part is None else str(part.get_content()).replace("\r\n", "\n")


async def delivery(session: Session, message: Message) -> Delivery:
    """What `queue` is given, for those recipients who have no verdict yet."""
    transaction = session.transaction
    assert transaction is not None
    return Delivery(
        str(transaction.sender),
        [str(recipient) for recipient in transaction.recipients if recipient.verdict is None],
        await message.read(),
        message.id,
        helo=session.helo,
        user=session.user,
        secure=session.secure,
        client=session.client.host,
        parameters=dict(transaction.sender.parameters),
    )
