"""The client: one connection, its commands, its transactions."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import aclosing
from types import TracebackType
from typing import Final

import anyio

from ...wire.client import ClientState, EndOfData
from ...wire.command import AnyCommand, Command, Data, Hello, Mail, Quit, Rcpt, Rset
from ...wire.reply import Reply
from ..transport import Address, RawStream, Stream, connect
from .content import pieces
from .exchange import END, Exchange
from .needs import adapt, check_recipient, is_binary
from .transcript import Transcript
from .values import Content, Disconnected, Envelope, Outcome, Refused, Timeouts

__all__ = ["Client", "dial", "open_client"]

BATCH: Final = 16 * 1024  # octets of command lines that go before their answers are read: RFC 2920 §3.1


async def open_client(
    address: Address,
    *,
    hostname: str,
    lmtp: bool = False,
    timeouts: Timeouts | None = None,
    transcript: Transcript | None = None,
    pipelining: bool = True,
    chunking: bool = True,
) -> Client:
    """Connect to (host, port) or to the path of a UNIX socket, read the banner, say EHLO (LHLO).

    hostname -- what we call ourselves. transcript -- called with ("C", line) and ("S", line) for each line, bodies
    abbreviated, nothing unprintable in it. pipelining, chunking -- whether these are used where the server offers them.
    Where EHLO is refused with 5xx, HELO is tried. OSError, Refused, Disconnected, ValueError (hostname).
    """
    stream = await dial(address, timeouts)
    client = Client(
        stream, lmtp=lmtp, timeouts=timeouts, transcript=transcript, pipelining=pipelining, chunking=chunking
    )
    await client.greet()
    await client.hello(hostname)
    return client


async def dial(address: Address, timeouts: Timeouts | None = None) -> RawStream:
    """Connect within `timeouts.connect`. OSError."""
    seconds = (timeouts or Timeouts()).connect
    stream = None
    with anyio.move_on_after(seconds):
        stream = await connect(address)
    if stream is None:
        raise TimeoutError(f"no connection within {seconds:g} s")
    return stream


class Client:
    """One connection. `open_client` makes one that is ready; over a stream of one's own, `greet` and `hello` follow.

    `async with` says QUIT at the end, or aborts when an exception leaves. Options as in `open_client`.
    """

    __slots__ = ("_chunking", "_data_reply", "_exchange", "_finals", "_mail", "_mail_reply", "_pipelining", "_rcpts")

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
        self._forget()

    def _forget(self) -> None:
        """No transaction."""
        self._exchange.spoilt = None
        self._mail: Mail | None = None  # as it was asked for
        self._mail_reply: Reply | None = None
        self._rcpts: list[tuple[Rcpt, Reply | None]] = []  # in the order that the caller knows
        self._data_reply: Reply | None = None
        self._finals: list[Reply] = []  # one, or with LMTP one per accepted recipient

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

    def restart(self, stream: Stream) -> None:
        """TLS has begun, on this stream: `hello` follows. ProtocolError when octets came before it."""
        self._exchange.protocol.restart()
        self._exchange.stream = stream
        self._forget()

    # A transaction in steps.

    async def mail(self, mail: Mail) -> Reply:
        """Open a transaction; one that is open is reset first. Unsupported, Disconnected."""
        said = await adapt(mail, (), None, self._offered)
        await self._clear()
        self._mail = mail
        self._mail_reply = await self._exchange.ask(said)
        return self._mail_reply

    async def rcpt(self, rcpt: Rcpt) -> Reply:
        """Ask for one recipient of the open transaction. RuntimeError without one. Unsupported, Disconnected."""
        mail = self._opened()
        check_recipient(rcpt, await adapt(mail, (), None, self._offered))
        try:
            reply = await self._exchange.ask(rcpt)
        except Disconnected as error:
            raise self._explained(error) from error.__cause__
        self._rcpts.append((rcpt, reply))
        return reply

    async def data(self, content: Content) -> Outcome:
        """Send the message to the recipients that were accepted; the transaction is over then.

        RuntimeError without an open transaction. Unsupported, Disconnected; what `content` raises aborts the
        connection. Outcome: of the recipients that were asked for, in that order.
        """
        mail = self._opened()
        if not self._rcpts:
            raise RuntimeError("no recipient was asked for")
        await adapt(mail, [rcpt for rcpt, _ in self._rcpts], content, self._offered)
        try:
            if self._accepted and not self._by_chunks(mail):
                self._data_reply = await self._exchange.ask(Data())
            return await self._deliver(mail, content)
        except Disconnected as error:
            raise self._explained(error) from error.__cause__

    def _opened(self) -> Mail:
        if self._mail is None or self._mail_reply is None or self._mail_reply.refused:
            raise RuntimeError("no transaction is open")
        return self._mail

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
            raise self._explained(error) from error.__cause__

    async def begin(self, envelope: Envelope, content: Content) -> tuple[Reply, ...]:
        """MAIL and all RCPT in as few round trips as may be: the reply to each RCPT, or that to MAIL if refused.

        For who sends the message to all recipients or to none: `data` follows, or nothing. Raises as `transact`.
        """
        await self._open(envelope, content, [])
        assert self._mail_reply is not None
        mail = self._mail_reply
        return tuple(mail if reply is None else reply for _, reply in self._rcpts)

    async def _open(self, envelope: Envelope, content: Content, then: list[AnyCommand]) -> None:
        if not envelope.recipients:
            raise ValueError("a message without recipients")
        mail, rcpts = envelope.mail, envelope.recipients
        said = await adapt(mail, rcpts, content, self._offered)
        reset: list[AnyCommand] = [Rset()] if self._exchange.protocol.state is ClientState.MAIL else []
        self._forget()
        self._mail = mail
        self._rcpts = [(rcpt, None) for rcpt in rcpts]
        try:
            await self._ask_all([*reset, said, *rcpts, *then])
        except Disconnected as error:
            raise self._explained(error) from error.__cause__

    async def _ask_all(self, commands: Sequence[AnyCommand]) -> None:
        """Say all commands in as few writes as may be, and note the answers, until there is no hope."""
        asked = 0
        for batch in self._batches(commands):
            if self._hopeless(batch[0]):
                return
            if self._exchange.begin(batch[0].verb):
                for command in batch:
                    self._exchange.protocol.send(command)
                await self._exchange.flush(batch[-1])
            for command in batch:
                reply = await self._exchange.answer(command)
                if isinstance(command, Rcpt):
                    self._rcpts[asked] = (command, reply)
                    asked += 1
                elif isinstance(command, Mail):
                    self._mail_reply = reply
                elif isinstance(command, Data):
                    self._data_reply = reply

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

    def _hopeless(self, command: AnyCommand) -> bool:
        """Whether it makes no sense to go on with this command."""
        if self._mail_reply is not None and self._mail_reply.refused:
            return True
        return isinstance(command, Data) and not self._accepted

    # The message.

    async def _deliver(self, mail: Mail, content: Content) -> Outcome:
        """The envelope is settled: the message, if anybody is to get it."""
        exchange = self._exchange
        by_chunks = self._by_chunks(mail)
        if not self._accepted or exchange.refusal is not None or self._data_refusal is not None:
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
                self._finals.append(reply)
        if exchange.refusal is not None:
            exchange.abort()

    # What came of it.

    @property
    def _offered(self) -> Mapping[str, str]:
        keywords = self.keywords
        if self._chunking or "CHUNKING" not in keywords:
            return keywords
        return {word: argument for word, argument in keywords.items() if word != "CHUNKING"}

    @property
    def _accepted(self) -> bool:
        if self._mail_reply is None or self._mail_reply.refused:
            return False
        return any(reply is not None and reply.positive for _, reply in self._rcpts)

    def _by_chunks(self, mail: Mail) -> bool:
        return "CHUNKING" in self._offered and (is_binary(mail) or not self._exchange.protocol.lmtp)

    def _closed(self) -> Outcome:
        """The transaction is over."""
        outcome = self._outcome()
        self._forget()
        return outcome

    def _outcome(self) -> Outcome:
        verdicts = tuple(filter(None, self._verdicts()))
        mail = self._mail_reply
        assert mail is not None
        assert len(verdicts) == len(self._rcpts)
        rcpt = tuple(reply if reply is not None and mail.positive else mail for _, reply in self._rcpts)
        asked = [verdict for verdict, reply in zip(verdicts, rcpt, strict=True) if reply.positive] or verdicts
        final = next((verdict for verdict in asked if verdict.refused), asked[0])
        return Outcome(mail, rcpt, final, verdicts)

    def _verdicts(self) -> tuple[Reply | None, ...]:
        """What is known of each recipient."""
        if self._mail_reply is not None and self._mail_reply.refused:
            return (self._mail_reply,) * len(self._rcpts)
        common = self._exchange.spoilt or self._data_refusal or None
        finals = iter(self._finals)
        shared = self._finals[0] if self._finals and not self._exchange.protocol.lmtp else None
        verdicts: list[Reply | None] = []
        for _, reply in self._rcpts:
            if reply is not None and reply.positive:
                reply = common or shared or next(finals, None) or self._exchange.refusal
            verdicts.append(reply)
        return tuple(verdicts)

    @property
    def _data_refusal(self) -> Reply | None:
        return self._data_reply if self._data_reply is not None and self._data_reply.refused else None

    def _explained(self, error: Disconnected) -> Disconnected:
        """With what is known of the recipients."""
        error.verdicts = self._verdicts()
        error.unknown = error.stage == END and None in error.verdicts
        return error

    # Everything else.

    async def command(self, line: str, *, hidden: bool = False) -> Reply:
        """Any other command or continuation (NOOP, VRFY, AUTH and the lines that 334 asks for), without line end.

        hidden -- the transcript does not show it. ValueError for control characters. Disconnected.
        """
        exchange = self._exchange
        verb, _, argument = line.partition(" ")
        command = Command(verb.upper() if not hidden else "a command", argument)
        if exchange.begin(command.verb):
            exchange.protocol.say(line)
            await exchange.flush(command, hidden)
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
