"""rhsbl: refuse mail whose sender's domain, client's name or HELO is on a list of domains in the DNS.

    rhsbl.RHSBL("dbl.spamhaus.org")
    rhsbl.RHSBL(rhsbl.Zone("dbl.example.net", codes="127.0.1.*"), "multi.surbl.org", which=("sender", "helo", "ptr"))

`which` says what is asked for: the domain of MAIL's sender ("sender", the default), the name in EHLO ("helo"), the
confirmed name of the client's address ("ptr", see `Server(reverse_dns=…)`). Each is asked for as soon as it is known,
in the background, with its parents down to two labels; the answers are collected at RCPT. 550 5.7.1, or 451 with
`temporary=True`, when the points of the lists that have one reach `threshold`: as in `dnsbl`, whose words on errors,
large lists and statistics hold here too.

Bounces have no sender, and address literals no domain: these are not asked for.
"""

from __future__ import annotations

from collections.abc import Iterable
from itertools import chain

from mailstack import option
from mailstack.contract.hookspec import LiveOn, hookimpl
from mailstack.contract.postpone import must_be_heard
from mailstack.option import ConfigError
from mailstack.services.dnslist import Found, Lists, Threshold, Zone, domains_of
from mailstack.session.later import Later
from mailstack.session.session import Session
from mailstack.session.stash import Key
from mailstack.session.transaction import Recipient, Sender
from mailstack.wire.reply import Reply

__all__ = ["RHSBL", "Zone"]


class RHSBL:
    """Ask lists of domains.

    zones -- names of lists, or `Zone`s. which -- "sender", "helo", "ptr", or several of them.
    threshold, temporary, timeout -- as in `dnsbl`; the timeout is for each of `which`.
    levels -- how many names are asked for a domain: itself and its shortest parents.

    ConfigError for what is no list.
    """

    rehearsable = True

    def __init__(
        self,
        *zones: str | Zone,
        which: str | Iterable[str] = ("sender",),
        threshold: float = 1.0,
        temporary: bool = False,
        timeout: str | float = "8s",
        levels: int = 3,
    ) -> None:
        self._lists = Lists(zones, timeout=timeout, name="RHSBL")
        self.statistics = self._lists.statistics
        wanted = [which] if isinstance(which, str) else [*which]
        self._which = {option.choice(each, "sender", "helo", "ptr", name="RHSBL(which)") for each in wanted}
        if not self._which:
            raise ConfigError("RHSBL(which) is empty: nothing would be asked", remedy='write which=("sender",)')
        self._threshold = Threshold(threshold, temporary, name="RHSBL")
        self._levels = option.integer(levels, name="RHSBL(levels)", minimum=1, maximum=5)
        self._of_helo: Key[Later[Found]] = Key("rhsbl.helo")
        self._of_name: Key[Later[Found]] = Key("rhsbl.ptr")
        self._of_sender: Key[Later[Found]] = Key("rhsbl.sender")

    @hookimpl
    async def lifespan(self, call_next: LiveOn) -> None:
        await call_next()
        self._lists.report()

    @hookimpl
    def ehlo(self, session: Session, hostname: str) -> None:
        if "helo" in self._which:
            session.stash[self._of_helo] = session.start(self._ask, session, domains_of(hostname, self._levels))
        if "ptr" in self._which:
            session.stash[self._of_name] = session.start(self._ask_for_name, session)

    async def _ask(self, session: Session, names: Iterable[str]) -> Found:
        return await self._lists.ask(session, "ehlo", names)

    async def _ask_for_name(self, session: Session) -> Found:
        """The name is on its way since the connection; EHLO does not wait for it."""
        return await self._ask(session, domains_of(await session.named() or "", self._levels))

    @hookimpl
    def mail(self, session: Session, sender: Sender) -> None:
        if "sender" in self._which and not sender.address.null:
            names = domains_of(sender.address.domain, self._levels)
            assert session.transaction is not None
            session.transaction.stash[self._of_sender] = session.start(self._lists.ask, session, "mail", names)

    @hookimpl
    async def rcpt(self, session: Session, recipient: Recipient) -> Reply | None:
        if must_be_heard(recipient.given):
            return None
        assert session.transaction is not None
        stash, transaction = session.stash, session.transaction
        asked = stash.get(self._of_name), stash.get(self._of_helo), transaction.stash.get(self._of_sender)
        answers = [await later.get() for later in asked if later is not None]
        return self._threshold.reply(Found([*chain.from_iterable(each.listings for each in answers)]))
