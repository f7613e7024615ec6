"""The text parts of a message, decoded. Without I/O, and in one pass over the octets however parts are nested.

The standard library's parser asks at each line for every boundary that is open, and calls itself for each level: a
stranger can make it work for minutes. Here a part ends at any boundary that was announced before it, which finds the
same parts in sound mail. What is broken is read as well as it goes.
"""

from __future__ import annotations

import binascii
import re
from collections.abc import Iterator
from email.message import Message
from email.parser import HeaderParser
from typing import Final

__all__ = ["texts"]

_PARTS: Final = 100  # of a message, that are looked into
_HEADER: Final = 16 * 1024  # octets of a part's header section
_DELIMITER: Final = re.compile(rb"^--([^\r\n]{1,200})\r?$", re.MULTILINE)  # RFC 2046 §5.1.1
_BLANK: Final = re.compile(rb"\r?\n\r?\n|\A\r?\n")
_NOT_BASE64: Final = bytes(set(range(256)) - set(b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/"))
_CHARSETS: Final = frozenset({"utf-7", "utf-16", "utf-16le", "utf-16be", "utf-32", "utf-32le", "utf-32be"})


def texts(octets: bytes) -> Iterator[tuple[str, bool]]:
    """Each text part, and whether it is HTML. The names of hosts are ASCII, whatever the charset calls itself."""
    boundaries: set[bytes] = set()
    at = 0
    for _ in range(_PARTS):
        header, at = _header(octets, at)
        kind = header.get_content_type()
        if kind == "message/rfc822":  # its header section begins here
            continue
        if (boundary := header.get_boundary("")) and kind.startswith("multipart/"):
            boundaries.add(boundary.encode("utf-8", "surrogateescape").rstrip())
        end, following = _end(octets, at, boundaries)
        if kind.startswith("text/"):
            yield _decoded(octets[at:end], header), kind == "text/html"
        if following is None:
            return
        at = following


def _header(octets: bytes, at: int) -> tuple[Message, int]:
    """A header section, and where what it is about begins."""
    section = octets[at : at + _HEADER]
    blank = _BLANK.search(section)
    end = len(section) if blank is None else blank.end()
    return HeaderParser().parsestr(section[:end].decode("ascii", "surrogateescape"), headersonly=True), at + end


def _end(octets: bytes, at: int, boundaries: set[bytes]) -> tuple[int, int | None]:
    """Where a part ends, and where the next one begins; None: there is no other."""
    for found in _DELIMITER.finditer(octets, at) if boundaries else ():
        line = found[1].rstrip()
        if line in boundaries or line.removesuffix(b"--") in boundaries:
            return found.start(), found.end() + 1
    return len(octets), None


def _decoded(content: bytes, header: Message) -> str:
    match str(header.get("Content-Transfer-Encoding", "")).strip().lower():
        case "base64":
            content = _from_base64(content)
        case "quoted-printable":
            content = binascii.a2b_qp(content)
    charset = str(header.get_content_charset(""))
    return content.decode(charset if charset in _CHARSETS else "utf-8", "replace")


def _from_base64(content: bytes) -> bytes:
    digits = content.translate(None, _NOT_BASE64)
    whole = len(digits) // 4 * 4
    rest = digits[whole:]
    return binascii.a2b_base64(digits[:whole] + (rest + b"==")[:4] if len(rest) > 1 else digits[:whole])
