"""Lists that are written in the configuration: text, several, or a mapping of keys to values.

    Inline("example.org", "example.net")
    Inline({"example.org": "50M", "example.net": "10M"})

Wherever a lookup is wanted, plain text, lists and mappings stand for these.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from contextlib import AbstractAsyncContextManager, nullcontext
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network

from mailstack.option import ConfigError
from mailstack.wire.address import Address

from .item import Item
from .lines import Marks
from .source import Source
from .table import table

__all__ = ["Inline", "Written", "as_source", "items"]

Written = str | Iterable[str] | Mapping[str, str]

_ONE = (Address, IPv4Address, IPv6Address, IPv4Network, IPv6Network)


class Inline:
    """Keys, letter case apart. ConfigError for a key with two values."""

    ready = True
    every = float("inf")

    def __init__(self, *given: Written) -> None:
        self._items = tuple(item for each in given for item in items(each, "Inline"))
        self._table = table(self._items)

    def read(self, marks: Marks) -> Iterable[Item]:
        return self._items

    def opened(self) -> AbstractAsyncContextManager[None]:
        return nullcontext()

    def find_now(self, key: str) -> str | None:
        return self._table.get(key.lower())

    async def find(self, key: str) -> str | None:
        return self.find_now(key)


def items(given: object, name: str) -> Iterator[Item]:
    """What is written, one by one. ConfigError for anything else."""
    if isinstance(given, str):
        yield Item(given.strip(), "", given.strip())
    elif isinstance(given, _ONE):
        yield Item(str(given), "", str(given))
    elif isinstance(given, Mapping):
        for key, value in given.items():
            if not isinstance(key, str) or not isinstance(value, str):
                raise ConfigError(f"{name}: {key!r}: {value!r} is not text", remedy='write {"key": "value"}')
            yield Item(key.strip(), value, f"{key} {value}")
    elif isinstance(given, Iterable) and not isinstance(given, bytes | bytearray):
        for each in given:
            yield from items(each, name)
    else:
        remedy = "write text, a list of it, or a lookup such as lookup.File(…) or lookup.Function(…)"
        raise ConfigError(f"{name}: {given!r} is no list", remedy=remedy)


def as_source(given: object, name: str) -> Source:
    """A source as it is, anything else as one that is written. ConfigError."""
    if isinstance(given, Source):
        return given
    return Inline(*({item.key: item.value} for item in items(given, name)))
