"""A server and its client in memory: policy is tested by talking SMTP to it, without a socket, on any backend.

    async with Dialog(Vouch(), SubjectTag("[list]"), client="192.0.2.1") as smtp:
        assert await smtp.message("a@example.org", ["b@example.org"], "Subject: hi\\n\\nhello\\n") == 250
        assert b"[list] hi" in smtp.messages[0].content

What runs is the real thing: the stack's `lifespan`, the connection, the sweeper, a spool in a temporary folder. Only
the bytes come from memory. At the end every connection is hung up and waited for, and the server stops: a plugin that
keeps a session from ending fails the test, and so does a message that stays in the spool.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import AsyncExitStack
from dataclasses import replace
from itertools import count
from types import TracebackType
from typing import TYPE_CHECKING

from anyio import Event, create_task_group, move_on_after
from anyio.abc import TaskGroup, TaskStatus

from .. import option
from ..contract.compose import Stack
from ..contract.hookspec import CallNext, hookimpl
from ..server.limits import Limits
from ..server.server import Server
from ..services.memory import MemoryStream, memory_stream_pair
from ..services.transport import Address
from ..session.message import Message
from ..session.session import Session
from ..session.transaction import Recipient
from ..wire.reply import Reply
from .conversation import PATIENCE, Conversation
from .delivery import Delivery, delivery

if TYPE_CHECKING:
    from ..services.resolver import Resolver

__all__ = ["Collect", "Dialog", "Vouch"]

# Seconds between two looks at the clocks, so that a test of a limit is short. Not a part of 0.1: asyncio's
# `wait_all_tasks_blocked` looks that often, and would find the sweeper awake each time.
SWEEP = 0.043
LOCAL = ("192.0.2.2", 25)


class Vouch:
    """Takes every recipient. An open relay: for tests alone."""

    name = "vouch"
    rehearsable = True

    @hookimpl
    def rcpt(self, recipient: Recipient) -> None:
        recipient.accept()


class Collect:
    """The end of a stack under test: keeps what reaches it in `messages`.

    arrived -- is called after each.

    It is an onion around nothing, so that it is asked in a rehearsal too: no check is asked at `queue` there.
    """

    name = "collect"
    rehearsable = True

    def __init__(self, arrived: Callable[[], object] | None = None) -> None:
        self.messages: list[Delivery] = []
        self._arrived = arrived

    @hookimpl
    async def queue(self, session: Session, message: Message, call_next: CallNext) -> Reply:
        self.messages.append(await delivery(session, message))
        if self._arrived is not None:
            self._arrived()
        return Reply(250, f"collected as {message.id}")


class Dialog:
    """A server made of `what`, and a first connection to it.

    what -- plugins, Stacks, or one Server, whose settings are then taken and whose listeners are not used.
    client -- the address the connection comes from: a numeric host, (host, port), or "" for a UNIX socket.
    limits -- default: the server's own, with a look at the clocks every 50 ms.
    hostname -- the server's name. listener -- the name of the listener that seems to have taken the connection.
    lmtp -- whether it speaks LMTP. tls, proxy -- as those of a Listener: the client begins with a handshake, with a
        PROXY header (`Dialog.connect(greeted=False)` and `Conversation.start_tls`, `send`).
    resolver -- what asks the DNS: a `FakeResolver`. Without one, nothing is found and nobody asks for clients' names.
        No question leaves the process, whatever resolver a Server among `what` has.
    rehearsal -- whether sessions are rehearsals. normalise -- as in Server.
    handler -- what stands at the end of the stack; None: nothing. Default: `Collect()`, whose `messages` the
        Conversation shows.

    `async with` gives the `Conversation`; `connect()` and `several()` make more.
    """

    __slots__ = (
        "_client",
        "_exit",
        "_group",
        "_lines",
        "_listener",
        "_lmtp",
        "_ports",
        "_proxy",
        "_tls",
        "messages",
        "server",
    )

    def __init__(
        self,
        *what: object,
        client: str | tuple[str, int] = "192.0.2.1",
        limits: Limits | None = None,
        hostname: str | None = None,
        listener: str = "",
        lmtp: bool = False,
        tls: bool = False,
        proxy: str | Sequence[str] = (),
        rehearsal: bool = False,
        normalise: bool | None = None,
        resolver: Resolver | None = None,
        handler: object = ...,
    ) -> None:
        end = Collect() if handler is ... else handler
        self.messages: list[Delivery] = end.messages if isinstance(end, Collect) else []
        self.server = _server(what, end, rehearsal)
        self.server.limits = limits or replace(self.server.limits, sweep=SWEEP)
        self.server.hostname = hostname or self.server.hostname
        self.server.normalise = self.server.normalise if normalise is None else normalise
        self.server._resolver = resolver
        if resolver is None:
            from .resolver import FakeResolver

            self.server._resolver, self.server.reverse_dns = FakeResolver(), "off"
        self._client = client
        self._listener = listener
        self._lmtp = lmtp
        self._tls = tls
        self._proxy = option.networks(proxy) if proxy else ()
        self._ports = count(40001)
        self._lines: list[Conversation] = []
        self._exit = AsyncExitStack()
        self._group: TaskGroup | None = None

    async def __aenter__(self) -> Conversation:
        try:
            await self._exit.enter_async_context(self.server)
            self._group = await self._exit.enter_async_context(create_task_group())
            return await self.connect()
        except BaseException:  # nobody calls __aexit__ for what did not open
            if self._group is not None:
                self._group.cancel_scope.cancel()
            await self._exit.__aexit__(None, None, None)
            raise

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        ended = await self._hang_up(PATIENCE if error is None else 0)
        await self._exit.__aexit__(None, None, None)
        if error is None:
            assert ended, "a session did not end after its client had left"
            assert not self._left_behind(), "the spool still holds a message after all sessions have ended"

    async def connect(self, client: str | tuple[str, int] | None = None) -> Conversation:
        """One more connection, by default from the same address."""
        assert self._group is not None, "write `async with Dialog(…)`"
        there, here = memory_stream_pair(self._peer(self._client if client is None else client), LOCAL)
        finished = Event()
        session = await self._group.start(self._serve, there, finished)
        self._lines.append(Conversation(self, here, session, finished))
        return self._lines[-1]

    async def several(self, number: int, client: str | tuple[str, int] | None = None) -> list[Conversation]:
        """More connections at once."""
        return [await self.connect(client) for _ in range(number)]

    def _peer(self, client: str | tuple[str, int]) -> Address:
        return (client, next(self._ports)) if isinstance(client, str) and client else client

    async def _serve(self, stream: MemoryStream, finished: Event, *, task_status: TaskStatus[Session | None]) -> None:
        try:
            await self.server.serve_stream(
                stream, self._listener, lmtp=self._lmtp, tls=self._tls, proxy=self._proxy, task_status=task_status
            )
        finally:
            finished.set()

    async def _hang_up(self, patience: float) -> bool:
        """End all connections from the client's side; whether the server let them end."""
        assert self._group is not None
        ended = False
        with move_on_after(patience, shield=True):
            for line in self._lines:
                await line.hang_up()
            for line in self._lines:
                await line.finished()
            ended = True
        self._group.cancel_scope.cancel()
        return ended

    def _left_behind(self) -> bool:
        house = self.server._house
        return house is not None and bool(house.spool.in_memory or house.spool.files)


def _server(what: tuple[object, ...], end: object, rehearsal: bool) -> Server:
    """A server of its own that listens nowhere."""
    given = what[0] if len(what) == 1 and isinstance(what[0], Server) else Server(Stack(*what), [], hostname="mx.test")
    server = given.in_memory(rehearsal=rehearsal)
    if end is not None:
        server.stack = Stack(server.stack, end)
    return server
