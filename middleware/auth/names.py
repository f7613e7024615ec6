"""The names of users, and passwords where both sides must hash the same: SASLprep (RFC 4013).

    prepare("Ⅸ")        # "IX"
    user("a\\nb")        # ValueError

What was typed in two ways becomes one: compatible characters are folded together, odd blanks become blanks, what
nobody sees is dropped. Controls and the like are refused. Letter case stays.
"""

from __future__ import annotations

import stringprep
import unicodedata
from typing import Final

MOST: Final = 512  # characters of a name

_ESCAPES: Final = {"2C": ",", "3D": "="}
_PROHIBITED: Final = (
    stringprep.in_table_c12,
    stringprep.in_table_c21_c22,
    stringprep.in_table_c3,
    stringprep.in_table_c4,
    stringprep.in_table_c5,
    stringprep.in_table_c6,
    stringprep.in_table_c7,
    stringprep.in_table_c8,
    stringprep.in_table_c9,
)


def user(text: str) -> str:
    """The name of a user, prepared. ValueError for an empty or endless one, and for what no name has."""
    if not 0 < len(text) <= MOST:
        raise ValueError("no name")
    prepared = prepare(text)
    if not 0 < len(prepared) <= MOST:
        raise ValueError("no name")
    return prepared


def escaped(octets: bytes) -> str:
    """The name behind a saslname (RFC 5802 §5.1), where "," is =2C and "=" is =3D. ValueError."""
    start, *rest = octets.decode().split("=")
    if not all(part[:2] in _ESCAPES for part in rest):
        raise ValueError("a = that stands for nothing")
    return user(start + "".join(_ESCAPES[part[:2]] + part[2:] for part in rest))


def prepare(text: str) -> str:
    """SASLprep. ValueError for what it prohibits."""
    if text.isascii() and text.isprintable():
        return text
    mapped = "".join(" " if stringprep.in_table_c12(c) else c for c in text if not stringprep.in_table_b1(c))
    prepared = unicodedata.normalize("NFKC", mapped)
    if any(prohibits(c) for prohibits in _PROHIBITED for c in prepared):
        raise ValueError("a character that is prohibited")
    _check_directions(prepared)
    return prepared


def _check_directions(text: str) -> None:
    """RFC 3454 §6: from right to left, or from left to right."""
    if any(map(stringprep.in_table_d1, text)):
        ends = stringprep.in_table_d1(text[0]) and stringprep.in_table_d1(text[-1])
        if not ends or any(map(stringprep.in_table_d2, text)):
            raise ValueError("two directions")
