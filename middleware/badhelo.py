"""badhelo: refuse clients that call themselves so.

    badhelo.BadHelo("friend", "yahoo.com", lookup.Regexps("/dynamic-.*/"), lookup.File("/etc/mailstack/badhelo"))

Names in HELO, EHLO or LHLO, in any letter case, or lookups of such; their value is the reason. `Regexps` are
expressions that match the whole name. 550 5.7.1 at RCPT, so that the log has sender and recipient; the reason is for
the log and the evidence, and for the client with `reveal=True`. A lookup that cannot say is 451.

Whether a name can be true at all is the business of `helo`.
"""

from __future__ import annotations

from functools import partial

from mailstack import option
from mailstack.contract.bind import hold_open
from mailstack.contract.hookspec import hookimpl
from mailstack.contract.postpone import must_be_heard
from mailstack.services import lookup
from mailstack.services.lookup.given import Given
from mailstack.session.session import Session
from mailstack.session.transaction import Recipient
from mailstack.wire.reply import Reply

__all__ = ["BadHelo"]


class BadHelo:
    """names -- which are refused; text or lookups. reveal -- whether the reason is told. text -- what else is.

    ConfigError without any.
    """

    rehearsable = True

    def __init__(self, *names: Given, reveal: bool = False, text: str = "clients of this name are not served") -> None:
        self._names = lookup.words(*names, name="BadHelo", remedy='write BadHelo("friend", …)', parse=str)
        hold_open(self, self._names)
        self._reveal = option.boolean(reveal, name="BadHelo(reveal)")
        self._text = text

    @hookimpl
    async def rcpt(self, session: Session, recipient: Recipient) -> Reply | None:
        if must_be_heard(recipient.given):
            return None
        name = session.helo or ""
        reason = await self._names.find(name.rstrip("."), partial(session.note, "badhelo", "rcpt"))
        if reason is None:
            return None
        session.note("badhelo", "rcpt", f"{name} is listed" + (f": {reason}" if reason else ""))
        return Reply(550, reason if reason and self._reveal else self._text, status="5.7.1")
