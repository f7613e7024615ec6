"""The keywords that an answer to EHLO will offer, as middleware sees and changes them.

    keywords["STARTTLS"] = ""
    keywords.pop("CHUNKING", None)

Every change goes to the journal, so that a rule can be tried without effect.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, MutableMapping

from .journal import Journal


class Keywords(MutableMapping[str, str]):
    """Keyword to its argument, "" for none, in the order of the answer. Missing keys raise KeyError.

    offered -- as it stands; another mapping after each change.
    """

    __slots__ = ("_journal", "offered")

    def __init__(self, offered: Mapping[str, str], journal: Journal) -> None:
        self.offered = offered
        self._journal = journal

    def __getitem__(self, keyword: str) -> str:
        return self.offered[keyword]

    def __setitem__(self, keyword: str, argument: str) -> None:
        self._change(f"offered {keyword}", {**self.offered, keyword: argument})

    def __delitem__(self, keyword: str) -> None:
        self.offered[keyword]  # KeyError, if it is not there
        self._change(f"withdrew {keyword}", {each: self.offered[each] for each in self.offered if each != keyword})

    def _change(self, what: str, offered: Mapping[str, str]) -> None:
        before = self.offered
        self.offered = offered
        self._journal.record(what, lambda: setattr(self, "offered", before))

    def __iter__(self) -> Iterator[str]:
        return iter(self.offered)

    def __len__(self) -> int:
        return len(self.offered)
