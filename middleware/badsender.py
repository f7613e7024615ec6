"""badsender: refuse the mail of these senders.

    badsender.BadSender("spam@example.org", ".spam.example", "/.*-offers@.*/")
    badsender.BadSender(lookup.File("/etc/mailstack/badsenders"), reveal=True)

An entry is an address, "user@", a domain, ".example.org" (all below it), "/an expression/" that matches the whole
address, "<>" for bounces, or a lookup of such. Their value is the reason, in a file all that stands behind the address:

    spam@example.org    asked to stop on 2026-11-02
    .spam.example

The sender hears 550 5.7.1 at MAIL, with a text that tells nothing; the reason is for the log and the evidence.
`reveal=True` tells it to the sender too, where there is one. Wrap it in `Postpone` to have the recipient in the log,
and postmaster reachable. A lookup that cannot say is 451.
"""

from __future__ import annotations

from functools import partial

from mailstack import option
from mailstack.contract.bind import hold_open
from mailstack.contract.hookspec import hookimpl
from mailstack.services import lookup
from mailstack.services.lookup.given import Given
from mailstack.session.session import Session
from mailstack.session.transaction import Sender
from mailstack.wire.reply import Reply

__all__ = ["BadSender"]


class BadSender:
    """senders -- who is refused; text or lookups. reveal -- whether the reason is told. text -- what else is.

    temporary -- 450 in place of 550. ConfigError for what is no address, and without any.
    """

    rehearsable = True

    def __init__(
        self, *senders: Given, reveal: bool = False, text: str = "this sender is not accepted", temporary: bool = False
    ) -> None:
        remedy = 'write BadSender("spam@example.org", …)'
        self._senders = lookup.addresses(*senders, name="BadSender", remedy=remedy, parse=str)
        hold_open(self, self._senders)
        self._reveal = option.boolean(reveal, name="BadSender(reveal)")
        self._text = text
        self._code, self._status = (
            (450, "4.7.1") if option.boolean(temporary, name="BadSender(temporary)") else (550, "5.7.1")
        )

    @hookimpl
    async def mail(self, session: Session, sender: Sender) -> Reply | None:
        reason = await self._senders.find(sender.address, partial(session.note, "badsender", "mail"))
        if reason is None:
            return None
        session.note("badsender", "mail", f"<{sender.address}> is listed" + (f": {reason}" if reason else ""))
        return Reply(self._code, reason if reason and self._reveal else self._text, status=self._status)
