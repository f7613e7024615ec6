"""limits.Rate: how often, in a time."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from typing import Literal

from mailstack.contract.hookspec import Host, LiveOn, hookimpl
from mailstack.option import ConfigError
from mailstack.services.store import Rate as Allowance
from mailstack.services.store import Store, chosen, key
from mailstack.session.session import Session
from mailstack.wire.reply import Reply

from . import whom

By = Literal["ip", "prefix", "login", "sender_domain"]

_REPLIES = {
    "connections": Reply(421, "too many connections from you, try again later", status="4.7.0", close=True),
    "messages": Reply(450, "too many messages, try again later", status="4.7.1"),
    "recipients": Reply(450, "too many recipients, try again later", status="4.7.1"),
}
_OF_ENVELOPES = ("login", "sender_domain")  # not known when a client connects


class Rate:
    """Allow so many connections, messages (MAIL commands) and recipients (RCPT commands) in a time.

    connections, messages, recipients -- "10/1m": ten at once, then one every six seconds; None: no limit.
    by -- whose they are: "ip", "prefix" (lengths `prefix`), "login", "sender_domain". Who has none of the kind (nobody
        logged in, the null sender, a UNIX socket) is not limited.
    burst -- how many at once, where that is not the number of the rate.
    store -- where they are counted; default: this server's memory. name -- tells limits in one store apart.

    Every command counts that comes by here, whatever others make of it. What is refused for the rate takes nothing from
    it. ConfigError without a rate, and for connections by what is not known yet.
    """

    name = "limits"
    rehearsable = True

    def __init__(
        self,
        *,
        connections: str | Allowance | None = None,
        messages: str | Allowance | None = None,
        recipients: str | Allowance | None = None,
        by: By = "ip",
        burst: int | None = None,
        prefix: Sequence[int] = whom.PREFIX,
        store: Store | None = None,
        name: str = "",
    ) -> None:
        given = {"connections": connections, "messages": messages, "recipients": recipients}
        self._rates = {
            what: Allowance.parse(rate, burst=burst, name=f"Rate({what})")
            for what, rate in given.items()
            if rate is not None
        }
        if not self._rates:
            raise ConfigError("Rate() limits nothing", remedy='write Rate(messages="60/1m")')
        if by in _OF_ENVELOPES and connections is not None:
            raise ConfigError(f"Rate(by={by!r}) cannot limit connections", remedy='take by="ip" or by="prefix"')
        self._who = _asked(by, whom.lengths(prefix, name="Rate(prefix)"))
        self._by = by
        self._label = name
        self.store = chosen(store, name="Rate(store)")
        self._open = 0

    @hookimpl
    async def lifespan(self, server: Host, call_next: LiveOn) -> None:
        async with self.store.opened(read_only=server.rehearsal):
            self._open += 1
            try:
                await call_next()
            finally:
                self._open -= 1

    @hookimpl
    async def connect(self, session: Session) -> Reply | None:
        return await self._take("connections", session)

    @hookimpl
    async def mail(self, session: Session) -> Reply | None:
        return await self._take("messages", session)

    @hookimpl
    async def rcpt(self, session: Session) -> Reply | None:
        return await self._take("recipients", session)

    async def _take(self, what: str, session: Session) -> Reply | None:
        rate = self._rates.get(what)
        who = self._who(session) if rate is not None else None
        if rate is None or who is None or not self._open:  # `mailstack check` asks outside of a server's life
            return None
        wait = await self.store.take(key("rate", self._label, what, rate, self._by, who), rate)
        if not wait:
            return None
        session.note("limits", _PHASES[what], f"{what} of {self._by} {who}: allowed in {wait:.3g} s")
        return _REPLIES[what]


_PHASES = {"connections": "connect", "messages": "mail", "recipients": "rcpt"}


def _asked(by: str, prefix: whom.Lengths) -> Callable[[Session], str | None]:
    ways: dict[str, Callable[[Session], str | None]] = {
        "ip": partial(whom.network, prefix=whom.IP),
        "prefix": partial(whom.network, prefix=prefix),
        "login": whom.login,
        "sender_domain": whom.sender_domain,
    }
    if by not in ways:
        raise ConfigError(f"Rate(by={by!r}): there is no such way to count", remedy=f"one of {', '.join(ways)}")
    return ways[by]
