"""bogusbounce: bounces that are none.

    bogusbounce.BogusBounce()
    Observe(bogusbounce.BogusBounce())

A bounce, mail from the null sender, goes to one address: that of who sent the mail that is bounced. One with several
recipients, or with a Return-Path that names somebody, is spam that hides behind the null sender (RFC 3834 §3.3). The
second recipient is refused with 550 5.7.1, unless it is postmaster or abuse; a message with a Return-Path at its end,
unless it is for them alone.
"""

from __future__ import annotations

from mailstack import option
from mailstack.contract.hookspec import hookimpl
from mailstack.contract.postpone import all_must_be_heard, must_be_heard
from mailstack.session.message import Message
from mailstack.session.session import Session
from mailstack.session.transaction import Recipient
from mailstack.wire.reply import Reply

__all__ = ["BogusBounce"]


class BogusBounce:
    """Refuse bounces to several, and from somebody. temporary -- 450 in place of 550."""

    rehearsable = True

    def __init__(self, *, temporary: bool = False) -> None:
        code, kind = (450, 4) if option.boolean(temporary, name="BogusBounce(temporary)") else (550, 5)
        self._several = Reply(code, "a bounce has one recipient", status=f"{kind}.7.1")
        self._somebody = Reply(code, "a bounce has no Return-Path", status=f"{kind}.7.1")

    @hookimpl
    def rcpt(self, session: Session, recipient: Recipient) -> Reply | None:
        transaction = session.transaction
        assert transaction is not None
        if not transaction.sender.address.null or not transaction.recipients or must_be_heard(recipient.given):
            return None
        return self._several

    @hookimpl
    def headers(self, session: Session, message: Message) -> Reply | None:
        assert session.transaction is not None
        paths = message.header.get_all("Return-Path")
        bounce = session.transaction.sender.address.null
        if not bounce or all(path.strip() == "<>" for path in paths) or all_must_be_heard(session):
            return None
        return self._somebody
