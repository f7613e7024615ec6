"""Regular expressions that a hostile address cannot keep busy.

Python's `re` tries one way to match after the other, and a pattern such as `(a+)+` has more ways than there is time.
So the ways of a pattern are counted when it is read: a repeat has as many as it can have lengths, alternatives add
up, what follows one another multiplies. More than a million, and it is refused. That is room for two `.*` in an
address, which is short, and takes milliseconds at the worst. A repeat of something that itself has several ways has
no bound, and what looks around or back has none that is worth counting: both are refused.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from re import _constants as op  # type: ignore[attr-defined]
from re import _parser as parser  # type: ignore[attr-defined]
from typing import Any, Final

from mailstack.option import ConfigError

__all__ = ["compiled"]

_MOST: Final = 1_000_000
_LONGEST: Final = 254  # octets of an address: RFC 5321 §4.5.3.1.3

_FIXED: Final = frozenset({op.LITERAL, op.NOT_LITERAL, op.ANY, op.IN, op.AT})


def compiled(text: str, flags: re.RegexFlag) -> re.Pattern[str]:
    """The pattern. ConfigError for what is none, or what might take too long."""
    try:
        ways = _ways(parser.parse(text, flags))
        pattern = re.compile(text, flags)
    except (re.error, OverflowError, RecursionError) as error:
        raise ConfigError(f"/{text}/ is no regular expression: {error}", remedy="mend it") from None
    except _Unbounded as error:
        raise ConfigError(f"/{text}/ has {error}", remedy="write several simpler ones") from None
    if ways > _MOST:
        raise ConfigError(f"/{text}/ can match in too many ways", remedy="use at most two of * and +")
    return pattern


class _Unbounded(Exception):
    """It has a part whose ways cannot be counted."""


def _ways(parts: Iterable[tuple[Any, Any]]) -> int:
    """In how many ways this can match one text, at most."""
    ways = 1
    for code, what in parts:
        ways = min(ways * _ways_of(code, what), _MOST + 1)
    return ways


def _ways_of(code: Any, what: Any) -> int:
    if code in _FIXED:
        return 1
    if code is op.SUBPATTERN:
        return _ways(what[3])
    if code is op.BRANCH:
        return sum(_ways(each) for each in what[1])
    if code in (op.MAX_REPEAT, op.MIN_REPEAT):
        return _ways_of_repeat(*what)
    raise _Unbounded("a part that is not known here (looking around or back)")


def _ways_of_repeat(least: int, most: int, what: Any) -> int:
    inner = _ways(what)
    if most <= 1:
        return inner + 1 - least
    if inner > 1:
        raise _Unbounded("a repeat of what can match in several ways")
    return min(most, _LONGEST) - min(least, _LONGEST) + 1
