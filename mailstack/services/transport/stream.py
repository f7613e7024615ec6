"""What a connection promises, whatever carries it, and what all carriers know of a socket.

A `Stream` is a connection, bare or under TLS; a `RawStream` is one straight on a socket. Their promises are told in
the package's docstring. `BrokenStream` is how sending fails; receiving then gives b"".
"""

from __future__ import annotations

import os
import socket
import struct
from typing import Protocol, TypeAlias

Address: TypeAlias = tuple[str, int] | str
"""(numeric host, port) of TCP, or the path of a UNIX socket: "" when unnamed, "@name" when abstract."""

READ = 64 * 1024  # octets of one read; from 128 KiB on malloc would map memory for each


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


# Facts and ways of ending


def address_of(raw: object) -> Address:
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


def reset_on_close(connection: socket.socket) -> None:
    if connection.family != socket.AF_UNIX:
        try:
            connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RESET)
        except OSError:
            pass  # already closed
