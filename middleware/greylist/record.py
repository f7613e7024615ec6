"""What is remembered of a triplet or a client, and what it means. Without I/O."""

from __future__ import annotations

import re
import struct
from typing import Final, NamedTuple

_FORM: Final = struct.Struct("!ddI")

_BATV: Final = re.compile(r"^(?:prvs=[^=]*=|msprvs1=[^=]*=|btv1==[^=]*==)")
_SRS: Final = re.compile(r"^(srs[01])[=+-].*", re.DOTALL)
_WORD: Final = re.compile(r"[^-_=.]+")


class Record(NamedTuple):
    """first, last -- when it was seen, in seconds since 1970. passed -- how often it was let in.

    words -- who it is, for people: client, sender and recipient.
    """

    first: float
    last: float
    passed: int
    words: str

    def pack(self) -> bytes:
        """As octets, bounded."""
        return _FORM.pack(self.first, self.last, self.passed) + self.words.encode("utf-8", "replace")[:800]

    @classmethod
    def unpack(cls, octets: bytes | None) -> Record | None:
        """None for None, and for what is none."""
        if octets is None or len(octets) < _FORM.size:
            return None
        first, last, passed = _FORM.unpack_from(octets)
        return cls(first, last, passed, octets[_FORM.size :].decode("utf-8", "replace"))


def normal_sender(address: str) -> str:
    """A sender as the next try is likely to have it: without tags of the day, details, and words with numbers.

    prvs=12ab=ann+x@example.org is ann@example.org, bounce-4711-bob@list.example is bounce-#-bob@list.example. A name of
    one word stays: user1 and user2 are two.
    """
    local, at, domain = address.lower().rpartition("@")
    local = _BATV.sub("", local).partition("+")[0]
    if (rewritten := _SRS.match(local)) is not None:
        local = rewritten[1]
    elif not _WORD.fullmatch(local):
        local = _WORD.sub(_without_numbers, local)
    return f"{local}{at}{domain}"


def _without_numbers(word: re.Match[str]) -> str:
    return "#" if any(map(str.isdigit, word[0])) else word[0]
