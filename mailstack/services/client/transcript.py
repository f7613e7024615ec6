"""What a conversation looks like to a person: `Transcript` is called with ("C", line) and ("S", line)."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import TypeAlias

from ...wire.answer import Answer

__all__ = ["Transcript", "heard", "said", "shown", "veiled"]

Transcript: TypeAlias = Callable[[str, str], None]

LONGEST = 500  # characters of a line


def shown(line: str) -> str:
    """A line on one line, without what a terminal might obey."""
    text = line if line.isprintable() else line.encode("unicode_escape").decode("ascii")
    return text if len(text) <= LONGEST else f"{text[:LONGEST]}… ({len(text)} characters)"


def said(octets: bytes) -> list[str]:
    """Each of some command lines."""
    return [shown(line) for line in octets.decode("utf-8", "replace").split("\r\n")[:-1]]


def heard(answer: Answer) -> list[str]:
    """Each line of an answer."""
    *lines, last = answer.lines
    return [*(shown(f"{answer.code}-{line}") for line in lines), shown(f"{answer.code} {last}")]


def veiled(text: str, secrets: Iterable[str]) -> str:
    """A text of the server's, which may say after us what nobody is to read."""
    for secret in secrets:
        text = text.replace(secret, "(hidden)")
    return text
