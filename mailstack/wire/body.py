"""Message bodies on the wire: sans-IO decoders of DATA and BDAT.

`DataDecoder` takes the octets after the 354 of DATA (RFC 5321 §4.1.1.4), undoes the transparency of §4.5.2 and finds
the end. `ChunkDecoder` takes the octets of the BDAT chunks of one message (RFC 3030).

    decoder = DataDecoder()
    while not decoder.done:
        spool(decoder.feed(await stream.receive()))
    reply = refuse(decoder.fault) if decoder.fault else accept(decoder.size)

Promises: however the octets are cut, output, fault and trailing are the same. Only CRLF.CRLF ends DATA; a chunk always
consumes exactly its size. Cost is a few passes of the C library over each piece of input, whatever is in it. Memory: at
most four octets are held back between calls.

Failure: a bare CR, a bare LF or a NUL sets `fault`; the octets before it are delivered, none after it, and the decoder
reads on to the true end, so that the refusal comes after it. With `normalise=True` nothing is faulty: bare CR and bare
LF become CRLF as data, and NUL is dropped. A BINARYMIME message is never mended: its header section is lines like any
other, and below the empty line its octets are free (RFC 3030 §3).
"""

import re
from io import IncrementalNewlineDecoder
from typing import Final

_CRLF: Final = b"\r\n"
_STUFFED: Final = b"\r\n."
_END: Final = b"\r\n.\r\n"
_BLANK_LINE: Final = b"\r\n\r\n"  # the end of the line before counts
_PREFIXES: Final = (b"\r\n.\r", b"\r\n.", b"\r\n", b"\r")  # what may be the start of _END, longest first

_SOUND: Final = (None, "\r\n")  # the kinds of line end that may have been met

_FAULT: Final = re.compile(rb"\r(?!\n)|(?<!\r)\n|\0")
_FAULT_NAMES: Final = {b"\r": "bare CR", b"\n": "bare LF", b"\0": "NUL"}


class DataDecoder:
    """The octets after 354, up to and including CRLF.CRLF.

    `done`: the end was found. `trailing`: the octets that followed it (pipelined commands), empty until done.
    `fault`: None, "bare CR", "bare LF" or "NUL", the first one met. `size`: decoded octets delivered so far.
    """

    __slots__ = ("_held", "_lead", "_normalise", "done", "fault", "size", "trailing")

    def __init__(self, normalise: bool = False) -> None:
        self._normalise = normalise
        self._held = _CRLF  # the line end of the DATA command, for a dot at the very start …
        self._lead = len(_CRLF)  # … is not part of the message
        self.done = False
        self.trailing = b""
        self.fault: str | None = None
        self.size = 0

    def feed(self, data: bytes) -> bytes:
        """Return the decoded octets that are certain now. RuntimeError once done."""
        if self.done:
            raise RuntimeError("the data has ended")
        wire = self._held + data if self._held else data
        if self.fault is not None:
            self._cut(wire, wire.find(_END))
            return b""
        # rfind takes half the time of find, and most pieces have no line that begins with a dot.
        stuffed = wire.find(_STUFFED) if wire.rfind(_STUFFED) >= 0 else -1
        end = wire.find(_END, stuffed) if stuffed >= 0 else -1
        stop = self._cut(wire, end)
        if stop == 0:
            return b""
        octets = wire[:stop]
        if stuffed != end:
            octets = octets.replace(_STUFFED, _CRLF)
        if self._lead:
            octets = octets[self._lead :]
            self._lead = 0
        if not _sound(octets):
            octets, self.fault = _mend(octets, self._normalise)
        self.size += len(octets)
        return octets

    def _cut(self, wire: bytes, end: int) -> int:
        """Keep what is not for now; return where the octets for now stop."""
        if end >= 0:
            self.done = True
            self._held = b""
            self.trailing = wire[end + len(_END) :]
            return end + len(_CRLF)
        self._held = next(filter(wire.endswith, _PREFIXES), b"")
        return len(wire) - len(self._held)


class ChunkDecoder:
    """The octets of one message's BDAT chunks: `start` each chunk, then `feed` until `done`.

    `done`: this chunk's octets are all consumed. `left`: how many are still to come. `trailing`: the octets that
    followed the chunk. `fault` and `size` are the message's, as in DataDecoder. There is no dot-stuffing here, and a
    line may go on in the next chunk. binary -- the message is BINARYMIME, which `normalise` leaves alone.
    """

    __slots__ = (
        "_binary",
        "_free",
        "_held",
        "_last",
        "_normalise",
        "_seen",
        "done",
        "fault",
        "left",
        "size",
        "trailing",
    )

    def __init__(self, normalise: bool = False, *, binary: bool = False) -> None:
        self._binary = binary
        self._free = False  # the header section of a binary message is over
        self._seen = _CRLF  # its last octets so far; an empty line at the very start ends it too
        self._normalise = normalise and not binary
        self._held = b""  # a CR whose LF may follow
        self.left = 0
        self._last = False
        self.done = True
        self.trailing = b""
        self.fault: str | None = None
        self.size = 0

    def start(self, size: int, last: bool) -> bytes:
        """Begin a chunk of `size` octets. RuntimeError while a chunk is unfinished or after the last one.

        Returns b"", or CRLF when an empty last chunk follows a CR that is to be normalised.
        """
        if not self.done or self._last:
            raise RuntimeError("the chunk before is unfinished" if not self.done else "the last chunk has been read")
        self.left = size
        self._last = last
        self.done = size == 0
        self.trailing = b""
        return self._take(b"") if self.done else b""

    def feed(self, data: bytes) -> bytes:
        """Return the decoded octets that are certain now. What comes when done is added to `trailing`."""
        if len(data) <= self.left:
            taken = data
        else:
            taken = data[: self.left]
            self.trailing += data[self.left :]
        self.left -= len(taken)
        self.done = self.left == 0
        return self._take(taken)

    def _take(self, data: bytes) -> bytes:
        if self.fault is not None:
            return b""
        return self._take_binary(data) if self._binary else self._take_lines(data)

    def _take_binary(self, data: bytes) -> bytes:
        """Lines up to the empty one, and below it whatever it is."""
        head = b""
        if not self._free:
            seen = self._seen + data
            blank = seen.find(_BLANK_LINE)
            if blank < 0:
                self._seen = seen[1 - len(_BLANK_LINE) :]
                return self._take_lines(data)
            end = blank + len(_BLANK_LINE) - len(self._seen)
            head = self._take_lines(data[:end])
            if self.fault is not None:
                return head
            self._free = True
            data = data[end:]
        self.size += len(data)
        return head + data if head else data

    def _take_lines(self, data: bytes) -> bytes:
        octets = self._held + data if self._held else data
        self._held = b""
        if octets.endswith(b"\r") and not (self._last and self.done):
            self._held = b"\r"
            octets = octets[:-1]
        if not _sound(octets):
            octets, self.fault = _mend(octets, self._normalise)
        self.size += len(octets)
        return octets


def _sound(octets: bytes) -> bool:
    """Whether CR and LF come only as CRLF and there is no NUL.

    The newline decoder notes in one pass which kinds of line end it meets: a fifth of the time of counting them. (To
    compare what is left when all but CR and LF is deleted would not do: CR x LF leaves CRLF.)
    """
    kinds = IncrementalNewlineDecoder(None, translate=False)
    kinds.decode(octets.decode("latin-1"), final=True)
    return kinds.newlines in _SOUND and octets.find(b"\0") < 0  # `in` would try a number first, for 1,900 instructions


def _mend(octets: bytes, normalise: bool) -> tuple[bytes, str | None]:
    """Octets with a fault: what precedes it and its name, or all of it with proper line ends and no fault."""
    if normalise:  # line ends before NUL, or CR NUL LF would be one line end or two by where it is cut
        lines = octets.replace(_CRLF, b"\n").replace(b"\r", b"\n").replace(b"\n", _CRLF)
        return lines.replace(b"\0", b""), None
    found = _FAULT.search(octets)
    if found is None:
        raise AssertionError(octets)
    return octets[: found.start()], _FAULT_NAMES[found[0]]
