"""Dovecot's authentication protocol, the client's side, without I/O (dovecot.org/doc/auth-protocol.txt, version 1).

    dialogue = Dialogue()
    send(hello(number))
    for answer in dialogue.feed(octets): …           # once `dialogue.mechanisms` is not None requests may follow
    send(request(1, login, {"rip": "192.0.2.1"}))

Lines of words with tabs between them. What a client of ours says is in base64, so nothing in it can end a word.

Fails: `Nonsense` for what is no line of this protocol.
"""

from __future__ import annotations

import re
from base64 import b64encode
from collections.abc import Mapping
from typing import Final, NamedTuple

from mailstack.services.elsewhere import Trouble
from mailstack.session.credentials import Password

__all__ = ["Answer", "Dialogue", "Nonsense", "escape", "hello", "request", "words"]

LONGEST: Final = 16 * 1024  # octets of a line
MECHANISMS: Final = 100

_ESCAPES: Final = {b"0": b"\0", b"1": b"\1", b"t": b"\t", b"r": b"\r", b"n": b"\n"}
_ESCAPED: Final = re.compile(rb"\x01([01trn])")
_TO_ESCAPE: Final = re.compile(r"[\x00\x01\t\r\n]")
_ESCAPE_OF: Final = {value.decode(): "\1" + key.decode() for key, value in _ESCAPES.items()}
_ID: Final = re.compile(r"[0-9]{1,10}")


class Nonsense(Trouble):
    """This is not what Dovecot says."""


class Answer(NamedTuple):
    """verb -- "OK", "FAIL" or "CONT". id -- of the request. fields -- "name=value", a name alone has the value ""."""

    verb: str
    id: int
    fields: Mapping[str, str]


class Dialogue:
    """What Dovecot says. mechanisms -- those that it listed, once it has said that this was all; None before."""

    __slots__ = ("_held", "_listed", "mechanisms")

    def __init__(self) -> None:
        self._held = b""
        self._listed: list[str] | None = None  # None: not even a version yet
        self.mechanisms: frozenset[str] | None = None

    def feed(self, octets: bytes) -> list[Answer]:
        """The answers that are complete now. Nonsense."""
        *lines, self._held = (self._held + octets).split(b"\n")
        if any(len(line) > LONGEST for line in (*lines, self._held)):
            raise Nonsense(f"a line of more than {LONGEST} octets")
        return [answer for line in lines if (answer := self._line(words(line))) is not None]

    def _line(self, line: list[str]) -> Answer | None:
        verb, *rest = line
        if self._listed is None:
            if verb != "VERSION" or rest[:1] != ["1"]:
                raise Nonsense("it does not begin with version 1 of the protocol")
            self._listed = []
        elif self.mechanisms is None:
            self._handshake(verb, rest)
        elif verb in ("OK", "FAIL", "CONT"):
            if not rest or not _ID.fullmatch(rest[0]):
                raise Nonsense(f"{verb} without a number")
            return Answer(verb, int(rest[0]), _fields(rest[1:]))
        return None  # what newer versions say besides

    def _handshake(self, verb: str, rest: list[str]) -> None:
        assert self._listed is not None
        if verb == "MECH" and rest:
            self._listed.append(rest[0].upper())
            if len(self._listed) > MECHANISMS:
                raise Nonsense(f"more than {MECHANISMS} mechanisms")
        elif verb == "DONE":
            self.mechanisms = frozenset(self._listed)


def words(line: bytes) -> list[str]:
    """The words of a line, as they were before they were escaped. What is not UTF-8 is replaced."""
    return [
        _ESCAPED.sub(lambda match: _ESCAPES[match[1]], word).decode("utf-8", "replace") for word in line.split(b"\t")
    ]


def escape(word: str) -> str:
    """A word that ends where it ends."""
    return _TO_ESCAPE.sub(lambda match: _ESCAPE_OF[match[0]], word)


def hello(number: int) -> bytes:
    """The handshake of a client: a number that no other connection to that Dovecot has."""
    return f"VERSION\t1\t1\nCPID\t{number}\n".encode("ascii")


def request(id: int, login: Password, fields: Mapping[str, str]) -> bytes:
    """Ask whether a password is right (RFC 4616). fields -- a name with the value "" stands alone."""
    told = b64encode(f"\0{login.user}\0{login.password}".encode()).decode("ascii")
    said = [f"{name}={escape(value)}" if value else name for name, value in fields.items()]
    return "\t".join(["AUTH", str(id), "PLAIN", *said, f"resp={told}"]).encode() + b"\n"  # resp comes last


def _fields(parts: list[str]) -> Mapping[str, str]:
    return {name: value for name, _, value in (part.partition("=") for part in parts)}
