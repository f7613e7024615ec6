"""Commands and answers over one stream: what a client says, hears, and how that breaks off.

Whatever breaks a conversation off is one exception, `Disconnected`, and closes it: the end of the stream, no answer in
time, an answer that is none. After a 421, or an answer in the middle of a body, `refusal` is the answer to everything.
"""

from __future__ import annotations

import errno
from collections import deque
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import contextmanager
from typing import Final, NamedTuple, TypeAlias

import anyio

from ...wire.answer import ProtocolError
from ...wire.client import ClientProtocol, ClientState, Said
from ...wire.command import AnyCommand, Bdat, Data, Hello, Mail, Quit, Rcpt
from ...wire.reply import Reply
from ..transport import BrokenStream, Stream
from .content import LEAST
from .transcript import Transcript, heard, said
from .values import Disconnected, Timeouts

__all__ = ["BODY", "END", "Exchange", "Heard"]

BODY: Final = "body"  # the stage while a message is sent
END: Final = "end of data"  # the stage from its last piece on

Encode: TypeAlias = Callable[[bytes, bool], bytes]

# The field of Timeouts for each command; "command" for others.
_PATIENCE: Final = {Hello: "hello", Mail: "mail", Rcpt: "rcpt", Data: "data", Quit: "quit"}


class Heard(NamedTuple):
    """An answer, and what it answers; None: the banner, or nothing."""

    said: Said | None
    reply: Reply


class Exchange:
    """One connection.

    refusal -- why the server will say no more, or None. spoilt -- the first refusal of a chunk. ended -- whether we
    closed it. veil -- what the transcript is to show of a line of the server's; None: all of it.
    """

    __slots__ = (
        "_events",
        "_fault",
        "_severed",
        "_stage",
        "ended",
        "protocol",
        "refusal",
        "spoilt",
        "stream",
        "timeouts",
        "transcript",
        "veil",
    )

    def __init__(self, stream: Stream, lmtp: bool, timeouts: Timeouts, transcript: Transcript | None) -> None:
        self.stream = stream
        self.protocol = ClientProtocol(lmtp=lmtp)
        self.timeouts = timeouts
        self.transcript = transcript
        self.refusal: Reply | None = None
        self.spoilt: Reply | None = None
        self.ended = False
        self.veil: Callable[[str], str] | None = None
        self._events: deque[Heard] = deque()  # heard, and nobody asked yet
        self._fault: OSError | ProtocolError | None = None  # what ended hearing while a body was sent
        self._severed = False  # nothing can be sent any more
        self._stage = BODY

    # Ends.

    def abort(self) -> None:
        """Close at once."""
        self.ended = True
        self.stream.abort()

    def lost(self, why: str, stage: str) -> Disconnected:
        """Close, and say why."""
        self.abort()
        return Disconnected(why, stage, unknown=stage == END)

    @contextmanager
    def guard(self, seconds: float, stage: str) -> Iterator[None]:
        """Whatever breaks off inside is Disconnected; a cancelled client is of no use any more."""
        try:
            with anyio.move_on_after(seconds) as patience:
                yield
        except (BrokenStream, ProtocolError) as error:
            raise self.lost(str(error.args[-1]), stage) from error
        except BaseException:
            self.abort()
            raise
        if patience.cancelled_caught:
            raise self.lost(f"no answer within {seconds:g} s", stage)

    # Commands.

    async def ask(self, command: AnyCommand) -> Reply:
        """One command and its answer."""
        if self.begin(command.verb):
            self.protocol.send(command)
            await self.flush(command)
        return await self.answer(command)

    def begin(self, stage: str) -> bool:
        """Whether something can be said. Disconnected when we have closed, or the server said what answers nothing."""
        if self.refusal is None and self.ended:
            raise Disconnected("the connection is closed", stage)
        if self.refusal is None and not self.protocol.awaited:
            with self.guard(self.timeouts.command, stage):
                while self._take():
                    pass
        return self.refusal is None

    async def flush(self, command: AnyCommand, shown: str | None = None) -> None:
        """Write what was said, the last of it `command`, in one piece. shown -- in the transcript instead of it."""
        octets = self.protocol.take_output()
        for line in (shown,) if shown is not None else said(octets) if self.transcript else ():
            self.tell(line)
        await self._write(octets, self.patience(command), command.verb)

    async def _write(self, octets: bytes, seconds: float, stage: str) -> None:
        with self.guard(seconds, stage):
            try:
                await self.stream.send(octets)
            except BrokenStream:
                self._severed = True  # what the server said before is still to be heard; after that comes the end

    def patience(self, command: AnyCommand) -> float:
        """Seconds that the answer to a command may take."""
        seconds: float = getattr(self.timeouts, _PATIENCE.get(type(command), "command"))
        return seconds

    def tell(self, line: str) -> None:
        """A line of ours for the transcript."""
        if self.transcript is not None:
            self.transcript("C", line)

    # Answers.

    async def answer(self, command: AnyCommand) -> Reply:
        """The answer to `command`, whose turn it is."""
        return (await self.hear(self.patience(command), command.verb)).reply

    async def hear(self, seconds: float, stage: str) -> Heard:
        """The next answer, or the refusal of everything."""
        if not self._events and self.refusal is None:
            with self.guard(seconds, stage):
                if self._fault is not None:
                    raise self._fault
                while not self._take():
                    await self._receive()
        if self._events:
            return self._events.popleft()
        assert self.refusal is not None
        return Heard(None, self.refusal)

    @property
    def owes(self) -> bool:
        """Whether answers are due, or were heard and not asked for yet."""
        return bool(self._events or (self.refusal is None and self.protocol.awaited))

    @property
    def quits(self) -> bool:
        """Whether QUIT would be heard."""
        state = self.protocol.state
        speechless = state in (ClientState.GREETING, ClientState.DATA, ClientState.CLOSED)
        return not (speechless or self.protocol.awaited or self.stream.gone)

    async def _receive(self) -> None:
        data = await self.stream.receive()
        if not data:
            raise BrokenStream(errno.ECONNRESET, "the connection was closed")
        self.protocol.receive(data)

    def _take(self) -> bool:
        """One answer from what has come, if it is complete."""
        event = self.protocol.next_event()
        if event is None:
            return False
        if self.transcript is not None:
            for line in heard(event.answer):
                self.transcript("S", line if self.veil is None else self.veil(line))
        reply = event.answer.reply()
        if self.protocol.state is ClientState.CLOSED and not isinstance(event.said, Quit):
            self.refusal = reply
        if isinstance(event.said, Bdat) and reply.refused:
            self.spoilt = self.spoilt or reply
        self._events.append(Heard(event.said, reply))
        return True

    # Bodies.

    async def send_body(self, source: AsyncIterator[tuple[bytes, bool]], encode: Encode, in_turn: bool) -> str:
        """Send a message; return the stage that was reached.

        source -- its pieces, each with whether it is the last. encode -- from such a piece to the octets to write.
        in_turn -- each piece is answered, and that is to be waited for (BDAT without PIPELINING).

        The server is listened to all the while: when it refuses, or leaves, the rest is not sent.
        """
        self._stage = BODY
        self.spoilt = None
        piece, last = await self._next(source)
        if in_turn or (last and len(piece) <= LEAST):
            await self._pour(piece, last, source, encode, in_turn)
            return self._stage
        failure: Exception | None = None
        async with anyio.create_task_group() as listening:
            with anyio.CancelScope() as sending:
                listening.start_soon(self._listen, sending)
                try:
                    await self._pour(piece, last, source, encode, in_turn)
                except Exception as error:  # as it is, not in a group
                    failure = error
            listening.cancel_scope.cancel()
        if failure is not None:
            raise failure
        return self._stage

    async def end_empty(self) -> None:
        """A message of nothing, where the server waits for one, and the answer to it."""
        self.tell(".")
        await self._write(self.protocol.end_body(), self.timeouts.block, "DATA")
        await self.hear(self.timeouts.final, "DATA")

    async def _next(self, source: AsyncIterator[tuple[bytes, bool]]) -> tuple[bytes, bool]:
        try:
            return await anext(source)
        except BaseException:
            self.abort()
            raise

    async def _pour(
        self, piece: bytes, last: bool, source: AsyncIterator[tuple[bytes, bool]], encode: Encode, in_turn: bool
    ) -> None:
        while True:
            self._stage = END if last else BODY
            await self._write(encode(piece, last), self.timeouts.block, self._stage)
            if in_turn and not last and self.protocol.awaited:
                await self.hear(self.timeouts.block, BODY)
            if last or self._severed or self.spoilt or self.refusal:
                return
            piece, last = await self._next(source)

    async def _listen(self, sending: anyio.CancelScope) -> None:
        try:
            while self.refusal is None:
                await self._receive()
                while self._take():
                    pass
        except (BrokenStream, ProtocolError) as error:
            self._fault = error
        sending.cancel()
