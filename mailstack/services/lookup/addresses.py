"""Mail addresses, by themselves, their user, their domain or a parent of it.

    vip = addresses("ann@example.org", "postmaster@", "example.net", ".example.com", name="sender_in")
    vip.find_now(address)

The most specific key counts, and sources are asked in this order: "ann@example.org", "ann@", "example.org", ".org".
"@example.org" is another way to write "example.org". The null sender is "<>" ("" in a configuration), and bare
postmaster "postmaster". "/list-.*@example\\.org/" is a regular expression that must match the whole address; it stands
beside whole addresses, after them.

Local parts are compared without regard to letter case, unless `case=True`; sources are asked in small letters then.
`whole=True`: whole addresses and expressions alone.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Sequence
from typing import Any, Final, Generic, TypeVar, overload

from mailstack import option
from mailstack.option import ConfigError
from mailstack.wire.address import Address

from .domains import DomainTable
from .door import Door, Parse
from .item import Item
from .regexps import expression
from .table import as_nothing, single, unlike

__all__ = ["AddressTable", "addresses"]

T = TypeVar("T")

NULL: Final = "<>"


@overload
def addresses(
    *given: object, name: str, remedy: str = "", case: bool = False, whole: bool = False
) -> Door[Address, str]: ...
@overload
def addresses(
    *given: object, name: str, remedy: str = "", case: bool = False, whole: bool = False, parse: Parse[T]
) -> Door[Address, T]: ...
def addresses(
    *given: object,
    name: str,
    remedy: str = "",
    case: bool = False,
    whole: bool = False,
    parse: Parse[Any] = as_nothing,
) -> Door[Address, Any]:
    """name -- of the option. parse -- of the values. remedy -- an empty list is an error, and this the way out."""

    def make(items: Sequence[Item]) -> AddressTable[Any]:
        table: AddressTable[Any] = AddressTable(name, case=case, whole=whole)
        for item in items:
            with item.blamed():
                table.add(item, parse)
        return table

    return Door(given, make, parse, name=name, remedy=remedy)


class AddressTable(Generic[T]):
    """Addresses and whatever else stands for some, with their values."""

    __slots__ = ("_addresses", "_case", "_domains", "_name", "_patterns", "_users", "_whole", "homes")

    def __init__(self, name: str, *, case: bool, whole: bool) -> None:
        self._name = name
        self._case = case
        self._whole = whole
        self._addresses: dict[tuple[str, str], T] = {}
        self._patterns: list[tuple[re.Pattern[str], T]] = []
        self._users: dict[str, T] = {}
        self._domains: DomainTable[T] = DomainTable(name)
        self.homes: set[str] = set()  # the domains of whole addresses

    def add(self, item: Item, parse: Callable[[str], T]) -> None:
        """ConfigError."""
        key = item.key
        value = parse(item.value)
        if pattern := expression(key, case=self._case):
            self._patterns.append((pattern, value))
            return
        single(item, self._name, parse, lambda word: "@" in word and option.address(word))
        if self._whole or (key and key[0] not in ".@" and key[-1] != "@" and _is_address(key)):
            address = self._address(key)
            unlike(self._addresses, self._key(address), value, key)
            self.homes.add(address.domain)
        elif key.endswith("@"):
            user = option.address(f"{key}localhost", name=self._name).local
            unlike(self._users, self._local(user), value, key)
        elif key:
            self._domains.add(item._replace(key=key.removeprefix("@")), parse)
        else:
            unlike(self._addresses, ("", ""), value, NULL)

    def _address(self, text: str) -> Address:
        if text == NULL and not self._whole:
            return Address.NULL
        address = option.address(text, name=self._name)
        if self._whole and not address.domain:
            raise ConfigError(f"{self._name}: {text!r} has no domain", remedy='write "user@example.org"')
        return address

    def _local(self, local: str) -> str:
        return local if self._case else local.lower()

    def _key(self, address: Address) -> tuple[str, str]:
        return (address.local if self._case else address.local.lower()), address.domain

    def exact(self, address: Address) -> T | None:
        """The value of this address as it is written."""
        return self._addresses.get(self._key(address))

    def find(self, address: Address) -> T | None:
        found = self._addresses.get(self._key(address))
        if found is None and self._patterns:
            found = self._matched(address)
        if found is None and self._users:
            found = self._users.get(self._local(address.local))
        if found is None and address.domain:
            found = self._domains.find(address.domain)
        return found

    def steps(self, address: Address) -> Iterator[tuple[T | None, str | None]]:
        held = self._addresses.get(self._key(address))
        asked = Address(self._local(address.local), address.domain)
        yield (self._matched(address) if held is None else held), str(asked) or NULL
        if self._whole or not address.domain:
            return
        yield self._users.get(asked.local), str(Address(asked.local, "x"))[:-1]
        yield from self._domains.steps(address.domain)

    def _matched(self, address: Address) -> T | None:
        if not self._patterns:
            return None
        text = str(address)
        return next((value for pattern, value in self._patterns if pattern.fullmatch(text)), None)

    def __len__(self) -> int:
        return len(self._addresses) + len(self._patterns) + len(self._users) + len(self._domains)


def _is_address(key: str) -> bool:
    return "@" in key or key == NULL or key.lower() == "postmaster"
