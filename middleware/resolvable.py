"""resolvable: refuse senders whose domain nobody could answer to.

    resolvable.Resolvable()
    resolvable.Resolvable(temporary=True, trouble="pass", impossible=("127.0.0.0/8", "10.0.0.0/8"))

A sender's domain must have a mail exchanger with an address, or an address of its own; a bounce to it would go nowhere
otherwise, and so would any answer. Every MX is looked at: one that leads somewhere is enough. Addresses in networks
where no server of somebody else can be (`impossible`: this machine, private networks, documentation, multicast …) lead
nowhere. A domain that says that it takes no mail (null MX, RFC 7505) sends none either.

The DNS is asked at MAIL, in the background, and the answer collected at RCPT, so that all the lookups of a session go
on at the same time. The refusal is 550 5.1.8, or 5.7.27 for a null MX; with `temporary=True` 450. When the DNS gives no
answer, mail is put off with 451 4.4.3 (`trouble="defer"`), or passes (`trouble="pass"`).

Bounces have no sender. Address literals, "ann@[192.0.2.1]", pass unless `literals=False`.
"""

from __future__ import annotations

import time
from typing import Literal

from mailstack import option
from mailstack.contract.hookspec import hookimpl
from mailstack.contract.postpone import must_be_heard
from mailstack.services import lookup
from mailstack.services.lookup.given import Given
from mailstack.services.resolver.usable import IMPOSSIBLE, Usable, usable
from mailstack.session.later import Later
from mailstack.session.lookup import IPAddress, Temporary
from mailstack.session.session import Session
from mailstack.session.stash import Key
from mailstack.session.transaction import Recipient, Sender
from mailstack.wire.reply import Reply

__all__ = ["Resolvable"]


class Resolvable:
    """Look up the sender's domain.

    temporary -- 450 in place of 550. trouble -- when the DNS gives no answer: "defer" or "pass".
    impossible -- networks in which no server can be; text, or lookups that answer at once.
    literals -- whether address literals may send.

    ConfigError for what is no network.
    """

    rehearsable = True

    def __init__(
        self,
        *,
        temporary: bool = False,
        trouble: Literal["defer", "pass"] = "defer",
        impossible: Given = IMPOSSIBLE,
        literals: bool = True,
    ) -> None:
        self._temporary = option.boolean(temporary, name="Resolvable(temporary)")
        self._defers = option.choice(trouble, "defer", "pass", name="Resolvable(trouble)") == "defer"
        self._impossible = lookup.networks(impossible, name="Resolvable(impossible)").at_once()
        self._literals = option.boolean(literals, name="Resolvable(literals)")
        self._asked: Key[Later[Usable | Temporary]] = Key("resolvable")

    @hookimpl
    def mail(self, session: Session, sender: Sender) -> None:
        domain = sender.address.domain
        if domain and not domain.startswith("["):
            assert session.transaction is not None
            session.transaction.stash[self._asked] = session.start(self._ask, session, domain)

    async def _ask(self, session: Session, domain: str) -> Usable | Temporary:
        began = time.monotonic()
        found: Usable | Temporary
        try:
            found = await usable(session.resolver, domain, self._is_impossible)
        except Temporary as error:
            found = error
        words = found.value if isinstance(found, Usable) else str(found)
        session.note("resolvable", "mail", f"{domain}: {words} ({time.monotonic() - began:.3f} s)")
        return found

    def _is_impossible(self, ip: IPAddress) -> bool:
        return self._impossible.find_now(ip) is not None

    @hookimpl
    async def rcpt(self, session: Session, recipient: Recipient) -> Reply | None:
        if must_be_heard(recipient.given):
            return None
        assert session.transaction is not None
        address = session.transaction.sender.address
        if address.domain.startswith("["):
            return None if self._literals else self._refusal(f"senders at {address.domain} are not taken", "1.8")
        later = session.transaction.stash.get(self._asked)
        if later is None:
            return None
        found = await later.get()
        if isinstance(found, Temporary):
            trouble = Reply(451, f"the domain {address.domain} cannot be looked up now", status="4.4.3")
            return trouble if self._defers else None
        if found is Usable.YES:
            return None
        status = "7.27" if found is Usable.NULL_MX else "1.8"
        return self._refusal(f"the sender's domain {address.domain} cannot be answered to: {found.value}", status)

    def _refusal(self, text: str, status: str) -> Reply:
        return Reply(450, text, status=f"4.{status}") if self._temporary else Reply(550, text, status=f"5.{status}")
