"""Domains and addresses as they are compared here, and what must not be taken for an address of ours."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Final

from mailstack import option
from mailstack.option import ConfigError
from mailstack.wire.address import Address, AddressError
from mailstack.wire.reply import Reply

from .listing import Item

__all__ = ["UNKNOWN", "DomainSet", "domain", "forms", "is_role", "is_routed", "mailbox"]

UNKNOWN: Final = Reply(550, "no such mailbox here", status="5.1.1")  # the same for all, whatever is the reason

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


class DomainSet:
    """Domains: "example.org", ".example.org" (all below it) and "[192.0.2.1]", each in canonical form."""

    __slots__ = ("_exact", "_parents")

    def __init__(self, items: Sequence[Item], name: str) -> None:
        exact: set[str] = set()
        parents: set[str] = set()
        for item in items:
            with item.blamed():
                if item.text.startswith("."):
                    parents.add(option.domain(item.text[1:], name=name))
                else:
                    exact.add(domain(item.text, name))
        if not exact and not parents:
            raise ConfigError(f"{name}() has no domains", remedy=f'write {name}("example.org", …)')
        self._exact = frozenset(exact)
        self._parents = frozenset(parents)

    def __contains__(self, domain: str) -> bool:
        if domain in self._exact:
            return True
        while self._parents:
            _, dot, domain = domain.partition(".")
            if not dot:
                break
            if domain in self._parents:
                return True
        return False


def domain(text: str, name: str) -> str:
    """A domain or an address literal, in canonical form. ConfigError."""
    if not text.startswith("["):
        return option.domain(text, name=name)
    try:
        return Address.parse(f"postmaster@{text}").domain
    except AddressError:
        raise ConfigError(f"{name}: {text!r} is no address literal", remedy='write "[192.0.2.1]"') from None
