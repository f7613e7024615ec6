"""The message phase: from the first octet of the body to the reply for the whole message.

The header section is collected in memory; when it is complete, forged results go, our Received field comes on top and
the `headers` chain is asked while the body is still coming. A verdict before the end is kept: the rest is read, thrown
away, and answered at the true end of the data. At the end come `message`, our Authentication-Results, and `queue`.
"""

from __future__ import annotations

import math
import time
from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING

from anyio import CancelScope

from .. import log
from ..contract.fault import DEFER, judge
from ..session.hangup import Hangup
from ..session.message import Message
from ..session.trace import authentication_results, received
from ..wire.header import Header, HeaderSplitter, format_field
from ..wire.reply import Reply
from . import answers

if TYPE_CHECKING:
    from .connection import Connection

_FAULTS = {
    "header section too large": answers.HEADER_TOO_LARGE,
    "header line too long": answers.HEADER_TOO_LARGE,
}


class Reception:
    """One message on its way in.

    octets -- what the client sent of it so far, dots unstuffed.
    verdict -- the refusal to be answered at the end, or None.
    """

    __slots__ = ("_began", "_connection", "_phase", "_splitter", "_spool", "message", "octets", "verdict")

    def __init__(self, connection: Connection) -> None:
        house = connection.house
        self._connection = connection
        self._began = house.now
        self._splitter: HeaderSplitter | None = HeaderSplitter(
            max_size=house.header_section, max_line=house.header_line
        )
        self._spool = house.spool.spool()
        self._phase = "data"
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
        limits = self._connection.house.limits
        seconds = now - self._began
        return seconds > float(limits.data_grace) and self.octets < limits.data_rate * seconds

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
        # Counting by octets is quick and never too low; only a suspect is parsed.
        most = house.limits.received_fields
        if raw.lower().count(b"received") >= most and Header(raw).count("Received") >= most:
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
        reply = house.headers.call(session, message)
        if house.headers.is_async:
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
        if field is None:
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
        reply = house.message.call(session, message)
        if house.message.is_async:
            reply = await reply
        reply = self._verdicts(reply)
        if reply.code >= 400:
            return "message", reply
        results = authentication_results(house.hostname, transaction)
        if results:
            message.set_header(message.header.prepend_raw(results), "wrote Authentication-Results")
        if connection.gone:
            raise Hangup("left")  # RFC 1047: nobody would hear the 250, and the client will send it again
        return "queue", self._verdicts(await self._queue(message))

    async def _queue(self, message: Message) -> Reply:
        """Once begun, neither the client nor a shutdown cuts it short."""
        session, step = self._connection.session, self._connection.house.queue
        if not step.is_async:
            reply: Reply = step.call(session, message)
        else:
            with CancelScope(shield=True):
                reply = await step.call(session, message)
        if log.enabled("info"):
            self._log(message, reply)
        return reply

    def _verdicts(self, reply: Reply) -> Reply:
        """SMTP has one answer for all recipients: mixed ones refuse the whole with the worst temporary reply."""
        transaction = self._connection.session.transaction
        assert transaction is not None
        if reply.code >= 400:
            return reply
        given = [recipient.verdict for recipient in transaction.recipients if recipient.verdict is not None]
        if not given:
            return reply
        answered = given if len(given) == len(transaction.recipients) else [*given, reply]
        refusals = [verdict for verdict in answered if verdict.refused]
        if len(refusals) in (0, len(answered)):
            return refusals[0] if refusals else reply
        temporary = [verdict for verdict in refusals if verdict.temporary]
        return temporary[0] if temporary else Reply(451, "the recipients differ, try them one by one", status="4.5.3")

    def _log(self, message: Message, reply: Reply) -> None:
        session = self._connection.session
        transaction = session.transaction
        assert transaction is not None
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
        )

    def close(self) -> None:
        """Forget the octets."""
        self._spool.close()
