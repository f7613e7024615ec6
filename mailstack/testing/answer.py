"""What a client was answered: one complete reply, as it came over the wire.

    answer = await smtp.say("MAIL FROM:<a@example.org>")
    assert answer == 250 and answer.status == "2.1.0"

Parsing is strict: what is no reply of RFC 5321 §4.2 fails the test, since a server of ours must never send it.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

__all__ = ["Answer", "Reader"]

LONGEST = 512  # octets of a line with its end: RFC 5321 §4.5.3.1.5

_LINE = re.compile(rb"([2-5][0-9]{2})([ -])([\x20-\x7e]*)")
_STATUS = re.compile(r"([245])\.[0-9]{1,3}\.[0-9]{1,3} ")


@dataclass(frozen=True, slots=True, eq=False)
class Answer:
    """One reply. It equals its code: `answer == 250`.

    code -- 200 to 599. lines -- the text of each line, its enhanced status included.
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
        """The answer to EHLO: each keyword with its argument."""
        return {word: argument for word, _, argument in (line.partition(" ") for line in self.lines[1:])}

    def _status_of(self, line: str) -> str | None:
        matched = _STATUS.match(line)
        return matched[0].strip() if matched and matched[1] == str(self.code)[0] else None

    def __eq__(self, other: object) -> bool:
        if isinstance(other, int):
            return self.code == other
        return isinstance(other, Answer) and (self.code, self.lines) == (other.code, other.lines)

    def __hash__(self) -> int:
        return hash(self.code)

    def __str__(self) -> str:
        *lines, last = self.lines
        return "\n".join([*(f"{self.code}-{line}" for line in lines), f"{self.code} {last}"])


class Reader:
    """Octets in, answers out. AssertionError for what is no legal reply."""

    __slots__ = ("_lines", "unread")

    def __init__(self) -> None:
        self.unread = b""
        self._lines: list[tuple[int, str]] = []

    def feed(self, data: bytes) -> None:
        """Take what arrived."""
        self.unread += data

    def next_answer(self) -> Answer | None:
        """The next complete reply, or None when more must come."""
        while (end := self.unread.find(b"\n")) >= 0:
            line, self.unread = self.unread[: end + 1], self.unread[end + 1 :]
            if self._take(line):
                lines, self._lines = self._lines, []
                return Answer(lines[0][0], tuple(text for _, text in lines))
        return None

    @property
    def midway(self) -> bool:
        """Whether a reply has begun and is not complete."""
        return bool(self.unread or self._lines)

    def _take(self, line: bytes) -> bool:
        """One line of a reply; True when it is the last."""
        assert len(line) <= LONGEST, f"a reply line of {len(line)} octets: {line[:80]!r}…"
        assert line.endswith(b"\r\n"), f"a reply line ends without CR: {line!r}"
        matched = _LINE.fullmatch(line[:-2])
        assert matched is not None, f"this is no reply: {line!r}"
        code = int(matched[1])
        assert not self._lines or self._lines[0][0] == code, f"the code changes inside a reply: {line!r}"
        self._lines.append((code, matched[3].decode("ascii")))
        return matched[2] == b" "
