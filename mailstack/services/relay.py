"""Passing a message on to the next server: what the handlers `forward` and `lmtp` share.

A `Relay` has one or several servers, each with a pool of connections, and three things to do for its handler:
`deliver` hands a message over and answers, `recipient` asks for one while the client still names them, `forget` lets go
of what was asked. `running` is its life.

Promises: 2xx is answered only for recipients that the next server has taken. A message is offered to another server, or
again, only if it certainly was not taken before. What the next server answered is passed on; what it did not answer is
a 4xx:

* no server could be talked to, or it left before the message was complete: 451 4.4.1
* the connection broke when all was sent, and the answer is missing: 451 4.4.2; the client's next try may be the second
* the recipients share one reply (SMTP) and the next server refuses some: nothing is sent, and the answer is its first
  temporary refusal, or 451 4.5.3. Over LMTP a server may refuse some when it has the message: then those who have it
  will get it again, unless the handler lets clients name one recipient only (`single`).
"""

from __future__ import annotations

import itertools
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from typing import Final, TypeVar

import anyio

from .. import log, option
from ..option import ConfigError
from ..session.message import Message
from ..session.session import Session
from ..session.stash import Key
from ..session.transaction import Recipient, Transaction
from ..wire.command import Mail, Rcpt
from ..wire.reply import Reply
from .client import Client, Content, Disconnected, Envelope, Refused, Timeouts, Unsupported, open_client
from .client.pool import Busy, Connection, Open, Pool
from .transport import Address

__all__ = ["Relay"]

T = TypeVar("T")

REST: Final = 30.0  # seconds for which a server that could not be talked to is tried last

_NOBODY_THERE: Final = Reply(451, "the next server is not available, try again later", status="4.4.1")
_UNKNOWN: Final = Reply(451, "the connection to the next server broke off, try again later", status="4.4.2")
_THEY_DIFFER: Final = Reply(451, "the next server refuses some recipients, try them one by one", status="4.5.3")
_ONE_ONLY: Final = Reply(452, "one recipient per message here, send the others afterwards", status="4.5.3")


class Server:
    """One next server. name -- its address as configured. pool -- the connections to it."""

    __slots__ = ("_rests_until", "name", "pool")

    def __init__(self, name: str, pool: Pool) -> None:
        self.name = name
        self.pool = pool
        self._rests_until = 0.0

    def rest(self) -> None:
        """It could not be talked to: others come first for a while."""
        self._rests_until = time.monotonic() + REST

    @property
    def resting(self) -> bool:
        return time.monotonic() < self._rests_until


def _places(factory: str, given: Sequence[str], port: int | None) -> list[tuple[str, Address]]:
    """Names and addresses of the next servers. ConfigError without one."""
    if not given:
        raise ConfigError(f"{factory}: no server to pass mail on to", remedy=f'write {factory}("127.0.0.1:10025")')
    return [_place(factory, each, port) for each in given]


def _place(factory: str, given: str, port: int | None) -> tuple[str, Address]:
    place = option.socket_address(given, name=factory, port=port)
    if place.path is not None:
        return str(place), place.path
    if not place.port or place.host is None:
        raise ConfigError(f"{factory}: {given!r} has port 0", remedy="write the port where the server listens")
    return str(place), (place.host, place.port)


class _Asked:
    """What the next server was asked while the client named its recipients; the connection is parked for this object.

    accepted -- its recipients. said -- for each that was asked for, whether it is one of them.
    """

    __slots__ = ("accepted", "mail", "said", "server")

    def __init__(self, server: Server, mail: Mail) -> None:
        self.server = server
        self.mail = mail
        self.accepted: list[Rcpt] = []
        self.said: list[bool] = []

    def note(self, rcpt: Rcpt, reply: Reply) -> None:
        self.said.append(reply.positive)
        if reply.positive:
            self.accepted.append(rcpt)

    def of_accepted(self, verdicts: Sequence[Reply | None]) -> tuple[Reply | None, ...]:
        """Those of the recipients that were accepted, from all that were asked for."""
        return tuple(verdict for verdict, accepted in zip(verdicts, self.said, strict=False) if accepted)


@dataclass(slots=True)
class _Errand:
    """One thing to be done on some server: for whom, what is parked, and where it was done."""

    session: Session
    transaction: Transaction
    asked: _Asked | None
    place: str = "nobody"


class _Unavailable(Exception):
    """The server says that it is not available now: 421."""

    def __init__(self, reply: Reply) -> None:
        super().__init__(str(reply))
        self.reply = reply


class _Failed(Exception):
    """No server took the errand, and none has the message. reply -- what is due for that."""

    def __init__(self, reply: Reply) -> None:
        super().__init__(str(reply))
        self.reply = reply


Talk = Callable[[Connection, Server], Awaitable[T]]


class Relay:
    """Passes messages on. What the options mean is told in the handlers' manuals.

    factory -- what the handler is called in a configuration; in lower case in the log. port -- where none is written.

    ConfigError: no server, or an option that makes no sense.
    """

    def __init__(
        self,
        factory: str,
        to: Sequence[str],
        *,
        lmtp: bool,
        port: int | None,
        policy: str,
        hostname: str | None,
        ask_recipients: bool,
        vouch: bool,
        single: bool,
        connections: int,
        pool: int,
        idle: str | float,
        messages: int,
        connect: str | float,
        timeout: str | float,
        final: str | float,
    ) -> None:
        def name(field: str) -> str:
            return f"{factory}({field})"

        def seconds(value: str | float, field: str) -> float:
            return option.duration(value, name=name(field), minimum=0.01)

        self.who = factory.lower()
        self._lmtp = lmtp
        self._rotate = option.choice(policy, "failover", "rotate", name=name("policy")) == "rotate"
        self._hostname = "" if hostname is None else option.domain(hostname, name=name("hostname"))
        self._asks = option.boolean(ask_recipients, name=name("ask_recipients"))
        self._vouch = option.boolean(vouch, name=name("vouch"))
        self._single = option.boolean(single, name=name("single"))
        if self._vouch and not self._asks:
            raise ConfigError(f"{name('vouch')}: nobody is asked for", remedy="write ask_recipients=True too")
        each = seconds(timeout, "timeout")
        self._timeouts = Timeouts(
            seconds(connect, "connect"), each, each, each, each, each, each, seconds(final, "final"), each
        )
        self._ours = self._hostname  # what we call ourselves
        self._turn = itertools.count()
        self._asked: Key[_Asked] = Key(f"{self.who}.asked")
        self._servers = [
            Server(
                place,
                Pool(
                    self._opener(address),
                    connections=option.integer(connections, name=name("connections"), minimum=1),
                    idle=option.integer(pool, name=name("pool"), minimum=0),
                    seconds=seconds(idle, "idle"),
                    messages=option.integer(messages, name=name("messages"), minimum=1),
                    wait=each,
                ),
            )
            for place, address in _places(factory, to, port)
        ]

    def _opener(self, address: Address) -> Open:
        """How a connection is made; TLS and AUTH will have their place here."""

        async def open() -> Client:
            return await open_client(address, hostname=self._ours, lmtp=self._lmtp, timeouts=self._timeouts)

        return open

    # Its life.

    @asynccontextmanager
    async def running(self, hostname: str) -> AsyncIterator[None]:
        """Keep the pools, and look at once what each server offers."""
        self._ours = self._hostname or hostname
        async with AsyncExitStack() as pools:
            for server in self._servers:
                await pools.enter_async_context(server.pool.running())
            group = await pools.enter_async_context(anyio.create_task_group())
            for server in self._servers:
                group.start_soon(self._probe, server)
            try:
                yield
            finally:
                group.cancel_scope.cancel()

    async def _probe(self, server: Server) -> None:
        try:
            await server.pool.probe()
        except (OSError, Refused) as error:
            server.rest()
            log.warning("next server not available", who=self.who, server=server.name, reason=str(error))

    def offers(self, keyword: str) -> bool:
        """Whether every server offered it when it was last seen."""
        return all(server.pool.keywords is not None and keyword in server.pool.keywords for server in self._servers)

    # Asking for recipients.

    @property
    def hears_recipients(self) -> bool:
        """Whether the handler is to call `recipient` and `forget`."""
        return self._asks or self._single

    async def recipient(self, session: Session, recipient: Recipient) -> Reply | None:
        """The refusal of a recipient: one too many, or the next server's. Nobody's recipients are not asked for."""
        transaction = session.transaction
        assert transaction is not None
        if self._single and not session.lmtp and transaction.recipients:
            return _ONE_ONLY
        if not self._asks or not (recipient.accepted or self._vouch):
            return None
        errand = self._errand(session)
        rcpt = Rcpt(recipient.address, recipient.parameters)

        async def talk(connection: Connection, server: Server) -> Reply:
            return await self._ask(errand, connection, server, rcpt)

        try:
            reply = await self._somewhere(errand, talk)
        except _Failed as error:
            reply = error.reply
        session.note(self.who, "rcpt", f"{errand.place} says {reply}")
        if reply.refused:
            return _passed(reply)
        if self._vouch:
            recipient.accept()
        return None

    async def _ask(self, errand: _Errand, connection: Connection, server: Server, rcpt: Rcpt) -> Reply:
        """On the connection where the transaction is open already, or in a new transaction there."""
        client = connection.client
        mail = _mail(errand.transaction)
        asked = errand.asked
        if asked is None or not connection.resumed or asked.mail != mail:
            asked = _Asked(server, mail)
            reply = await client.mail(mail)
            if reply.refused:
                _check_available([reply])
                return reply
        reply = await client.rcpt(rcpt)
        _check_available([reply])
        asked.note(rcpt, reply)
        connection.owner = errand.asked = errand.transaction.stash[self._asked] = asked
        return reply

    def _errand(self, session: Session) -> _Errand:
        transaction = session.transaction
        assert transaction is not None
        return _Errand(session, transaction, transaction.stash.get(self._asked))

    def forget(self, transaction: Transaction) -> None:
        """The transaction is over: a connection that was parked for it is anybody's."""
        asked = transaction.stash.get(self._asked)
        if asked is not None:
            asked.server.pool.release(asked)

    # Handing over.

    async def deliver(self, session: Session, message: Message) -> Reply:
        """Hand the message over for all recipients without a verdict; what comes of it is answered."""
        errand = self._errand(session)
        recipients = [each for each in errand.transaction.recipients if each.verdict is None]
        if not recipients:
            return Reply(250, "nothing is left to do")
        rcpts = tuple(Rcpt(each.address, each.parameters) for each in recipients)
        envelope = Envelope(_mail(errand.transaction), rcpts)
        content = Content(message.chunks, message.size)
        whole = not session.lmtp

        async def talk(connection: Connection, server: Server) -> Sequence[Reply | None]:
            return await _hand_over(errand.asked, connection, envelope, content, whole)

        began = time.monotonic()
        try:
            verdicts = await self._somewhere(errand, talk)
        except _Failed as error:
            verdicts = [error.reply] * len(recipients)
        except Disconnected as error:  # it may have taken the message: nobody else is asked
            self._tell(errand, error)
            verdicts = [verdict or _UNKNOWN for verdict in error.verdicts]
        reply = _answer(recipients, verdicts, whole)
        log.info(
            "passed on" if reply.positive else "not passed on",
            session=session.id,
            queue_id=message.id,
            who=self.who,
            server=errand.place,
            recipients=len(recipients),
            reply=str(reply),
            seconds=round(time.monotonic() - began, 3),
        )
        session.note(self.who, "queue", f"{errand.place}: {reply}")
        return reply

    # Servers in turn.

    async def _somewhere(self, errand: _Errand, talk: Talk[T]) -> T:
        """Run the errand where it can be run; `_Failed` when no server can have done it.

        A connection that was used before may have died meanwhile, so that one fresh connection follows it. What
        `talk` raises is passed on when the message may have been taken, and when it is nothing of the connection's.
        """
        due: list[Reply] = []
        for server in self._order(errand.asked):
            errand.place = server.name
            for fresh in (False, True):
                connection = None
                try:
                    async with server.pool.connection(errand.asked, fresh=fresh) as connection:
                        return await talk(connection, server)
                except Unsupported as error:
                    due.append(error.reply)
                    break
                except (OSError, Refused, _Unavailable) as error:
                    if connection is not None and _is_final(error):
                        raise
                    self._tell(errand, error)
                    failure = error
                if connection is None or not connection.reused:
                    due.insert(0, failure.reply if isinstance(failure, _Unavailable) else _NOBODY_THERE)
                    if not isinstance(failure, Busy):
                        server.rest()
                    break
        raise _Failed(_passed(due[0]))

    def _order(self, asked: _Asked | None) -> Sequence[Server]:
        """Where the transaction is open already; as configured; those that failed lately at the end."""
        if len(self._servers) == 1:
            return self._servers
        start = next(self._turn) % len(self._servers) if self._rotate else 0
        turned = self._servers[start:] + self._servers[:start]
        return sorted(turned, key=lambda server: (asked is None or server is not asked.server, server.resting))

    def _tell(self, errand: _Errand, error: Exception) -> None:
        log.warning(
            "next server failed",
            session=errand.session.id,
            queue_id=errand.transaction.id,
            who=self.who,
            server=errand.place,
            reason=str(error),
        )


async def _hand_over(
    asked: _Asked | None, connection: Connection, envelope: Envelope, content: Content, whole: bool
) -> Sequence[Reply | None]:
    """The verdict on each recipient; whole -- to all of them or to none.

    None: the recipient was accepted, but the message was not sent, because of the others.
    """
    client = connection.client
    verdicts: Sequence[Reply | None]
    if (
        asked is not None
        and connection.resumed
        and (asked.mail, (*asked.accepted,))
        == (
            envelope.mail,
            envelope.recipients,
        )
    ):
        try:
            verdicts = asked.of_accepted((await client.data(content)).verdicts)
        except Disconnected as error:
            error.verdicts = asked.of_accepted(error.verdicts)
            raise
    elif whole and len(envelope.recipients) > 1:
        replies = await client.begin(envelope, content)
        if any(reply.refused for reply in replies):
            _check_available(replies)
            return [None if reply.positive else reply for reply in replies]
        verdicts = (await client.data(content)).verdicts
    else:
        verdicts = (await client.transact(envelope, content)).verdicts
    _check_available(verdicts, sent=True)
    return verdicts


def _check_available(replies: Iterable[Reply | None], *, sent: bool = False) -> None:
    """_Unavailable when the server goes, and nobody has got anything. sent -- whether a 2xx is about the message."""
    given = [reply for reply in replies if reply is not None]
    gone = [reply for reply in given if reply.code == 421]
    if gone and (not sent or all(reply.refused for reply in given)):
        raise _Unavailable(gone[0])


def _is_final(error: Exception) -> bool:
    """Whether it ends the errand: the server may have the message, or it was no fault of the connection's."""
    if not isinstance(error, Disconnected):
        return isinstance(error, OSError)
    return error.unknown or any(verdict is not None and verdict.positive for verdict in error.verdicts)


def _mail(transaction: Transaction) -> Mail:
    return Mail(transaction.sender.address, transaction.sender.parameters)


def _passed(reply: Reply) -> Reply:
    """As our own answer: a 421 would close the client's connection."""
    return Reply(451, reply.text, status=reply.status) if reply.code == 421 else reply


def _answer(recipients: Sequence[Recipient], verdicts: Sequence[Reply | None], whole: bool) -> Reply:
    """Answer each recipient where they differ; the reply to the message."""
    passed = [None if verdict is None else _passed(verdict) for verdict in verdicts]
    given = [verdict for verdict in passed if verdict is not None]
    if len(given) == len(passed) and all(verdict == given[0] for verdict in given):
        return given[0]
    for recipient, verdict in zip(recipients, passed, strict=True):
        if verdict is not None:
            recipient.answer(verdict)
    positive = [verdict for verdict in given if verdict.positive]
    if positive or not whole:
        return (positive or given)[0]
    temporary = [verdict for verdict in given if verdict.temporary]
    if temporary:
        return temporary[0]
    return given[0] if len(given) == len(passed) else _THEY_DIFFER
