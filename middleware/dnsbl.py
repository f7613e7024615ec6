"""dnsbl: refuse clients whose address is on a list in the DNS.

    dnsbl.DNSBL("zen.spamhaus.org")
    dnsbl.DNSBL(
        dnsbl.Zone("zen.spamhaus.org", codes={"127.0.0.2-127.0.0.9": 3, "127.0.0.10-127.0.0.11": 1}),
        dnsbl.Zone("bl.example.net", weight=2, text="{ip} sends spam, see https://example.net/?q={ip}"),
        threshold=3,
    )
    Unless(trusted, dnsbl.DNSBL("zen.spamhaus.org"))

All lists are asked when the client connects, at the same time and in the background; the answers are collected at RCPT,
when they have long been there, and when the log has sender and recipient. A client is refused with 550 5.7.1 (451 with
`temporary=True`) when the points of the lists that have it reach `threshold`. Each list counts once, for its `weight`
or for what `codes` says of its answer. The reply names all lists that hit, with their TXT or your own `text`.
`at="connect"` refuses in place of the banner instead.

A list that does not answer within `timeout`, says SERVFAIL, or says that it does not answer (127.255.255.0/24, anything
outside of 127.0.0.0/8) has not listed anybody: it is an error, counted and logged. Lists die, and some then list all
the world: look at the statistics, which are logged when the server stops (`list`), and at `Observe`, which tries a list
without effect. Large lists answer only who has registered, or asks from a resolver of his own: a public one (8.8.8.8)
hears errors.

Addresses of this machine and of private networks are not asked for. IPv6 addresses are, unless a zone says
`ipv6=False`.

RBLSMTPD, the environment variable of tcpserver, is obeyed with `environment=True`: when it is set and empty, no list is
asked; else it is the text of the refusal, for good if it begins with "-".
"""

from __future__ import annotations

import os
from typing import Literal

from mailstack import option
from mailstack.contract.bind import bind
from mailstack.contract.hookspec import LiveOn, hookimpl
from mailstack.contract.postpone import must_be_heard
from mailstack.services.dnslist import Found, Lists, Threshold, Zone, is_public
from mailstack.session.later import Later
from mailstack.session.session import Session
from mailstack.session.stash import Key
from mailstack.session.transaction import Recipient
from mailstack.wire.reply import Reply

__all__ = ["DNSBL", "Zone"]


class DNSBL:
    """Ask lists of addresses.

    zones -- names of lists, or `Zone`s. threshold -- points from which on a client is refused.
    at -- "rcpt" or "connect". temporary -- 451 in place of 550. timeout -- for all lists together, from the connection.
    environment -- whether RBLSMTPD counts.

    statistics -- by the name of a list: asked, listed, errors, seconds.

    ConfigError for what is no list.
    """

    rehearsable = True

    def __init__(
        self,
        *zones: str | Zone,
        threshold: float = 1.0,
        at: Literal["rcpt", "connect"] = "rcpt",
        temporary: bool = False,
        timeout: str | float = "8s",
        environment: bool = False,
    ) -> None:
        self._lists = Lists(zones, timeout=timeout, name="DNSBL")
        self.statistics = self._lists.statistics
        self._threshold = Threshold(threshold, temporary, name="DNSBL")
        if option.choice(at, "rcpt", "connect", name="DNSBL(at)") == "connect":
            bind(self, connect=_judge_at_once, rcpt=_say_nothing)
        self._environment = option.boolean(environment, name="DNSBL(environment)")
        self._asked: Key[Later[Found]] = Key("dnsbl")

    @hookimpl
    async def lifespan(self, call_next: LiveOn) -> None:
        await call_next()
        self._lists.report()

    @hookimpl
    def connect(self, session: Session) -> None:
        self.begin(session)

    @hookimpl
    async def rcpt(self, session: Session, recipient: Recipient) -> Reply | None:
        if must_be_heard(recipient.given):
            return None
        return await self.judge(session)

    def begin(self, session: Session) -> Later[Found] | None:
        """Ask in the background, unless nobody should be asked."""
        ip = session.client.ip
        if ip is None or not is_public(ip):
            return None
        later = session.stash.get(self._asked)
        if later is None and not self._told():
            later = session.stash[self._asked] = session.start(self._lists.ask, session, "connect", (), [ip])
        return later

    def _told(self) -> bool:
        return self._environment and "RBLSMTPD" in os.environ

    async def judge(self, session: Session) -> Reply | None:
        """What the lists mean, once they have answered."""
        if self._told():
            return _by_environment(os.environ["RBLSMTPD"])
        later = self.begin(session)
        if later is None:
            return None
        return self._threshold.reply(await later.get())


async def _judge_at_once(self: DNSBL, session: Session) -> Reply | None:
    return await self.judge(session)


def _say_nothing(self: DNSBL) -> None:
    """It has judged before."""


def _by_environment(text: str) -> Reply | None:
    if not text:
        return None
    return Reply(553, text[1:], status="5.7.1") if text.startswith("-") else Reply(451, text, status="4.7.1")
