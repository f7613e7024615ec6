"""Postpone: refuse later, where more is known and postmaster can be let through.

    Postpone(DNSBL("zen.spamhaus.org"))                           # connect, ehlo, mail → each RCPT
    Postpone(Policy(), until="data")

A refusal at `connect`, `ehlo` or `mail` (or the 451 of a failure there) is kept, and given in the phase `until`, at the
place of this entry in the stack. Until then the session goes on: the client may authenticate, and the log sees sender
and recipients. One at `connect` holds for the session, one at `ehlo` while that greeting is in force, one at `mail`
for its transaction; if there are several, the earliest phase's is given. What the entry itself says in later phases is
as ever.

It is never given against postmaster or abuse, at any domain (RFC 5321 §4.5.1, RFC 2142 §4): at `rcpt` these recipients
are spared; at `data` a transaction that is for them alone. A mixed one is refused there as a whole, so `rcpt` is the
better place. `until="mail"` cannot keep that promise, and is a mistake.

A postponed refusal does not close the connection, and its 421 becomes 450. `evidence` has "postponed" when it was found
and "refused" when it was given, or "overruled" when it was for postmaster.

    Postpone(Unless(predicate.authenticated, x))    # asked at connect, when nobody is authenticated: hits them all
    Unless(predicate.authenticated, Postpone(x))    # asked again at rcpt: lets them go

Over an onion it is a load error: what its refusal means has been decided when it returns.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from .. import log
from ..option import ConfigError, choice
from ..session.evidence import Finding
from ..session.session import Session
from ..session.transaction import Recipient
from ..wire.address import Address
from ..wire.reply import Reply
from .entry import Entry, Impl, Origin
from .origin import origins
from .standing import Standing

EARLY = ("connect", "ehlo", "mail")
_ROLES = frozenset({"postmaster", "abuse"})


def must_be_heard(address: Address) -> bool:
    """Whether policy never refuses mail to it: postmaster and abuse, at any domain."""
    return address.local.lower() in _ROLES


def all_must_be_heard(session: Session) -> bool:
    """Whether the transaction at hand is for postmaster and abuse alone."""
    transaction = session.transaction
    return transaction is not None and all(must_be_heard(recipient.given) for recipient in transaction.recipients)


class Postpone:
    """One entry, or a Stack, When or Limit of entries, whose early refusals are given later.

    until -- "rcpt" (the default) or "data".
    """

    __slots__ = ("entry", "origins", "until")
    rehearsable = True  # what gives the refusals keeps them in the session alone
    idle = "nobody inside is asked in connect, ehlo or mail: nothing is postponed"

    def __init__(self, entry: object, *, until: str = "rcpt") -> None:
        if until == "mail":
            raise ConfigError(
                "Postpone(until): at mail nobody knows whether the mail is for postmaster",
                remedy='write "rcpt" or "data"',
            )
        self.entry = entry
        self.until = choice(until, "rcpt", "data", name="Postpone(until)")
        self.origins: tuple[Origin, ...] = origins(1)

    def wrap(self, entry: Entry) -> Entry | None:
        """Redirect its early refusals; returns what gives them later, to stand before it. ConfigError for an onion."""
        early = [impl for hook, impl in entry.impls.items() if hook in EARLY and not impl.observed]
        for impl in early:
            if impl.onion:
                raise ConfigError(
                    f"{entry.name} cannot be postponed: its {impl.hook} is an onion, which has acted when it answers",
                    remedy="postpone checks only, those without call_next",
                )
        if not early:
            return None
        outlet = Postponed(entry.name, self.until)
        for impl in early:
            entry.impls[impl.hook] = replace(impl, outlets=(*impl.outlets, outlet))
        return Entry(entry.name, self, entry.origin, {self.until: outlet.later()}, decided=True)


class Postponed:
    """The outlet of one entry (see `entry.Outlet`)."""

    __slots__ = ("_standing", "until", "who", "words")

    def __init__(self, who: str, until: str) -> None:
        self.who = who
        self.until = until
        self.words = f"refuses at {until}"
        self._standing = Standing(f"postponed until {until} by {who}")

    def begin(self, session: Session, impl: Impl, subject: Any) -> None:
        self._standing.begin(session, impl.hook, subject)

    def take(self, session: Session, impl: Impl, reply: Reply, seconds: float, *, fault: bool) -> bool:
        self._standing.keep(session, impl.hook, _without_end(reply))
        outcome = "would have postponed" if impl.observed else "postponed"
        session.evidence.add(Finding(impl.who, impl.hook, outcome, reply, seconds, f"until {self.until}"))
        log.info(
            outcome, session=session.id, who=impl.who, phase=impl.hook, until=self.until, reply=str(reply), fault=fault
        )
        return True

    def later(self) -> Impl:
        """The check that gives the refusal in its time."""
        function = self._rcpt if self.until == "rcpt" else self._data
        arguments = ("session", "recipient") if self.until == "rcpt" else ("session",)
        return Impl(self.who, self.until, function, arguments, False, False, note="what was postponed")

    def gives(self, impl: Impl) -> bool:
        """Whether that is the check that `later()` made."""
        return getattr(impl.function, "__self__", None) is self

    def _rcpt(self, session: Session, recipient: Recipient) -> Reply | None:
        return self._give(session, spared=must_be_heard(recipient.given))

    def _data(self, session: Session) -> Reply | None:
        return self._give(session, spared=all_must_be_heard(session))

    def _give(self, session: Session, *, spared: bool) -> Reply | None:
        found = self._standing.found(session)
        if found is None:
            return None
        if spared:
            session.evidence.add(Finding(self.who, self.until, "overruled", found[1], detail="postmaster"))
            return None
        return found[1]


def _without_end(reply: Reply) -> Reply:
    """The same refusal for one command: it does not close, and no 421 announces that."""
    if reply.code == 421:
        return Reply(450, reply.text, status=reply.status)
    return replace(reply, close=False) if reply.close else reply
