"""vrfy: what strangers hear who ask for mailboxes with VRFY and EXPN.

    vrfy.Vrfy()                                             # 252: send some mail, and see
    vrfy.Vrfy("refuse")                                     # 502
    vrfy.Vrfy("ask", known=["alice@example.org"])           # 250 or 550
    vrfy.Vrfy("ask", known=lookup.File("addresses"))        # a lookup
    vrfy.Vrfy("ask", known=exists)                          # a function of the Address

"cannot" says neither yes nor no (RFC 5321 §3.5.3), to VRFY and EXPN. It is what the core says to VRFY without this
entry. "refuse" says that neither command is to be had. "ask" tells the truth to VRFY, and EXPN is not to be had; it is
for machines of your own, as in `When(predicate.client_in("192.0.2.0/24"), …)`, for whoever may ask learns your
addresses.

With "ask" and a list, an address at a domain of the list is known or unknown, with postmaster and abuse always known;
of any other domain it says 252. So it says of an address that a database does not know: which domains are whose, only
text and files tell. A lookup that cannot say is a fault, 451. A function answers True (250), False (550) or None (252),
and may be `async def`. What is no address, such as a bare name, is answered 252.

Each 550 counts as an error of the session, and `Limits(errors=…)` ends it. After `limit` questions the rest is answered
252, so that one connection cannot read out a list by its hits either.
"""

from __future__ import annotations

import inspect
from collections.abc import Awaitable, Callable
from typing import cast

from mailstack import option
from mailstack.contract.bind import hold_open
from mailstack.contract.hookspec import hookimpl
from mailstack.contract.postpone import must_be_heard
from mailstack.option import ConfigError
from mailstack.services import lookup
from mailstack.services.lookup.addresses import AddressTable
from mailstack.services.lookup.given import Given
from mailstack.session.session import Session
from mailstack.session.stash import Key
from mailstack.wire.address import Address, AddressError
from mailstack.wire.command import Command
from mailstack.wire.reply import CANNOT_VERIFY, NO_SUCH_MAILBOX, Reply

__all__ = ["Vrfy"]

Exists = Callable[[Address], bool | Awaitable[bool | None] | None]

_REFUSED = Reply(502, "this command is not to be had here")


class Vrfy:
    """Answer VRFY and EXPN.

    policy -- "cannot" (the default), "refuse" or "ask".
    known -- with "ask": addresses, lookups of them, or a function from Address to True, False or None.
    limit -- with "ask": how many questions of one session are answered, 10 by default.

    ConfigError for anything else.
    """

    rehearsable = True

    def __init__(self, policy: str = "cannot", *, known: Given | Exists = (), limit: int = 10) -> None:
        self._policy = option.choice(policy, "cannot", "refuse", "ask", name="Vrfy(policy)")
        listed = known != () and not callable(known)
        remedy = 'write known=["user@example.org"]' if listed else ""
        self._known = lookup.addresses(*((known,) if listed else ()), name="Vrfy(known)", remedy=remedy, whole=True)
        hold_open(self, self._known)
        self._exists: Exists = known if callable(known) else self._is_listed
        self._limit = option.integer(limit, name="Vrfy(limit)", minimum=1)
        self._asked: Key[int] = Key("vrfy.asked")
        if (self._policy == "ask") is (known == ()):
            raise ConfigError(
                "Vrfy(known) and the policy “ask” go together",
                remedy='write Vrfy("ask", known=["user@example.org"]), or neither',
            )

    @hookimpl
    async def command(self, session: Session, command: Command) -> Reply | None:
        if command.verb not in ("VRFY", "EXPN"):
            return None
        if self._policy == "cannot":
            return CANNOT_VERIFY
        if self._policy == "refuse" or command.verb == "EXPN":
            return _REFUSED
        return await self._ask(session, command.argument)

    async def _ask(self, session: Session, argument: str) -> Reply:
        asked = session.stash[self._asked] = session.stash.get(self._asked, 0) + 1
        try:
            address = Address.parse(argument)
        except AddressError:
            return CANNOT_VERIFY
        if asked > self._limit or address.null:
            return CANNOT_VERIFY
        answer = self._exists(address)
        if inspect.isawaitable(answer):
            answer = await answer
        if answer is None:
            return CANNOT_VERIFY
        return Reply(250, address.path, status="2.1.5") if answer else NO_SUCH_MAILBOX

    async def _is_listed(self, address: Address) -> bool | None:
        if address.postmaster:
            return True
        ours = address.domain in cast("AddressTable[str]", self._known.table).homes
        if (ours and must_be_heard(address)) or await self._known.find(address) is not None:
            return True
        return False if ours else None
