"""A test double for applications that send mail: a real SMTP server on a free port, and what it was sent as objects.

    async with Mailbox() as mailbox:            # in the test's own loop: asyncio, uvloop or trio
        await application.register("ann@example.net", smtp=mailbox.url)
        [mail] = await mailbox.wait_for(1)
        assert mail.subject == "Welcome"

    with Mailbox() as mailbox:                  # in a thread of its own, for a test that blocks
        with smtplib.SMTP(mailbox.host, mailbox.port) as client:
            client.send_message(mail)

It takes every recipient and every message until it is told otherwise (`reject`, `defer`, `unavailable`, `slow`,
`drop`, `greylist`); what goes wrong then, goes wrong on the wire. It listens on 127.0.0.1 alone. At the end, however
the test went, connections are cut, and neither thread nor task nor socket is left.

The pytest plugin has it as the fixtures `mailbox` and `threaded_mailbox`.
"""

from __future__ import annotations

import socket
import threading
from collections.abc import Iterator
from contextlib import AsyncExitStack, ExitStack
from types import TracebackType

from anyio import Event, create_task_group, move_on_after, to_thread
from anyio.abc import TaskGroup
from anyio.from_thread import start_blocking_portal

from .. import option
from ..contract.compose import Stack
from ..server.limits import Limits
from ..server.server import Server
from ..services import transport
from ..services.transport import RawStream
from .conversation import PATIENCE
from .delivery import Delivery
from .dialog import Collect, Vouch
from .faults import Fault, Faults, cutting, first_time, named, refusing, waiting
from .overheard import Overheard, Record

__all__ = ["Mailbox"]

BACKLOG = 128
LONGEST = 600.0  # seconds that `slow` may take
# What is sent is for the application to get wrong: no count of errors sends it away, and `slow` is the only clock.
LIMITS = Limits(errors=1_000_000, envelope=2 * LONGEST, hand_over=2 * LONGEST, shutdown=0, memory_each="64 MiB")

# What is answered to whom nobody gave words.
_REFUSED = {"mail": "550 5.1.8 sender refused", "rcpt": "550 5.1.1 no such user", "message": "554 5.6.0 refused"}


class Mailbox:
    """A server that keeps what it is sent.

    plugins -- what stands above its end, in the order of a Stack: an application's own middleware, say.
    hostname -- the server's name. limits -- default: whatever a test may send.

    messages -- what has arrived: a list of `Delivery`. A message is in it before the client hears 250.
    host, port, address, url -- where the server listens: "127.0.0.1", a number, both, "smtp://127.0.0.1:number".
        RuntimeError before `with`, which takes a port.

    Each object serves once.
    """

    __slots__ = (
        "_arrival",
        "_changed",
        "_closed",
        "_exit",
        "_faults",
        "_port",
        "_portal",
        "_record",
        "_server",
        "_socket",
        "_thread",
        "host",
        "messages",
    )

    def __init__(self, *plugins: object, hostname: str = "mail.test", limits: Limits = LIMITS) -> None:
        collect = Collect(self._tell)
        self.messages: list[Delivery] = collect.messages
        self.host = "127.0.0.1"
        self._faults = Faults()
        self._server = Server(
            Stack(self._faults, *plugins, Vouch(), collect),
            [],
            hostname=hostname,
            limits=limits,
            received=lambda session, transaction: None,  # what arrives is what was sent
        )
        self._record = Record()
        self._socket: socket.socket | None = None
        self._port: int | None = None
        self._exit: AsyncExitStack | None = None
        self._portal = ExitStack()
        self._thread: int | None = None  # whose loop the server runs in
        self._closed = False
        self._changed = threading.Condition()  # for who waits in another thread
        self._arrival: Event | None = None  # for who waits in the server's own loop

    # Where it listens.

    @property
    def port(self) -> int:
        if self._port is None:
            raise RuntimeError("the mailbox has no port yet: write `with Mailbox()` or `async with Mailbox()`")
        return self._port

    @property
    def address(self) -> tuple[str, int]:
        return self.host, self.port

    @property
    def url(self) -> str:
        return f"smtp://{self.host}:{self.port}"

    # What has arrived.

    def __len__(self) -> int:
        return len(self.messages)

    def __iter__(self) -> Iterator[Delivery]:
        return iter(self.messages)

    def __bool__(self) -> bool:
        return True  # a mailbox is one, empty or not

    @property
    def transcript(self) -> str:
        """What clients and server said so far, a line each: "1 C: …" is the client of the first connection."""
        return str(self._record)

    def clear(self) -> None:
        """Forget the messages and the transcript; faults stay."""
        self.messages.clear()
        self._record.clear()

    async def wait_for(self, count: int = 1, timeout: float = PATIENCE) -> list[Delivery]:
        """Wait until `count` messages are there; gives all that are.

        AssertionError with the transcript when they are not after `timeout` seconds, or when the mailbox closes.
        """
        if self._closed or self._thread != threading.get_ident():
            return await to_thread.run_sync(self.wait, count, timeout, abandon_on_cancel=True)
        with move_on_after(timeout):
            while len(self.messages) < count and not self._closed:
                self._arrival = self._arrival or Event()
                await self._arrival.wait()
        return self._at_least(count, timeout)

    def wait(self, count: int = 1, timeout: float = PATIENCE) -> list[Delivery]:
        """The same for a test that blocks. RuntimeError in the thread whose loop the server needs."""
        if self._thread == threading.get_ident() and not self._closed and len(self.messages) < count:
            raise RuntimeError("the server runs in this very loop, which wait() would stop: `await mailbox.wait_for()`")
        with self._changed:
            self._changed.wait_for(lambda: len(self.messages) >= count or self._closed, timeout)
        return self._at_least(count, timeout)

    def _at_least(self, count: int, timeout: float) -> list[Delivery]:
        found = list(self.messages)
        if len(found) >= count:
            return found
        when = "before the mailbox closed" if self._closed else f"within {timeout:g} s"
        said = self.transcript or "(nobody connected)"
        raise AssertionError(f"{len(found)} of {count} messages arrived {when}\nthe conversations so far:\n{said}")

    def _tell(self) -> None:
        """Something has changed: wake who waits."""
        with self._changed:
            self._changed.notify_all()
        if self._arrival is not None:
            self._arrival.set()
            self._arrival = None

    # Faults. In each:
    #   at -- the phase that goes wrong, by what is answered in it (`faults.PHASES`): "connect", "ehlo", "mail", "rcpt",
    #       "data" (the command), "message" (the end of the data).
    #   match -- only for this address, `*` being a wildcard: the sender in "mail", the recipient in "rcpt", any
    #       recipient in "data" and "message"; the client's name in "ehlo", its address in "connect".
    #   nth -- the first time, of those that match and counted from now. times -- how often from then on; None: always.
    # They give the `Fault`, whose `struck` tells how often it has happened. ValueError for what makes no sense.

    def reject(
        self, reply: str = "", *, at: str = "message", match: str | None = None, nth: int = 1, times: int | None = 1
    ) -> Fault:
        """Refuse for good, by default the next message: "550 5.1.1 no such user" or words of your own."""
        return self._refuse(reply or _REFUSED.get(at, "554 5.7.1 refused"), "5", at, match, nth, times)

    def defer(
        self, reply: str = "", *, at: str = "message", match: str | None = None, nth: int = 1, times: int | None = 1
    ) -> Fault:
        """Refuse for now: "451 4.3.0 try again later", or words of your own. 421 closes the connection."""
        return self._refuse(reply or "451 4.3.0 try again later", "4", at, match, nth, times)

    def unavailable(
        self, *, at: str = "connect", match: str | None = None, nth: int = 1, times: int | None = 1
    ) -> Fault:
        """Answer 421 and close (RFC 5321 §3.8), by default in place of the next banner."""
        return self._refuse("421 4.3.2 service not available", "4", at, match, nth, times)

    def slow(
        self,
        seconds: float | str,
        *,
        at: str = "message",
        match: str | None = None,
        nth: int = 1,
        times: int | None = None,
    ) -> Fault:
        """Let `seconds` (or "2m", at most ten minutes) pass before the answer, each time."""
        pause = option.duration(seconds, name="slow", minimum=0.0)
        if pause > LONGEST:
            raise ValueError(f"slow takes at most {LONGEST:g} seconds")
        return self._faults.add(at, waiting(pause), wanted=named(match), nth=nth, times=times)

    def drop(
        self,
        *,
        at: str = "message",
        kept: bool = False,
        match: str | None = None,
        nth: int = 1,
        times: int | None = 1,
    ) -> Fault:
        """Cut the connection in place of the answer, by default that to the next message.

        kept -- the message is in the mailbox all the same: the sender cannot know, and will send it twice.
        """
        if kept and at != "message":
            raise ValueError("kept=True is for the answer to a message")
        return self._faults.add("kept" if kept else at, cutting(), wanted=named(match), nth=nth, times=times)

    def greylist(self) -> Fault:
        """Refuse each recipient for now when a sender writes to it for the first time."""
        return self._faults.add("rcpt", refusing("450 4.7.1 greylisted, try again later"), wanted=first_time())

    def behave(self) -> None:
        """No faults from now on."""
        self._faults.clear()

    def _refuse(self, reply: str, kind: str, at: str, match: str | None, nth: int, times: int | None) -> Fault:
        if not reply.startswith(kind):
            raise ValueError(f"{reply!r} does not begin with {kind}: reject() answers 5xx, defer() 4xx")
        return self._faults.add(at, refusing(reply), wanted=named(match), nth=nth, times=times)

    # Its life.

    def bind(self) -> None:
        """Take the port before `with` does: its number is known, and who connects before the server runs is refused."""
        if self._socket is None:
            self._socket = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
            self._socket.bind((self.host, 0))
            self._port = self._socket.getsockname()[1]

    def close(self) -> None:
        """Give the port back, where `with` was never entered."""
        self._closed = True
        if self._socket is not None:
            self._socket.close()
        self._tell()

    async def __aenter__(self) -> Mailbox:
        if self._exit is not None or self._closed:
            raise RuntimeError("this mailbox has served: make another one")
        self._exit = AsyncExitStack()
        self._exit.callback(self.close)
        self._thread = threading.get_ident()
        try:
            self.bind()
            assert self._socket is not None
            await self._exit.enter_async_context(self._server)
            group = await self._exit.enter_async_context(create_task_group())
            self._socket.listen(BACKLOG)
            await transport.serve([self._socket], self._serve, group, cancel=False)
            self._exit.callback(self._cut, group)
        except BaseException:  # nobody calls __aexit__ for what did not open
            await self._exit.__aexit__(None, None, None)
            raise
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        assert self._exit is not None
        await self._exit.__aexit__(None, None, None)  # the test's own error, not a group around it

    def __enter__(self) -> Mailbox:
        with ExitStack() as opening:
            portal = opening.enter_context(start_blocking_portal(name="mailbox"))
            opening.enter_context(portal.wrap_async_context_manager(self))
            self._portal = opening.pop_all()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._portal.__exit__(None, None, None)

    async def _serve(self, stream: RawStream, index: int) -> None:
        if not self._closed:
            await self._server.serve_stream(Overheard(stream, self._record.conversation()))

    def _cut(self, group: TaskGroup) -> None:
        """End what is connected without a word, and accept no more."""
        self._closed = True
        if self._server._house is not None:
            self._server._house.cut_short()
        group.cancel_scope.cancel()
