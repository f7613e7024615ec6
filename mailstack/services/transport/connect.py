"""Connecting: the client's side."""

from __future__ import annotations

import errno
import os
import socket

import anyio

from .running import backend
from .stream import Address, RawStream, address_of


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
        return await backend().open_stream(connection, address_of(connection.getpeername()))
    except BaseException:
        connection.close()
        raise
