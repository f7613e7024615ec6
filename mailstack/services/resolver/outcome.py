"""What comes of a question: records, or a failure, as values that a cache can keep and many can be given."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from ...session.lookup import Answer, DNSError, NoRecords, NoSuchName, NotFound, Temporary
from .name import Question

__all__ = ["Failure", "Outcome", "no_records", "no_such_name", "trouble"]


@dataclass(frozen=True, slots=True)
class Failure:
    """An error to be. ttl -- seconds that it holds, as the answer said; 0: it says nothing of the next time."""

    error: type[DNSError]
    question: Question
    words: str
    ttl: int = 0
    secure: bool = False

    @property
    def temporary(self) -> bool:
        """Whether nobody knows."""
        return not issubclass(self.error, NotFound)

    def exception(self) -> DNSError:
        """To be raised; a new one for each who asked, for a traceback belongs to one."""
        return self.error(self.question.name, self.question.type, self.words, secure=self.secure)


Outcome = Answer[Any] | Failure


def no_such_name(question: Question, ttl: int, *, secure: bool = False) -> Failure:
    """NXDOMAIN."""
    return Failure(NoSuchName, question, "no such name", ttl, secure)


def no_records(question: Question, ttl: int, *, secure: bool = False) -> Failure:
    """NODATA."""
    return Failure(NoRecords, question, "no such record", ttl, secure)


def trouble(question: Question, words: str, ttl: int = 1) -> Failure:
    """Nobody knows. ttl -- 0 when the trouble is ours, and asking again is for free."""
    return Failure(Temporary, question, words, ttl)
