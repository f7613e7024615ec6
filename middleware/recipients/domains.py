"""Domains: any address there."""

from __future__ import annotations

from functools import partial

from mailstack import option
from mailstack.contract.bind import bind, hold_open
from mailstack.contract.hookspec import hookimpl
from mailstack.services import lookup
from mailstack.services.lookup.given import Given
from mailstack.session.session import Session
from mailstack.session.transaction import Recipient

from .place import is_routed

__all__ = ["Domains"]


class Domains:
    """Vouch for every address at these domains.

    domains -- "example.org", ".example.org" (all below it) or "[192.0.2.1]", and lookups of such.
    routed -- vouch for local parts with "%", "!" or "@" too: where no server behind this one takes them for routes.

    ConfigError for anything else.
    """

    name = "recipients"
    rehearsable = True

    def __init__(self, *domains: Given, routed: bool = False) -> None:
        self._domains = lookup.domains(*domains, name="Domains", remedy='write Domains("example.org", …)')
        self._find_now = self._domains.find_now
        self._routed = option.boolean(routed, name="Domains(routed)")
        hold_open(self, self._domains)
        if self._domains.waits:
            bind(self, rcpt=_rcpt)

    @hookimpl
    def rcpt(self, recipient: Recipient) -> None:
        address = recipient.address
        if self._find_now(address.domain) is not None and (self._routed or not is_routed(address)):
            recipient.accept()


async def _rcpt(self: Domains, session: Session, recipient: Recipient) -> None:
    """Where a lookup waits."""
    address = recipient.address
    if is_routed(address) and not self._routed:
        return
    if await self._domains.find(address.domain, partial(session.note, "recipients", "rcpt")) is not None:
        recipient.accept()
