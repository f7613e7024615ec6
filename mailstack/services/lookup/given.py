"""What a lookup is given, sorted: lists that are held in memory, and sources that are asked.

given = sort(arguments, "Domains")
given.listed          # text and files: gathered into one table
given.asked           # sources that are asked key by key
given.negated         # Not(…): asked when nothing else knew
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import NamedTuple

from mailstack.option import ConfigError

from .first import First
from .inline import Written, items
from .item import Item
from .listing import Listed
from .negated import Not
from .source import Source, Table

__all__ = ["Given", "Sorted", "sort"]

Given = Source | Written | Iterable[str | Source]  # what people write where a lookup is wanted


class Sorted(NamedTuple):
    """listed -- items and lists. asked, negated -- in their order."""

    listed: tuple[Item | Listed, ...]
    asked: tuple[Source, ...]
    negated: tuple[Not, ...]

    @property
    def waits(self) -> bool:
        """Whether one of them cannot answer at once."""
        return not all(isinstance(each, Table) for each in (*self.asked, *self.negated))

    @property
    def ready(self) -> bool:
        """Whether all of them answer without having been opened."""
        return all(getattr(each, "ready", False) for each in (*self.asked, *self.negated))


def sort(given: Iterable[object], name: str) -> Sorted:
    """name -- of the option. ConfigError for what is neither a lookup nor a list."""
    listed: list[Item | Listed] = []
    asked: list[Source] = []
    negated: list[Not] = []
    for each in _flat(given):
        if isinstance(each, type):
            raise ConfigError(f"{name}: {each.__name__} is a class", remedy=f"make one: {each.__name__}(…)")
        if isinstance(each, Item | Listed):
            listed.append(each)
        elif isinstance(each, Not):
            negated.append(each)
        elif isinstance(each, Source):
            asked.append(each)
        elif callable(each):
            remedy = "write lookup.Function(…)"
            raise ConfigError(f"{name}: {each!r} is a function, and no lookup", remedy=remedy)
        else:
            listed += items(each, name)
    return Sorted(tuple(listed), tuple(asked), tuple(negated))


def _flat(given: Iterable[object]) -> Iterator[object]:
    """The sources one by one: a list may hold some beside text."""
    for each in given:
        if isinstance(each, First):
            yield from _flat(each.sources)
        elif isinstance(each, list | tuple) and not isinstance(each, Item):
            yield from _flat(each)
        else:
            yield each
