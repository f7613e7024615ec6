"""dnswl: clients that a list in the DNS speaks for, for conditions around other entries.

    known = dnswl.DNSWL("list.dnswl.org")
    Stack(known, Unless(known.trusted(1), greylist.Greylist(), …), …)

Lists of this kind say how far they trust an address: 127.0.*.0 to 127.0.*.3, none, low, medium and high, as
list.dnswl.org does. `trusted(least)` is a predicate: true when a list gives at least so much trust. `codes` in a `Zone`
says what the answers of others count. Of several lists the one that trusts most counts.

The lists are asked when the client connects, and waited for at RCPT: place the entry above those whose conditions ask
it. With `wait="mail"` they are waited for at MAIL, for conditions around entries that listen there; whatever is asked
for at MAIL then begins later. It refuses nobody. A list that does not answer, or answers with an error, trusts nobody.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Final, Literal

from mailstack import option
from mailstack.contract.hookspec import LiveOn, hookimpl
from mailstack.contract.predicate import Predicate
from mailstack.services.dnslist import Found, Lists, Zone, is_public
from mailstack.session.later import Later
from mailstack.session.session import Session
from mailstack.session.stash import Key

__all__ = ["DNSWL", "Zone"]

_LEVELS: Final = {f"127.0.*.{level}": float(level) for level in range(4)}


class DNSWL:
    """Ask lists of trusted addresses.

    zones -- names of lists, or `Zone`s with `codes` and the trust that they mean. timeout -- for all lists together.
    wait -- "rcpt" or "mail": when the answers are waited for, and so from when on `trusted` is known.

    ConfigError for what is no list.
    """

    rehearsable = True

    def __init__(self, *zones: str | Zone, timeout: str | float = "8s", wait: Literal["rcpt", "mail"] = "rcpt") -> None:
        self._lists = Lists([_with_levels(zone) for zone in zones], timeout=timeout, name="DNSWL", texts=False)
        self._wait = option.choice(wait, "rcpt", "mail", name="DNSWL(wait)")
        self.statistics = self._lists.statistics
        self._asked: Key[Later[Found]] = Key("dnswl")
        self._trust: Key[float] = Key("dnswl.trust")

    def trusted(self, least: float = 1.0) -> Predicate:
        """Whether a list trusts the client so much. Known from `wait` on."""
        wanted = option.number(least, name="DNSWL.trusted")

        def ask(session: Session, _: object) -> bool:
            return session.stash.get(self._trust, -1.0) >= wanted

        return Predicate(ask, f"trusted({wanted:g})", self._wait)

    @hookimpl
    async def lifespan(self, call_next: LiveOn) -> None:
        await call_next()
        self._lists.report()

    @hookimpl
    def connect(self, session: Session) -> None:
        ip = session.client.ip
        if ip is not None and is_public(ip):
            session.stash[self._asked] = session.start(self._lists.ask, session, "connect", (), [ip])

    @hookimpl
    async def mail(self, session: Session) -> None:
        if self._wait == "mail":
            await self._collect(session)

    @hookimpl
    async def rcpt(self, session: Session) -> None:
        await self._collect(session)

    async def _collect(self, session: Session) -> None:
        later = session.stash.get(self._asked)
        if later is None or self._trust in session.stash:
            return
        found = await later.get()
        session.stash[self._trust] = max((each.points or 0.0 for each in found.hits), default=-1.0)


def _with_levels(zone: str | Zone) -> Zone:
    """Who says nothing of the answers means those of list.dnswl.org."""
    given = zone if isinstance(zone, Zone) else Zone(zone)
    return given if given.codes else replace(given, codes=_LEVELS)
