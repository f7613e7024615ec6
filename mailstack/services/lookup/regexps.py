"""A lookup by regular expressions: the first that matches the whole key answers.

    lookup.Regexps({"/sales(-[a-z]+)?@example\\\\.org/": "", "/.*@spam\\\\.example/": "refuse"})
    lookup.Regexps(lookup.File("/etc/mailstack/patterns"))          # lines of /expression/flags and a value

Letter case is nothing, unless the flags say `c`. "." stands for any character, a line end too. An expression must match
all of the key: write `.*` where anything may stand. Expressions that a hostile key could keep busy are refused when
they are read (pattern.py).
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from contextlib import AbstractAsyncContextManager, nullcontext
from typing import Final

from mailstack.option import ConfigError

from .file import File
from .inline import Written, items
from .item import Item
from .listing import Listed, Listing
from .pattern import compiled
from .source import Unavailable

__all__ = ["Regexps", "expression"]

_LONGEST: Final = 512  # characters of a key: pattern.py counts the ways of an address
_WRITTEN: Final = re.compile(r"/(.*)/([a-z]*)", re.DOTALL)


class Regexps:
    """expressions -- "/expression/flags", a mapping of them to values, and lookup.File of lines. ConfigError."""

    ready = True

    def __init__(self, *expressions: Listed | Written) -> None:
        given: list[Item | Listed] = []
        for each in expressions:
            given += [each] if isinstance(each, Listed) else items(each, "Regexps")
        self._listing = Listing(given, _patterns, name="Regexps")

    def opened(self) -> AbstractAsyncContextManager[None]:
        return nullcontext()

    def find_now(self, key: str) -> str | None:
        if len(key) > _LONGEST:
            raise Unavailable(f"a key of {len(key)} characters is too long for expressions")
        return next((value for pattern, value in self._listing.current if pattern.fullmatch(key)), None)

    async def find(self, key: str) -> str | None:
        return self.find_now(key)


def _patterns(items: Sequence[Item]) -> list[tuple[re.Pattern[str], str]]:
    found = []
    for item in items:
        with item.blamed():
            pattern = expression(item.key)
            if pattern is None:
                remedy = "write /expression/; a file of them is Regexps(lookup.File(…))"
                raise ConfigError(f"Regexps: {item.text!r} is no regular expression", remedy=remedy)
            found.append((pattern, item.value))
    return found


def expression(text: str, *, case: bool = False) -> re.Pattern[str] | None:
    """The pattern of "/…/flags"; None for what is not written so. case -- whether letter case counts. ConfigError."""
    written = _WRITTEN.fullmatch(text)
    if written is None:
        return None
    if written[2] not in ("", "i", "c"):
        raise ConfigError(f"{text}: there are no flags {written[2]!r}", remedy="write i, c for letter case, or none")
    case = written[2] == "c" or (case and not written[2])
    return compiled(written[1], re.DOTALL | (re.RegexFlag(0) if case else re.IGNORECASE))


def from_text(text: str) -> Regexps:
    """regexp:PATH"""
    return Regexps(File(text.partition(":")[2]))
