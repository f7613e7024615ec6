"""badpair: some senders do not reach some recipients.

    badpair.BadPair({"ann@example.org": "bob@example.net", ".spam.example": "sales@example.net, example.com"})
    badpair.BadPair(lookup.File("/etc/mailstack/badpairs"))

A sender (an address, "user@", a domain, ".example.org", "/an expression/", "<>", or a lookup of such) has as value the
recipients that he does not reach, of the same kinds, parted by commas. To him these recipients do not exist: 550 5.1.1,
word for word what is said of a user who does not, so that nobody learns that he is not wanted. The log knows.
"""

from __future__ import annotations

from functools import partial

from mailstack.contract.bind import hold_open
from mailstack.contract.hookspec import hookimpl
from mailstack.option import ConfigError
from mailstack.services import lookup
from mailstack.services.lookup.door import Door
from mailstack.services.lookup.given import Given
from mailstack.session.session import Session
from mailstack.session.transaction import Recipient
from mailstack.wire.address import Address
from mailstack.wire.reply import NO_SUCH_MAILBOX, Reply

__all__ = ["BadPair"]


class BadPair:
    """pairs -- senders, with the recipients that they do not reach. ConfigError for what is no address."""

    rehearsable = True

    def __init__(self, *pairs: Given) -> None:
        remedy = 'write BadPair({"ann@example.org": "bob@example.net"})'
        self._senders = lookup.addresses(*pairs, name="BadPair", remedy=remedy, parse=_recipients)
        hold_open(self, self._senders)

    @hookimpl
    async def rcpt(self, session: Session, recipient: Recipient) -> Reply | None:
        assert session.transaction is not None
        sender = session.transaction.sender.address
        closed = await self._senders.find(sender, partial(session.note, "badpair", "rcpt"))
        if closed is None or closed.find_now(recipient.address) is None:
            return None
        session.note("badpair", "rcpt", f"<{sender}> does not reach <{recipient}>")
        return NO_SUCH_MAILBOX


def _recipients(value: str) -> Door[Address, str]:
    """Those of one sender."""
    given = [each.strip() for each in value.split(",") if each.strip()]
    if not given:
        raise ConfigError("BadPair: a sender without recipients", remedy="write the recipients behind the sender")
    return lookup.addresses(*given, name="BadPair")
