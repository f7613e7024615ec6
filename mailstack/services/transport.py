"""Sockets as streams: the one place that knows the backends for I/O.

`serve` accepts on listening sockets and starts one task for each connection; `connect` is the client's side. Both
give a `RawStream`, which promises the same on asyncio, uvloop and trio:

* `receive` returns what has come (at most about 128 KiB), b"" once the peer has finished or the connection is broken.
* `send` returns when the octets are handed over; it waits while the peer does not read, and raises `BrokenStream`
  once nobody can read them any more.
* A cancelled `receive` loses no octet. A cancelled `send` that had to wait aborts the connection: nobody could know
  how much has left. Neither waits, nor looks at the cancel scope, when it can be done at once.
* `close` sends what is written, then the end; `abort` resets. Both may be repeated, and `abort` may follow `close`.
* One task receives and one task sends at a time.

On asyncio and uvloop a connection is a `BufferedProtocol`: all connections of a loop read into one buffer, whose
octets are copied out at once, because the default read of 256 KiB makes the allocator map and unmap memory each time.
On trio it is the plain socket.
"""

from __future__ import annotations

import asyncio
import errno
import os
import select
import socket
import struct
from collections.abc import Awaitable, Callable, Coroutine, Sequence
from typing import TYPE_CHECKING, Any, Protocol, TypeAlias, cast
from weakref import WeakKeyDictionary

import anyio
import anyio.abc

if TYPE_CHECKING:
    import trio

__all__ = ["Acceptor", "Address", "BrokenStream", "RawStream", "Stream", "connect", "serve"]

Address: TypeAlias = tuple[str, int] | str
"""(numeric host, port) of TCP, or the path of a UNIX socket: "" when unnamed, "@name" when abstract."""

LIMIT = 128 * 1024  # octets: reading pauses above it, and one receive() returns about as much
OVERHEAD = 64  # octets that a read costs beyond its content, so that single octets cannot fill the memory
READ = 64 * 1024  # octets of one read; from 128 KiB on malloc would map memory for each
WRITE_LIMIT = 64 * 1024  # octets: send() waits while more than this is buffered for a slow peer
LINGER = 10.0  # seconds that a closed connection may take to send what is still buffered
PAUSE = 1.0  # seconds without accepting after the system ran out of descriptors or memory
TURNS = 8  # full reads in a row on trio before the others have a turn
BATCH = 64  # connections accepted in one turn, so that a flood leaves time for those who are served


class BrokenStream(OSError):
    """The connection is closed, reset or aborted: what was to be sent will not arrive."""


class Stream(Protocol):
    """A connection, bare or under TLS."""

    @property
    def peer(self) -> Address: ...
    @property
    def local(self) -> Address: ...
    @property
    def gone(self) -> bool:
        """Whether the peer has finished or the connection broke. Octets still unread from a live peer: not gone."""

    async def receive(self) -> bytes: ...
    async def send(self, data: bytes) -> None: ...
    async def close(self) -> None: ...
    def abort(self) -> None: ...


class RawStream(Stream, Protocol):
    """A connection straight on a socket, which can do a little more."""

    async def send_eof(self) -> None:
        """Send the end of our side; the other side may go on sending."""

    def discard(self) -> None:
        """Forget what has arrived and was not received yet (before STARTTLS: RFC 3207 4.2)."""


Handler: TypeAlias = Callable[[RawStream, int], Awaitable[None]]


# Accepting

_RETRY = frozenset(  # Linux reports errors of the new connection from accept(): only that connection is lost
    {errno.ECONNABORTED, errno.EPROTO, errno.ENETDOWN, errno.ENETUNREACH, errno.EHOSTDOWN, errno.EHOSTUNREACH}
)


class Acceptor:
    """Accepts on listening sockets until `close`, or until its task group is cancelled."""

    __slots__ = ("_cancel", "_closed", "_handler", "_listeners", "_on_error", "_start_soon")

    def __init__(
        self,
        listeners: Sequence[socket.socket],
        handler: Handler,
        on_error: Callable[[OSError], object] | None,
        cancel: bool,
    ) -> None:
        self._listeners = tuple(listeners)
        self._handler = handler
        self._start_soon: Callable[..., object]  # starts a session's task; the keeper of tasks sets it
        self._on_error = on_error
        self._cancel = cancel
        self._closed = anyio.Event()

    async def close(self) -> None:
        """Close the listening sockets. No session is touched; a second call does nothing."""
        self._closed.set()
        for listener in self._listeners:
            _close_listener(listener)

    async def _keep_tasks(self, *, task_status: anyio.abc.TaskStatus[None]) -> None:
        """On asyncio: tasks of the loop's own, which cost 60 µs and 2 KiB less than the group's.

        They end by themselves, or are cancelled with the group; either way they are awaited here. One that raises ends
        the group, as it would if it were the group's.
        """
        loop = asyncio.get_running_loop()
        tasks: set[asyncio.Task[None]] = set()
        failures: list[BaseException] = []

        def done(task: asyncio.Task[None]) -> None:
            tasks.discard(task)
            if not task.cancelled() and (error := task.exception()) is not None:
                failures.append(error)
                self._closed.set()

        def start_soon(run: Callable[..., Coroutine[Any, Any, None]], *args: object) -> None:
            task = loop.create_task(run(*args))
            tasks.add(task)
            task.add_done_callback(done)

        self._start_soon = start_soon
        task_status.started()
        try:
            await self._closed.wait()
            while tasks and not failures:
                await asyncio.wait(tuple(tasks), return_when=asyncio.FIRST_COMPLETED)
            for failure in failures:
                raise failure
        finally:
            for task in tasks if self._cancel else ():
                task.cancel()
            with anyio.CancelScope(shield=True):
                while tasks:
                    await asyncio.wait(tuple(tasks))

    async def _keep_nursery(self, *, task_status: anyio.abc.TaskStatus[None]) -> None:
        """On trio: a nursery inside the group, whose tasks cost 25 µs and 1.4 KiB less than the group's own."""
        async with trio.open_nursery() as nursery:
            self._start_soon = nursery.start_soon
            task_status.started()
            await self._closed.wait()

    async def _listen(self, listener: socket.socket, index: int) -> None:
        try:
            while not self._closed.is_set():
                await anyio.wait_readable(listener)
                try:
                    self._accept(listener, index)
                except OSError as error:
                    await self._pause(error)
        except anyio.ClosedResourceError:
            pass  # by close()
        finally:
            _close_listener(listener)

    def _accept(self, listener: socket.socket, index: int) -> None:
        for _ in range(BATCH):
            try:
                connection, peer = listener.accept()
            except (BlockingIOError, InterruptedError):
                return
            except OSError as error:
                if error.errno in _RETRY:
                    continue
                raise
            self._start_soon(self._run, connection, peer, index)

    async def _pause(self, error: OSError) -> None:
        if self._closed.is_set():
            return
        if self._on_error is not None:
            self._on_error(error)
        with anyio.move_on_after(PAUSE):
            await self._closed.wait()

    async def _run(self, connection: socket.socket, peer: object, index: int) -> None:
        try:
            stream = await _open(connection, _address(peer))
        except OSError:
            connection.close()  # gone before it began
            return
        try:
            await self._handler(stream, index)
            await stream.close()
        finally:
            stream.abort()


def _close_listener(listener: socket.socket) -> None:
    if listener.fileno() >= 0:
        anyio.notify_closing(listener)
        listener.close()


async def serve(
    listeners: Sequence[socket.socket],
    handler: Handler,
    group: anyio.abc.TaskGroup,
    *,
    cancel: bool = True,
    on_error: Callable[[OSError], object] | None = None,
) -> Acceptor:
    """Accept on bound and listening stream sockets; start `handler(stream, index)` in `group` for each connection.

    `index` is the place of the listening socket in `listeners`, which belong to the acceptor from now on. A stream
    that the handler leaves open is closed after it, or reset when it raised. Want of descriptors or memory is told to
    `on_error` and pauses the socket for about a second; a connection lost before it was accepted is ignored.

    When the group is cancelled, so are the handlers, and on asyncio no anyio shield withstands that. `cancel=False`
    leaves it to the caller to end them (on trio they are cancelled all the same, and shields hold).
    """
    acceptor = Acceptor(listeners, handler, on_error, cancel)
    await group.start(acceptor._keep_nursery if _on_trio() else acceptor._keep_tasks)
    for index, listener in enumerate(listeners):
        listener.setblocking(False)
        if listener.family != socket.AF_UNIX:
            listener.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)  # inherited by what it accepts
        group.start_soon(acceptor._listen, listener, index)
    return acceptor


# Connecting


async def connect(address: Address) -> RawStream:
    """Connect to (host, port), where a name's addresses are tried in turn, or to the path of a UNIX socket.

    Raises OSError (socket.gaierror among them) when nothing could be reached; waits as long as the system does.
    """
    if isinstance(address, str):
        path = f"\0{address[1:]}" if address.startswith("@") else address
        return await _dial(socket.AF_UNIX, path)
    failure: OSError | None = None
    for family, target in await _resolve(*address):
        try:
            return await _dial(family, target)
        except OSError as error:
            failure = failure or error
    raise failure or OSError(errno.EHOSTUNREACH, "no address")


async def _resolve(host: str, port: int) -> list[tuple[int, object]]:
    try:
        found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM, flags=socket.AI_NUMERICHOST)
    except socket.gaierror:
        return [(entry[0], entry[4]) for entry in await anyio.getaddrinfo(host, port, type=socket.SOCK_STREAM)]
    return [(entry[0], entry[4]) for entry in found]


async def _dial(family: int, target: object) -> RawStream:
    connection = socket.socket(family, socket.SOCK_STREAM)
    try:
        connection.setblocking(False)
        if family != socket.AF_UNIX:
            connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        # A UNIX socket whose listener is busy says EAGAIN, and has no way to tell when it is not.
        while (code := connection.connect_ex(target)) == errno.EAGAIN:  # type: ignore[arg-type]  # noqa: ASYNC110
            await anyio.sleep(0.01)
        if code == errno.EINPROGRESS:
            await anyio.wait_writable(connection)
            code = connection.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR)
        if code:
            raise OSError(code, os.strerror(code))
        return await _open(connection, _address(connection.getpeername()))
    except BaseException:
        connection.close()
        raise


# Facts and ways of ending


def _address(raw: object) -> Address:
    """What the socket module calls the address, without IPv6's tail and the IPv6 dress of IPv4 (RFC 4291 2.5.5.2)."""
    if isinstance(raw, tuple):
        host: str = raw[0]
        if ":" in host:
            host = host.partition("%")[0]
            mapped = host.removeprefix("::ffff:")
            host = mapped if "." in mapped else host
        return host, raw[1]
    name = os.fsdecode(raw) if isinstance(raw, bytes) else str(raw or "")
    return f"@{name[1:]}" if name.startswith("\0") else name


_RESET = struct.pack("ii", 1, 0)  # SO_LINGER on, no time: closing resets


def _reset_on_close(connection: socket.socket) -> None:
    if connection.family != socket.AF_UNIX:
        try:
            connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RESET)
        except OSError:
            pass  # already closed


async def _open(connection: socket.socket, peer: Address) -> RawStream:
    """A stream over a connected socket, on the backend that runs."""
    local = _address(connection.getsockname())
    if _on_trio():
        return _TrioStream(connection, peer, local)
    loop = asyncio.get_running_loop()
    stream = _LoopStream(loop, connection, peer, local)
    await loop.connect_accepted_socket(lambda: stream, connection)
    return stream


# asyncio and uvloop

_buffers: WeakKeyDictionary[asyncio.AbstractEventLoop, memoryview] = WeakKeyDictionary()


def _buffer(loop: asyncio.AbstractEventLoop) -> memoryview:
    if (buffer := _buffers.get(loop)) is None:
        buffer = _buffers[loop] = memoryview(bytearray(READ))
    return buffer


class _LoopStream(asyncio.BufferedProtocol):
    """The loop reads ahead, up to LIMIT; the end of file and the loss of the connection arrive as calls."""

    __slots__ = (
        "_buffer",
        "_chunks",
        "_connection",
        "_ended",
        "_held",
        "_loop",
        "_lost",
        "_queued",
        "_reader",
        "_transport",
        "_writer",
        "local",
        "peer",
    )

    def __init__(
        self, loop: asyncio.AbstractEventLoop, connection: socket.socket, peer: Address, local: Address
    ) -> None:
        self.peer = peer
        self.local = local
        self._loop = loop
        self._connection = connection
        self._transport: asyncio.Transport | None = None  # None: not yet, or lost
        self._buffer = _buffer(loop)
        self._chunks: list[bytes] = []
        self._queued = 0  # memory held in _chunks, octets; above LIMIT reading is paused
        self._ended = False  # the peer will send no more
        self._held = False  # the transport has too much to write
        self._lost = False
        self._reader: asyncio.Future[None] | None = None  # receive() waits on it
        self._writer: asyncio.Future[None] | None = None  # send() or close() waits on it

    # called by the loop

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast("asyncio.Transport", transport)  # uvloop's is none by inheritance
        self._transport.set_write_buffer_limits(high=WRITE_LIMIT)

    def get_buffer(self, sizehint: int) -> memoryview:
        return self._buffer

    def buffer_updated(self, nbytes: int) -> None:
        self._chunks.append(bytes(self._buffer[:nbytes]))
        self._queued += nbytes + OVERHEAD
        if self._queued > LIMIT and self._transport is not None:
            self._transport.pause_reading()
        _wake(self._reader)

    def eof_received(self) -> bool:
        self._ended = True
        _wake(self._reader)
        return True  # our side stays open: a reply may be due

    def connection_lost(self, exc: Exception | None) -> None:
        self._ended = self._lost = True
        self._transport = None
        _wake(self._reader)
        _wake(self._writer)

    def pause_writing(self) -> None:
        self._held = True

    def resume_writing(self) -> None:
        self._held = False
        _wake(self._writer)

    # called by the session

    @property
    def gone(self) -> bool:
        return self._lost or (self._ended and not self._chunks)

    async def receive(self) -> bytes:
        while not self._chunks:
            if self._ended:
                return b""
            if self._reader is not None:
                raise anyio.BusyResourceError("receiving from")
            self._reader = self._loop.create_future()
            try:
                await self._reader
            finally:
                self._reader = None
        chunks = self._chunks
        data = chunks[0] if len(chunks) == 1 else b"".join(chunks)
        self.discard()
        return data

    def discard(self) -> None:
        paused, self._queued = self._queued > LIMIT, 0
        self._chunks.clear()
        if paused and self._transport is not None and not self._transport.is_closing():
            self._transport.resume_reading()

    async def send(self, data: bytes) -> None:
        transport = self._transport
        if transport is None or transport.is_closing():
            raise BrokenStream(errno.EPIPE, "connection closed")
        transport.write(data)
        if self._held:
            await self._drain()

    async def _drain(self) -> None:
        if self._writer is not None:
            raise anyio.BusyResourceError("sending to")
        while self._held and not self._lost:
            self._writer = self._loop.create_future()
            try:
                await self._writer
            except BaseException:
                self.abort()
                raise
            finally:
                self._writer = None
        if self._lost:
            raise BrokenStream(errno.EPIPE, "connection lost")

    async def send_eof(self) -> None:
        transport = self._transport
        if transport is None or transport.is_closing():
            raise BrokenStream(errno.EPIPE, "connection closed")
        transport.write_eof()

    async def close(self) -> None:
        transport = self._transport
        if transport is None:
            return
        if self._writer is not None:
            self.abort()  # somebody's send() can no longer succeed
            return
        transport.close()
        self.discard()
        timer = self._loop.call_later(LINGER, self.abort) if transport.get_write_buffer_size() else None
        try:
            while not self._lost:
                self._writer = self._loop.create_future()
                await self._writer
        except BaseException:
            self.abort()
            raise
        finally:
            self._writer = None
            if timer is not None:
                timer.cancel()

    def abort(self) -> None:
        transport = self._transport
        if transport is None or (transport.is_closing() and not transport.get_write_buffer_size()):
            return  # ended, or about to end in peace
        _reset_on_close(self._connection)
        transport.abort()


def _wake(waiter: asyncio.Future[None] | None) -> None:
    if waiter is not None and not waiter.done():
        waiter.set_result(None)


# trio


def _on_trio() -> bool:
    """Whether trio runs; it is an extra, so only who runs on it imports it."""
    if anyio.get_cancelled_exc_class() is asyncio.CancelledError:
        return False
    global trio
    import trio

    return True


class _TrioStream:
    """The kernel's buffers are the only ones."""

    __slots__ = ("_broken", "_connection", "_turns", "local", "peer")

    def __init__(self, connection: socket.socket, peer: Address, local: Address) -> None:
        connection.setblocking(False)
        self.peer = peer
        self.local = local
        self._connection = connection
        self._broken = False
        self._turns = 0  # reads that may go before a wait

    @property
    def gone(self) -> bool:
        if self._broken:
            return True
        poll = select.poll()  # an error may hide behind octets that came before it
        poll.register(self._connection, 0)
        if any(event & select.POLLERR for _, event in poll.poll(0)):
            return True
        try:
            return not self._connection.recv(1, socket.MSG_PEEK)
        except (BlockingIOError, InterruptedError):
            return False
        except OSError:
            return True

    async def receive(self) -> bytes:
        while not self._broken:
            try:
                if not self._turns:  # an empty socket is likely: waiting at once spares a vain read
                    await trio.lowlevel.wait_readable(self._connection)
                    self._turns = TURNS
                data = self._connection.recv(READ)
                self._turns = self._turns - 1 if len(data) == READ else 0
                return data
            except (BlockingIOError, InterruptedError):
                self._turns = 0
            except trio.BusyResourceError:
                raise anyio.BusyResourceError("receiving from") from None
            except (OSError, trio.ClosedResourceError):
                self._broken = True
        return b""

    def discard(self) -> None:
        try:
            while not self._broken and len(self._connection.recv(READ)) == READ:
                pass
        except OSError:
            pass  # nothing there, or broken: the next call says so

    async def send(self, data: bytes) -> None:
        if self._broken:
            raise BrokenStream(errno.EPIPE, "connection closed")
        try:
            sent = self._connection.send(data)
        except (BlockingIOError, InterruptedError):
            sent = 0
        except OSError as error:
            self._broken = True
            raise BrokenStream(errno.EPIPE, "connection lost") from error
        if sent < len(data):
            await self._send_rest(memoryview(data)[sent:])

    async def _send_rest(self, rest: memoryview) -> None:
        try:
            while rest:
                await trio.lowlevel.wait_writable(self._connection)
                try:
                    rest = rest[self._connection.send(rest) :]
                except (BlockingIOError, InterruptedError):
                    pass
        except trio.BusyResourceError:
            raise anyio.BusyResourceError("sending to") from None
        except (OSError, trio.ClosedResourceError) as error:
            self._broken = True
            raise BrokenStream(errno.EPIPE, "connection lost") from error
        except BaseException:
            self.abort()
            raise

    async def send_eof(self) -> None:
        try:
            self._connection.shutdown(socket.SHUT_WR)
        except OSError as error:
            raise BrokenStream(errno.EPIPE, "connection closed") from error

    async def close(self) -> None:
        self._broken = True
        if self._connection.fileno() >= 0:
            trio.lowlevel.notify_closing(self._connection)
            self._connection.close()

    def abort(self) -> None:
        self._broken = True
        if self._connection.fileno() >= 0:
            _reset_on_close(self._connection)
            trio.lowlevel.notify_closing(self._connection)
            self._connection.close()
