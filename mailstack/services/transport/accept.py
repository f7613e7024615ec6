"""Accepting: `serve` takes connections from listening sockets and starts one task for each.

Errors of the system pause a listener and are told; errors of one connection lose that connection only.
"""

from __future__ import annotations

import errno
import socket
from collections.abc import Awaitable, Callable, Sequence
from typing import TypeAlias

import anyio
import anyio.abc

from .running import Backend, backend
from .stream import RawStream, address_of

PAUSE = 1.0  # seconds without accepting after the system ran out of descriptors or memory
BATCH = 64  # connections accepted in one turn, so that a flood leaves time for those who are served

Handler: TypeAlias = Callable[[RawStream, int], Awaitable[None]]

_RETRY = frozenset(  # Linux reports errors of the new connection from accept(): only that connection is lost
    {errno.ECONNABORTED, errno.EPROTO, errno.ENETDOWN, errno.ENETUNREACH, errno.EHOSTDOWN, errno.EHOSTUNREACH}
)


class Acceptor:
    """Accepts on listening sockets until `close`, or until its task group is cancelled."""

    __slots__ = ("_backend", "_closed", "_handler", "_listeners", "_on_error", "_start_soon")

    def __init__(
        self,
        listeners: Sequence[socket.socket],
        handler: Handler,
        on_error: Callable[[OSError], object] | None,
        backend: Backend,
    ) -> None:
        self._listeners = tuple(listeners)
        self._handler = handler
        self._start_soon: Callable[..., object]  # starts a session's task; the backend gives it, see serve()
        self._on_error = on_error
        self._backend = backend
        self._closed = anyio.Event()

    async def close(self) -> None:
        """Close the listening sockets. No session is touched; a second call does nothing."""
        self._closed.set()
        for listener in self._listeners:
            self._close_listener(listener)

    def _close_listener(self, listener: socket.socket) -> None:
        if listener.fileno() >= 0:
            self._backend.forget(listener)
            listener.close()

    async def _listen(self, listener: socket.socket, index: int) -> None:
        try:
            while not self._closed.is_set():
                try:
                    await self._backend.whenever_readable(listener, lambda: self._accept(listener, index))
                except OSError as error:
                    await self._pause(error)
        except anyio.ClosedResourceError:
            pass  # by close()
        finally:
            self._close_listener(listener)

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
            stream = await self._backend.open_stream(connection, address_of(peer))
        except OSError:
            connection.close()  # gone before it began
            return
        try:
            await self._handler(stream, index)
            await stream.close()
        finally:
            stream.abort()


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
    here = backend()
    acceptor = Acceptor(listeners, handler, on_error, here)
    acceptor._start_soon = await group.start(here.keep_tasks, acceptor._closed, cancel)
    for index, listener in enumerate(listeners):
        listener.setblocking(False)
        if listener.family != socket.AF_UNIX:
            listener.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)  # inherited by what it accepts
        group.start_soon(acceptor._listen, listener, index)
    return acceptor
