"""Domains: any address there."""

from __future__ import annotations

from mailstack import option
from mailstack.contract.hookspec import hookimpl
from mailstack.session.transaction import Recipient

from .listing import File, Listing, given
from .place import DomainSet, is_routed

__all__ = ["Domains"]


class Domains:
    """Vouch for every address at these domains.

    domains -- "example.org", ".example.org" (all below it) or "[192.0.2.1]", and `file(path)` of such.
    routed -- vouch for local parts with "%", "!" or "@" too: where no server behind this one takes them for routes.

    ConfigError for anything else.
    """

    name = "recipients"
    rehearsable = True

    def __init__(self, *domains: str | File, routed: bool = False) -> None:
        self._domains = Listing(given(domains), lambda items: DomainSet(items, "Domains"))
        self._routed = option.boolean(routed, name="Domains(routed)")

    @hookimpl
    def rcpt(self, recipient: Recipient) -> None:
        address = recipient.address
        if address.domain in self._domains.current and (self._routed or not is_routed(address)):
            recipient.accept()
