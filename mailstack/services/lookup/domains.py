"""Domains: "example.org", ".example.org" (all below it, and not itself), "[192.0.2.1]".

    ours = domains("example.org", lookup.File("domains"), name="Domains")
    ours.find_now("example.org")

Sources are asked for "mail.example.org", ".example.org", ".org": of a name with very many labels for the whole, and the
ten parents that are nearest to the root. A question is a domain in canonical form, as `Address.domain` is.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import Any, Final, Generic, TypeVar, overload

from mailstack import option
from mailstack.option import ConfigError
from mailstack.wire.address import Address, AddressError

from .door import Door, Parse
from .item import Item
from .table import as_nothing, single, unlike

__all__ = ["DomainTable", "domain", "domains", "parents"]

T = TypeVar("T")

PARENTS: Final = 10  # questions that one name makes a backend answer


@overload
def domains(*given: object, name: str, remedy: str = "") -> Door[str, str]: ...
@overload
def domains(*given: object, name: str, remedy: str = "", parse: Parse[T]) -> Door[str, T]: ...
def domains(*given: object, name: str, remedy: str = "", parse: Parse[Any] = as_nothing) -> Door[str, Any]:
    """name -- of the option. parse -- of the values. remedy -- an empty list is an error, and this the way out."""

    def make(items: Sequence[Item]) -> DomainTable[Any]:
        table: DomainTable[Any] = DomainTable(name)
        for item in items:
            with item.blamed():
                table.add(item, parse)
        return table

    return Door(given, make, parse, name=name, remedy=remedy)


class DomainTable(Generic[T]):
    """Domains and parents with their values. name -- of the option, for errors."""

    __slots__ = ("_exact", "_name", "_parents")

    def __init__(self, name: str) -> None:
        self._name = name
        self._exact: dict[str, T] = {}
        self._parents: dict[str, T] = {}

    def add(self, item: Item, parse: Callable[[str], T]) -> None:
        """ConfigError."""
        key = item.key
        single(item, self._name, parse, lambda word: "." in word and domain(word.removeprefix("."), self._name))
        if key.startswith("."):
            unlike(self._parents, option.domain(key[1:], name=self._name), parse(item.value), key)
        else:
            unlike(self._exact, domain(key, self._name), parse(item.value), key)

    def find(self, domain: str) -> T | None:
        found = self._exact.get(domain)
        if found is None and self._parents:
            above = domain.partition(".")[2]
            while above:
                if (found := self._parents.get(above)) is not None:
                    break
                above = above.partition(".")[2]
        return found

    def steps(self, domain: str) -> Iterator[tuple[T | None, str | None]]:
        yield self._exact.get(domain), domain
        above = parents(domain)
        for number, parent in enumerate(above):
            yield self._parents.get(parent), f".{parent}" if number >= len(above) - PARENTS else None

    def __len__(self) -> int:
        return len(self._exact) + len(self._parents)


def parents(domain: str) -> list[str]:
    """The domains above it, the nearest first."""
    if domain.startswith("["):
        return []
    labels = domain.split(".")
    return [".".join(labels[number:]) for number in range(1, len(labels))]


def domain(text: str, name: str) -> str:
    """A domain or an address literal, in canonical form. ConfigError."""
    if not text.startswith("["):
        return option.domain(text, name=name)
    try:
        return Address.parse(f"postmaster@{text}").domain
    except AddressError:
        raise ConfigError(f"{name}: {text!r} is no address literal", remedy='write "[192.0.2.1]"') from None
