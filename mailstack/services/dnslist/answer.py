"""What lists said."""

from __future__ import annotations

import ipaddress
from collections.abc import Sequence
from typing import NamedTuple

from .zone import Zone


class Listing(NamedTuple):
    """One list's answer for one name. subject -- what was asked for: an address or a domain, as people write it.

    answers -- the A records. points -- what they count; None: not listed. text -- the list's TXT, "" without one.
    error -- why there is no answer, "" if there is one. seconds -- how long it took.
    """

    zone: Zone
    subject: str
    answers: tuple[ipaddress.IPv4Address, ...] = ()
    points: float | None = None
    text: str = ""
    error: str = ""
    seconds: float = 0.0

    @property
    def reason(self) -> str:
        """For who is refused: the zone's own text, or that of the list."""
        if self.zone.text:
            return self.zone.text.format(ip=self.subject, name=self.subject, zone=self.zone.name)
        words = f"{self.subject} is listed by {self.zone.name}"
        return f"{words}: {self.text}" if self.text else words

    def __str__(self) -> str:
        """For the log: what was asked, what came back, how long it took."""
        said = self.error or ", ".join(map(str, self.answers)) or "not listed"
        return f"{self.subject} {self.zone.name}: {said} ({self.seconds:.3f} s)"


class Found(NamedTuple):
    """All answers, in the order of the zones."""

    listings: Sequence[Listing] = ()

    @property
    def hits(self) -> list[Listing]:
        """Those that list it."""
        return [each for each in self.listings if each.points is not None]

    @property
    def points(self) -> float:
        """The sum, each zone counted once, with the most that it said."""
        most: dict[str, float] = {}
        for each in self.hits:
            assert each.points is not None
            most[each.zone.name] = max(each.points, most.get(each.zone.name, each.points))
        return sum(most.values())

    @property
    def reason(self) -> str:
        """What to tell who is refused: every list that hit."""
        return "; ".join(dict.fromkeys(each.reason for each in self.hits))
