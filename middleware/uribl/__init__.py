"""uribl: refuse messages that lead to hosts on a list in the DNS.

    uribl.URIBL("multi.surbl.org")
    uribl.URIBL(uribl.Zone("multi.uribl.com", codes={"&2": 1, "&4": 0.3}), "dbl.spamhaus.org", threshold=1)

Spam wants to be clicked at. The addresses (URLs) in the text parts of a message are read as a browser would, through
base64, quoted-printable, entities, percent signs and numbers for addresses; nothing is fetched. In plain text they have
a scheme or begin with "www."; a bare "spam.example" is a word like others. Of the first `scan`
octets of the message, the first `hosts` different hosts are asked for in all lists at the same time: names with their
parents down to two labels, addresses reversed. When the points of the lists that have one reach `threshold`, the
message is refused with 550 5.7.1 (451 with `temporary=True`), naming the lists that hit; but not mail to postmaster and
abuse alone, who are sent spam to complain of it. `mark` is a field to add to a
message that has hits and is not refused: "X-URIBL".

`ignore` are domains, and all below them, that are not asked for: half the world's mail mentions w3.org.

As in `dnsbl`, errors are never listings: a list that does not answer in `timeout` lets the message pass. Each question
counts in the session's budget of DNS (`Resolver(session_queries=…)`): hosts times lists should stay below it.
"""

from __future__ import annotations

from functools import partial

from anyio import CapacityLimiter, to_thread

from mailstack import option
from mailstack.contract.hookspec import LiveOn, hookimpl
from mailstack.contract.postpone import all_must_be_heard
from mailstack.services import lookup
from mailstack.services.dnslist import Found, Lists, Threshold, Zone, domains_of, is_public
from mailstack.services.lookup.given import Given
from mailstack.services.scan import Sample
from mailstack.session.message import Message
from mailstack.session.session import Session
from mailstack.wire.reply import Reply

from .uris import IPAddress
from .uris import hosts as hosts_in

__all__ = ["URIBL", "Zone"]

IGNORED = ("w3.org", "microsoft.com", "apple.com", "google.com", "schema.org", "example.com")


class URIBL:
    """Ask lists of what messages lead to.

    zones, threshold, temporary -- as in `dnsbl`. timeout -- for all questions of a message together.
    scan -- octets of the message that are read. hosts -- how many are asked for. levels -- names for each.
    ignore -- domains that are not asked for, and all below them; text or lookups.
    mark -- the field that tells of hits below the threshold, "" for none.

    ConfigError for what makes no sense.
    """

    rehearsable = True

    def __init__(
        self,
        *zones: str | Zone,
        threshold: float = 1.0,
        temporary: bool = False,
        timeout: str | float = "10s",
        scan: str | int = "256 KiB",
        hosts: int = 20,
        levels: int = 2,
        ignore: Given = IGNORED,
        mark: str = "",
    ) -> None:
        self._lists = Lists(zones, timeout=timeout, name="URIBL")
        self.statistics = self._lists.statistics
        self._threshold = Threshold(threshold, temporary, name="URIBL")
        self._scan = option.size(scan, name="URIBL(scan)")
        self._hosts = option.integer(hosts, name="URIBL(hosts)", minimum=1, maximum=200)
        self._levels = option.integer(levels, name="URIBL(levels)", minimum=1, maximum=5)
        self._ignore = lookup.domains(ignore, name="URIBL(ignore)")
        self._mark = option.field_name(mark, name="URIBL(mark)") if mark else ""
        self._threads: CapacityLimiter | None = None

    @hookimpl
    async def lifespan(self, call_next: LiveOn) -> None:
        self._threads = CapacityLimiter(2)  # the reading is all Python, and holds the interpreter anyway
        async with self._ignore.opened():
            await call_next()
        self._lists.report()

    @hookimpl
    async def message(self, session: Session, message: Message) -> Reply | None:
        octets = b"".join([chunk async for chunk in Sample(message, self._scan).chunks()])
        found = await to_thread.run_sync(partial(hosts_in, octets, self._hosts), limiter=self._threads)
        listed = await self._ask(session, found)
        reply = None if all_must_be_heard(session) else self._threshold.reply(listed)
        if reply is None and listed.hits and self._mark:
            message.add_header(self._mark, listed.reason)
        return reply

    async def _ask(self, session: Session, found: list[str | IPAddress]) -> Found:
        """Names and addresses, all at the same time."""
        ips = [host for host in found if not isinstance(host, str) and is_public(host)]
        names = [name for host in found if isinstance(host, str) for name in await self._names(host)]
        return await self._lists.ask(session, "message", names, ips)

    async def _names(self, host: str) -> list[str]:
        for name in domains_of(host, 10):
            if await self._ignore.find(name) is not None:
                return []
        return list(domains_of(host, self._levels))
