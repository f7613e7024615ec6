"""What a client hears: octets in, complete replies out (RFC 5321 §4.2).

    reader = AnswerReader()
    reader.feed(await stream.receive())
    while answer := reader.next_answer():
        answer.code, answer.status, answer.text     # 550, "5.1.1", "no such user"

A client is lenient where the RFC lets it be: a line may end with a bare LF, have no text, or be the bare code; the text
may be any octets. It is strict where being lenient would be guessing: the code has three digits and is of a class that
means something (2xx to 5xx), all lines of a reply have the same one, and nothing grows without end. With `strict=True`
only what a correct server sends passes, which is what tests want.

However the octets are cut, the answers are the same. Failure: `ProtocolError`; the conversation cannot go on then.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Final

from .reply import Reply

__all__ = ["Answer", "AnswerReader", "ProtocolError"]

_STRICT_LINE: Final = 512  # octets with the line end: RFC 5321 §4.5.3.1.5

_PATTERN: Final = re.compile(rb"([2-5][0-9]{2})(?:([ -])(.*))?", re.DOTALL)
_STRICT_PATTERN: Final = re.compile(rb"([2-5][0-9]{2})([ -])([\x20-\x7e]*)")
_STATUS: Final = re.compile(r"([245]\.(?:0|[1-9][0-9]{0,2})\.(?:0|[1-9][0-9]{0,2}))(?: |$)")  # RFC 3463 §2

_AUTH: Final = re.compile(r"^AUTH=", re.IGNORECASE)


class ProtocolError(Exception):
    """What came is not SMTP. The text says why, with nothing unprintable in it."""


@dataclass(frozen=True, slots=True, eq=False)
class Answer:
    """One reply as it came. It equals its code: `answer == 250`.

    code -- 200 to 599. lines -- the text of each line, its enhanced status included; octets that are no UTF-8 are
    U+FFFD, control characters are as they came.
    """

    code: int
    lines: tuple[str, ...]

    @property
    def status(self) -> str | None:
        """The enhanced status ("5.7.1") when every line carries the same one, of the code's class; else None."""
        found = {self._status_of(line) for line in self.lines}
        return found.pop() if len(found) == 1 else None

    @property
    def text(self) -> str:
        """The text without code and status, lines joined by LF."""
        status = self.status
        return "\n".join(line[len(status) + 1 :] if status else line for line in self.lines)

    @property
    def keywords(self) -> dict[str, str]:
        """The answer to EHLO: each keyword, in upper case, with its argument.

        "AUTH=LOGIN", which some servers write beside or instead of "AUTH LOGIN", counts as the latter.
        """
        found: dict[str, str] = {}
        for line in self.lines[1:]:
            word, _, argument = _AUTH.sub("AUTH ", line.strip()).partition(" ")
            word, argument = word.upper(), argument.strip()
            found[word] = f"{found[word]} {argument}".strip() if word == "AUTH" and word in found else argument
        found.pop("", None)
        return found

    def reply(self) -> Reply:
        """The same as a value that can be passed on."""
        return Reply(self.code, self.text, status=None if 300 <= self.code < 400 else self.status)

    def _status_of(self, line: str) -> str | None:
        matched = _STATUS.match(line)
        return matched[1] if matched and matched[1][0] == str(self.code)[0] else None

    def __eq__(self, other: object) -> bool:
        if isinstance(other, int):
            return self.code == other
        return isinstance(other, Answer) and (self.code, self.lines) == (other.code, other.lines)

    def __hash__(self) -> int:
        return hash(self.code)

    def __str__(self) -> str:
        *lines, last = self.lines
        return "\n".join([*(f"{self.code}-{line}" for line in lines), f"{self.code} {last}"])


class AnswerReader:
    """Octets in, answers out.

    strict -- CRLF only, printable ASCII, lines of at most 512 octets. line_limit -- octets of a line with its end.
    lines, size -- how many lines and octets a reply may have.
    """

    __slots__ = ("_at", "_buffer", "_code", "_line_limit", "_lines", "_most_lines", "_most_octets", "_size", "_strict")

    def __init__(
        self, *, strict: bool = False, line_limit: int = 4096, lines: int = 128, size: int = 64 * 1024
    ) -> None:
        self._strict = strict
        self._line_limit = _STRICT_LINE if strict else line_limit
        self._most_lines = lines
        self._most_octets = size
        self._buffer = b""
        self._at = 0
        self._code = 0
        self._lines: list[str] = []
        self._size = 0

    def feed(self, data: bytes) -> None:
        """Take what arrived."""
        self._buffer = self._buffer[self._at :] + data if self._at < len(self._buffer) else data
        self._at = 0

    def discard(self) -> None:
        """Forget what was not read yet (before TLS: RFC 3207 §4.2)."""
        self._buffer = b""
        self._at = 0
        self._lines = []
        self._size = 0

    @property
    def unread(self) -> bytes:
        """What no answer has told of, but for the lines before it of an unfinished reply."""
        return self._buffer[self._at :]

    @property
    def midway(self) -> bool:
        """Whether a reply has begun and is not complete."""
        return bool(self._lines) or self._at < len(self._buffer)

    def next_answer(self) -> Answer | None:
        """The next complete reply, or None when more must come. ProtocolError."""
        while (end := self._buffer.find(b"\n", self._at)) >= 0:
            line = self._buffer[self._at : end + 1]
            self._at = end + 1
            if self._take(line):
                lines, self._lines, self._size = self._lines, [], 0
                return Answer(self._code, tuple(lines))
        if len(self._buffer) - self._at >= self._line_limit:
            raise ProtocolError(f"a reply line of more than {self._line_limit} octets")
        return None

    def _take(self, line: bytes) -> bool:
        """One line of a reply; True when it is the last."""
        self._size += len(line)
        if len(line) > self._line_limit:
            raise ProtocolError(f"a reply line of {len(line)} octets: {line[:80]!r}…")
        if len(self._lines) >= self._most_lines or self._size > self._most_octets:
            raise ProtocolError(f"a reply without end: {len(self._lines) + 1} lines, {self._size} octets")
        if self._strict and not line.endswith(b"\r\n"):
            raise ProtocolError(f"a reply line ends without CR: {line!r}")
        bare = line[:-2] if line.endswith(b"\r\n") else line[:-1]
        matched = (_STRICT_PATTERN if self._strict else _PATTERN).fullmatch(bare)
        if matched is None:
            raise ProtocolError(f"this is no reply: {line[:80]!r}")
        code = int(matched[1])
        if self._lines and self._code != code:
            raise ProtocolError(f"the code changes inside a reply: {line[:80]!r}")
        self._code = code
        self._lines.append((matched[3] or b"").decode("utf-8", "replace"))
        return matched[2] != b"-"
