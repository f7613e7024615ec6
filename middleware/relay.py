"""relay: who may send mail to anywhere through this server.

    relay.Relay("192.0.2.0/24", "2001:db8:1::/48", norelay="192.0.2.99")   # our networks, but not the guests' machine
    When(predicate.listener("submission"), relay.Relay(only=True))         # nobody else is served at that listener
    relay.Attempts(5)                                                      # five strange recipients, and it is over

A recipient that nobody vouches for is refused: `550 relaying denied`. `recipients` vouches for mail that is ours,
whoever sends it; `Relay` vouches for all mail of clients that are ours, wherever it goes. Both may stand in one
stack, in any order. Entries between them still have their say, so policy that is meant for strangers stands in
`Unless(…)`.

Who is ours: a client in one of the networks that is in none of the holes (`norelay`), and a client with an identity
(`session.user`: a login, or a client certificate that was mapped to a name), wherever it comes from. An address can
be forged by nobody who wants to hear the answers, but the server must see the client's own: behind a proxy that does
not tell (PROXY, XCLIENT), every client has the proxy's. A UNIX socket has no address, and is in no network.

`only=True` makes it a server for these clients alone: everybody else is refused at RCPT, mail for our own domains
too, and is told what a stranger would be. Bare postmaster is heard all the same.

`Attempts` ends a session with 421 when so many recipients were refused because nobody vouched. Who tries the relay is
looking for an open one, or is misconfigured; neither is worth many answers. Place it anywhere.

`mailstack check` calls a configuration an open relay when addresses that are nobody's (RFC 5737) may relay.
"""

from __future__ import annotations

from functools import partial
from ipaddress import IPv4Network, IPv6Network
from typing import Final, cast

from mailstack import option
from mailstack.contract.bind import bind, hold_open
from mailstack.contract.hookspec import hookimpl
from mailstack.option import ConfigError, Network
from mailstack.services import lookup
from mailstack.services.lookup.given import Given
from mailstack.services.lookup.networks import NetworkTable
from mailstack.session.session import Session
from mailstack.session.stash import Key
from mailstack.session.transaction import Recipient
from mailstack.wire.reply import RELAYING_DENIED, Reply

__all__ = ["Attempts", "Relay"]

_ENOUGH: Final = Reply(421, "too many attempts to relay", status="4.7.0", close=True)


class Relay:
    """Vouch for every recipient of clients that may relay.

    networks -- "192.0.2.0/24", "2001:db8::/32", one address, and lookups of them. norelay -- holes in them, likewise.
    only -- whether nobody else may use this server: 550 5.7.1 at RCPT.
    authenticated -- whether a client with an identity may relay from anywhere.

    ConfigError for what is no network, for a hole outside of the networks, and when nobody could relay. A lookup that
    cannot say is 451.
    """

    rehearsable = True

    def __init__(
        self,
        *networks: Given | Network,
        norelay: Given | Network = (),
        only: bool = False,
        authenticated: bool = True,
    ) -> None:
        self._only = option.boolean(only, name="Relay(only)")
        self._authenticated = option.boolean(authenticated, name="Relay(authenticated)")
        remedy = "" if self._authenticated else 'write Relay("192.0.2.0/24"), or authenticated=True'
        self._networks = lookup.networks(*networks, name="Relay", remedy=remedy)
        self._holes = lookup.networks(norelay, name="Relay(norelay)")
        if self._networks.fixed and self._holes.fixed:
            self._check_holes()
        hold_open(self, self._networks, self._holes)
        if self._networks.waits or self._holes.waits:
            bind(self, rcpt=_rcpt)

    def _check_holes(self) -> None:
        networks = [*cast("NetworkTable[str]", self._networks.table)]
        for hole in cast("NetworkTable[str]", self._holes.table):
            if not any(_within(hole, network) for network in networks):
                raise ConfigError(f"Relay(norelay): {hole} is in none of the networks", remedy="leave it out")

    @hookimpl
    def rcpt(self, session: Session, recipient: Recipient) -> Reply | None:
        return self._judge(recipient, self.allows_now(session))

    def _judge(self, recipient: Recipient, allowed: bool) -> Reply | None:
        if allowed:
            recipient.accept()
            return None
        return RELAYING_DENIED if self._only else None

    def allows_now(self, session: Session) -> bool:
        """Whether the client may relay; where no lookup waits."""
        if self._authenticated and session.user is not None:
            return True
        ip = session.client.ip
        return ip is not None and self._networks.find_now(ip) is not None and self._holes.find_now(ip) is None

    async def allows(self, session: Session) -> bool:
        """Whether the client may relay."""
        if self._authenticated and session.user is not None:
            return True
        ip = session.client.ip
        if ip is None:
            return False
        told = partial(session.note, "relay", "rcpt")
        return await self._networks.find(ip, told) is not None and await self._holes.find(ip, told) is None


async def _rcpt(self: Relay, session: Session, recipient: Recipient) -> Reply | None:
    """Where a lookup waits."""
    return self._judge(recipient, await self.allows(session))


def _within(inner: Network, outer: Network) -> bool:
    if isinstance(inner, IPv4Network):
        return isinstance(outer, IPv4Network) and inner.subnet_of(outer)
    return isinstance(outer, IPv6Network) and inner.subnet_of(outer)


class Attempts:
    """End a session with 421 when this many of its recipients were refused because nobody vouched for them.

    most -- at least 1.
    """

    rehearsable = True

    def __init__(self, most: int = 5) -> None:
        self._most = option.integer(most, name="Attempts", minimum=1)
        self._seen: Key[int] = Key("relay attempts")

    @hookimpl
    def replied(self, session: Session, phase: str, reply: Reply) -> None:
        if phase != "rcpt" or reply != RELAYING_DENIED:
            return
        seen = session.stash[self._seen] = session.stash.get(self._seen, 0) + 1
        if seen == self._most:
            session.close(_ENOUGH)
