"""From a score to what becomes of the message."""

from __future__ import annotations

from typing import Literal, NamedTuple

from ... import option

Action = Literal["pass", "tag", "defer", "reject"]


class Thresholds(NamedTuple):
    """From which score on a message is marked, put off, refused; None is never. The severest that is reached counts."""

    tag: float | None = None
    defer: float | None = None
    reject: float | None = None

    def action(self, score: float) -> Action:
        """What becomes of a message with this score."""
        if self.reject is not None and score >= self.reject:
            return "reject"
        if self.defer is not None and score >= self.defer:
            return "defer"
        if self.tag is not None and score >= self.tag:
            return "tag"
        return "pass"


def threshold(given: str | float | None, *, name: str) -> float | None:
    """One of them, as written: a number, or None. ConfigError for anything else."""
    return None if given is None else option.number(given, name=name)
