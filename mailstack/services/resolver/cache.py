"""The cache: answers and failures by question, the least recently used going first.

Bounded twice, by entries and by octets, for who is asked decides how large an answer is. How long something is kept is
what its TTL says, within bounds. NXDOMAIN holds for all types of a name (RFC 2308 §5).
"""

from __future__ import annotations

from collections import OrderedDict
from dataclasses import dataclass
from typing import Final, NamedTuple

from ...session.lookup import NoSuchName
from .name import Question
from .outcome import Failure, Outcome

__all__ = ["Cache", "Keep"]

_ANY: Final = "*"
_OVERHEAD: Final = 500  # octets of an entry that holds next to nothing


@dataclass(frozen=True, slots=True)
class Keep:
    """Seconds. least, most -- records. negative -- at most, that there are none. trouble -- a failure (RFC 9520)."""

    least: float = 5.0
    most: float = 86_400.0
    negative: float = 900.0
    trouble: float = 5.0

    def seconds(self, outcome: Outcome) -> float:
        """How long `outcome` is kept."""
        if not isinstance(outcome, Failure):
            return min(max(outcome.ttl, self.least), self.most)
        if outcome.temporary:
            return self.trouble if outcome.ttl else 0.0
        return min(max(outcome.ttl, self.least), self.negative)


class _Entry(NamedTuple):
    outcome: Outcome
    until: float
    octets: int


class Cache:
    """entries, octets -- the bounds. `now` is a clock in seconds, the same in all calls."""

    __slots__ = ("_entries", "_most", "_most_octets", "keep", "octets")

    def __init__(self, entries: int, octets: int, keep: Keep) -> None:
        self._most = entries
        self._most_octets = octets
        self.keep = keep
        self.octets = 0
        self._entries: OrderedDict[Question, _Entry] = OrderedDict()

    def __len__(self) -> int:
        return len(self._entries)

    def get(self, question: Question, now: float) -> Outcome | None:
        """What is known, or None."""
        return self._find(question, now) or self._find(Question(question.name, _ANY), now)

    def _find(self, question: Question, now: float) -> Outcome | None:
        entry = self._entries.get(question)
        if entry is None:
            return None
        if entry.until <= now:
            self._drop(question)
            return None
        self._entries.move_to_end(question)
        return entry.outcome

    def put(self, question: Question, outcome: Outcome, octets: int, now: float) -> None:
        """Keep it as long as it holds. octets -- of the answer."""
        seconds = self.keep.seconds(outcome)
        if seconds <= 0:
            return
        if isinstance(outcome, Failure) and outcome.error is NoSuchName:
            question = Question(question.name, _ANY)
        if question in self._entries:
            self._drop(question)
        entry = self._entries[question] = _Entry(outcome, now + seconds, octets + _OVERHEAD)
        self.octets += entry.octets
        while len(self._entries) > self._most or self.octets > self._most_octets:
            self._drop(next(iter(self._entries)))

    def _drop(self, question: Question) -> None:
        self.octets -= self._entries.pop(question).octets

    def clear(self) -> None:
        """Forget everything."""
        self._entries.clear()
        self.octets = 0
