"""What a server answers: a code, an enhanced status and a text.

    Reply(550, "no such user here", status="5.1.1").encode()   # b"550 5.1.1 no such user here\\r\\n"

A `Reply` is a value: it can be a module constant, compared, hashed and sent any number of times; its octets are made at
the first `encode()` and kept. Whatever its text is, what leaves is a legal reply of RFC 5321 §4.2: printable ASCII,
lines of at most 512 octets, at most 100 of them, no stray line end. A reply that contradicts itself (a status of
another class than its code, say) is a ValueError where it is made, not where it is sent.
"""

from __future__ import annotations

import re
import ssl
from collections.abc import Iterator, Mapping
from dataclasses import KW_ONLY, dataclass, field
from typing import Final

from .slots import setters

__all__ = [
    "CANNOT_VERIFY",
    "LOGIN_NEEDED",
    "LOGIN_TROUBLE",
    "NO_SUCH_MAILBOX",
    "RELAYING_DENIED",
    "Reply",
]

_LINES: Final = 100
_LINE: Final = 512  # octets with CRLF: RFC 5321 §4.5.3.1.5
_WIDTH: Final = _LINE - len("250-") - len("2.999.999 ") - len("\r\n")

_BREAK: Final = re.compile(r"\r\n|\n|\r")
_UNPRINTABLE: Final = re.compile(r"[^ -~]")
_STATUS: Final = re.compile(r"[245]\.(?:0|[1-9][0-9]{0,2})\.(?:0|[1-9][0-9]{0,2})")  # RFC 3463 §2

# What a code means when its author says no more: enhanced status (RFC 3463, RFC 5248; none for 3xx) and text.
_DEFAULTS: Final[Mapping[int, tuple[str | None, str]]] = {
    211: ("2.0.0", "system status"),
    214: ("2.0.0", "see RFC 5321"),
    220: ("2.0.0", "ready"),
    221: ("2.0.0", "goodbye"),
    235: ("2.7.0", "authenticated"),
    250: ("2.0.0", "ok"),
    251: ("2.1.5", "user not local; will forward"),
    252: ("2.1.5", "cannot verify, but will try to deliver"),
    334: (None, ""),
    354: (None, "go ahead, end with a line of one dot"),
    421: ("4.3.2", "service not available, closing the connection"),
    432: ("4.7.12", "a password transition is needed"),
    450: ("4.2.0", "mailbox unavailable, try again later"),
    451: ("4.3.0", "try again later"),
    452: ("4.3.1", "insufficient storage, try again later"),
    454: ("4.7.0", "temporary authentication failure"),
    455: ("4.5.4", "cannot accommodate the parameters now"),
    500: ("5.5.2", "syntax error, command not recognised"),
    501: ("5.5.4", "syntax error in the arguments"),
    502: ("5.5.1", "command not implemented"),
    503: ("5.5.1", "bad sequence of commands"),
    504: ("5.5.4", "parameter not implemented"),
    521: ("5.3.2", "this host does not accept mail"),
    523: ("5.3.4", "message too big"),
    525: ("5.7.13", "user account disabled"),
    530: ("5.7.0", "authentication required"),
    534: ("5.7.9", "authentication mechanism is too weak"),
    535: ("5.7.8", "authentication credentials invalid"),
    538: ("5.7.11", "encryption required for this authentication mechanism"),
    550: ("5.7.1", "refused"),
    551: ("5.1.6", "user not local"),
    552: ("5.3.4", "message too big"),
    553: ("5.1.3", "mailbox name not allowed"),
    554: ("5.0.0", "transaction failed"),
    555: ("5.5.4", "parameter not recognised"),
    556: ("5.1.10", "that domain does not accept mail"),
}
_CLASS_TEXTS: Final = {2: "ok", 3: "go ahead", 4: "try again later", 5: "refused"}


@dataclass(frozen=True, slots=True, init=False)
class Reply:
    """One answer to one command.

    code -- 200 to 599.
    text -- a line break (CRLF, LF or CR) makes a multi-line reply; other controls and non-ASCII leave as "?"; long
            lines are folded. Empty: the usual text of the code (none for 334).
    status -- enhanced status such as "5.7.1" (RFC 3463); default: the usual one of the code. 3xx has none.
    close -- the connection ends after this reply.
    start_tls -- TLS begins, with this context, after this reply.

    ValueError: a code out of range, a malformed status, or one of another class than the code.
    """

    code: int
    text: str
    _: KW_ONLY
    status: str | None
    close: bool
    start_tls: ssl.SSLContext | None
    _enhanced: bytes = field(init=False, repr=False, compare=False)
    _plain: bytes = field(init=False, repr=False, compare=False)

    def __init__(
        self,
        code: int,
        text: str = "",
        *,
        status: str | None = None,
        close: bool = False,
        start_tls: ssl.SSLContext | None = None,
    ) -> None:
        if not 200 <= code <= 599:
            raise ValueError(f"reply code {code!r} is not in 200 to 599")
        usual = _DEFAULTS.get(code)
        if status is not None:
            _check_status(status, code)
        elif code // 100 != 3:
            status = usual[0] if usual else f"{code // 100}.0.0"
        if not text.strip("\r\n"):
            text = usual[1] if usual else _CLASS_TEXTS[code // 100]
        _set_code(self, code)
        _set_text(self, text)
        _set_status(self, status)
        _set_close(self, close)
        _set_start_tls(self, start_tls)
        _set_enhanced(self, b"")
        _set_plain(self, b"")

    @property
    def positive(self) -> bool:
        """2xx and 3xx."""
        return self.code < 400

    @property
    def temporary(self) -> bool:
        """4xx: the client should try again."""
        return 400 <= self.code < 500

    @property
    def permanent(self) -> bool:
        """5xx: the client should not try again."""
        return self.code >= 500

    @property
    def refused(self) -> bool:
        """4xx and 5xx."""
        return self.code >= 400

    def encode(self, enhanced: bool = True) -> bytes:
        """The octets that leave, with the status in every line (RFC 2034 §4) if `enhanced` and the code has one.

        The greeting and the answers to HELO, EHLO and LHLO are never enhanced (RFC 2034 §3).
        """
        return (self._enhanced if enhanced else self._plain) or self._encode(enhanced)

    def _encode(self, enhanced: bool) -> bytes:
        code, text = self.code, self.text
        status = f"{self.status} " if enhanced and self.status else ""
        if len(text) <= _WIDTH and text.isascii() and text.isprintable():  # as nearly all are: nothing to fold
            octets = f"{code} {status}{text}\r\n".encode("ascii")
        else:
            *lines, last = _fold(text)
            parts = [f"{code}-{status}{line}\r\n" for line in lines]
            octets = f"{''.join(parts)}{code} {status}{last}\r\n".encode("ascii")
        (_set_enhanced if enhanced else _set_plain)(self, octets)
        return octets

    def __str__(self) -> str:
        """One line for the log: "550 5.7.1 text", line breaks and all that is not printable ASCII escaped."""
        text = self.text.encode("unicode_escape").decode("ascii")
        return " ".join(filter(None, (str(self.code), self.status, text)))


_set_code, _set_text, _set_status, _set_close, _set_start_tls, _set_enhanced, _set_plain = setters(Reply)


def _check_status(status: str, code: int) -> None:
    if not _STATUS.fullmatch(status):
        raise ValueError(f"malformed enhanced status {status!r}")
    if int(status[0]) != code // 100:
        raise ValueError(f"status {status} contradicts code {code}")


def _fold(text: str) -> list[str]:
    """The lines of a text, printable and short enough, at least one and at most `_LINES`."""
    text = text.strip("\r\n")[: _LINES * _LINE]  # whatever its author did, the work is bounded
    lines = [piece for line in _BREAK.split(text)[:_LINES] for piece in _pieces(_UNPRINTABLE.sub("?", line))]
    return lines[:_LINES]


def _pieces(line: str) -> Iterator[str]:
    """Cut at the last blank that fits, in mid-word when there is none."""
    while len(line) > _WIDTH:
        cut = line.rfind(" ", 1, _WIDTH + 1)
        yield line[: cut if cut > 0 else _WIDTH]
        line = line[cut + 1 :] if cut > 0 else line[_WIDTH:]
    yield line


# What several say word for word, the core and middleware. Of a mailbox that does not exist; whoever must not be told
# another reason hears the same.
NO_SUCH_MAILBOX: Final = Reply(550, "no such mailbox here", status="5.1.1")
RELAYING_DENIED: Final = Reply(550, "relaying denied", status="5.7.1")
CANNOT_VERIFY: Final = Reply(252, "send some mail, and see", status="2.5.0")
LOGIN_NEEDED: Final = Reply(530, "authentication required", status="5.7.0")  # RFC 4954 §6
LOGIN_TROUBLE: Final = Reply(454, "temporary authentication failure, try again later", status="4.7.0")
