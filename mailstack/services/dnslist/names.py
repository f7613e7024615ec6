"""What a list is asked for: the name of an address, and the names of a domain."""

from __future__ import annotations

import ipaddress
from collections.abc import Iterator
from typing import Final

IPAddress = ipaddress.IPv4Address | ipaddress.IPv6Address

# Addresses that mean something else, or nobody, elsewhere: no list has them (RFC 1918, 3927, 4193, 4291, 6598).
_OURS: Final[list[ipaddress.IPv4Network | ipaddress.IPv6Network]] = [
    *map(ipaddress.IPv4Network, ("0.0.0.0/8", "10.0.0.0/8", "100.64.0.0/10", "127.0.0.0/8", "169.254.0.0/16")),
    *map(ipaddress.IPv4Network, ("172.16.0.0/12", "192.168.0.0/16")),
    *map(ipaddress.IPv6Network, ("::/127", "fc00::/7", "fe80::/10")),
]


def is_public(ip: IPAddress) -> bool:
    """Whether a list may have something to say of it."""
    return not any(ip in network for network in _OURS)


def reversed_ip(ip: IPAddress) -> str:
    """RFC 5782 §2.1, 2.4: 2.0.0.127 for 127.0.0.2, 32 nibbles for IPv6."""
    return ip.reverse_pointer.removesuffix(".in-addr.arpa").removesuffix(".ip6.arpa")


def domains_of(name: str, levels: int = 3) -> Iterator[str]:
    """The name, and its shortest parents of two labels or more: so many names in all. Nothing for an address.

    Lists of domains want the registered one, or any below it; the DNS does not tell which that is.
    """
    if name.startswith("[") or "." not in name:
        return
    labels = name.rstrip(".").lower().split(".")
    if all(label.isdigit() for label in labels):
        return  # an address: lists of domains answer those with errors
    parents = [".".join(labels[at:]) for at in range(len(labels) - 1)]
    yield from parents[:1]
    yield from parents[1:][-(levels - 1) :] if levels > 1 else ()
