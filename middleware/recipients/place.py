"""Domains and addresses as they are compared here, and what must not be taken for an address of ours."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

from mailstack import option
from mailstack.option import ConfigError
from mailstack.wire.address import Address

__all__ = ["forms", "is_role", "is_routed", "mailbox"]

_ROLES: Final = frozenset({"postmaster", "abuse"})


def is_role(address: Address) -> bool:
    """Whether it is one that every domain must have (RFC 5321 §4.5.1, RFC 2142 §4)."""
    return address.local.lower() in _ROLES


def is_routed(address: Address) -> bool:
    """Whether the local part names another host: user%host@ours, host!user@ours, "user@host"@ours.

    Who takes such an address for a user's name and passes it on to a server that takes it for a route is an open relay.
    """
    local = address.local
    return "%" in local or "!" in local or "@" in local


def forms(address: Address, separator: str) -> Iterator[Address]:
    """The address, and the one without its detail (RFC 5233): user+detail@… is user's."""
    yield address
    user, found, _ = address.local.partition(separator) if separator else ("", "", "")
    if found and user:
        yield Address(user, address.domain)


def mailbox(text: str, name: str) -> Address:
    """An address that has a domain. ConfigError."""
    address = option.address(text, name=name)
    if not address.domain:
        raise ConfigError(f"{name}: {text!r} has no domain", remedy='write "user@example.org"')
    return address
