"""Words: names of users, of hosts as they say HELO, anything that has no parts.

    bad = words("localhost", lookup.File("badhelo"), name="Helo(bad)")
    bad.find_now("LOCALHOST")

Letter case is nothing, unless `case=True`. Sources are asked for the word, in small letters then.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any, Generic, TypeVar, overload

from .door import Door, Parse
from .item import Item
from .table import as_nothing, single, unlike

__all__ = ["WordTable", "words"]

T = TypeVar("T")


@overload
def words(*given: object, name: str, remedy: str = "", case: bool = False) -> Door[str, str]: ...
@overload
def words(*given: object, name: str, remedy: str = "", case: bool = False, parse: Parse[T]) -> Door[str, T]: ...
def words(
    *given: object, name: str, remedy: str = "", case: bool = False, parse: Parse[Any] = as_nothing
) -> Door[str, Any]:
    """name -- of the option. parse -- of the values. remedy -- an empty list is an error, and this the way out."""

    def make(items: Sequence[Item]) -> WordTable[Any]:
        table: WordTable[Any] = WordTable(case)
        for item in items:
            with item.blamed():
                single(item, name, parse, bool)
                unlike(table.words, table.key(item.key), parse(item.value), item.key)
        return table

    return Door(given, make, parse, name=name, remedy=remedy)


class WordTable(Generic[T]):
    """Words with their values. case -- whether letter case counts."""

    __slots__ = ("_case", "words")

    def __init__(self, case: bool) -> None:
        self._case = case
        self.words: dict[str, T] = {}

    def key(self, word: str) -> str:
        return word if self._case else word.lower()

    def find(self, word: str) -> T | None:
        return self.words.get(self.key(word))

    def steps(self, word: str) -> Iterator[tuple[T | None, str | None]]:
        yield self.find(word), self.key(word)

    def __len__(self) -> int:
        return len(self.words)
