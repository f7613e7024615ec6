"""The names of users, prepared by SASLprep (RFC 4013): what was typed in two ways becomes one. Letter case stays.

user("\u2168")             # "IX"
user("a\\nb")             # ValueError
escaped(b"a=2Cb")        # "a,b"
"""

from __future__ import annotations

from typing import Final

from mailstack.services.passwords.saslprep import prepare

MOST: Final = 512  # characters of a name

_ESCAPES: Final = {"2C": ",", "3D": "="}


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
