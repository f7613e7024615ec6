"""What clients and a server say to each other, kept as text for whoever wants to know what went wrong.

    record = Record()
    await server.serve_stream(Overheard(stream, record.conversation()))
    print(record)

One line each, "1 C: …" and "1 S: …", the number being that of the connection. Only the last `LINES` are kept, and of
much that came in one piece only the beginning and the end.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from itertools import count

from ..services.transport import Address, RawStream
from .conversation import shown

__all__ = ["Overheard", "Record"]

LINES = 500
PIECE = 12  # lines of one piece that are shown
LONGEST = 1000  # octets that are kept of a line which has not ended
HANDSHAKE = b"\x16\x03"  # how a TLS record begins that opens a conversation (RFC 8446 §5.1)

Hear = Callable[[str, bytes], None]


class Record:
    """The last lines of all conversations, in the order in which they were said."""

    __slots__ = ("_lines", "_numbers")

    def __init__(self) -> None:
        self._lines: deque[str] = deque(maxlen=LINES)
        self._numbers = count(1)

    def conversation(self) -> Hear:
        """One more conversation: a function to be told who spoke and what; b"" is the end."""
        number = next(self._numbers)
        rests = {"C": b"", "S": b""}
        secret = False

        def hear(who: str, octets: bytes) -> None:
            nonlocal secret
            if not secret and not rests["C"] and who == "C" and octets.startswith(HANDSHAKE):
                secret = True
                self._lines.append(f"{number} C: (TLS from here on)")
            if secret and octets:
                return
            *lines, rest = (rests[who] + octets).split(b"\n")
            if not octets and rest:
                lines.append(rest)
            rests[who] = rest[:LONGEST] if octets else b""
            self._lines.extend(f"{number} {who}: {text}" for text in _texts(lines))
            if not octets:
                self._lines.append(f"{number} {who}: (closes)")

        return hear

    def clear(self) -> None:
        """Forget what was said."""
        self._lines.clear()

    def __str__(self) -> str:
        return "\n".join(tuple(self._lines))


def _texts(lines: list[bytes]) -> list[str]:
    if len(lines) <= PIECE:
        return [shown(line.removesuffix(b"\r")) for line in lines]
    left_out = f"… {len(lines) - PIECE + 1} more lines …"
    return [*_texts(lines[: PIECE - 2]), left_out, *_texts(lines[-1:])]


class Overheard:
    """A stream of the server's (`services.transport.RawStream`) that tells what passes."""

    __slots__ = ("_closed", "_hear", "_stream")

    def __init__(self, stream: RawStream, hear: Hear) -> None:
        self._stream = stream
        self._hear = hear
        self._closed = False

    @property
    def peer(self) -> Address:
        return self._stream.peer

    @property
    def local(self) -> Address:
        return self._stream.local

    @property
    def gone(self) -> bool:
        return self._stream.gone

    async def receive(self) -> bytes:
        data = await self._stream.receive()
        self._hear("C", data)
        return data

    async def send(self, data: bytes) -> None:
        self._hear("S", data)
        await self._stream.send(data)

    async def send_eof(self) -> None:
        self._end()
        await self._stream.send_eof()

    async def close(self) -> None:
        self._end()
        await self._stream.close()

    def abort(self) -> None:
        self._end()
        self._stream.abort()

    def discard(self) -> None:
        self._stream.discard()

    def _end(self) -> None:
        if not self._closed:
            self._closed = True
            self._hear("S", b"")
