"""What the tests of the server share: a server on a free port, a client that waits for replies, plugins that listen.

Nothing here sleeps to give the server time: a client waits for octets or for the end of file, a test for an event.
"""

import socket
import struct
import time
from collections.abc import AsyncIterator, Callable, Iterable
from contextlib import asynccontextmanager
from types import SimpleNamespace
from typing import Any

import anyio

from mailstack import Limits, Listener, Message, Reply, Server, Session, Stack, Transaction, hookimpl
from mailstack.server.connection import Connection
from mailstack.server.house import House
from mailstack.services.transport import Address, RawStream, connect
from mailstack.testing import Vouch
from mailstack.testing.dialog import Collect

PATIENCE = 40.0  # seconds until a test that waits for something has failed
SWEEP = 0.019  # seconds between two looks at the clocks; see mailstack.testing.dialog
BY_HAND = 3600  # the same where the test looks at them itself: `later()`
SMALL = b"Subject: test\r\n\r\ntest\r\n"


# Servers.


@asynccontextmanager
async def serving(
    *entries: object,
    listeners: Iterable[str] = ("127.0.0.1:0",),
    lmtp: bool = False,
    limits: Limits | None = None,
    **options: Any,
) -> AsyncIterator[Server]:
    """A running server. At its end no session and no octet of a message may be left."""
    options = {"hostname": "mx.test", "limits": limits or Limits(sweep=SWEEP), **options}
    server = Server(Stack(*entries), [Listener(each, lmtp=lmtp) for each in listeners], **options)
    with anyio.fail_after(PATIENCE):
        async with server:
            running = house(server)
            yield server
    assert nothing_left(running)


def house(server: Server) -> House:
    assert server._house is not None
    return server._house


def later(server: Server, seconds: float) -> None:
    """Look at the clocks of all connections as the sweeper would after so many seconds."""
    now = time.monotonic() + seconds
    for connection in tuple(house(server).connections):
        connection.sweep(now)


def only_connection(server: Server) -> Connection:
    [connection] = house(server).connections
    return connection


def nothing_left(running: House) -> bool:
    return not (running.connections or running.spool.in_memory or running.spool.files)


async def sessions_over(server: Server) -> None:
    """Wait until the server is through with everybody, `disconnect` notices and all."""
    await house(server).empty()


async def until(condition: Callable[[], bool]) -> None:
    """Wait for something that tells nobody."""
    while not condition():  # noqa: ASYNC110
        await anyio.sleep(0.001)


# Clients.


class Client:
    """A client that says what it is told to and waits for complete replies."""

    def __init__(self, stream: RawStream) -> None:
        self.stream = stream
        self._unread = b""

    async def reply(self) -> str:
        """The next reply: its lines as they came, without their ends, joined by a line feed."""
        lines: list[str] = []
        while not lines or lines[-1][3:4] == "-":
            lines.append(await self._line())
        return "\n".join(lines)

    async def replies(self, count: int) -> list[str]:
        return [await self.reply() for _ in range(count)]

    async def _line(self) -> str:
        while b"\r\n" not in self._unread:
            data = await self.stream.receive()
            assert data, f"the connection ended, unread: {self._unread!r}"
            self._unread += data
        line, _, self._unread = self._unread.partition(b"\r\n")
        return line.decode("ascii")

    async def send(self, octets: bytes) -> None:
        await self.stream.send(octets)

    async def say(self, line: str) -> str:
        """A command and its reply."""
        await self.send(line.encode() + b"\r\n")
        return await self.reply()

    async def rest(self) -> str:
        """What comes until the server closes."""
        parts = [self._unread]
        while data := await self.stream.receive():
            parts.append(data)
        self._unread = b""
        return b"".join(parts).decode("ascii")

    async def hello(self) -> "Client":
        """Banner and EHLO."""
        banner = await self.reply()
        assert banner.startswith("220 "), banner
        answer = await self.say("EHLO client.test")
        assert answer.startswith("250-"), answer
        return self

    async def envelope(self, recipients: int = 1) -> None:
        """MAIL and RCPT."""
        lines = ["MAIL FROM:<a@client.test>", *(f"RCPT TO:<b{number}@mx.test>" for number in range(recipients))]
        for line in lines:
            answer = await self.say(line)
            assert answer.startswith("250 "), answer

    async def opened(self) -> "Client":
        """All up to the 354."""
        await self.envelope()
        answer = await self.say("DATA")
        assert answer.startswith("354 "), answer
        return self

    async def message(self, octets: bytes = SMALL) -> str:
        """A whole transaction by DATA; `octets` are sent as they are."""
        await self.opened()
        await self.send(octets + b".\r\n")
        return await self.reply()


@asynccontextmanager
async def client(to: Server | Address) -> AsyncIterator[Client]:
    """A connection, to the server's first address; it is closed at the end."""
    address = to.addresses[0] if isinstance(to, Server) else to
    stream = await connect(address)
    try:
        yield Client(stream)
    finally:
        stream.abort()


def reset_and_close(connection: socket.socket) -> None:
    """Leave as rudely as TCP allows."""
    connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    connection.close()


# Plugins.


def on(name: str = "test", **hooks: Callable[..., Any]) -> object:
    """A plugin made of functions: `on(connect=lambda: Reply(450))`."""
    return SimpleNamespace(name=name, **{hook: hookimpl(function) for hook, function in hooks.items()})


class Gate:
    """Holds whoever passes until it is opened."""

    def __init__(self) -> None:
        self.reached = anyio.Event()
        self.opened = anyio.Event()
        self.left = False

    async def __call__(self) -> None:
        self.reached.set()
        await self.opened.wait()
        self.left = True


class Ear:
    """Hears every notice."""

    name = "ear"

    def __init__(self) -> None:
        self.heard: list[str] = []

    @hookimpl
    def connect(self) -> None:
        self.heard.append("connect")

    @hookimpl
    def replied(self, phase: str, by: str, reply: Reply) -> None:
        self.heard.append(f"said {phase} {reply.code}")

    @hookimpl
    def reset(self, session: Session, transaction: Transaction, why: str) -> None:
        assert session.transaction is transaction
        self.heard.append(f"reset {why}")

    @hookimpl
    async def queued(self, session: Session, message: Message, reply: Reply) -> None:
        await message.read()  # it is still there
        self.heard.append("queued")

    @hookimpl
    async def disconnect(self, session: Session) -> None:
        self.heard.append("disconnect")

    def only(self, *words: str) -> list[str]:
        """What was heard of these kinds."""
        return [event for event in self.heard if event.split()[0] in words]


def taking() -> tuple[Collect, Vouch]:
    """Where messages end, and who lets them in."""
    return Collect(), Vouch()
