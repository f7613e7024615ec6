"""What an IMAP server says before it lets somebody in (RFC 9051, RFC 3501), without I/O.

    reader = Reader()
    for response in reader.feed(octets): …

Fails: `Nonsense` for what is no response, or a longer one than `LONGEST`.
"""

from __future__ import annotations

import re
from typing import Final, NamedTuple

from mailstack.services.elsewhere import Trouble

__all__ = ["LONGEST", "Nonsense", "Reader", "Response", "literal"]

LONGEST: Final = 64 * 1024  # octets of a response, literals included

_STATUS: Final = ("OK", "NO", "BAD", "BYE", "PREAUTH")
_RESPONSE: Final = re.compile(r"([A-Za-z0-9*]+) ([A-Za-z0-9.-]+)(?: (.*))?", re.DOTALL)
_CODE: Final = re.compile(r"\[([A-Za-z0-9./=+-]+)(?: ([^\]]*))?\]")
_LITERAL: Final = re.compile(rb"\{([0-9]{1,9})\+?\}\r?\n\Z")


class Nonsense(Trouble):
    """This is not what an IMAP server says."""


class Response(NamedTuple):
    """tag -- "*", "+", or that of a command. name -- "OK", "NO", "CAPABILITY", …; "" behind "+". Both in capitals.

    code -- of a status: "AUTHENTICATIONFAILED", in capitals; "" for none. words -- what stands behind the code's name,
    or else behind the response's: capabilities, for example.
    """

    tag: str
    name: str
    code: str
    words: str


class Reader:
    """Octets in, responses out. held -- whether an unfinished one is there."""

    __slots__ = ("_buffer", "_needed")

    def __init__(self) -> None:
        self._buffer = bytearray()
        self._needed = 0  # octets of the response at hand up to the end of its last literal

    @property
    def held(self) -> bool:
        return bool(self._buffer)

    def feed(self, octets: bytes) -> list[Response]:
        """Those that are complete now. Nonsense."""
        self._buffer += octets
        found = []
        while (response := self._next()) is not None:
            found.append(response)
        if len(self._buffer) > LONGEST:
            raise Nonsense(f"a response of more than {LONGEST} octets")
        return found

    def _next(self) -> Response | None:
        buffer = self._buffer
        while (end := buffer.find(b"\n", self._needed) + 1) > 0:
            literal = None if _is_text(buffer) else _LITERAL.search(buffer, max(self._needed, end - 16), end)
            if literal is None:
                line = bytes(buffer[:end])
                del buffer[:end]
                self._needed = 0
                return _parse(line)
            self._needed = end + int(literal[1])
            if self._needed > LONGEST:
                raise Nonsense(f"a response of more than {LONGEST} octets")
        return None


def _is_text(response: bytearray) -> bool:
    """Whether it ends with free text, where braces are braces."""
    words = bytes(response[:64]).split(b" ", 2)
    return words[0].startswith(b"+") or (
        len(words) > 1 and words[1].strip().upper().decode("ascii", "replace") in _STATUS
    )


def _parse(line: bytes) -> Response:
    text = line.rstrip(b"\r\n").decode("utf-8", "replace")
    if text == "+" or text.startswith("+ "):
        return Response("+", "", "", text[2:])
    match = _RESPONSE.fullmatch(text)
    if match is None:
        raise Nonsense("a line that is no response")
    tag, name, words = match[1].upper(), match[2].upper(), match[3] or ""
    code = _CODE.match(words) if name in _STATUS else None
    if code is not None:
        return Response(tag, name, code[1].upper(), code[2] or "")
    return Response(tag, name, "", words)


def literal(text: str, *, waits: bool = True) -> tuple[bytes, bytes]:
    """The announcement of a literal, behind which the server has to say "+" if that `waits`, and the literal."""
    octets = text.encode()
    return b"{%d%s}\r\n" % (len(octets), b"" if waits else b"+"), octets
