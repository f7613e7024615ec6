"""What the core does for each command: asks the phase's chain, moves the session's state, answers.

The session's facts change here and nowhere else, after the chain has answered. The transaction alone exists before: in
`mail` it is there tentatively, and dropped when the chain refuses.
"""

from __future__ import annotations

import ssl
from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from .. import log
from ..contract.chain import Greeting
from ..contract.extension import ParameterFault
from ..contract.fault import DEFER, REJECT, judge
from ..session.evidence import Finding
from ..session.hangup import Aborted
from ..session.keywords import Keywords
from ..session.transaction import Recipient, Sender, Transaction
from ..wire.command import AnyCommand, Bdat, Command, Data, Hello, Mail, Quit, Rcpt, Rset
from ..wire.reply import RELAYING_DENIED, Reply
from ..wire.server import Body, EndOfBody, Refused
from . import answers, handshake, naming, verdicts
from .reception import Reception

if TYPE_CHECKING:
    from ..session.message import Message
    from ..session.session import Session
    from .connection import Connection


_TOLD = 100  # refusals of one session that have a line in the log; that of the connection says how many there were
_BECAUSE = 1000  # characters of what an entry noted, in the log line of its refusal


class Dialog:
    """The commands of one connection."""

    __slots__ = ("_connected", "_dropped", "_restarted", "answering", "connection", "queued", "reception", "refusals")

    def __init__(self, connection: Connection) -> None:
        self.connection = connection
        self.reception: Reception | None = None
        self._connected = False
        self._dropped = ""  # the transaction that was dropped last
        self._restarted = False
        self.answering = False  # whether `command` is asked
        self.queued: list[tuple[Message, Reply]] | None = None
        self.refusals = 0

    async def greet(self) -> None:
        """The banner, or a refusal in its place."""
        connection = self.connection
        session, house = connection.session, connection.house
        self._connected = True
        if house.names_clients:
            naming.begin(connection)
        ask, waits = house.connect
        reply = ask(session, None)
        if waits:
            reply = await reply
        if reply is DEFER:
            reply = answers.BROKEN  # a fault passes; a 4xx in place of the banner would be 503 until the client leaves
        connection.protocol.greet(reply)
        self._told("connect", reply)

    # Commands.

    async def hello(self, command: Hello) -> None:
        connection = self.connection
        session, house = connection.session, connection.house
        if house.names_early and connection.naming is not None:
            await naming.tell(connection)
        esmtp = command.verb != "HELO"
        keywords = Keywords(house.keywords if esmtp else {}, session.journal)
        ask, waits = house.ehlo
        reply = ask(session, Greeting(command.verb, command.hostname, command.words, keywords))
        if waits:
            reply = await reply
        if reply.code < 400:
            self.drop("EHLO")
            offered = _consistent(keywords.offered, session) if esmtp else {}  # HELO offers nothing, whatever was added
            session.helo, session.esmtp, session.keywords = command.hostname, esmtp, offered
            connection.protocol.keywords = offered
            if esmtp:
                reply = house.hello(reply.text, offered)
        self._answer("ehlo", command, reply)

    async def mail(self, command: Mail) -> None:
        connection = self.connection
        session, house = connection.session, connection.house
        if command.parameters and command.parameters.get("SIZE", 0) > house.message_size:
            self._answer("mail", command, answers.TOO_LARGE)
            return
        sender = Sender(command.sender, command.parameters, session.journal)
        session.transaction = Transaction(house.new_id(), sender, session.journal, house.spool_path)
        ask, waits = house.mail
        reply = ask(session, sender)
        if waits:
            reply = await reply
        if reply.code >= 400:
            self.drop("refused")
        self._answer("mail", command, reply)

    async def rcpt(self, command: Rcpt) -> None:
        connection = self.connection
        session, house = connection.session, connection.house
        transaction = session.transaction
        assert transaction is not None
        if transaction.named >= house.limits.recipients:
            self._answer("rcpt", command, answers.TOO_MANY_RECIPIENTS)
            return
        if connection.naming is not None:
            await naming.tell(connection)
        recipient = Recipient(command.recipient, command.parameters, session.journal)
        if command.recipient.postmaster:
            recipient.accept()  # RFC 5321 §4.5.1
        ask, waits = house.rcpt
        reply = ask(session, recipient)
        if waits:
            reply = await reply
        if reply.code < 400 and not recipient.accepted:
            reply = RELAYING_DENIED
        elif reply.code >= 500 and recipient.given.postmaster and reply is not REJECT:
            reply = self._overrule(reply)
        if reply.code < 400 and recipient.expansion:
            reply = self._expand(transaction, recipient, reply)
        elif reply.code < 400:
            recipient.settled = True
            transaction.recipients.append(recipient)
            transaction.named += 1
        self._answer("rcpt", command, reply)

    def _expand(self, transaction: Transaction, recipient: Recipient, reply: Reply) -> Reply:
        """One RCPT that became several. A client could make much of little by them, so all together have a limit."""
        together = (recipient, *recipient.expansion)
        if len(transaction.recipients) + len(together) > self.connection.house.limits.expanded:
            return answers.TOO_MANY_RECIPIENTS
        recipient.settled = True
        transaction.recipients.extend(together)
        transaction.named += 1
        return reply

    def _overrule(self, reply: Reply) -> Reply:
        """postmaster is always heard: only limits, syntax and faults may refuse it."""
        session = self.connection.session
        session.evidence.add(Finding(session.answered_by, "rcpt", "overruled", reply, detail="postmaster"))
        session.answered_by = "core"
        return answers.RECIPIENT_OK

    async def data(self, command: Data) -> None:
        reply = await self._ask_data(chunked=False)
        if reply.code < 400:
            self.reception = Reception(self.connection)
            reply = reply if reply.code == 354 else answers.START_INPUT
        self._answer("data", command, reply)
        if reply.code >= 400:
            self.drop("refused")
            self.connection.protocol.reset()

    async def bdat(self, command: Bdat) -> None:
        """The octets of the chunk follow as `Body`, whatever is decided here (RFC 3030 §2)."""
        if self.reception is None:
            reply = await self._ask_data(chunked=True)
            reception = self.reception = Reception(self.connection)
            if reply.code >= 400:
                reception.refuse("data", reply)

    async def _ask_data(self, *, chunked: bool) -> Reply:
        connection = self.connection
        ask, waits = connection.house.data
        answer = ask(connection.session, chunked)
        reply: Reply = await answer if waits else answer
        return reply

    async def rset(self, command: Rset) -> None:
        self.drop("RSET")
        self._answer("reset", command, answers.RESET)

    async def quit(self, command: Quit) -> None:
        self._answer("quit", command, answers.BYE)
        self.connection.why = "quit"

    async def other(self, command: Command) -> None:
        connection = self.connection
        house = connection.house
        self.answering = True
        try:
            ask, waits = house.command
            reply = ask(connection.session, command)
            if waits:
                reply = await reply
        except Aborted as aborted:
            reply = aborted.reply
        self.answering = False
        if self._restarted:
            self._restarted = False
            session = connection.session
            session.command_count += 1
            connection.protocol.greet(reply)
            self._told("command", reply)
        elif reply.start_tls is not None and reply.positive:
            await self._start_tls(command, reply, reply.start_tls)
        else:
            self._answer("command", command, reply)

    async def _start_tls(self, command: Command, reply: Reply, context: ssl.SSLContext) -> None:
        """What came in clear behind STARTTLS is thrown away before the 220 is written; what comes later is TLS's.

        RFC 3207 §4.2: nothing that was said before is remembered.
        """
        connection = self.connection
        connection.protocol.discard()
        connection.stream.discard()
        self._answer("command", command, reply)
        await connection.flush()
        self.forget("STARTTLS")
        connection.session.user = connection.session.mechanism = None
        await handshake.encrypt(connection, context)

    def forget(self, why: str) -> None:
        """The conversation begins anew: EHLO is due."""
        session = self.connection.session
        self.drop(why)
        session.helo, session.esmtp, session.keywords = None, False, {}
        self.connection.protocol.restart()

    async def restart(self) -> Reply:
        """Ask `connect` again; its reply is the answer to the command that runs."""
        connection = self.connection
        house = connection.house
        self._restarted = True
        if house.names_clients:
            naming.begin(connection)
        ask, waits = house.connect
        answer = ask(connection.session, None)
        reply: Reply = await answer if waits else answer
        return answers.BROKEN if reply is DEFER else reply

    async def refused(self, event: Refused) -> None:
        """The wire has refused: unreadable, too long, or out of turn."""
        fault = event.error
        if isinstance(fault, ParameterFault):
            judge(self.connection.session, fault.who, fault.phase, fault.error, "defer", 0.0)
        self._say("syntax", event.reply, event)

    # Bodies.

    def body(self, event: Body) -> Awaitable[None]:
        assert self.reception is not None
        return self.reception.take(event.data)

    async def end_of_body(self, event: EndOfBody) -> None:
        reception, connection = self.reception, self.connection
        assert reception is not None
        # In LMTP a refusal waits for BDAT LAST, which is what has a reply for each recipient.
        lmtp = connection.session.lmtp
        if not event.last and (lmtp or (reception.verdict is None and event.fault is None)):
            self._say("data", Reply(250, f"{reception.octets} octets received"))
            return
        phase, reply = await reception.end(event.fault)
        replies: Sequence[Reply] = ()
        if lmtp:
            replies = reception.replies(reply)
            reply = verdicts.whole(replies)
        message = reception.message
        if reply.positive and message is not None:
            self._remember_queued(message, reply)
            connection.messages += 1
            connection.session.error_count = 0
            connection.session.renew_budget()
        self.drop("done" if reply.positive else "refused")
        if not event.last:
            connection.protocol.spoil()
        if lmtp:
            self._say_each(phase, replies, reply)
        else:
            self._say(phase, reply)

    def too_slow(self, now: float) -> bool:
        """Whether a body comes slower than it must."""
        return self.reception is not None and self.reception.too_slow(now)

    # State.

    def drop(self, why: str) -> None:
        """The transaction is over, if there was one."""
        session = self.connection.session
        if self.reception is not None:
            if not (why == "done" and self.connection.house.hears_queued):
                self.reception.close()
            self.reception = None
        transaction = session.transaction
        if transaction is not None:
            self.connection.house.pipeline.tell_reset(session, transaction, why)
            session.transaction = None
            self._dropped = transaction.id
            transaction.clean_up()

    def _remember_queued(self, message: Message, reply: Reply) -> None:
        """`queued` is told when the reply is written."""
        if self.connection.house.hears_queued:
            if self.queued is None:
                self.queued = []
            self.queued.append((message, reply))

    async def flushed(self) -> None:
        """The replies are written."""
        while self.queued:
            message, reply = self.queued.pop(0)
            try:
                await self.connection.house.pipeline.tell_queued(self.connection.session, message, reply)
            finally:
                message.close()

    async def end(self) -> None:
        """The connection is over."""
        self.drop("disconnect")
        await self.flushed()
        if self._connected:
            if self.connection.naming is not None and self.connection.naming.done:
                await naming.tell(self.connection)
            await self.connection.house.pipeline.tell_disconnect(self.connection.session)

    # Answers.

    def _answer(self, phase: str, command: AnyCommand, reply: Reply) -> None:
        connection = self.connection
        session = connection.session
        session.command_count += 1
        connection.protocol.answer(command, reply)
        if reply.code >= 400 or connection.house.hears_replied:
            self._told(phase, reply, command)
        else:
            session.answered_by = "core"
            session.journal.changes.clear()

    def _say(self, phase: str, reply: Reply, to: Refused | None = None) -> None:
        self.connection.protocol.say(reply)
        self._told(phase, reply, to)

    def _say_each(self, phase: str, replies: Sequence[Reply], whole: Reply) -> None:
        """LMTP: one reply for each recipient. To all but the client it is one answer, to one message."""
        for reply in replies:
            self.connection.protocol.say(reply)
        self._told(phase, whole)

    def _told(self, phase: str, reply: Reply, to: AnyCommand | Refused | None = None) -> None:
        """A reply is on its way: count it, log a refusal, tell who listens; the changes of this command stand."""
        session, house = self.connection.session, self.connection.house
        by, session.answered_by = session.answered_by, "core"
        session.journal.changes.clear()
        if reply.code >= 400:
            self._log_refusal(phase, by, reply, to)
            if reply.permanent and not reply.close:
                self._count_error()
        if house.hears_replied:
            house.pipeline.tell_replied(session, phase, by, reply)

    def _count_error(self) -> None:
        session = self.connection.session
        session.error_count += 1
        if session.error_count >= self.connection.patience.errors:
            self.connection.close_after(answers.TOO_MANY_ERRORS)

    def _log_refusal(self, phase: str, by: str, reply: Reply, to: AnyCommand | Refused | None) -> None:
        self.refusals += 1
        if self.refusals > _TOLD or not log.enabled("info"):
            return
        session = self.connection.session
        transaction = session.transaction
        sender = transaction.sender if transaction else to.sender if isinstance(to, Mail) else None
        about = transaction.id if transaction else self._dropped  # a refusal of MAIL has dropped it
        log.info(
            "refused",
            session=session.id,
            queue_id=transaction.id if transaction else None,
            client=str(session.client),
            phase=phase,
            by=by,
            verb=to.verb if phase in ("syntax", "command") and to is not None else None,
            reply=str(reply),
            sender=None if sender is None else str(sender),
            recipient=str(to.recipient) if isinstance(to, Rcpt) else None,
            because="; ".join(session.evidence.notes(by, about, session.command_count - 1))[:_BECAUSE] or None,
        )


def _consistent(offered: Mapping[str, str], session: Session) -> Mapping[str, str]:
    """What may be offered at all, whatever middleware made of it."""
    if "BINARYMIME" in offered and "CHUNKING" not in offered:  # RFC 3030 §3
        offered = {keyword: argument for keyword, argument in offered.items() if keyword != "BINARYMIME"}
    if session.lmtp:  # RFC 2033 §5
        offered = {**offered, "PIPELINING": "", "ENHANCEDSTATUSCODES": ""}
    return offered


# What answers each event of the protocol.
HANDLERS: dict[type, Callable[[Dialog, Any], Awaitable[None]]] = {
    Hello: Dialog.hello,
    Mail: Dialog.mail,
    Rcpt: Dialog.rcpt,
    Data: Dialog.data,
    Bdat: Dialog.bdat,
    Rset: Dialog.rset,
    Quit: Dialog.quit,
    Command: Dialog.other,
    Refused: Dialog.refused,
    Body: Dialog.body,
    EndOfBody: Dialog.end_of_body,
}
