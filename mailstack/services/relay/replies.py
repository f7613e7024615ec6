"""What the client hears of it: the next server's answers, as our own, and ours where it gave none."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Final

from ...session.transaction import Recipient
from ...wire.reply import Reply
from ..client import NotAuthenticated, NotSecure

__all__ = ["ONE_ONLY", "UNKNOWN", "Unavailable", "answer", "check_available", "due", "passed"]

UNKNOWN: Final = Reply(451, "the connection to the next server broke off, try again later", status="4.4.2")
ONE_ONLY: Final = Reply(452, "one recipient per message here, send the others afterwards", status="4.5.3")

_NOBODY_THERE: Final = Reply(451, "the next server is not available, try again later", status="4.4.1")
_NO_TLS: Final = Reply(451, "the next server offers no encryption, try again later", status="4.7.4")
_WRONG_TLS: Final = Reply(451, "the next server cannot be trusted, try again later", status="4.7.5")
_NOT_LET_IN: Final = Reply(451, "the next server does not let us in, try again later", status="4.7.0")
_THEY_DIFFER: Final = Reply(451, "the next server refuses some recipients, try them one by one", status="4.5.3")


class Unavailable(Exception):
    """The server says that it is not available now: 421."""

    def __init__(self, reply: Reply) -> None:
        super().__init__(str(reply))
        self.reply = reply


def due(error: Exception) -> Reply:
    """What is due to the client for a server that could not be used: always temporary."""
    match error:
        case Unavailable():
            return passed(error.reply)
        case NotAuthenticated():
            return _NOT_LET_IN
        case NotSecure():
            return _WRONG_TLS if error.offered else _NO_TLS
        case _:
            return _NOBODY_THERE


def check_available(replies: Iterable[Reply | None], *, sent: bool = False) -> None:
    """Unavailable when the server goes, and nobody has got anything. sent -- whether a 2xx is about the message."""
    given = [reply for reply in replies if reply is not None]
    gone = [reply for reply in given if reply.code == 421]
    if gone and (not sent or all(reply.refused for reply in given)):
        raise Unavailable(gone[0])


def passed(reply: Reply) -> Reply:
    """As our own answer: a 421 would close the client's connection."""
    return Reply(451, reply.text, status=reply.status) if reply.code == 421 else reply


def answer(recipients: Sequence[Recipient], verdicts: Sequence[Reply | None], whole: bool) -> Reply:
    """Answer each recipient where they differ; the reply to the message."""
    heard = [None if verdict is None else passed(verdict) for verdict in verdicts]
    given = [verdict for verdict in heard if verdict is not None]
    if len(given) == len(heard) and all(verdict == given[0] for verdict in given):
        return given[0]
    for recipient, verdict in zip(recipients, heard, strict=True):
        if verdict is not None:
            recipient.answer(verdict)
    positive = [verdict for verdict in given if verdict.positive]
    if positive or not whole:
        return (positive or given)[0]
    temporary = [verdict for verdict in given if verdict.temporary]
    if temporary:
        return temporary[0]
    return given[0] if len(given) == len(heard) else _THEY_DIFFER
