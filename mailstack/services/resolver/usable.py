"""Whether mail can be sent to a domain: its exchangers, and where they lead (RFC 5321 §5.1, RFC 7505)."""

from __future__ import annotations

import ipaddress
from collections.abc import Callable, Iterator, Sequence
from enum import Enum
from typing import Final

from anyio import create_task_group

from ...session.lookup import IPAddress, Lookups, NotFound, Temporary

__all__ = ["IMPOSSIBLE", "Usable", "usable"]

_MOST = 10  # exchangers whose addresses are looked for

Impossible = Callable[[IPAddress], bool]

_NAT64: Final = ipaddress.IPv6Network("64:ff9b::/96")

# No mail server of somebody else is there: this machine, private and shared networks, links, documentation, benchmarks,
# multicast, and what nobody has (RFC 6890).
IMPOSSIBLE: Final[tuple[str, ...]] = (
    *("0.0.0.0/8", "10.0.0.0/8", "100.64.0.0/10", "127.0.0.0/8", "169.254.0.0/16", "172.16.0.0/12", "192.0.0.0/24"),
    *("192.0.2.0/24", "192.168.0.0/16", "198.18.0.0/15", "198.51.100.0/24", "203.0.113.0/24", "224.0.0.0/3"),
    *("::/127", "100::/64", "2001:db8::/32", "fc00::/7", "fe80::/10", "ff00::/8"),
)


class Usable(Enum):
    """What became of a domain; the value is for people."""

    YES = "mail can be sent to it"
    NULL_MX = "it takes no mail (null MX)"
    NO_HOST = "it has neither MX nor address"
    NOWHERE = "none of its servers has an address"
    IMPOSSIBLE = "its servers are where none can be"


async def usable(resolver: Lookups, domain: str, impossible: Impossible) -> Usable:
    """Look it up. Temporary when nobody knows; one server that is found is enough.

    impossible -- whether no server can be at an address.
    """
    try:
        exchangers = (await resolver.mx(domain)).records
    except NotFound:
        exchangers = ()
    if not exchangers:
        return await _without_mx(resolver, domain, impossible)
    hosts = [exchanger.host for exchanger in exchangers if exchanger.host][:_MOST]
    if not hosts:
        return Usable.NULL_MX
    return await _first_of(resolver, hosts, impossible)


async def _without_mx(resolver: Lookups, domain: str, impossible: Impossible) -> Usable:
    """RFC 5321 §5.1: its addresses count as its servers'."""
    try:
        addresses = (await resolver.addresses(domain)).records
    except NotFound:
        return Usable.NO_HOST
    return _judge(addresses, impossible)


async def _first_of(resolver: Lookups, hosts: Sequence[str], impossible: Impossible) -> Usable:
    """The best that is found of several hosts, all asked at the same time."""
    found: list[Usable] = []
    trouble: list[Temporary] = []

    async with create_task_group() as group:

        async def ask(host: str) -> None:
            try:
                verdict = _judge((await resolver.addresses(host)).records, impossible)
            except NotFound:
                return
            except Temporary as error:
                trouble.append(error)
                return
            found.append(verdict)
            if verdict is Usable.YES:
                group.cancel_scope.cancel()

        for host in hosts:
            group.start_soon(ask, host)
    if Usable.YES in found:
        return Usable.YES
    if trouble:
        raise trouble[0]
    return found[0] if found else Usable.NOWHERE


def _judge(addresses: Sequence[IPAddress], impossible: Impossible) -> Usable:
    """One address that is possible is enough."""
    if not addresses:
        return Usable.NOWHERE
    lost = (any(map(impossible, _places(address))) for address in addresses)
    return Usable.IMPOSSIBLE if all(lost) else Usable.YES


def _places(address: IPAddress) -> Iterator[IPAddress]:
    """The address, and those of IPv4 that it leads to: RFC 4291 §2.5.5, RFC 3056, RFC 4380, RFC 6052."""
    yield address
    if isinstance(address, ipaddress.IPv6Address):
        within = (address.ipv4_mapped, address.sixtofour, address.teredo and address.teredo[1])
        yield from filter(None, within)
        if address in _NAT64:
            yield ipaddress.IPv4Address(address.packed[12:])
