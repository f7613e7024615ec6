"""Which backend carries the connections made here: `on_asyncio` or `on_trio`, two modules of one shape."""

from __future__ import annotations

import socket
from collections.abc import Callable
from typing import Protocol

import anyio
import anyio.abc

from . import on_asyncio
from .stream import Address, RawStream


class Backend(Protocol):
    """What both modules offer."""

    async def open_stream(self, connection: socket.socket, peer: Address) -> RawStream:
        """A stream over a connected socket. OSError when it is already gone."""

    async def whenever_readable(self, listener: socket.socket, accept: Callable[[], None]) -> None:
        """Call `accept` whenever somebody wants to connect, until it raises OSError (raised) or `forget` is called
        (ClosedResourceError)."""

    def forget(self, listener: socket.socket) -> None:
        """The socket is about to be closed."""

    async def keep_tasks(
        self, closed: anyio.Event, cancel: bool, *, task_status: anyio.abc.TaskStatus[Callable[..., object]]
    ) -> None:
        """Give a function that starts tasks, and hold them until `closed` is set and all have ended.

        `cancel`: whether cancelling this ends them too.
        """


def backend() -> Backend:
    """The one that runs. trio is an extra, so only who runs on it imports it."""
    if on_asyncio.running():
        return on_asyncio
    from . import on_trio

    return on_trio
