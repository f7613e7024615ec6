"""Connections on trio: plain sockets, and a nursery of their own. Only who runs on trio imports this."""

from __future__ import annotations

import errno
import select
import socket
from collections.abc import Callable
from typing import TypeAlias

import anyio
import anyio.abc
import trio

from .stream import READ, Address, BrokenStream, RawStream, address_of, reset_on_close

TURNS = 8  # full reads in a row before the others have a turn

StartSoon: TypeAlias = Callable[..., object]


async def open_stream(connection: socket.socket, peer: Address) -> RawStream:
    """A stream over a connected socket. OSError when it is already gone."""
    return TrioStream(connection, peer, address_of(connection.getsockname()))


async def whenever_readable(listener: socket.socket, accept: Callable[[], None]) -> None:
    """Call `accept` whenever somebody wants to connect; ends with the OSError that it raises, or after `forget`."""
    while True:
        await anyio.wait_readable(listener)
        accept()


forget = anyio.notify_closing


async def keep_tasks(closed: anyio.Event, cancel: bool, *, task_status: anyio.abc.TaskStatus[StartSoon]) -> None:
    """A nursery inside the group, whose tasks cost 25 µs and 1.4 KiB less than the group's own.

    They are cancelled with the group whatever `cancel` says.
    """
    async with trio.open_nursery() as nursery:
        task_status.started(nursery.start_soon)
        await closed.wait()


class TrioStream:
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
        poll = select.poll()
        poll.register(self._connection, select.POLLIN)
        events = poll.poll(0)
        if not events:  # as for most, who wait for a reply
            return False
        if events[0][1] & select.POLLERR:  # which may hide behind octets that came before it
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
            reset_on_close(self._connection)
            trio.lowlevel.notify_closing(self._connection)
            self._connection.close()
