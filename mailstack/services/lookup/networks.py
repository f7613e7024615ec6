"""Networks: "192.0.2.0/24", "2001:db8::/32", one address. The most specific one decides.

    trusted = networks("192.0.2.0/24", lookup.File("trusted"), name="XClient")       # what middleware asks
    trusted.find_now(session.client.ip)

    lookup.Networks({"192.0.2.0/24": "ours"}, lookup.File("networks"))               # a source: asked by "192.0.2.7"

Finding takes one step for each length of prefix that is in use, whatever the number of networks. Other sources are
asked for the address, then for the networks around it as text: "192.0.2.7", "192.0.2.0/24", "192.0.0.0/16",
"192.0.0.0/8"; "2001:db8::7", "2001:db8::/64", "2001:db8::/56", "2001:db8::/48", "2001:db8::/32". An IPv4 address in
IPv6's clothes ("::ffff:192.0.2.7") is the IPv4 address.
"""

from __future__ import annotations

import ipaddress
from collections.abc import Iterator, Sequence
from contextlib import AbstractAsyncContextManager, nullcontext
from typing import Any, Final, Generic, TypeVar, overload

from mailstack import option
from mailstack.option import ConfigError, Network

from .door import Door, Parse
from .file import File
from .inline import Written
from .item import Item
from .listing import Listed
from .table import as_nothing, single

__all__ = ["NetworkTable", "Networks", "networks"]

T = TypeVar("T")
IPAddress = ipaddress.IPv4Address | ipaddress.IPv6Address

_ASKED: Final = {4: (24, 16, 8), 6: (64, 56, 48, 32)}  # prefixes that sources are asked for, below the address


@overload
def networks(*given: object, name: str, remedy: str = "") -> Door[IPAddress, str]: ...
@overload
def networks(*given: object, name: str, remedy: str = "", parse: Parse[T]) -> Door[IPAddress, T]: ...
def networks(*given: object, name: str, remedy: str = "", parse: Parse[Any] = as_nothing) -> Door[IPAddress, Any]:
    """name -- of the option. parse -- of the values. remedy -- an empty list is an error, and this the way out."""

    def make(items: Sequence[Item]) -> NetworkTable[Any]:
        table: NetworkTable[Any] = NetworkTable()
        for item in items:
            with item.blamed():
                single(item, name, parse, lambda word: ("." in word or ":" in word) and option.network(word))
                table.add(option.network(item.key, name=name), parse(item.value))
        return table

    return Door(given, make, parse, name=name, remedy=remedy)


class NetworkTable(Generic[T]):
    """Networks and their values."""

    __slots__ = ("_by_length",)

    def __init__(self) -> None:
        # Of IPv4 and IPv6: (bits to drop from an address, the values by what is left), the longest prefix first.
        self._by_length: dict[int, list[tuple[int, dict[int, T]]]] = {4: [], 6: []}

    def add(self, network: Network, value: T) -> None:
        """ConfigError when it is there with another value."""
        drop = network.max_prefixlen - network.prefixlen
        lengths = self._by_length[network.version]
        values = next((values for each, values in lengths if each == drop), None)
        if values is None:
            values = {}
            lengths.append((drop, values))
            lengths.sort(key=lambda each: each[0])
        if values.setdefault(int(network.network_address) >> drop, value) != value:
            raise ConfigError(f"{network} is there twice, with different values", remedy="leave one of them out")

    def find(self, ip: IPAddress) -> T | None:
        number = int(ip)
        for drop, values in self._by_length[ip.version]:
            found = values.get(number >> drop)
            if found is not None:
                return found
        return None

    def steps(self, ip: IPAddress) -> Iterator[tuple[T | None, str | None]]:
        number, bits = int(ip), ip.max_prefixlen
        held = dict(self._by_length[ip.version])
        asked = {bits - prefix for prefix in _ASKED[ip.version]} | {0}
        for drop in sorted(asked.union(held)):
            value = held[drop].get(number >> drop) if drop in held else None
            yield value, _key(ip, drop) if drop in asked else None

    def __iter__(self) -> Iterator[Network]:
        for version, lengths in self._by_length.items():
            kind: Any = ipaddress.IPv4Network if version == 4 else ipaddress.IPv6Network
            for drop, values in lengths:
                yield from (kind((number << drop, (32 if version == 4 else 128) - drop)) for number in values)

    def __len__(self) -> int:
        return sum(len(values) for lengths in self._by_length.values() for _, values in lengths)


def _key(ip: IPAddress, drop: int) -> str:
    return str(ipaddress.ip_network((int(ip) >> drop << drop, ip.max_prefixlen - drop))) if drop else str(ip)


class Networks:
    """A table of networks as a lookup: keys are addresses, what is none of them is not there.

    networks -- "192.0.2.0/24", a mapping of networks to values, and lookup.File of them. ConfigError.
    """

    ready = True

    def __init__(self, *networks: Listed | Written) -> None:
        self._door: Door[IPAddress, str] = _table_of(networks)

    def opened(self) -> AbstractAsyncContextManager[None]:
        return nullcontext()

    def find_now(self, key: str) -> str | None:
        ip = _address(key)
        return None if ip is None else self._door.find_now(ip)

    async def find(self, key: str) -> str | None:
        return self.find_now(key)


def _table_of(given: Sequence[Listed | Written]) -> Door[IPAddress, str]:
    return networks(*given, name="Networks", parse=str)


def _address(text: str) -> IPAddress | None:
    try:
        found = ipaddress.ip_address(text)
    except ValueError:
        return None
    return (isinstance(found, ipaddress.IPv6Address) and found.ipv4_mapped) or found


def from_text(text: str) -> Networks:
    """cidr:PATH"""
    return Networks(File(text.partition(":")[2]))
