"""Asking name servers: each in turn, some times, until one knows.

A server that says SERVFAIL or REFUSED is not asked again for this question; one that does not answer is, after the
others. Whoever answered is asked first next time.
"""

from __future__ import annotations

import ipaddress
from dataclasses import dataclass

from anyio import move_on_after

from ... import log
from .exchange import tcp, udp
from .message import TRUNCATED, Query, Reading
from .name import Question
from .outcome import Failure, trouble
from .servers import NoServers, Server, Servers
from .statistics import Statistics

__all__ = ["Network", "Patience"]


@dataclass(frozen=True, slots=True)
class Patience:
    """timeout -- seconds for one answer. tries -- for each server. lifetime -- seconds in all."""

    timeout: float
    tries: int
    lifetime: float


class Network:
    """Questions to `servers`.

    trust_ad -- whether the AD bit of every server counts, not just of one on this machine. at_once -- questions on
    their way at the same time; the next ones fail at once, for a server that waits for thousands of answers has too
    little left for its clients.
    """

    __slots__ = ("_at_once", "_complained", "_patience", "_running", "_statistics", "_trust_ad", "servers")

    def __init__(
        self, servers: Servers, patience: Patience, statistics: Statistics, *, trust_ad: bool, at_once: int
    ) -> None:
        self.servers = servers
        self._statistics = statistics
        self._patience = patience
        self._trust_ad = trust_ad
        self._at_once = at_once
        self._running = 0
        self._complained = False

    async def fetch(self, question: Question) -> Reading:
        """The answer, or a failure that says what the last server said. ValueError for a type that does not exist."""
        query = Query(question)
        if self._running >= self._at_once:
            return Reading(trouble(question, "too many questions at once", 0), 0)
        try:
            servers = self.servers.now()
        except NoServers as error:
            return Reading(trouble(question, self._complain(str(error)), 0), 0)
        self._running += 1
        try:
            with move_on_after(self._patience.lifetime):
                return await self._ask(query, servers)
            return Reading(trouble(question, "no answer in time"), 0)
        finally:
            self._running -= 1

    async def _ask(self, query: Query, servers: list[Server]) -> Reading:
        words = "no answer in time"
        for _ in range(self._patience.tries):
            for server in tuple(servers):
                try:
                    reading = await self._exchange(query, server)
                except OSError as error:
                    words = error.strerror or str(error)
                    continue
                if reading is None:
                    self._statistics.timeouts += 1
                elif isinstance(reading.outcome, Failure) and reading.outcome.temporary:
                    words = reading.outcome.words
                    servers.remove(server)
                else:
                    self.servers.prefer(server)
                    return reading
        return Reading(trouble(query.question, words), 0)

    async def _exchange(self, query: Query, server: Server) -> Reading | None:
        """One answer of one server; None when it took too long."""
        timeout, trusted = self._patience.timeout, self._trust_ad or _is_here(server)
        found: Reading | str | None = None
        self._statistics.sent += 1
        with move_on_after(timeout):
            found = await udp(server, query.octets, lambda octets: query.read(octets, trusted=trusted))
        if found == TRUNCATED:
            found = None
            self._statistics.tcp += 1
            with move_on_after(timeout):
                found = await tcp(server, query.octets, lambda octets: query.read(octets, trusted=trusted))
        if isinstance(found, str):
            return Reading(trouble(query.question, "truncated over TCP"), 0)
        return found

    def _complain(self, words: str) -> str:
        """Tell the postmaster, once."""
        if not self._complained:
            self._complained = True
            log.error("no name servers", problem=words)
        return words


def _is_here(server: Server) -> bool:
    """Whether nobody stands between it and us."""
    return ipaddress.ip_address(server[0]).is_loopback
