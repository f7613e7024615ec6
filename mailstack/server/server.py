"""The server: a stack, its listeners and its limits, made into a running thing.

server = Server(Stack(…), listeners=[Listener("127.0.0.1:2525")])
server.run()                      # a process of its own: picks the event loop, stops on SIGTERM and SIGINT

async with server:                # or inside an application, on its loop, asyncio or trio
    ...
"""

from __future__ import annotations

import copy
import os
import signal
import socket
from collections.abc import Iterable, Sequence
from contextlib import AsyncExitStack
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any, TypeVar

import anyio
from anyio import CancelScope, create_task_group, move_on_after, open_signal_receiver
from anyio.abc import TaskGroup, TaskStatus

from .. import log
from ..contract.compose import Stack
from ..contract.origin import caller
from ..contract.pipeline import Pipeline, build, wrapped
from ..option import ConfigError, boolean, choice, domain
from ..services import transport
from ..services.transport import BrokenStream, RawStream
from ..session.session import IPNetwork, Session
from ..session.spool import SpoolFolder, check_private
from . import privileges
from .answers import TOO_MANY_CONNECTIONS
from .backend import run
from .connection import Connection
from .house import House, Received
from .limits import Limits
from .listener import Listener
from .sweeper import sweep

if TYPE_CHECKING:
    from ..services.resolver import Resolver


class Server:
    """A mail server.

    stack -- the policy, ending in a queue handler.
    listeners -- where to listen; default 127.0.0.1:2525; none: connections come by `serve_stream()` alone.
    hostname -- the name it goes by in the banner, EHLO and Received; default: the machine's.
    greeting -- the words after the name in the banner.
    received -- a function of (session, transaction) that makes the Received field: its value as text, the whole field
        as bytes, or None for no field. Default: RFC 5321 §4.4.
    limits -- what a client may take.
    spool -- the folder for messages in transit, made if missing (0700); default: a private temporary one.
    user, group -- who `run()` serves as, once the addresses are bound: names. It keeps all groups of the user. Without
        it, `run()` refuses to serve as root unless told to.
    pid_file -- where `run()` writes its process id, and holds a lock.
    normalise -- True makes bare CR and LF in messages CRLF and drops NUL, where the default refuses them.
    resolver -- what asks the DNS for all sessions; default: `Resolver()`, the name servers of /etc/resolv.conf.
    reverse_dns -- "verify": the client's address is looked up, and its name counts when it leads back; "unverified":
        it is looked up, and counts for nothing but Received; "off". Never for clients on this machine.

    `origin` is the line that made it. Raises ConfigError for anything that makes no sense; the stack is checked when
    the server starts, or by `check()`.
    """

    def __init__(
        self,
        stack: Stack,
        listeners: Sequence[Listener] = (Listener("127.0.0.1:2525"),),
        *,
        hostname: str | None = None,
        greeting: str = "ESMTP mailstack",
        received: Received | None = None,
        limits: Limits | None = None,
        spool: str | os.PathLike[str] | None = None,
        user: str | None = None,
        group: str | None = None,
        pid_file: str | os.PathLike[str] | None = None,
        normalise: bool = False,
        resolver: Resolver | None = None,
        reverse_dns: str = "verify",
    ) -> None:
        if not isinstance(stack, Stack):
            raise ConfigError(f"{type(stack).__name__} is not a stack", remedy="write Server(Stack(…), …)")
        if isinstance(listeners, Listener):
            raise ConfigError("listeners is one Listener", remedy="write listeners=[Listener(…)]")
        _must_be_listeners(listeners)
        self.origin = caller()
        self.stack = stack
        self.listeners = list(listeners)
        self.hostname = domain(hostname, name="Server(hostname)") if hostname else _own_name()
        self.greeting = _one_line(greeting)
        _must_be_callable(received)
        self.received = received
        self.limits = Limits() if limits is None else _of(Limits, limits, "limits", "Limits(…)")
        self.spool = _path(spool, "spool")
        if group is not None and user is None:
            raise ConfigError("Server: a group without a user", remedy='write user="mail" too')
        self.user = None if user is None else _of(str, user, "user", '"mail"')
        self.group = None if group is None else _of(str, group, "group", '"mail"')
        self.pid_file = _path(pid_file, "pid_file")
        self.normalise = boolean(normalise, name="Server(normalise)")
        if resolver is not None and not hasattr(resolver, "of"):
            raise ConfigError(f"{resolver!r} is not a resolver", remedy='write resolver=Resolver("127.0.0.1")')
        self._resolver = resolver
        self.reverse_dns = choice(reverse_dns, "verify", "unverified", "off", name="Server(reverse_dns)")
        self.rehearsal = False  # sessions that did not happen: set by who simulates, before the start
        self.addresses: list[tuple[str, int] | str] = []
        self._account: privileges.Account | None = None
        self._pipeline: Pipeline | None = None
        self._house: House | None = None
        self._stopped: anyio.Event | None = None
        self._exit: AsyncExitStack | None = None
        self._group: TaskGroup | None = None

    @property
    def resolver(self) -> Resolver:
        """What asks the DNS for all sessions."""
        if self._resolver is None:
            from ..services.resolver import Resolver  # not before it is needed: it takes a while to import

            self._resolver = Resolver()
        return self._resolver

    @property
    def name_servers(self) -> str:
        """Whom the resolver asks, in words, without making one."""
        return str(self._resolver.servers) if self._resolver is not None else "the name servers of this machine"

    def check(self) -> Pipeline:
        """Load and compile the stack without serving. ConfigError names file, line and remedy."""
        if self._pipeline is None:
            if self.spool is not None:
                self._check_spool(Path(self.spool))
            pipeline = build(self.stack, rehearsal=self.rehearsal)
            self._check_listeners(pipeline)
            self._pipeline = pipeline
        return self._pipeline

    def _check_listeners(self, pipeline: Pipeline) -> None:
        """Nobody is served at a listener that wants what no entry does: that is found now."""
        for listener in self.listeners:
            for opening, remedy in listener.wants.items():
                if opening not in pipeline.fulfils:
                    problem = f"the listener {listener.label} has {opening}=…, and no entry of the stack sees to it"
                    error = ConfigError(problem, remedy=remedy)
                    error.file, error.line = self.origin.file or None, self.origin.line or None
                    raise error

    def _check_spool(self, folder: Path) -> None:
        try:
            check_private(folder)
        except ConfigError as error:
            error.file, error.line = self.origin.file, self.origin.line
            raise

    def in_memory(self, *, rehearsal: bool = False) -> Server:
        """A copy for tests and rehearsals: it listens nowhere, and has a spool of its own. This one must not run.

        rehearsal -- whether the sessions of the copy are rehearsals.
        """
        twin = copy.copy(self)
        twin.listeners, twin.spool, twin.rehearsal, twin._pipeline = [], None, rehearsal, None
        return twin

    # In an application's own loop.

    async def __aenter__(self) -> Server:
        self._exit = AsyncExitStack()
        self._group = await self._exit.enter_async_context(create_task_group())
        try:
            await self._group.start(self.serve)
        except BaseException:
            await self._exit.__aexit__(None, None, None)  # the start's own error, not a group around it
            raise
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        assert self._exit is not None
        self.stop()
        try:
            await self._exit.__aexit__(None, None, None)
        except ExceptionGroup as group:
            raise _only(group) from None

    def stop(self) -> None:
        """Stop: no new connections; who is idle hears 421 at once; what runs is finished first."""
        if self._stopped is not None:
            self._stopped.set()

    async def serve_stream(
        self,
        stream: RawStream,
        listener: str = "",
        *,
        lmtp: bool = False,
        tls: bool = False,
        proxy: Sequence[IPNetwork] = (),
        task_status: TaskStatus[Session | None] = anyio.TASK_STATUS_IGNORED,
    ) -> None:
        """Serve one connection that somebody else made (a socket of his own, a stream in memory), to its end.

        listener -- the name that predicates and the log know it by. lmtp, tls, proxy -- as those of a `Listener`.
        `task_status.started()` tells the session, or None when there are too many. RuntimeError when the server does
        not run.
        """
        house = self._house
        if house is None or house.group is None:
            raise RuntimeError("the server does not run: write `async with server` around it")
        if len(house.connections) >= self.limits.connections:
            task_status.started(None)
            log.warning("too many connections", client=str(stream.peer), limit=self.limits.connections)
            with move_on_after(1):
                await _turn_away(stream)
            return
        connection = Connection(stream, house, listener, lmtp=lmtp, tls=tls, proxy=proxy)
        task_status.started(connection.session)
        await connection.serve()

    # As a process of its own.

    def run(self, backend: str = "auto", *, as_root: bool = False) -> None:
        """Serve until SIGTERM or SIGINT. backend -- "auto" (uvloop where installed), "asyncio", "uvloop", "trio".

        as_root -- serve with root's rights when there is no `user`; MAILSTACK_AS_ROOT in the environment does it too.
        """
        if self.user is None:
            privileges.must_not_be_root(as_root)
        else:
            self._account = privileges.account(self.user, self.group)
        os.umask(privileges.UMASK)
        with privileges.pid_file(None if self.pid_file is None else Path(self.pid_file)):
            run(self._run, backend)

    async def _run(self) -> None:
        failure: Exception | None = None
        async with create_task_group() as group:
            group.start_soon(self._stop_on_signal, group.cancel_scope)
            try:
                await self.serve()
            except Exception as error:
                failure = error
            group.cancel_scope.cancel()
        if failure is not None:
            raise failure  # as it is: a group around a ConfigError helps nobody

    async def _stop_on_signal(self, scope: CancelScope) -> None:
        """The first signal stops in good order, a second one at once."""
        with open_signal_receiver(signal.SIGTERM, signal.SIGINT) as signals:
            count = 0
            async for number in signals:
                count += 1
                log.info("stopping", signal=signal.Signals(number).name)
                self.stop()
                if count > 1:
                    scope.cancel()

    async def serve(self, *, task_status: TaskStatus[None] = anyio.TASK_STATUS_IGNORED) -> None:
        """Serve until `stop()` or cancellation; `task_status.started()` once connections are accepted."""
        pipeline = self.check()
        self._stopped = anyio.Event()
        limits = self.limits
        sockets, owners = self._bind()
        try:
            self._give_up_root()
            await self._live(pipeline, limits, sockets, owners, task_status)
        finally:
            for each, owner in zip(sockets, owners, strict=True):
                each.close()
                owner.clean_up()

    def _give_up_root(self) -> None:
        """The addresses are bound; from here on nobody needs root's rights."""
        if self._account is not None:
            if self.spool is not None:
                self._account.take_over(Path(self.spool))
            self._account.become()

    async def _live(
        self,
        pipeline: Pipeline,
        limits: Limits,
        sockets: list[socket.socket],
        owners: list[Listener],
        task_status: TaskStatus[None],
    ) -> None:
        folder = SpoolFolder(self.spool, memory_each=int(limits.memory_each), memory_total=int(limits.memory_total))
        with folder:
            self._house = House(
                pipeline,
                limits,
                folder,
                hostname=self.hostname,
                greeting=self.greeting,
                received=self.received,
                normalise=self.normalise,
                rehearsal=self.rehearsal,
                resolver=lambda: self.resolver,
                reverse_dns=self.reverse_dns,
            )

            async def live(_: Any) -> None:
                await self._serve(sockets, owners, task_status)

            try:
                await wrapped(pipeline.nodes("lifespan"), live)(self)
            except ExceptionGroup as group:
                raise _only(group) from None
            finally:
                self.addresses = []
                self._house.group = None

    async def _serve(self, sockets: list[socket.socket], owners: list[Listener], task_status: TaskStatus[None]) -> None:
        house, stopped = self._house, self._stopped
        assert house is not None
        assert stopped is not None

        async def accept(stream: RawStream, index: int) -> None:
            if not house.closing:
                owner = owners[index]
                await self.serve_stream(stream, owner.label, lmtp=owner.lmtp, tls=owner.tls, proxy=owner.proxy)

        clock = CancelScope()
        async with create_task_group() as clocks:
            clocks.start_soon(sweep, house, clock)
            try:
                async with create_task_group() as group:
                    house.group = group
                    acceptor = await transport.serve(sockets, accept, group, cancel=False, on_error=_accept_error)
                    self.addresses = [_address(each) for each in sockets]
                    log.info("listening", addresses=" ".join(_words(address) for address in self.addresses))
                    task_status.started()
                    try:
                        await stopped.wait()
                        await acceptor.close()
                        await self._drain(house)
                    finally:
                        house.cut_short()
                        group.cancel_scope.cancel()
            finally:
                clock.cancel()

    def _bind(self) -> tuple[list[socket.socket], list[Listener]]:
        """The listening sockets, and the listener of each."""
        sockets: list[socket.socket] = []
        owners: list[Listener] = []
        try:
            for listener in self.listeners:
                for each in listener.bind():
                    sockets.append(each)
                    owners.append(listener)
        except ConfigError:
            for each in sockets:
                each.close()
            raise
        return sockets, owners

    async def _drain(self, house: House) -> None:
        """Let what runs finish, within the grace; then the rest hears 421 and is cut."""
        house.closing = True
        for connection in tuple(house.connections):
            connection.stop()
        with move_on_after(float(self.limits.shutdown)):
            await house.empty()
        for connection in tuple(house.connections):
            connection.abandon()
        with move_on_after(float(self.limits.hand_over)):
            await house.empty()


async def _turn_away(stream: RawStream) -> None:
    try:
        await stream.send(TOO_MANY_CONNECTIONS.encode(enhanced=False))
    except BrokenStream:
        pass  # it did not wait to hear so
    await stream.close()


T = TypeVar("T")


def _of(kind: type[T], value: object, name: str, example: str) -> T:
    if isinstance(value, kind):
        return value
    raise ConfigError(f"Server({name}): {value!r} is no {kind.__name__}", remedy=f"write {name}={example}")


def _path(value: object, name: str) -> str | None:
    if value is None or isinstance(value, (str, os.PathLike)):
        return None if value is None else os.fspath(value)
    raise ConfigError(f"Server({name}): {value!r} is no path", remedy=f'write {name}="/var/lib/mailstack/{name}"')


def _must_be_listeners(given: object) -> None:
    for each in list(given) if isinstance(given, Iterable) and not isinstance(given, str) else [given]:
        if not isinstance(each, Listener):
            raise ConfigError(f"{each!r} is not a listener", remedy=f"write listeners=[Listener({each!r})]")


def _must_be_callable(received: object) -> None:
    if received is not None and not callable(received):
        remedy = "write a function of (session, transaction) that returns the value of the field"
        raise ConfigError(f"Server(received): {received!r} is no function", remedy=remedy)


def _one_line(greeting: object) -> str:
    if isinstance(greeting, str) and greeting.isascii() and greeting.isprintable():
        return greeting
    raise ConfigError(f"Server(greeting): {greeting!r} is no line of ASCII", remedy="write greeting='ESMTP ready'")


def _own_name() -> str:
    """The machine's name; "localhost" where that cannot be a host's name in mail."""
    try:
        return domain(socket.gethostname())
    except ConfigError:
        return "localhost"


def _only(group: ExceptionGroup[Exception]) -> Exception:
    """The one exception that a group holds, such as the ConfigError below a lifespan that has a task group; or it."""
    error: Exception = group
    while isinstance(error, ExceptionGroup) and len(error.exceptions) == 1:
        error = error.exceptions[0]
    return error


def _accept_error(error: OSError) -> None:
    log.error("accept failed", reason=str(error))


def _address(each: socket.socket) -> tuple[str, int] | str:
    name = each.getsockname()
    return name if isinstance(name, str) else (name[0], name[1])


def _words(address: tuple[str, int] | str) -> str:
    if isinstance(address, str):
        return f"unix:{address}"
    host, port = address
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"
