"""What a resolver has done so far."""

from __future__ import annotations

from dataclasses import dataclass

from .outcome import Failure, Outcome

__all__ = ["Statistics"]


@dataclass(slots=True)
class Statistics:
    """Counts since the start.

    asked -- questions. cached -- of them answered from the cache. joined -- waited for an equal one on its way.
    refused -- for want of budget. found, missing, troubles -- what came of those that went out.
    sent -- datagrams, tries included. tcp -- questions over TCP. timeouts -- that nobody answered in time.
    """

    asked: int = 0
    cached: int = 0
    joined: int = 0
    refused: int = 0
    found: int = 0
    missing: int = 0
    troubles: int = 0
    sent: int = 0
    tcp: int = 0
    timeouts: int = 0

    def count(self, outcome: Outcome) -> None:
        """One that went out."""
        if not isinstance(outcome, Failure):
            self.found += 1
        elif outcome.temporary:
            self.troubles += 1
        else:
            self.missing += 1
