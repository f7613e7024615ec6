"""Slips of clients that can be read as what they mean, if somebody wishes so. By default none is.

    protocol.leniency = frozenset({"brackets"})
    MAIL FROM:a@example.org SIZE=10        # is then read as MAIL FROM:<a@example.org> SIZE=10

There is one grammar, the strict one. A line that it refuses is put right where it slips in a way that is forgiven, and
read once more by the same grammar; so nothing comes through that a well-spoken client could not have said. Lines that
are right are never looked at here.

    brackets    MAIL FROM:a@example.org    an address without angle brackets, up to the next blank
    colon       MAIL FROM <a@example.org>  no colon after FROM or TO, or a blank before it
    null        MAIL FROM:<#@[]>           the sender of double bounces in qmail, read as <>
    parameters  SIZE= and BODY= after HELO, which has offered nothing
"""

from __future__ import annotations

import re
from collections.abc import Container, Iterable, Mapping
from typing import Final

from .command import AnyCommand, CommandError, parse_command
from .parameter import Parameter

__all__ = ["SLIPS", "known_slips", "mended", "read_again"]

SLIPS: Final = ("brackets", "colon", "null", "parameters")

# What a server understands from everybody, were it asked: neither changes what is taken, both are common.
_AFTER_HELO: Final = frozenset({"SIZE", "8BITMIME"})

_ENVELOPE: Final = re.compile(
    rb"(?P<verb>MAIL[ \t]+FROM|RCPT[ \t]+TO)(?P<colon>[ \t]*:)?[ \t]*"
    rb"(?P<path><[^<>]*>|[^\s<>\"]+)(?P<rest>(?:[ \t].*)?)",
    re.IGNORECASE,
)


def known_slips(slips: Iterable[str]) -> frozenset[str]:
    """The same as a set. ValueError for one that is not in `SLIPS`."""
    for slip in (given := frozenset(slips)):
        if slip not in SLIPS:
            raise ValueError(f"no such slip: {slip!r}; known are {', '.join(SLIPS)}")
    return given


def read_again(
    line: bytes,
    error: CommandError,
    leniency: frozenset[str],
    offered: Mapping[str, str],
    parameters: Mapping[tuple[str, str], Parameter],
    utf8: bool,
) -> AnyCommand:
    """Read a line that `parse_command` has refused with `error`, forgiving what may be. CommandError if that fails."""
    if not leniency or error.reply.temporary:
        raise error
    better = mended(line, leniency)
    understood: Container[str] = _AFTER_HELO if "parameters" in leniency and not offered else offered
    if better == line and understood is offered:
        raise error
    return parse_command(better, understood, parameters, utf8)


def mended(line: bytes, leniency: frozenset[str]) -> bytes:
    """A MAIL or RCPT command as the grammar wants it; unchanged where there is nothing to forgive."""
    found = _ENVELOPE.fullmatch(line)
    if found is None:
        return line
    path = found["path"]
    if found["colon"] != b":" and "colon" not in leniency:
        return line
    if not path.startswith(b"<"):
        if "brackets" not in leniency:
            return line
        path = b"<%s>" % path
    if path == b"<#@[]>" and "null" in leniency and found["verb"][:4].upper() == b"MAIL":
        path = b"<>"
    return b" ".join(found["verb"].split()) + b":" + path + found["rest"]
