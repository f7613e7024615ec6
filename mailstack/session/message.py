"""The message at hand: its header section in memory, its body in the spool, and what middleware changed of it.

The octets that the client sent are kept as they came; an edit works on the header section and is journalled. Whoever
reads the message (`blocks`, `chunks`, `read`) sees it with the edits.
"""

from __future__ import annotations

from collections.abc import AsyncGenerator, AsyncIterator, Iterator
from contextlib import aclosing

from ..wire.header import Header
from .journal import Journal
from .spool import PIECE, Spool

_BLANK_LINE = b"\r\n"


class Message:
    """One message.

    id -- the queue id: in the reply, in Received, in the log.
    header -- the header section as it stands (`wire.header.Header`, a value; edits go through the methods here).
    received_size -- octets that the client sent, header and all, dots unstuffed.
    """

    __slots__ = ("_blank_line", "_header", "_journal", "_spool", "id", "received_size")

    def __init__(self, id: str, header: Header, spool: Spool, journal: Journal, *, blank_line: bool = True) -> None:
        self.id = id
        self.received_size = 0
        self._header = header
        self._spool = spool
        self._journal = journal
        self._blank_line = blank_line

    @property
    def header(self) -> Header:
        """The header section with all edits so far."""
        return self._header

    @property
    def size(self) -> int:
        """Octets of the message as it would be handed on now."""
        return len(self._opening()) + self._spool.size

    @property
    def body_size(self) -> int:
        """Octets below the empty line."""
        return self._spool.size

    @property
    def on_disk(self) -> bool:
        """Whether the body has a spool file; reading it then takes a thread."""
        return self._spool.on_disk

    # Edits.

    def add_header(self, name: str, value: str) -> None:
        """Put a field on top. ValueError when the name or the value cannot stand in a header."""
        self._change(f"added {name}", self._header.prepend(name, value))

    def append_header(self, name: str, value: str) -> None:
        """Put a field below the others."""
        self._change(f"appended {name}", self._header.append(name, value))

    def replace_header(self, name: str, value: str) -> None:
        """Give the first field of that name another value, or append one."""
        self._change(f"replaced {name}", self._header.replace(name, value))

    def remove_header(self, name: str, index: int | None = None) -> None:
        """Remove all fields of that name, or the one at `index` among them."""
        self._change(f"removed {name}", self._header.remove(name, index))

    def rename_header(self, old: str, new: str) -> None:
        """Rename all fields called `old`."""
        self._change(f"renamed {old}", self._header.rename(old, new))

    def put_in_front(self, name: str, text: str) -> None:
        """Put a text in front of the first field of that name, or append one."""
        self._change(f"tagged the {name}", self._header.put_in_front(name, text))

    def set_header(self, header: Header, what: str = "changed the header section") -> None:
        """Take another header section as a whole."""
        self._change(what, header)

    def _change(self, what: str, header: Header) -> None:
        before = self._header
        self._header = header
        self._journal.record(what, lambda: setattr(self, "_header", before))

    def close(self) -> None:
        """Forget the body; the core calls it when nobody needs the message any more."""
        self._spool.close()

    # Reading.

    def _opening(self) -> bytes:
        """Everything above the body. The empty line is there if the client sent it, or if the body needs it."""
        if self._blank_line or self._spool.size:
            return self._header.raw + _BLANK_LINE
        return self._header.raw

    def blocks(self, size: int = PIECE) -> Iterator[bytes]:
        """The message in pieces; blocks on the disk when `on_disk`, so call it in a worker thread then."""
        yield self._opening()
        yield from self._spool.blocks(size)

    async def chunks(self, size: int = PIECE) -> AsyncGenerator[bytes, None]:
        """The message in pieces."""
        yield self._opening()
        async with aclosing(self._spool.chunks(size)) as chunks:  # who stops reading early leaves nothing open
            async for chunk in chunks:
                yield chunk

    async def body_chunks(self, size: int = PIECE) -> AsyncIterator[bytes]:
        """The body alone, in pieces."""
        async with aclosing(self._spool.chunks(size)) as chunks:
            async for chunk in chunks:
                yield chunk

    async def read(self) -> bytes:
        """The whole message as one piece, CRLF line ends. For messages that fit in memory."""
        return b"".join([chunk async for chunk in self.chunks()])
