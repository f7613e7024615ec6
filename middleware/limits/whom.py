"""Who counts as one: a client's address, its network, a login, a domain."""

from __future__ import annotations

from collections.abc import Sequence
from ipaddress import IPv4Address, IPv4Network, IPv6Network

from mailstack import option
from mailstack.option import ConfigError
from mailstack.session.session import Session

Lengths = tuple[int, int]  # of IPv4 and IPv6 prefixes

IP: Lengths = (32, 64)
PREFIX: Lengths = (24, 48)


def lengths(value: Sequence[int], *, name: str) -> Lengths:
    """Two lengths of prefixes. ConfigError."""
    if len(value) != 2:
        raise ConfigError(f"{name}: {value!r} is not two lengths", remedy="write (24, 48): of IPv4 and of IPv6")
    four, six = value
    return (
        option.integer(four, name=f"{name}, IPv4", minimum=1, maximum=32),
        option.integer(six, name=f"{name}, IPv6", minimum=1, maximum=128),
    )


def network(session: Session, prefix: Lengths) -> str | None:
    """The client's network; None for a UNIX socket."""
    ip = session.client.ip
    if ip is None:
        return None
    if isinstance(ip, IPv4Address):
        return str(IPv4Network((int(ip), prefix[0]), strict=False))
    return str(IPv6Network((int(ip), prefix[1]), strict=False))


def login(session: Session) -> str | None:
    """Who has logged in."""
    return session.user


def sender_domain(session: Session) -> str | None:
    """The domain of MAIL; None for the null sender."""
    transaction = session.transaction
    return (transaction.sender.address.domain or None) if transaction is not None else None
