"""One list: where it is in the DNS, and what its answers mean."""

from __future__ import annotations

import ipaddress
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Final

from ... import option
from ...option import ConfigError

IPv4 = ipaddress.IPv4Address

_LISTS: Final = ipaddress.IPv4Network("127.0.0.0/8")  # RFC 5782 §2.1
_ERRORS: Final = ipaddress.IPv4Network(
    "127.255.255.0/24"
)  # "you ask too much", "not by this resolver", "a typing error"


@dataclass(frozen=True, slots=True)
class _Code:
    """What one or more answers count. matches -- of an address in 127.0.0.0/8."""

    matches: Callable[[IPv4], bool]
    points: float


@dataclass(frozen=True, slots=True)
class Zone:
    """A list.

    name -- "zen.spamhaus.org". weight -- points of a listing, where `codes` says nothing else.
    codes -- the answers that count: "127.0.0.2", "127.0.0.4-127.0.0.7", "127.0.*.3", "127.0.0.0/24", or "&8", all that
        have this bit in their last octet; several of them, or a mapping of them to points. Default: every answer that
        is no error. Of several answers the one with the most points counts.
    text -- what to tell who is refused, in place of the list's own TXT: {ip} or {name} in it is what is listed, {zone}
        the list.
    ipv6 -- whether it is asked for IPv6 addresses too.

    ConfigError for what is no zone.
    """

    name: str
    weight: float = 1.0
    codes: str | Iterable[str] | Mapping[str, float] = ()
    text: str = ""
    ipv6: bool = True
    _codes: tuple[_Code, ...] = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        keep = object.__setattr__
        keep(self, "name", option.domain(self.name, name="Zone"))
        try:
            self.text.format(ip="", name="", zone="")
        except (AttributeError, LookupError, ValueError) as error:
            problem = f"Zone({self.name}, text): {self.text!r} cannot be filled in"
            raise ConfigError(problem, remedy="in braces write ip, name or zone, and {{ for a brace") from error
        weight = option.number(self.weight, name=f"Zone({self.name}, weight)")
        given = [self.codes] if isinstance(self.codes, str) else self.codes
        pairs = given.items() if isinstance(given, Mapping) else ((code, weight) for code in given)
        keep(self, "_codes", tuple(_code(self.name, code, points) for code, points in pairs))

    def points(self, answers: Iterable[IPv4]) -> float | None:
        """What these answers count; None when none of them is a listing."""
        counted = [points for answer in answers if (points := self._count(answer)) is not None]
        return max(counted, default=None)

    def _count(self, answer: IPv4) -> float | None:
        if is_error(answer):
            return None
        if not self._codes:
            return float(self.weight)
        return max((code.points for code in self._codes if code.matches(answer)), default=None)


def is_error(answer: IPv4) -> bool:
    """Whether it is none of a list: somebody else's word, or the list's word that it does not answer."""
    return answer not in _LISTS or answer in _ERRORS


def _code(zone: str, text: str, points: float) -> _Code:
    """ConfigError for what is no code."""
    try:
        return _Code(_matcher(text.strip()), option.number(points, name=f"Zone({zone}, codes)"))
    except (AttributeError, ValueError):
        remedy = 'write "127.0.0.2", "127.0.0.4-127.0.0.7", "127.0.*.3", "127.0.0.0/24" or "&8"'
        raise ConfigError(f"Zone({zone}, codes): {text!r} is no answer of a list", remedy=remedy) from None


def _matcher(text: str) -> Callable[[IPv4], bool]:
    """ValueError for what is none."""
    if text.startswith("&"):
        mask = int(text[1:])
        if not 0 < mask < 256:
            raise ValueError(text)
        return lambda answer: bool(int(answer) & mask)
    first, dash, last = text.partition("-")
    if dash:
        low, high = IPv4(first.strip()), IPv4(last.strip())
        if low > high:
            raise ValueError(text)
        return lambda answer: low <= answer <= high
    if "*" in text:
        fixed = [(place, int(octet)) for place, octet in enumerate(text.split(".")) if octet != "*"]
        IPv4(text.replace("*", "0"))
        return lambda answer: all(answer.packed[place] == octet for place, octet in fixed)
    network = ipaddress.IPv4Network(text)
    return lambda answer: answer in network
