r"""Conversations kept in readable files, played against a stack.

    # The null sender is always heard.
    stack: vouch
    limits: errors=3

    S: 220 mx.test *
    C: HELO client.example.org
    S: 250 *
    C: MAIL FROM:<>
    C: RCPT TO:<b@example.org>
    S: 250 2.1.0 *
    S: 250 2.1.5 *
    C! QUIT\r\n
    S: 221 2.0.0 *
    S: (closed)
    D: none

`name: value` lines above the conversation are directives: `stack` is for the test, the others (client, hostname,
listener, limits, lmtp, normalise, rehearsal) are the options of `Dialog`.

C: a line that the client sends, CRLF added. Client lines that follow each other leave in one piece.
C! the same as raw octets, nothing added: \r \n \0 \\ \xNN, and {x*3000} for x three thousand times.
S: a line that the server must answer; `*` is any text. A text that is `*` alone is any number of lines, at least one.
D: the next message that reached the end of the stack, `sender -> recipient recipient`; `none` when there is no more.
D! how its content must end, written as in C!.
Done: `S: (closed)`, `C: (hangs up)`, `C: (end of file)`. A `#` begins a comment line.

A mismatch is an AssertionError with file, line, what was expected and what came.
"""

from __future__ import annotations

import re
from collections.abc import Awaitable, Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ..server.limits import Limits
from .answer import Answer
from .conversation import Conversation, Delivery

__all__ = ["Transcript", "TranscriptError", "play", "read"]


class TranscriptError(ValueError):
    """A file that is no transcript, with the place."""


@dataclass(frozen=True, slots=True)
class Line:
    """One line of the conversation. kind -- "S:", "C:", "C!", "D:", "D!". place -- "file:number"."""

    kind: str
    text: str
    place: str


@dataclass(frozen=True, slots=True)
class Transcript:
    """A file that was read. directives -- by name, as text. steps -- lines that belong together."""

    path: Path
    directives: dict[str, str]
    steps: tuple[tuple[Line, ...], ...]

    @property
    def options(self) -> dict[str, Any]:
        """The directives that are options of `Dialog`."""
        return {name: _OPTIONS[name](text) for name, text in self.directives.items() if name in _OPTIONS}


def _limits(text: str) -> Limits:
    """`errors=3 message_size=1000`, with a look at the clocks every 50 ms."""
    given = dict(word.split("=", 1) for word in text.split())
    return Limits(**{"sweep": 0.05, **{name: int(value) for name, value in given.items()}})  # type: ignore[arg-type]


_OPTIONS: dict[str, Callable[[str], object]] = {
    "client": str,
    "hostname": str,
    "listener": str,
    "limits": _limits,
    "lmtp": lambda text: text == "yes",
    "normalise": lambda text: text == "yes",
    "rehearsal": lambda text: text == "yes",
}

# Reading.

_DIRECTIVE = re.compile(r"([a-z_]+): *(.*)")
_LINE = re.compile(r"([SCD][:!]) ?(.*)")


def read(path: str | Path) -> Transcript:
    """Read a transcript. TranscriptError names the line that cannot be understood."""
    path = Path(path)
    directives: dict[str, str] = {}
    lines: list[Line] = []
    for number, text in enumerate(path.read_text("utf-8").splitlines(), 1):
        if not text.strip() or text.startswith("#"):
            continue
        if not lines and (directive := _DIRECTIVE.fullmatch(text)):
            directives[directive[1]] = directive[2]
        elif matched := _LINE.fullmatch(text):
            lines.append(Line(matched[1], matched[2], f"{path.name}:{number}"))
        else:
            raise TranscriptError(f"{path.name}:{number}: this is no line of a transcript: {text!r}")
    return Transcript(path, directives, tuple(_steps(lines)))


def _steps(lines: list[Line]) -> Iterator[tuple[Line, ...]]:
    """What is sent in one piece, what is one reply, or one delivery."""
    step: list[Line] = []
    for line in lines:
        if step and not _goes_on(step[-1], line):
            yield tuple(step)
            step = []
        step.append(line)
    if step:
        yield tuple(step)


def _goes_on(before: Line, line: Line) -> bool:
    """Whether a line belongs to the step of the one before."""
    if line.kind[0] != before.kind[0] or _special(before) or _special(line):
        return False
    if line.kind[0] == "S":
        return before.text[3:4] == "-"
    return line.kind[0] == "C" or line.kind == "D!"


def _special(line: Line) -> bool:
    return line.kind in ("S:", "C:") and line.text.startswith("(")


# Playing.


async def play(transcript: Transcript | str | Path, smtp: Conversation) -> None:
    """Play all of it. AssertionError at the first line that does not hold."""
    script = transcript if isinstance(transcript, Transcript) else read(transcript)
    deliveries = iter(smtp.messages)
    for step in script.steps:
        first = step[0]
        try:
            if first.kind[0] == "D":
                _compare_delivery(step, next(deliveries, None))
            else:
                await _PLAYERS.get(first.text, _speak if first.kind[0] == "C" else _listen)(step, smtp)
        except AssertionError as error:
            raise AssertionError(f"{first.place}: {error}") from error


async def _speak(step: tuple[Line, ...], smtp: Conversation) -> None:
    await smtp.send(b"".join(_raw(line.text) if line.kind == "C!" else f"{line.text}\r\n".encode() for line in step))


async def _listen(step: tuple[Line, ...], smtp: Conversation) -> None:
    answer = await smtp.reply()
    wanted = [line.text for line in step]
    if not _matches(wanted, answer):
        difference = "\n".join([*(f"- S: {text}" for text in wanted), *_heard(answer)])
        raise AssertionError(f"the server said otherwise\n{difference}\nthe conversation so far:\n{_so_far(smtp)}")


def _heard(answer: Answer) -> list[str]:
    return [f"+ S: {line}" for line in str(answer).splitlines()]


def _so_far(smtp: Conversation) -> str:
    return "\n".join(smtp.said[-40:])


_PLAYERS: dict[str, Callable[[tuple[Line, ...], Conversation], Awaitable[None]]] = {
    "(closed)": lambda step, smtp: smtp.closed(),
    "(hangs up)": lambda step, smtp: smtp.hang_up(),
    "(end of file)": lambda step, smtp: smtp.half_close(),
}

_ANY_TEXT = "[^\n]*"
_ANY_LINES = "(?:[^\n]*\n)*[^\n]*"


def _matches(wanted: list[str], answer: Answer) -> bool:
    """Whether the lines of a reply are those of the transcript; code and separator count too."""
    codes = {text[:3] for text in wanted}
    pattern = "\n".join(
        _ANY_LINES if text[4:] == "*" else _ANY_TEXT.join(map(re.escape, text[4:].split("*"))) for text in wanted
    )
    return codes == {str(answer.code)} and re.fullmatch(pattern, "\n".join(answer.lines)) is not None


def _compare_delivery(step: tuple[Line, ...], delivery: Delivery | None) -> None:
    envelope, *contents = step
    heard = "none" if delivery is None else f"{delivery.sender} -> {' '.join(delivery.recipients)}".lstrip()
    if heard != envelope.text.strip():
        raise AssertionError(f"another delivery\n- D: {envelope.text}\n+ D: {heard}")
    content = b"" if delivery is None else delivery.content
    for line in contents:
        if not content.endswith(_raw(line.text)):
            raise AssertionError(f"another content\n- D! {line.text}\n+ D! {content!r}")


_REPEATED = re.compile(r"\{(.+?)\*([0-9]+)\}")
_ESCAPE = re.compile(rb"\\(x[0-9A-Fa-f]{2}|[rn0\\])")
_OCTETS = {b"r": b"\r", b"n": b"\n", b"0": b"\0", b"\\": b"\\"}


def _raw(text: str) -> bytes:
    """The octets that a raw line stands for."""
    written = _REPEATED.sub(lambda found: found[1] * int(found[2]), text).encode()
    return _ESCAPE.sub(lambda found: _OCTETS.get(found[1]) or bytes.fromhex(found[1][1:].decode()), written)
