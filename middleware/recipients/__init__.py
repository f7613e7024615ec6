"""recipients: whose mail this server takes.

A recipient that nobody vouches for is refused with `550 relaying denied`. These entries vouch:

    recipients.Domains("example.org", ".example.org", "bücher.example")   # any address there
    recipients.Addresses("alice@example.org", "bob@example.org")          # these, and no others at their domains

Domains compare as the DNS does: letter case is nothing, "bücher.example" and "xn--bcher-kva.example" are the same.
".example.org" means every domain below example.org and not example.org itself. An address literal such as
"[192.0.2.1]" is accepted only if it is listed.

postmaster and abuse are accepted at every domain that is listed, whether they are among the addresses or not (RFC 5321
§4.5.1, RFC 2142 §4); the core does the same for bare postmaster. An entry further up may still refuse them.

Neither says no to what is not at its domains: the next entry may know better, and the end of the chain refuses what
nobody vouched for. Both look at the address as it stands after rewriting.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable

from mailstack import option
from mailstack.contract.hookspec import hookimpl
from mailstack.option import ConfigError
from mailstack.session.transaction import Recipient
from mailstack.wire.address import Address, AddressError
from mailstack.wire.reply import Reply

__all__ = ["Addresses", "Domains"]

_UNKNOWN = Reply(550, "no such mailbox here", status="5.1.1")
_ROLES = frozenset({"postmaster", "abuse"})


class Domains:
    """Vouch for every address at these domains.

    domains -- "example.org", ".example.org" (all below it) or "[192.0.2.1]". ConfigError for anything else.
    """

    rehearsable = True

    def __init__(self, *domains: str) -> None:
        self._includes = _domain_test(domains)

    @hookimpl
    def rcpt(self, recipient: Recipient) -> None:
        if self._includes(recipient.address.domain):
            recipient.accept()


class Addresses:
    """Vouch for these addresses, and refuse all others at their domains: 550 5.1.1.

    addresses -- "user@example.org". Local parts compare without regard to letter case.
    separator -- what parts a user from a detail (RFC 5233): with "+", mail to user+anything@example.org is user's.
        Default "": nothing does.

    ConfigError for what is no address.
    """

    rehearsable = True

    def __init__(self, *addresses: str, separator: str = "") -> None:
        if not addresses:
            raise ConfigError("Addresses() has no addresses", remedy='write Addresses("user@example.org", …)')
        listed = [_mailbox(address) for address in addresses]
        self._known = {_key(address.local, address.domain) for address in listed}
        self._domains = {address.domain for address in listed}
        self._separator = separator

    @hookimpl
    def rcpt(self, recipient: Recipient) -> Reply | None:
        address = recipient.address
        if address.domain not in self._domains:
            return None
        if not self._knows(address):
            return _UNKNOWN
        recipient.accept()
        return None

    def _knows(self, address: Address) -> bool:
        key = _key(address.local, address.domain)
        if key in self._known or key[0] in _ROLES:
            return True
        user, found, _ = key[0].partition(self._separator) if self._separator else ("", "", "")
        return bool(found) and (user, key[1]) in self._known


def _mailbox(text: str) -> Address:
    address = option.address(text, name="Addresses")
    if not address.domain:
        raise ConfigError(f"Addresses: {text!r} has no domain", remedy='write "user@example.org"')
    return address


def _key(local: str, domain: str) -> tuple[str, str]:
    return local.lower(), domain


def _domain_test(written: Iterable[str]) -> Callable[[str], bool]:
    """Whether a domain (canonical) is one of those, or below one that was written with a dot in front."""
    exact: set[str] = set()
    parents: list[str] = []
    for item in written:
        if item.startswith("."):
            parents.append("." + option.domain(item[1:], name="Domains"))
        else:
            exact.add(_literal(item) if item.startswith("[") else option.domain(item, name="Domains"))
    if not exact and not parents:
        raise ConfigError("Domains() has no domains", remedy='write Domains("example.org", …)')
    below = tuple(parents)
    return lambda domain: domain in exact or domain.endswith(below)


def _literal(text: str) -> str:
    try:
        return Address.parse(f"postmaster@{text}").domain
    except AddressError:
        raise ConfigError(f"Domains: {text!r} is no address literal", remedy='write "[192.0.2.1]"') from None
