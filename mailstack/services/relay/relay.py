"""The relay: what a handler that passes mail on has to do."""

from __future__ import annotations

import time
from collections.abc import AsyncIterator, Sequence
from contextlib import AsyncExitStack, asynccontextmanager

import anyio

from ... import log
from ...session.message import Message
from ...session.session import Session
from ...session.stash import Key
from ...session.transaction import Recipient, Transaction
from ...wire.command import Rcpt
from ...wire.reply import Reply
from ..client import TLS, Content, Disconnected, Envelope, Login, Timeouts
from ..client.pool import Connection, Pool
from .errand import Asked, Errand
from .handover import hand_over
from .hop import Access, Hop
from .options import Connections, Place, Recipients
from .replies import ONE_ONLY, UNKNOWN, answer, check_available, passed
from .route import Failed, Route
from .submitter import mail_for

__all__ = ["Relay"]


class Relay:
    """Passes messages on.

    who -- the handler, for the log. places -- the next servers; rotates -- begin with another one each time.
    tls -- None: STARTTLS where it is offered, but not over UNIX sockets. login -- None: as nobody.
    hostname -- what we call ourselves; "": the server's name. The other options are told in `options`.
    """

    __slots__ = ("_asked", "_hostname", "_ours", "_recipients", "_route", "who")

    def __init__(
        self,
        who: str,
        places: Sequence[Place],
        *,
        lmtp: bool,
        rotates: bool,
        hostname: str,
        recipients: Recipients,
        connections: Connections,
        timeouts: Timeouts,
        tls: TLS | None,
        login: Login | None,
    ) -> None:
        self.who = who
        self._hostname = self._ours = hostname
        self._recipients = recipients
        self._asked: Key[Asked] = Key(f"{who}.asked")

        def hop(place: Place) -> Hop:
            access = Access(
                place.address,
                ours=lambda: self._ours,
                lmtp=lmtp,
                tls=tls,
                login=login,
                timeouts=timeouts,
            )
            return Hop(place.name, _pool(access, connections))

        self._route = Route(who, [hop(place) for place in places], rotates=rotates)

    # Its life.

    @asynccontextmanager
    async def running(self, hostname: str) -> AsyncIterator[None]:
        """Keep the pools, and look at once what each server offers."""
        self._ours = self._hostname or hostname
        async with AsyncExitStack() as pools:
            for hop in self._route.hops:
                await pools.enter_async_context(hop.pool.running())
            group = await pools.enter_async_context(anyio.create_task_group())
            for hop in self._route.hops:
                group.start_soon(self._route.probe, hop)
            try:
                yield
            finally:
                group.cancel_scope.cancel()

    def offers(self, keyword: str) -> bool:
        """Whether every server offered it when it was last seen."""
        return all(hop.pool.keywords is not None and keyword in hop.pool.keywords for hop in self._route.hops)

    # Asking for recipients.

    @property
    def hears_recipients(self) -> bool:
        """Whether the handler is to call `recipient` and `forget`."""
        return self._recipients.asked or self._recipients.single

    async def recipient(self, session: Session, recipient: Recipient) -> Reply | None:
        """The refusal of a recipient: one too many, or the next server's. Nobody's recipients are not asked for."""
        transaction = session.transaction
        assert transaction is not None
        if self._recipients.single and not session.lmtp and transaction.recipients:
            return ONE_ONLY
        if not self._recipients.asked or not (recipient.accepted or self._recipients.vouched):
            return None
        errand = self._errand(session)
        rcpt = Rcpt(recipient.address, recipient.parameters)

        async def talk(connection: Connection, hop: Hop) -> Reply:
            return await self._ask(errand, connection, hop, rcpt)

        try:
            reply = await self._route.run(errand, talk)
        except Failed as error:
            reply = error.reply
        session.note(self.who, "rcpt", f"{errand.place} says {reply}")
        if reply.refused:
            return passed(reply)
        if self._recipients.vouched:
            recipient.accept()
        return None

    async def _ask(self, errand: Errand, connection: Connection, hop: Hop, rcpt: Rcpt) -> Reply:
        """On the connection where the transaction is open already, or in a new transaction there."""
        client = connection.client
        mail = mail_for(errand.session, errand.transaction, client)
        asked = errand.asked
        if asked is None or not connection.resumed or asked.mail != mail:
            asked = Asked(hop, mail)
            reply = await client.mail(mail)
            if reply.refused:
                check_available([reply])
                return reply
        reply = await client.rcpt(rcpt)
        check_available([reply])
        asked.note(rcpt, reply)
        connection.owner = errand.asked = errand.transaction.stash[self._asked] = asked
        return reply

    def _errand(self, session: Session) -> Errand:
        transaction = session.transaction
        assert transaction is not None
        return Errand(session, transaction, transaction.stash.get(self._asked))

    def forget(self, transaction: Transaction) -> None:
        """The transaction is over: a connection that was parked for it is anybody's."""
        asked = transaction.stash.get(self._asked)
        if asked is not None:
            asked.hop.pool.release(asked)

    # Handing over.

    async def deliver(self, session: Session, message: Message) -> Reply:
        """Hand the message over for all recipients without a verdict; what comes of it is answered."""
        errand = self._errand(session)
        recipients = [each for each in errand.transaction.recipients if each.verdict is None]
        if not recipients:
            return Reply(250, "nothing is left to do")
        rcpts = tuple(Rcpt(each.address, each.parameters) for each in recipients)
        content = Content(message.chunks, message.size)
        whole = not session.lmtp

        async def talk(connection: Connection, hop: Hop) -> Sequence[Reply | None]:
            envelope = Envelope(mail_for(session, errand.transaction, connection.client), rcpts)
            return await hand_over(errand.asked, connection, envelope, content, whole)

        began = time.monotonic()
        try:
            verdicts = await self._route.run(errand, talk)
        except Failed as error:
            verdicts = [error.reply] * len(recipients)
        except Disconnected as error:  # it may have taken the message: nobody else is asked
            self._route.tell(error, errand)
            verdicts = [verdict or UNKNOWN for verdict in error.verdicts]
        reply = answer(recipients, verdicts, whole)
        log.info(
            "passed on" if reply.positive else "not passed on",
            session=session.id,
            queue_id=message.id,
            who=self.who,
            server=errand.place,
            tls=errand.encryption,
            recipients=len(recipients),
            reply=str(reply),
            seconds=round(time.monotonic() - began, 3),
        )
        session.note(self.who, "queue", f"{errand.place}: {reply}")
        return reply


def _pool(access: Access, connections: Connections) -> Pool:
    return Pool(
        access.open,
        connections=connections.most,
        idle=connections.idle,
        seconds=connections.seconds,
        messages=connections.messages,
        wait=connections.wait,
    )
