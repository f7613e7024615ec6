"""A next server that does what a test says: answers by a table, cuts where it is told, keeps what it was given."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from contextlib import AsyncExitStack
from types import TracebackType
from typing import Any

import anyio
from anyio.abc import SocketStream

Reply = str | type[BaseException] | Callable[[bytes], str]


class Cut(Exception):
    """The connection ends here."""


USUAL: dict[str, Any] = {
    "MAIL": "250 ok",
    "RCPT": "250 ok",
    "DATA": "354 go",
    "BDAT": "250 ok",
    "END": "250 2.0.0 taken",
    "RSET": "250 reset",
    "NOOP": "250 ok",
    "QUIT": "221 bye",
}
CRLF_DOT_CRLF = rb"(?:\A|(?<=\r\n))\.\r\n"
LENIENT = rb"(?:\A|(?<=[\r\n\0]))\.[\r\n\0]+"  # what has ever been taken for the end of data


class NextHop:
    """One server on a free port. Keywords are those of EHLO; by verb: a reply, several in turn (the last is repeated),
    a function of the line, `Cut`, or None for silence. END answers the data: over LMTP once for each recipient.
    end -- what ends the data. cut_after -- octets of a message after which it leaves.

    connections -- so far. lines -- commands, over all connections. messages -- (MAIL, [RCPT, …], octets as they came).
    """

    def __init__(
        self,
        *keywords: str,
        lmtp: bool = False,
        end: bytes = CRLF_DOT_CRLF,
        cut_after: int | None = None,
        **replies: Any,
    ) -> None:
        given = {"banner": "220 next.test ESMTP", "HELLO": "", **USUAL, **replies}
        self.replies = {verb: list(each) if isinstance(each, list) else [each] for verb, each in given.items()}
        self.keywords = keywords
        self.lmtp = lmtp
        self.end = re.compile(end)
        self.cut_after = cut_after
        self.connections = 0
        self.open = 0
        self.most_open = 0
        self.lines: list[bytes] = []
        self.messages: list[tuple[bytes, list[bytes], bytes]] = []
        self.at: dict[str, anyio.Event] = {}
        self._exit = AsyncExitStack()

    async def __aenter__(self) -> NextHop:
        self._listener = await anyio.create_tcp_listener(local_host="127.0.0.1")
        self.port: int = self._listener.extra(anyio.abc.SocketAttribute.local_port)
        await self._exit.enter_async_context(self._listener)
        self._group = await self._exit.enter_async_context(anyio.create_task_group())
        self._group.start_soon(self._listener.serve, self._serve)
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._group.cancel_scope.cancel()
        await self._exit.__aexit__(None, None, None)

    @property
    def address(self) -> str:
        return f"127.0.0.1:{self.port}"

    def said(self, verb: str) -> list[str]:
        """The commands with that verb."""
        return [line.decode() for line in self.lines if line.upper().startswith(verb.encode())]

    async def reached(self, verb: str) -> None:
        """Wait until it has heard that verb."""
        await self.at.setdefault(verb, anyio.Event()).wait()

    async def _serve(self, stream: SocketStream) -> None:
        self.connections += 1
        self.open += 1
        self.most_open = max(self.open, self.most_open)
        try:
            async with stream:
                await _Conversation(self, stream).run()
        except (Cut, anyio.BrokenResourceError, anyio.ClosedResourceError, anyio.EndOfStream):
            pass
        finally:
            self.open -= 1


class _Conversation:
    def __init__(self, hop: NextHop, stream: SocketStream) -> None:
        self.hop = hop
        self.stream = stream
        self.unread = b""
        self.mail = b""
        self.rcpts: list[bytes] = []
        self.octets = b""

    async def fill(self) -> None:
        self.unread += await self.stream.receive()
        if self.hop.cut_after is not None and len(self.unread) + len(self.octets) > self.hop.cut_after:
            raise Cut

    async def answer(self, verb: str, line: bytes = b"") -> str:
        self.hop.at.setdefault(verb, anyio.Event()).set()
        replies = self.hop.replies[verb]
        reply = replies.pop(0) if len(replies) > 1 else replies[0]
        if isinstance(reply, type):
            raise reply
        if callable(reply):
            reply = reply(line)
        if reply is None:
            await anyio.sleep_forever()
        if verb == "END" and reply.startswith("2"):  # before anybody hears of it
            self.hop.messages.append((self.mail, [line] if self.hop.lmtp else self.rcpts, self.octets))
        await self.stream.send("".join(f"{part}\r\n" for part in reply.split("|")).encode())
        if reply.startswith("421"):
            raise Cut
        return str(reply)

    async def run(self) -> None:
        await self.answer("banner")
        while True:
            while b"\r\n" not in self.unread:
                await self.fill()
            line, _, self.unread = self.unread.partition(b"\r\n")
            self.hop.lines.append(line)
            verb = re.split(rb"[ :]", line)[0].decode("ascii", "replace").upper()
            await self.command(verb, line)

    async def command(self, verb: str, line: bytes) -> None:
        if verb in ("EHLO", "LHLO", "HELO"):
            if self.hop.replies["HELLO"] != [""]:
                await self.answer("HELLO", line)
                return
            words = ["next.test", *self.hop.keywords]
            await self.stream.send("".join(f"250-{word}\r\n" for word in words).encode() + b"250 HELP\r\n")
        elif verb == "BDAT":
            size, last = int(line.split()[1]), line.upper().endswith(b"LAST")
            while len(self.unread) < size:
                await self.fill()
            self.octets += self.unread[:size]
            self.unread = self.unread[size:]
            await (self.ended() if last else self.answer("BDAT", line))
        elif (verb in ("RCPT", "DATA") and not self.mail) or (verb == "DATA" and not self.rcpts):
            await self.stream.send(b"503 5.5.1 out of turn\r\n")
        elif verb not in self.hop.replies:
            await self.stream.send(b"500 what?\r\n")
        else:
            good = (await self.answer(verb, line))[0] in "23"
            if verb == "QUIT":
                raise Cut
            if verb in ("MAIL", "RSET"):
                self.mail, self.rcpts = line if verb == "MAIL" and good else b"", []
            elif verb == "RCPT" and good:
                self.rcpts.append(line)
            elif verb == "DATA" and good:
                await self.data()

    async def data(self) -> None:
        seen = 0  # octets in which no end can begin
        while (end := self.hop.end.search(self.unread, seen)) is None:
            seen = max(0, len(self.unread) - 16)
            try:
                await self.fill()
            except anyio.EndOfStream:
                self.octets += self.unread
                raise
        self.octets += self.unread[: end.start()]
        self.unread = self.unread[end.end() :]
        await self.ended()

    async def ended(self) -> None:
        for rcpt in list(self.who()):
            await self.answer("END", rcpt)
        self.mail, self.rcpts, self.octets = b"", [], b""

    def who(self) -> Iterator[bytes]:
        yield from self.rcpts if self.hop.lmtp else [b""]
