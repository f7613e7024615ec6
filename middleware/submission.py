"""submission: what people's own programs send, made into proper messages (RFC 6409).

    When(predicate.listener("submission"), submission.Submission())
    submission.Submission(required=False, drop=("Bcc", "User-Agent"))
    Server(…, received=submission.discreet)

A mail program, a script or a printer may send what a mail exchanger would not: a message without Date or Message-ID,
with Bcc still in it, for addresses without a domain that anybody else knows. For mail of one's own users that is mended
or told to them at once, while they look. Mail of strangers is never touched so: keep this entry off port 25, or put it
into `When(predicate.authenticated, …)`.

It refuses
* MAIL of who has not logged in, nor shown a certificate that names him: 530 5.7.0 (§4.3); `required=False` does not.
* a sender or recipient whose domain is one word, "ann@printer": 553 5.1.8, 550 5.1.2 (§5.1). postmaster alone and
  address literals are whole. `qualified=False` lets them pass.
* a message without From whose sender is empty, or with two From: 550 5.6.0 (RFC 5322 §3.6).

It adds, at the end of the header section, what is missing
* From: the sender of the envelope.
* Date: now (§8.2).
* Message-ID: made of the queue id and the server's name (§8.3).

It drops Bcc and Resent-Bcc, whose readers the other readers must not learn, and Return-Path, which the last server
writes (RFC 5322 §3.6.3, RFC 5321 §4.4). `drop` names others.

Whether the sender, and the author in From, belong to the login is the business of `senderlogin`; who may send how much,
that of `limits`. A signature (DKIM) belongs below this entry. `discreet` makes a Received field without the client's
name and address for who has logged in: nobody else needs to know where people write their mail.
"""

from __future__ import annotations

import time
from collections.abc import Iterable
from typing import Final

from mailstack import option
from mailstack.contract.hookspec import hookimpl
from mailstack.session.message import Message
from mailstack.session.session import Session
from mailstack.session.trace import date_now, received
from mailstack.session.transaction import Recipient, Sender, Transaction
from mailstack.wire.address import Address
from mailstack.wire.reply import LOGIN_NEEDED, Reply

__all__ = ["Submission", "discreet"]

DROPPED: Final = ("Bcc", "Resent-Bcc", "Return-Path")

_SENDER: Final = Reply(553, "the sender's domain is not fully qualified", status="5.1.8")
_RECIPIENT: Final = Reply(550, "the recipient's domain is not fully qualified", status="5.1.2")
_NO_FROM: Final = Reply(550, "the message has no From, and no sender who could stand there", status="5.6.0")
_MANY_FROM: Final = Reply(550, "the message has more than one From", status="5.6.0")


class Submission:
    """Mend and complete what is submitted.

    required -- whether only clients with an identity (`session.user`) may send.
    qualified -- whether domains must have more than one label.
    drop -- the header fields that do not go on.

    ConfigError for what is no header field.
    """

    rehearsable = True

    def __init__(self, *, required: bool = True, qualified: bool = True, drop: Iterable[str] = DROPPED) -> None:
        self._required = option.boolean(required, name="Submission(required)")
        self._qualified = option.boolean(qualified, name="Submission(qualified)")
        self._drop = tuple(
            option.field_name(each, name="Submission(drop)") for each in option.texts(drop, name="Submission(drop)")
        )

    @hookimpl
    def mail(self, session: Session, sender: Sender) -> Reply | None:
        if self._required and session.user is None:
            return LOGIN_NEEDED
        return None if self._is_whole(sender.address) else _SENDER

    @hookimpl
    def rcpt(self, recipient: Recipient) -> Reply | None:
        return None if self._is_whole(recipient.address) else _RECIPIENT

    def _is_whole(self, address: Address) -> bool:
        if not self._qualified or address.null or address.postmaster:
            return True
        return "." in address.domain.rstrip(".") or address.domain.startswith("[")

    @hookimpl
    def headers(self, session: Session, message: Message) -> Reply | None:
        transaction = session.transaction
        assert transaction is not None
        header = message.header
        authors = header.count("From")
        if authors > 1:
            return _MANY_FROM
        if not authors and transaction.sender.address.null:
            return _NO_FROM
        for name in self._drop:
            if name in header:
                message.remove_header(name)
        self._complete(session, transaction, message)
        return None

    def _complete(self, session: Session, transaction: Transaction, message: Message) -> None:
        """Add what is missing; values with UTF-8 in them only occur where the message came with SMTPUTF8."""
        sender = transaction.sender
        due = {
            "From": str(sender.address),
            "Date": date_now(),
            "Message-ID": f"<{message.id}.{time.time_ns():x}@{session.hostname}>",
        }
        for name, value in due.items():
            if name not in message.header:
                message.set_header(message.header.append(name, value, utf8=sender.utf8), f"added {name}")


def discreet(session: Session, transaction: Transaction) -> bytes:
    """For `Server(received=…)`: without the client's name and address where it has logged in, else as ever."""
    field = received(session, transaction)
    return field if session.user is None else b"Received: " + field.partition(b"\r\n\t")[2]
