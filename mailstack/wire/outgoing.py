"""Message bodies on their way out: sans-IO encoders of DATA and BDAT.

    stuffer = DotStuffer()
    for chunk in chunks: send(stuffer.feed(chunk))
    send(stuffer.end())                                  # CRLF if it is missing, and the line of one dot

`DotStuffer` is for DATA (RFC 5321 §4.5.2); `LineEnds` and `chunk_line` are for BDAT without BINARYMIME (RFC 3030).
Both make every line end CRLF: a bare CR or LF in what we send could be a line end to a lenient next hop, and a dot
behind it the end of the message, with commands of somebody's choice after it. So each of CR, LF and CRLF is one line
end, every line that begins with a dot gets another one, and nothing else changes: NUL and octets above 127 go as they
are.

Promises: however the octets are cut, what leaves is the same. Cost: one pass of the C library over what is sound
already, three more over what is not; no loop per line. At most one octet is held back.
"""

from __future__ import annotations

from io import IncrementalNewlineDecoder
from typing import Final

__all__ = ["DotStuffer", "LineEnds", "chunk_line"]

_CRLF: Final = b"\r\n"
_SOUND: Final = (None, "\r\n")  # the kinds of line end that may have been met


class LineEnds:
    """Makes CR, LF and CRLF CRLF. `size` -- octets given out so far."""

    __slots__ = ("_held", "size")

    def __init__(self) -> None:
        self._held = b""  # a CR whose LF may follow
        self.size = 0

    def feed(self, data: bytes) -> bytes:
        """What is certain now."""
        octets = self._held + data if self._held else data
        self._held = b""
        if octets.endswith(b"\r"):
            self._held = b"\r"
            octets = octets[:-1]
        octets = _canonical(octets)
        self.size += len(octets)
        return octets

    def end(self) -> bytes:
        """The last octets: a line end for a CR that was the last octet, else nothing."""
        if not self._held:
            return b""
        self._held = b""
        self.size += len(_CRLF)
        return _CRLF


class DotStuffer:
    """A message as DATA sends it. `size` -- octets given out so far, stuffing and end included."""

    __slots__ = ("_ends", "_tail", "size")

    def __init__(self) -> None:
        self._ends = LineEnds()
        self._tail = _CRLF  # the last two octets that were given out; the DATA command's line end at first
        self.size = 0

    def feed(self, data: bytes) -> bytes:
        """The octets for the wire that are certain now."""
        return self._stuffed(self._ends.feed(data))

    def end(self) -> bytes:
        """The last octets: a line end if the message has none, and the line of one dot."""
        rest = self._stuffed(self._ends.end())
        end = b".\r\n" if self._tail == _CRLF else b"\r\n.\r\n"
        self.size += len(end)
        return rest + end

    def _stuffed(self, octets: bytes) -> bytes:
        if not octets:
            return b""
        starts = octets.startswith(b".") and self._tail == _CRLF
        self._tail = (self._tail + octets[-2:])[-2:]
        if octets.rfind(b"\r\n.") >= 0:  # rfind takes half the time of replace, and most pieces have none
            octets = octets.replace(b"\r\n.", b"\r\n..")
        if starts:
            octets = b"." + octets
        self.size += len(octets)
        return octets


def chunk_line(size: int, last: bool) -> bytes:
    """The command before a chunk of `size` octets."""
    return b"BDAT %d LAST\r\n" % size if last else b"BDAT %d\r\n" % size


def _canonical(octets: bytes) -> bytes:
    """With CRLF line ends; `octets` does not end with CR.

    The newline decoder notes in one pass which kinds of line end it meets.
    """
    kinds = IncrementalNewlineDecoder(None, translate=False)
    kinds.decode(octets.decode("latin-1"), final=True)
    if kinds.newlines in _SOUND:
        return octets
    return octets.replace(_CRLF, b"\n").replace(b"\r", b"\n").replace(b"\n", _CRLF)
