"""The client: one connection, its commands, its transactions; how it begins is told in `opening`."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import aclosing
from types import TracebackType
from typing import Final

import anyio

from ...wire.client import ClientState, EndOfData
from ...wire.command import AnyCommand, Command, Data, Hello, Mail, Quit, Rcpt, Rset
from ...wire.reply import Reply
from ..transport import Address, Stream, tls
from .authentication import log_in, secret_of
from .content import pieces
from .exchange import END, Exchange
from .login import Login
from .needs import adapt, check_recipient, is_binary
from .policy import TLS
from .secure import handshake
from .transaction import Transaction
from .transcript import Transcript
from .values import (
    Content,
    Disconnected,
    Envelope,
    NotAuthenticated,
    NotSecure,
    Outcome,
    Refused,
    Timeouts,
)

__all__ = ["Client"]

BATCH: Final = 16 * 1024  # octets of command lines that go before their answers are read: RFC 2920 §3.1


class Client:
    """One connection. `open_client` makes one that is ready; over a stream of one's own, `greet` and `hello` follow.

    `async with` says QUIT at the end, or aborts when an exception leaves. Options as in `open_client`.
    """

    __slots__ = (
        "_chunking",
        "_exchange",
        "_pipelining",
        "_transaction",
        "user",
    )

    def __init__(
        self,
        stream: Stream,
        *,
        lmtp: bool = False,
        timeouts: Timeouts | None = None,
        transcript: Transcript | None = None,
        pipelining: bool = True,
        chunking: bool = True,
    ) -> None:
        self._exchange = Exchange(stream, lmtp, timeouts or Timeouts(), transcript)
        self._pipelining = pipelining
        self._chunking = chunking
        self.user: str | None = None  # as whom we have logged in
        self._forget()

    def _forget(self) -> None:
        """No transaction."""
        self._begin()

    def _begin(self, mail: Mail | None = None, rcpts: tuple[Rcpt, ...] = ()) -> Transaction:
        self._exchange.spoilt = None
        self._transaction = Transaction(self._exchange, mail, rcpts)
        return self._transaction

    # What it is.

    @property
    def keywords(self) -> Mapping[str, str]:
        """Of the last EHLO answer, upper case, each with its argument. Empty after HELO."""
        return self._exchange.protocol.keywords

    @property
    def peer(self) -> Address:
        """The other end's address."""
        return self._exchange.stream.peer

    @property
    def local(self) -> Address:
        """Our own end's address."""
        return self._exchange.stream.local

    @property
    def encryption(self) -> str:
        """Version and cipher, "TLSv1.3 TLS_AES_256_GCM_SHA384"; empty in clear."""
        stream = self._exchange.stream
        return f"{stream.version} {stream.cipher}" if isinstance(stream, tls.TLSStream) else ""

    @property
    def private(self) -> bool:
        """Whether nobody on the way listens: TLS, or a UNIX socket."""
        return bool(self.encryption) or isinstance(self.peer, str)

    @property
    def usable(self) -> bool:
        """Whether another transaction may follow: not after 421, a cut, `quit` or `abort`."""
        exchange = self._exchange
        idle = exchange.protocol.state in (ClientState.READY, ClientState.MAIL) and not exchange.protocol.awaited
        return idle and not exchange.ended and not exchange.stream.gone

    # The beginning.

    async def greet(self) -> Reply:
        """The banner. Refused, Disconnected."""
        reply = (await self._exchange.hear(self._exchange.timeouts.greeting, "greeting")).reply
        await self._admitted(reply)
        return reply

    async def hello(self, hostname: str) -> Reply:
        """EHLO or LHLO, HELO where EHLO is refused for good; again after `restart`. Refused, Disconnected."""
        exchange = self._exchange
        self._forget()
        reply = await exchange.ask(Hello("LHLO" if exchange.protocol.lmtp else "EHLO", hostname))
        if reply.permanent and not exchange.protocol.lmtp:
            reply = await exchange.ask(Hello("HELO", hostname))
        await self._admitted(reply)
        return reply

    async def _admitted(self, reply: Reply) -> None:
        if reply.refused:
            await self.quit()
            raise Refused(reply)

    async def start_tls(self, policy: TLS, address: Address) -> bool:
        """STARTTLS (RFC 3207), as the policy wants it; whether there is TLS now: then `hello` is due again.

        address -- what was connected to: whose name the certificate must have. NotSecure, Disconnected; the connection
        is closed then.
        """
        exchange = self._exchange
        if "STARTTLS" not in self.keywords:
            if not policy.required:
                return False
            await self.quit()
            raise NotSecure("STARTTLS is not offered", offered=False)
        reply = await self.command("STARTTLS")
        if reply.code != 220:
            await self.quit()
            raise NotSecure("STARTTLS is refused", reply=reply)
        with exchange.guard(exchange.timeouts.connect, "STARTTLS"):
            exchange.protocol.restart()  # what came in clear behind the 220 is somebody else's
            self._forget()
            self.user = None
            exchange.stream = await handshake(exchange.stream, policy, address)
        exchange.tell(f"({self.encryption})")
        return True

    async def authenticate(self, login: Login) -> None:
        """AUTH (RFC 4954), by the best mechanism there is. `user` is known then.

        The connection is closed when it fails: NotAuthenticated, NoMechanism among them; Disconnected. RuntimeError
        within a transaction.
        """
        if self._exchange.protocol.state is not ClientState.READY:
            raise RuntimeError("AUTH has no place here")
        try:
            mechanism = login.choose(self.keywords.get("AUTH"), self.private)
            secret = await secret_of(login, self._exchange)
        except NotAuthenticated:
            await self.quit()
            raise
        reply = await log_in(self._exchange, mechanism, login.user, secret)
        if reply.refused:
            await self.quit()
            raise NotAuthenticated(f"AUTH {mechanism} is refused", login.user, reply=reply)
        self.user = login.user

    # A transaction in steps.

    async def mail(self, mail: Mail) -> Reply:
        """Open a transaction; one that is open is reset first. Unsupported, Disconnected."""
        said = await adapt(mail, (), None, self._offered)
        await self._clear()
        transaction = self._begin(mail)
        transaction.mail_reply = reply = await self._exchange.ask(said)
        return reply

    async def rcpt(self, rcpt: Rcpt) -> Reply:
        """Ask for one recipient of the open transaction. RuntimeError without one. Unsupported, Disconnected."""
        transaction = self._transaction
        check_recipient(rcpt, await adapt(transaction.opened, (), None, self._offered))
        try:
            reply = await self._exchange.ask(rcpt)
        except Disconnected as error:
            raise transaction.explained(error) from error.__cause__
        transaction.rcpts.append((rcpt, reply))
        return reply

    async def data(self, content: Content) -> Outcome:
        """Send the message to the recipients that were accepted; the transaction is over then.

        RuntimeError without an open transaction. Unsupported, Disconnected; what `content` raises aborts the
        connection. Outcome: of the recipients that were asked for, in that order.
        """
        transaction = self._transaction
        mail = transaction.opened
        if not transaction.rcpts:
            raise RuntimeError("no recipient was asked for")
        await adapt(mail, [rcpt for rcpt, _ in transaction.rcpts], content, self._offered)
        try:
            if transaction.accepted and not self._by_chunks(mail):
                transaction.data_reply = await self._exchange.ask(Data())
            return await self._deliver(mail, content)
        except Disconnected as error:
            raise transaction.explained(error) from error.__cause__

    # A transaction at once.

    async def transact(self, envelope: Envelope, content: Content) -> Outcome:
        """A whole transaction, in as few round trips as the server allows; one that is open is reset first.

        ValueError without a recipient. Unsupported, Disconnected; what `content` raises aborts the connection.
        """
        data: list[AnyCommand] = [] if self._by_chunks(envelope.mail) else [Data()]
        await self._open(envelope, content, data)
        try:
            return await self._deliver(envelope.mail, content)
        except Disconnected as error:
            raise self._transaction.explained(error) from error.__cause__

    async def begin(self, envelope: Envelope, content: Content) -> tuple[Reply, ...]:
        """MAIL and all RCPT in as few round trips as may be: the reply to each RCPT, or that to MAIL if refused.

        For who sends the message to all recipients or to none: `data` follows, or nothing. Raises as `transact`.
        """
        await self._open(envelope, content, [])
        mail = self._transaction.mail_reply
        assert mail is not None
        return tuple(mail if reply is None else reply for _, reply in self._transaction.rcpts)

    async def _open(self, envelope: Envelope, content: Content, then: list[AnyCommand]) -> None:
        if not envelope.recipients:
            raise ValueError("a message without recipients")
        mail, rcpts = envelope.mail, envelope.recipients
        said = await adapt(mail, rcpts, content, self._offered)
        reset: list[AnyCommand] = [Rset()] if self._exchange.protocol.state is ClientState.MAIL else []
        transaction = self._begin(mail, rcpts)
        try:
            await self._ask_all([*reset, said, *rcpts, *then])
        except Disconnected as error:
            raise transaction.explained(error) from error.__cause__

    async def _ask_all(self, commands: Sequence[AnyCommand]) -> None:
        """Say all commands in as few writes as may be, and note the answers, until there is no hope."""
        for batch in self._batches(commands):
            if self._transaction.hopeless(batch[0]):
                return
            if self._exchange.begin(batch[0].verb):
                for command in batch:
                    self._exchange.protocol.send(command)
                await self._exchange.flush(batch[-1])
            for command in batch:
                self._transaction.heard(command, await self._exchange.answer(command))

    def _batches(self, commands: Sequence[AnyCommand]) -> list[list[AnyCommand]]:
        if not (self._pipelining and "PIPELINING" in self._offered):
            return [[command] for command in commands]
        batches: list[list[AnyCommand]] = [[]]
        size = 0
        for command in commands:
            if size > BATCH:
                batches.append([])
                size = 0
            batches[-1].append(command)
            size += 512  # no line of ours is longer, but for rare parameters
        return batches

    # The message.

    async def _deliver(self, mail: Mail, content: Content) -> Outcome:
        """The envelope is settled: the message, if anybody is to get it."""
        exchange = self._exchange
        by_chunks = self._by_chunks(mail)
        transaction = self._transaction
        if not transaction.accepted or exchange.refusal is not None or transaction.data_refusal is not None:
            if exchange.protocol.state is ClientState.DATA:
                await self._lone_dot()
            return self._closed()
        protocol = exchange.protocol
        size = 0

        def by_data(piece: bytes, last: bool) -> bytes:
            nonlocal size
            octets = protocol.body(piece)
            size += len(octets)
            if last:
                exchange.tell(f"({size} octets)")
                exchange.tell(".")
                octets += protocol.end_body()
            return octets

        def by_bdat(piece: bytes, last: bool) -> bytes:
            octets = protocol.chunk(piece, last, binary=is_binary(mail))
            if octets and exchange.transcript is not None:
                line, _, rest = octets.partition(b"\r\n")
                exchange.tell(line.decode())
                exchange.tell(f"({len(rest)} octets)")
            return octets

        async with aclosing(pieces(content)) as source:
            in_turn = by_chunks and not (self._pipelining and "PIPELINING" in self._offered and not protocol.lmtp)
            stage = await exchange.send_body(source, by_bdat if by_chunks else by_data, in_turn)
        await self._hear_out(stage)
        return self._closed()

    async def _lone_dot(self) -> None:
        """The server waits for a message that is for nobody: it gets none (RFC 2920 §3.1)."""
        exchange = self._exchange
        if exchange.protocol.lmtp:  # which answers per recipient, so there would be no answer
            exchange.abort()
            return
        await exchange.end_empty()

    async def _hear_out(self, stage: str) -> None:
        """The answers that are due: of chunks, and to the end of the data."""
        exchange = self._exchange
        if stage != END and exchange.spoilt is None:
            await exchange.hear(exchange.timeouts.block, stage)  # why we stopped
        while exchange.owes:
            said, reply = await exchange.hear(exchange.timeouts.final, stage)
            if isinstance(said, EndOfData):
                self._transaction.finals.append(reply)
        if exchange.refusal is not None:
            exchange.abort()

    # What came of it.

    @property
    def _offered(self) -> Mapping[str, str]:
        keywords = self.keywords
        if self._chunking or "CHUNKING" not in keywords:
            return keywords
        return {word: argument for word, argument in keywords.items() if word != "CHUNKING"}

    def _by_chunks(self, mail: Mail) -> bool:
        return "CHUNKING" in self._offered and (is_binary(mail) or not self._exchange.protocol.lmtp)

    def _closed(self) -> Outcome:
        """The transaction is over."""
        outcome = self._transaction.outcome()
        self._forget()
        return outcome

    # Everything else.

    async def command(self, line: str, *, hidden: bool = False) -> Reply:
        """Any other command or continuation (NOOP, VRFY, AUTH and the lines that 334 asks for), without line end.

        hidden -- the transcript does not show it. ValueError for control characters. Disconnected.
        """
        exchange = self._exchange
        verb, _, argument = line.partition(" ")
        command = Command(verb.upper() if not hidden else "a command", argument)
        if exchange.begin(command.verb):
            exchange.protocol.say(line, command.verb)
            await exchange.flush(command, "(hidden)" if hidden else None)
        return await exchange.answer(command)

    async def reset(self) -> Reply:
        """RSET: drop the open transaction, or see whether the connection still works. Disconnected."""
        self._forget()
        return await self._exchange.ask(Rset())

    async def _clear(self) -> None:
        if self._exchange.protocol.state is ClientState.MAIL:
            await self._exchange.ask(Rset())
        self._forget()

    async def quit(self) -> None:
        """QUIT, and close, whatever comes."""
        exchange = self._exchange
        if exchange.ended:
            return
        with anyio.move_on_after(exchange.timeouts.quit):
            try:
                if exchange.quits:
                    await exchange.ask(Quit())
                exchange.ended = True
                await exchange.stream.close()
            except Disconnected:
                return
        exchange.abort()

    def abort(self) -> None:
        """Close at once, without a word."""
        self._exchange.abort()

    async def __aenter__(self) -> Client:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        if error is None:
            await self.quit()
        else:
            self.abort()
