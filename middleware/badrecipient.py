"""badrecipient: refuse mail to these recipients.

    badrecipient.BadRecipient("former@example.org", lookup.File("/etc/mailstack/badrecipients"))

An entry is an address, "user@", a domain, ".example.org" (all below it), "/an expression/" that matches the whole
address, or a lookup of such. Their value is the reason, in a file all that stands behind the address;
`conf/badrecipients` is such a file, with expressions for the ways of old to have mail relayed (bang paths, percent
signs, two at-signs).

The client hears 550 5.1.1, as for a user who does not exist; the reason is for the log and the evidence, and for the
client with `reveal=True`. Bare <postmaster> cannot be refused so. A lookup that cannot say is 451.
"""

from __future__ import annotations

from functools import partial

from mailstack import option
from mailstack.contract.bind import hold_open
from mailstack.contract.hookspec import hookimpl
from mailstack.services import lookup
from mailstack.services.lookup.given import Given
from mailstack.session.session import Session
from mailstack.session.transaction import Recipient
from mailstack.wire.reply import NO_SUCH_MAILBOX, Reply

__all__ = ["BadRecipient"]


class BadRecipient:
    """recipients -- who is refused; text or lookups. reveal -- whether the reason is told.

    ConfigError for what is no address, and without any.
    """

    rehearsable = True

    def __init__(self, *recipients: Given, reveal: bool = False) -> None:
        remedy = 'write BadRecipient("former@example.org", …)'
        self._recipients = lookup.addresses(*recipients, name="BadRecipient", remedy=remedy, parse=str)
        hold_open(self, self._recipients)
        self._reveal = option.boolean(reveal, name="BadRecipient(reveal)")

    @hookimpl
    async def rcpt(self, session: Session, recipient: Recipient) -> Reply | None:
        reason = await self._recipients.find(recipient.address, partial(session.note, "badrecipient", "rcpt"))
        if reason is None:
            return None
        session.note("badrecipient", "rcpt", f"<{recipient}> is listed" + (f": {reason}" if reason else ""))
        return Reply(550, reason, status="5.1.1") if reason and self._reveal else NO_SUCH_MAILBOX
