"""A connection without a socket, for tests: two streams in memory that behave like those of `transport`.

    server, client = memory_stream_pair()

The same promises on every backend, since only anyio's primitives are used: 128 KiB wait in each direction before
`send` waits, the end of file follows what was sent, `abort` resets both sides. One difference: a real peer's close
is noticed by the second `send`, here by the first.
"""

import errno

import anyio

from .transport import Address, BrokenStream

__all__ = ["MemoryStream", "memory_stream_pair"]

LIMIT = 128 * 1024  # octets under way in one direction


class _Pipe:
    """One direction."""

    __slots__ = ("changed", "data", "ended", "refused")

    def __init__(self) -> None:
        self.data = bytearray()
        self.ended = False  # the writer is done
        self.refused = False  # the reader is done
        self.changed: anyio.Event | None = None  # somebody waits: for octets, or for room

    def notify(self) -> None:
        if self.changed is not None:
            self.changed.set()
            self.changed = None

    async def wait(self) -> None:
        if self.changed is None:
            self.changed = anyio.Event()
        await self.changed.wait()


class MemoryStream:
    """One end; see `transport.RawStream`."""

    __slots__ = ("_closed", "_incoming", "_outgoing", "local", "peer")

    def __init__(self, incoming: _Pipe, outgoing: _Pipe, peer: Address, local: Address) -> None:
        self.peer = peer
        self.local = local
        self._incoming = incoming
        self._outgoing = outgoing
        self._closed = False

    @property
    def gone(self) -> bool:
        return self._closed or (self._incoming.ended and not self._incoming.data)

    async def receive(self) -> bytes:
        pipe = self._incoming
        while not (pipe.data or pipe.ended or self._closed):
            await pipe.wait()
        data = bytes(pipe.data)
        self.discard()
        return data

    def discard(self) -> None:
        self._incoming.data.clear()
        self._incoming.notify()

    async def send(self, data: bytes) -> None:
        pipe = self._outgoing
        rest = memoryview(data)
        while True:
            if pipe.ended or pipe.refused:
                raise BrokenStream(errno.EPIPE, "connection closed")
            room = LIMIT - len(pipe.data)
            pipe.data += rest[:room]
            rest = rest[room:]
            pipe.notify()
            if not rest:
                return
            try:
                await pipe.wait()
            except BaseException:
                self.abort()
                raise

    async def send_eof(self) -> None:
        if self._outgoing.ended or self._outgoing.refused:
            raise BrokenStream(errno.EPIPE, "connection closed")
        self._outgoing.ended = True
        self._outgoing.notify()

    async def close(self) -> None:
        self._end()

    def abort(self) -> None:
        if not self._closed:
            self._end()
            self._outgoing.data.clear()

    def _end(self) -> None:
        self._closed = True
        self._outgoing.ended = True
        self._incoming.refused = True
        self._incoming.data.clear()
        self._incoming.notify()
        self._outgoing.notify()


def memory_stream_pair(
    peer: Address = ("192.0.2.1", 12345), local: Address = ("192.0.2.2", 25)
) -> tuple[MemoryStream, MemoryStream]:
    """The server's end, whose `peer` and `local` are as given, and the client's, where they are swapped."""
    there, back = _Pipe(), _Pipe()
    return MemoryStream(there, back, peer, local), MemoryStream(back, there, local, peer)
