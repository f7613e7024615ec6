"""Servers in turn: an errand is run where it can be run."""

from __future__ import annotations

import itertools
from collections.abc import Awaitable, Callable, Sequence
from typing import TypeVar

from ... import log
from ...wire.reply import Reply
from ..client import Disconnected, NotAuthenticated, NotSecure, Refused, Unsupported
from ..client.pool import Busy, Connection
from .errand import Asked, Errand
from .hop import Hop
from .replies import Unavailable, due

__all__ = ["Failed", "Route", "Talk"]

T = TypeVar("T")

Talk = Callable[[Connection, Hop], Awaitable[T]]


class Failed(Exception):
    """No server took the errand, and none has the message. reply -- what is due for that."""

    def __init__(self, reply: Reply) -> None:
        super().__init__(str(reply))
        self.reply = reply


class Route:
    """who -- the handler, for the log. rotates -- begin with another server each time."""

    __slots__ = ("_rotates", "_turn", "hops", "who")

    def __init__(self, who: str, hops: Sequence[Hop], *, rotates: bool) -> None:
        self.who = who
        self.hops = hops
        self._rotates = rotates
        self._turn = itertools.count()

    async def run(self, errand: Errand, talk: Talk[T]) -> T:
        """Run the errand where it can be run; `Failed` when no server can have done it.

        A connection that was used before may have died meanwhile, so that one fresh connection follows it. What
        `talk` raises is passed on when the message may have been taken, and when it is nothing of the connection's.
        """
        found: list[Reply] = []
        for hop in self._order(errand.asked):
            errand.place = hop.name
            for fresh in (False, True):
                connection = None
                try:
                    async with hop.pool.connection(errand.asked, fresh=fresh) as connection:
                        errand.encryption = connection.client.encryption
                        return await talk(connection, hop)
                except Unsupported as error:
                    found.append(error.reply)
                    break
                except (OSError, Refused, NotSecure, NotAuthenticated, Unavailable) as error:
                    if connection is not None and _is_final(error):
                        raise
                    self.tell(error, errand)
                    failure = error
                if connection is None or not connection.reused:
                    found.insert(0, due(failure))
                    if not isinstance(failure, Busy):
                        hop.rest()
                    break
        raise Failed(found[0])

    async def probe(self, hop: Hop) -> None:
        """See at once what a server offers; one that cannot be talked to is told of."""
        try:
            await hop.pool.probe()
        except (OSError, Refused, NotSecure, NotAuthenticated) as error:
            hop.rest()
            self.tell(error, server=hop.name)

    def _order(self, asked: Asked | None) -> Sequence[Hop]:
        """Where the transaction is open already; as configured; those that failed lately at the end."""
        if len(self.hops) == 1:
            return self.hops
        start = next(self._turn) % len(self.hops) if self._rotates else 0
        turned = [*self.hops[start:], *self.hops[:start]]
        return sorted(turned, key=lambda hop: (asked is None or hop is not asked.hop, hop.resting))

    def tell(self, error: Exception, errand: Errand | None = None, server: str = "") -> None:
        """In the log. What passes by itself is a warning; what somebody has to mend, an error."""
        fields: dict[str, object] = {"who": self.who, "server": server, "reason": str(error)}
        if errand is not None:
            fields |= {"session": errand.session.id, "queue_id": errand.transaction.id, "server": errand.place}
        match error:
            case NotAuthenticated():
                tell = log.warning if error.temporary else log.error
                tell("login at the next server failed", **fields, user=error.user)
            case NotSecure():
                log.error("no TLS with the next server", **fields)
            case _:
                log.warning("next server failed" if errand is not None else "next server not available", **fields)


def _is_final(error: Exception) -> bool:
    """Whether it ends the errand: the server may have the message, or it was no fault of the connection's."""
    if not isinstance(error, Disconnected):
        return isinstance(error, OSError)
    return error.unknown or any(verdict is not None and verdict.positive for verdict in error.verdicts)
