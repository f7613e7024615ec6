"""The message phase: from the first octet of the body to the reply for the whole message.

The header section is collected in memory; when it is complete, forged results go, our Received field comes on top and
the `headers` chain is asked while the body is still coming. A verdict before the end is kept: the rest is read, thrown
away, and answered at the true end of the data. At the end come `message`, our Authentication-Results, and `queue`.
"""

from __future__ import annotations

import math
import time
from collections.abc import Awaitable, Callable
from dataclasses import replace
from typing import TYPE_CHECKING

from anyio import CancelScope

from .. import log
from ..contract.fault import DEFER, judge
from ..session.hangup import Hangup
from ..session.message import Message
from ..session.trace import authentication_results, received
from ..wire.header import Header, HeaderSplitter, format_field
from ..wire.reply import Reply
from . import answers, verdicts

if TYPE_CHECKING:
    from ..session.transaction import Recipient, Transaction
    from .connection import Connection

_SHORTEST = len("Received:")
_FAULTS = {
    "header section too large": answers.HEADER_TOO_LARGE,
    "header line too long": answers.HEADER_TOO_LARGE,
}


class Reception:
    """One message on its way in.

    octets -- what the client sent of it so far, dots unstuffed.
    verdict -- the refusal to be answered at the end, or None.
    """

    __slots__ = (
        "_began",
        "_connection",
        "_own",
        "_phase",
        "_recipients",
        "_splitter",
        "_spool",
        "message",
        "octets",
        "verdict",
    )

    def __init__(self, connection: Connection) -> None:
        house = connection.house
        self._connection = connection
        self._began = house.now
        self._splitter: HeaderSplitter | None = HeaderSplitter(
            max_size=house.header_section, max_line=house.header_line
        )
        self._spool = house.spool.spool()
        self._phase = "data"
        self._recipients: tuple[Recipient, ...] = ()  # LMTP: who is owed a reply, whatever policy does to the list
        self._own = False  # LMTP: whether their own verdicts count
        session = connection.session
        if session.lmtp and session.transaction is not None:
            self._recipients = tuple(session.transaction.recipients)
        self.message: Message | None = None
        self.octets = 0
        self.verdict: Reply | None = None

    # Octets.

    async def take(self, data: bytes) -> None:
        """The next octets of the message."""
        self.octets += len(data)
        self._connection.since = self._connection.house.now
        if self.verdict is not None:
            return
        if self.octets > self._connection.house.message_size:
            self.refuse("data", answers.TOO_LARGE)
            return
        if self._splitter is not None:
            data = self._splitter.feed(data)
            if self._splitter.fault is not None:
                self.refuse("data", _FAULTS[self._splitter.fault])
                return
            if not self._splitter.complete:
                return
            if not await self._headers():
                return
        if data and self._spool.write(data):
            await self._store(self._spool.flush)

    async def _store(self, write: Callable[[], Awaitable[None]]) -> None:
        """Let the spool write to its file; want of space refuses the message."""
        try:
            await write()
        except OSError as error:
            log.exception("fault", error=error, session=self._connection.session.id, phase="spool")
            self.refuse("data", answers.NO_SPACE)

    def refuse(self, phase: str, reply: Reply) -> None:
        """Keep a refusal until the end of the data; the octets that lie here are of no use any more."""
        self._phase = phase
        self.verdict = reply
        self._spool.close()

    def too_slow(self, now: float) -> bool:
        """Whether less than the least rate has come, after the first grace."""
        patience = self._connection.patience
        seconds = now - self._began
        return seconds > patience.data_grace and self.octets < patience.data_rate * seconds

    # The header section.

    async def _headers(self) -> bool:
        """The header section is complete; False when the message is refused for it."""
        connection, splitter = self._connection, self._splitter
        assert splitter is not None
        session, house = connection.session, connection.house
        transaction = session.transaction
        assert transaction is not None
        self._splitter = None
        raw = splitter.raw
        # Counting octets or lines is quick and never too low; only a suspect is parsed.
        most = house.limits.received_fields
        if len(raw) > most * _SHORTEST and raw.count(b"\n") >= most and Header(raw).count("Received") >= most:
            self.refuse("headers", answers.LOOP)
            return False
        try:
            trace = self._received()
        except Exception as error:
            self.refuse("headers", judge(session, "received", "headers", error, "defer", 0.0) or DEFER)
            return False
        header = Header(trace + Header(raw).without_results_of(house.hostname).raw)
        self.message = message = Message(
            transaction.id,
            header,
            self._spool,
            session.journal,
            blank_line=splitter.separator,
        )
        transaction.message = message
        ask, waits = house.headers
        reply = ask(session, message)
        if waits:
            reply = await reply
        if reply.code >= 400:
            self.refuse("headers", reply)
        return self.verdict is None

    def _received(self) -> bytes:
        connection = self._connection
        session, own = connection.session, connection.house.received
        transaction = session.transaction
        assert transaction is not None
        if own is None:
            return received(session, transaction)
        field = own(session, transaction)
        if not field:
            return b""
        return Header().prepend_raw(field).raw if isinstance(field, bytes) else format_field("Received", field)

    # The end.

    async def end(self, fault: str | None) -> tuple[str, Reply]:
        """The true end of the data: the phase that decided, and the reply."""
        if self._splitter is not None and self.verdict is None:
            body = self._splitter.finish()
            if self._splitter.fault is not None:
                self.refuse("data", _FAULTS[self._splitter.fault])
            elif fault is None and await self._headers() and body:
                self._spool.write(body)
        if fault is not None:
            self.refuse("data", answers.FAULTY_OCTETS[fault])
        if self.verdict is None and self._spool.unfinished:
            await self._store(self._spool.finish)
        if self.verdict is not None:
            return self._phase, self.verdict
        message = self.message
        assert message is not None
        message.received_size = self.octets
        self._connection.session.hand_over_by = time.monotonic() + self._connection.house.hand_over
        try:
            return await self._hand_over(message)
        finally:
            self._connection.session.hand_over_by = math.inf

    async def _hand_over(self, message: Message) -> tuple[str, Reply]:
        connection = self._connection
        session, house = connection.session, connection.house
        transaction = session.transaction
        assert transaction is not None
        ask, waits = house.message
        reply = ask(session, message)
        if waits:
            reply = await reply
        if reply.code < 400 and verdicts.given(transaction.recipients):
            reply = self._weigh(reply, transaction.recipients)
        if reply.code >= 400:
            return "message", reply
        results = authentication_results(house.hostname, transaction)
        if results:
            message.set_header(message.header.prepend_raw(results), "wrote Authentication-Results")
        if connection.gone:
            raise Hangup("left")  # RFC 1047: nobody would hear the 250, and the client will send it again
        return "queue", await self._queue(message, transaction)

    async def _queue(self, message: Message, transaction: Transaction) -> Reply:
        """Once begun, neither the client nor a shutdown cuts it short. Whoever was refused before is not shown."""
        session = self._connection.session
        ask, waits = self._connection.house.queue
        recipients = transaction.recipients
        if verdicts.given(recipients):
            transaction.recipients = verdicts.remaining(recipients)
        self._own = True
        try:
            if not waits:
                reply: Reply = ask(session, message)
            else:
                with CancelScope(shield=True):
                    reply = await ask(session, message)
        finally:
            transaction.recipients = recipients
        if not session.lmtp and verdicts.given(recipients):
            reply = verdicts.one(reply, recipients)
        if log.enabled("info"):
            try:
                self._log(message, transaction, reply)
            except Exception as error:  # the message is taken: no other answer may be given now
                log.exception("fault", error=error, session=session.id, who="core", phase="queue")
        return reply

    def _weigh(self, reply: Reply, recipients: list[Recipient]) -> Reply:
        """Whether to go on to `queue`, where recipients have verdicts of their own. LMTP goes on for who is left."""
        if not self._connection.session.lmtp:
            return verdicts.one(reply, recipients)
        replies = verdicts.each(reply, recipients)
        self._own = True
        return verdicts.whole(replies)

    def replies(self, reply: Reply) -> list[Reply]:
        """LMTP: the reply of each recipient, in the order of RCPT (RFC 2033 §4.2). A close waits for the last one.

        reply -- what `end` gave. A refusal of the whole is everybody's.
        """
        each = verdicts.each(reply, self._recipients) if self._own else self._same(reply)
        if any(one.close for one in each):
            each = [replace(one, close=False) for one in each]
            each[-1] = replace(each[-1], close=True)
        return each

    def _same(self, reply: Reply) -> list[Reply]:
        return [reply] * verdicts.named(self._recipients)

    def _log(self, message: Message, transaction: Transaction, reply: Reply) -> None:
        session = self._connection.session
        each = {}
        if session.lmtp:
            replies = self.replies(reply)
            reply = verdicts.whole(replies)
            each["taken"] = sum(one.positive for one in replies)
        log.info(
            "message",
            session=session.id,
            queue_id=message.id,
            sender=str(transaction.sender),
            recipients=len(transaction.recipients),
            first=str(transaction.recipients[0]),
            octets=self.octets,
            message_id=message.header.get("Message-ID"),
            by=session.answered_by,
            reply=str(reply),
            **each,
        )

    def close(self) -> None:
        """Forget the octets."""
        self._spool.close()
