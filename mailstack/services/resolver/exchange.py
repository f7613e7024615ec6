"""One question to one server: over UDP, and over TCP when the answer did not fit.

Each question has a socket and so a random port of its own; it is connected, so that the system drops what others send
and tells of a server that is not there. Octets that are no answer to the question are passed over until the caller's
patience ends: who guesses must guess id and port at once.

Raises OSError; waits without limit, and leaves nothing behind when it is cancelled.
"""

from __future__ import annotations

import socket
from collections.abc import Callable
from typing import TypeVar

from anyio import wait_readable

from ..transport import connect

__all__ = ["tcp", "udp"]

T = TypeVar("T")
Read = Callable[[bytes], T | None]


async def udp(server: tuple[str, int], octets: bytes, read: Read[T]) -> T:
    """What `read` makes of the first datagram that it takes."""
    family = socket.AF_INET6 if ":" in server[0] else socket.AF_INET
    with socket.socket(family, socket.SOCK_DGRAM) as connection:
        connection.setblocking(False)
        connection.connect(server)
        connection.send(octets)
        while True:
            await wait_readable(connection)
            try:
                found = read(connection.recv(65535))
            except BlockingIOError:  # a datagram with a wrong checksum woke us
                continue
            if found is not None:
                return found


async def tcp(server: tuple[str, int], octets: bytes, read: Read[T]) -> T:
    """The same for the one message that comes; OSError when it is not taken."""
    stream = await connect(server)
    try:
        await stream.send(len(octets).to_bytes(2, "big") + octets)
        received = b""
        while len(received) < 2 or len(received) < 2 + int.from_bytes(received[:2], "big"):
            more = await stream.receive()
            if not more:
                raise ConnectionError("the server closed the connection before its answer was complete")
            received += more
        found = read(received[2 : 2 + int.from_bytes(received[:2], "big")])
    finally:
        stream.abort()
    if found is None:
        raise ConnectionError("what the server sent is no answer to the question")
    return found
