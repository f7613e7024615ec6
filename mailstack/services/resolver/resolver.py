"""The resolver: typed questions to the DNS, within the budget of a session.

    resolver = Resolver("127.0.0.1:5353")
    for preference, host in await resolver.mx("example.org"):
        ...

A `Resolver` may be made outside of an event loop, be shared by all sessions, and used on one loop after the other.
What it shares (cache, questions on their way, counts) its views share: `of(session)` is the same resolver with the
session's budget.
"""

from __future__ import annotations

import ipaddress
from typing import Any

from anyio import create_task_group, move_on_after

from ... import option
from ...session.budget import BUDGET, Budget
from ...session.lookup import (
    MX,
    Answer,
    DNSBudget,
    DNSError,
    IPAddress,
    NoSuchName,
    Temporary,
)
from ...session.session import Session
from .cache import Cache, Keep
from .name import Question
from .network import Network, Patience
from .servers import Servers
from .shared import Shared, Source
from .statistics import Statistics

__all__ = ["Resolver"]


class Resolver:
    """Asks `servers`, addresses such as "127.0.0.1", "192.0.2.53:5353", "[::1]:53"; none: those of /etc/resolv.conf.

    timeout -- how long one server has for one answer. tries -- for each server. lifetime -- for a question in all.
    cache -- entries, and cache_size octets, of which the least recently used go first. keep -- how long (`Keep`).
    session_queries, session_time -- what one session may ask beyond the cache, and wait for; a message that was taken
        renews it.
    at_once -- questions on their way; the next ones fail.
    trust_ad -- believe every server's word that it has validated an answer. Default: only one on this machine.

    ConfigError. Questions are as in `session.lookup.Lookups`; they raise NotFound, Temporary, and ValueError for a type
    that does not exist.
    """

    __slots__ = ("_allowance", "_budget", "_shared", "servers")

    def __init__(
        self,
        *servers: str,
        timeout: float | str = "3s",
        tries: int = 2,
        lifetime: float | str = "10s",
        cache: int = 10_000,
        cache_size: int | str = "32 MiB",
        keep: Keep | None = None,
        session_queries: int = 100,
        session_time: float | str = "30s",
        at_once: int = 500,
        trust_ad: bool = False,
        source: Source | None = None,
    ) -> None:
        patience = Patience(
            option.duration(timeout, name="Resolver(timeout)", minimum=0.01),
            option.integer(tries, name="Resolver(tries)", minimum=1, maximum=10),
            option.duration(lifetime, name="Resolver(lifetime)", minimum=0.01),
        )
        entries = option.integer(cache, name="Resolver(cache)", minimum=0)
        octets = option.size(cache_size, name="Resolver(cache_size)")
        most = option.integer(at_once, name="Resolver(at_once)", minimum=1)
        self.servers = Servers(servers)
        self._allowance = (
            option.integer(session_queries, name="Resolver(session_queries)", minimum=1),
            option.duration(session_time, name="Resolver(session_time)"),
        )
        statistics = Statistics()
        network = Network(self.servers, patience, statistics, trust_ad=trust_ad, at_once=most)
        self._shared = Shared(source or network, Cache(entries, octets, keep or Keep()), statistics)
        self._budget: Budget | None = None

    def of(self, session: Session) -> Resolver:
        """The same resolver, bound by the budget of `session`, which is one for all resolvers that it uses."""
        budget = session.stash.get(BUDGET)
        if budget is None:
            budget = session.stash[BUDGET] = Budget(*self._allowance)
        return self.within(budget)

    def within(self, budget: Budget) -> Resolver:
        """The same resolver, bound by `budget`."""
        view = Resolver.__new__(Resolver)
        view.servers, view._shared, view._allowance = self.servers, self._shared, self._allowance
        view._budget = budget
        return view

    @property
    def statistics(self) -> Statistics:
        """What was asked so far, of all views."""
        return self._shared.statistics

    def forget(self) -> None:
        """Empty the cache."""
        self._shared.cache.clear()

    # Questions.

    async def a(self, name: str) -> Answer[ipaddress.IPv4Address]:
        """IPv4 addresses."""
        return await self.query(name, "A")

    async def aaaa(self, name: str) -> Answer[ipaddress.IPv6Address]:
        """IPv6 addresses."""
        return await self.query(name, "AAAA")

    async def addresses(self, name: str) -> Answer[IPAddress]:
        """Both. `Temporary` only when neither was found."""
        found: list[Answer[IPAddress]] = []
        failed: list[DNSError] = []

        async def ask(type: str) -> None:
            try:
                found.append(await self.query(name, type))
            except DNSError as error:
                failed.append(error)

        if self._knows(name, "AAAA"):  # then nobody waits for it, and a task would be for nothing
            await ask("AAAA")
            await ask("A")
        else:
            async with create_task_group() as group:
                group.start_soon(ask, "AAAA")
                await ask("A")
        if not found:
            raise _worst(failed)
        found.sort(key=lambda answer: [record.version for record in answer])
        return Answer(
            name,
            tuple(record for answer in found for record in answer),
            found[0].canonical,
            min(answer.ttl for answer in found),
            all(answer.secure for answer in found) and all(error.secure for error in failed),
        )

    def _knows(self, name: str, type: str) -> bool:
        """Whether the answer is there already."""
        try:
            return self._shared.knows(Question.of(name, type))
        except NoSuchName:
            return True

    async def mx(self, name: str) -> Answer[MX]:
        """Mail exchangers, the preferred first."""
        return await self.query(name, "MX")

    async def txt(self, name: str) -> Answer[bytes]:
        """Texts, the strings of each record joined."""
        return await self.query(name, "TXT")

    async def ptr(self, ip: IPAddress | str) -> Answer[str]:
        """The names that an address says it has. ValueError for what is no address."""
        address = ipaddress.ip_address(ip)
        if address.version == 6 and address.ipv4_mapped is not None:
            address = address.ipv4_mapped
        return await self.query(address.reverse_pointer, "PTR")

    async def query(self, name: str, type: str) -> Answer[Any]:
        """Any type."""
        question = Question.of(name, type)
        outcome = self._shared.known(question)
        if outcome is None:
            if self._budget is None:
                outcome = await self._shared.ask(question)
            else:
                outcome = await self._ask_within(self._budget, question)
        if isinstance(outcome, Answer):
            return outcome
        raise outcome.exception()

    async def _ask_within(self, budget: Budget, question: Question) -> Any:
        seconds = budget.begin()
        try:
            if seconds > 0:
                with move_on_after(seconds):
                    return await self._shared.ask(question)
        finally:
            budget.end()
        self.statistics.refused += 1
        raise DNSBudget(*question, "the session has asked enough")


def _worst(errors: list[DNSError]) -> DNSError:
    """What is to be said of a name that has no addresses of either kind."""
    for kind in (DNSBudget, Temporary, NoSuchName):
        for error in errors:
            if isinstance(error, kind):
                return error
    return errors[0]
