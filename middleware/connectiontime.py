"""connectiontime: how long each connection took, and what came of it, as one line in the log.

    connectiontime.ConnectionTime()               # every connection, at "info"
    connectiontime.ConnectionTime(over="1m")      # only those that lasted longer than a minute

    event="connection time" session=… client=192.0.2.1 listener=[::]:25 seconds=1.297 helo=mx.example.net secure=true
        commands=6 transactions=1 messages=1 recipients=2

The clock runs from the accepted connection to its end: the wait of an early-talker check, a TLS handshake and the
header of a proxy are in it. A connection that ended before the banner has a line too. `transactions` are those that
began with MAIL, `messages` those that were taken, `recipients` theirs.

It belongs on top of the stack, so that all other entries are within its time.
"""

from __future__ import annotations

import time

from mailstack import log
from mailstack.contract.hookspec import LiveOn, hookimpl
from mailstack.option import choice, duration
from mailstack.session.session import Session
from mailstack.session.transaction import Transaction

__all__ = ["ConnectionTime"]

_WRITE = {"debug": log.debug, "info": log.info, "warning": log.warning}


class _Counts:
    """What came of one connection."""

    __slots__ = ("messages", "recipients", "transactions")

    def __init__(self) -> None:
        self.transactions = 0
        self.messages = 0
        self.recipients = 0


class ConnectionTime:
    """Log each connection at its end.

    level -- "debug", "info" (the default) or "warning". over -- a shorter connection has no line: "0s" by default.
    ConfigError for anything else.
    """

    rehearsable = True

    def __init__(self, *, level: str = "info", over: float | str = "0s") -> None:
        self._write = _WRITE[choice(level, *_WRITE, name="ConnectionTime(level)")]
        self._over = duration(over, name="ConnectionTime(over)")
        self._counts: dict[str, _Counts] = {}  # by session: its stash would not outlive XCLIENT

    @hookimpl
    async def session(self, session: Session, call_next: LiveOn) -> None:
        counts = self._counts[session.id] = _Counts()
        try:
            await call_next()
        finally:
            del self._counts[session.id]
            self._tell(session, counts)

    @hookimpl
    def reset(self, session: Session, transaction: Transaction, why: str) -> None:
        counts = self._counts.get(session.id)
        if counts is None:  # a condition around this entry left the session out
            return
        counts.transactions += 1
        if why == "done":
            counts.messages += 1
            counts.recipients += len(transaction.recipients)

    def _tell(self, session: Session, counts: _Counts) -> None:
        seconds = time.monotonic() - session.started
        if seconds < self._over:
            return
        self._write(
            "connection time",
            session=session.id,
            client=str(session.client),
            listener=session.listener,
            seconds=round(seconds, 3),
            helo=session.helo,
            secure=session.secure,
            commands=session.command_count,
            transactions=counts.transactions,
            messages=counts.messages,
            recipients=counts.recipients,
        )
