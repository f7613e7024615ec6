"""limits.Sessions: how many sessions there may be at once."""

from __future__ import annotations

from collections.abc import Sequence

from anyio import CancelScope

from mailstack import log, option
from mailstack.contract.hookspec import Host, LiveOn, hookimpl
from mailstack.option import ConfigError
from mailstack.services.store import Store, StoreError, chosen, key
from mailstack.session.session import Session
from mailstack.wire.reply import Reply

from . import whom

_TOO_MANY = Reply(421, "too many sessions, try again later", status="4.3.2", close=True)
_TOO_MANY_OF_YOURS = Reply(421, "too many sessions from your address", status="4.7.0", close=True)
_TOO_MANY_NEAR = Reply(421, "too many sessions from your network", status="4.7.0", close=True)


class _Place:
    """What one session holds. keys -- of the store."""

    __slots__ = ("keys",)

    def __init__(self) -> None:
        self.keys: tuple[str, ...] = ()


class Sessions:
    """Refuse who would be one too many: 421 in place of the banner, and in place of a TLS handshake not a word.

    total -- of all who come by here; fewer than `Limits(connections=…)` leave a reserve for who does not.
    per_ip -- of one address; of a /64 in IPv6. per_prefix -- of one network, with lengths `prefix`.
    store -- where they are counted; default: this server's memory. name -- tells limits in one store apart.

    The place comes back however the session ends. After XCLIENT it is the new client's. ConfigError without a limit.
    """

    name = "limits"
    rehearsable = True

    def __init__(
        self,
        total: int | None = None,
        per_ip: int | None = None,
        per_prefix: int | None = None,
        *,
        prefix: Sequence[int] = whom.PREFIX,
        store: Store | None = None,
        name: str = "",
    ) -> None:
        given = {"total": total, "per_ip": per_ip, "per_prefix": per_prefix}
        self._most = {
            each: option.integer(value, name=f"Sessions({each})", minimum=1)
            for each, value in given.items()
            if value is not None
        }
        if not self._most:
            raise ConfigError("Sessions() limits nothing", remedy="write Sessions(per_ip=10) or total=, per_prefix=")
        self._prefix = whom.lengths(prefix, name="Sessions(prefix)")
        self._label = name
        self.store = chosen(store, name="Sessions(store)")
        self._places: dict[str, _Place] = {}

    @property
    def held(self) -> int:
        """Sessions of this server that are counted now."""
        return len(self._places)

    @hookimpl
    async def lifespan(self, server: Host, call_next: LiveOn) -> None:
        async with self.store.opened(read_only=server.rehearsal):
            await call_next()

    @hookimpl
    async def session(self, session: Session, call_next: LiveOn) -> None:
        place = self._places[session.id] = _Place()
        try:
            try:
                reply = await self._take(place, session)
            except StoreError:
                reply = None  # `connect` tries again, and what it means if that fails is decided there
            if reply is None:
                await call_next()
            else:
                _turn_away(session, reply)
        finally:
            del self._places[session.id]
            await self.store.leave(*place.keys)

    @hookimpl
    async def connect(self, session: Session) -> Reply | None:
        """Somebody else may be the client by now: a proxy has spoken, or XCLIENT."""
        place = self._places.get(session.id)
        return None if place is None else await self._take(place, session)

    async def _take(self, place: _Place, session: Session) -> Reply | None:
        """The places of this client in exchange for those that are held."""
        wanted = self._wanted(session)
        if place.keys == tuple(wanted):
            return None
        with CancelScope(shield=True):  # what was taken must be known to be held
            held, place.keys = place.keys, ()
            await self.store.leave(*held)
            full = await self.store.enter({each: most for each, (most, _) in wanted.items()})
            if full is None:
                place.keys = tuple(wanted)
        return None if full is None else wanted[full][1]

    def _wanted(self, session: Session) -> dict[str, tuple[int, Reply]]:
        """Key to how many there may be, and what to say when there are."""
        who = {
            "total": ("all", _TOO_MANY),
            "per_ip": (whom.network(session, whom.IP), _TOO_MANY_OF_YOURS),
            "per_prefix": (whom.network(session, self._prefix), _TOO_MANY_NEAR),
        }
        return {
            key("sessions", self._label, each, one): (most, reply)
            for each, most in self._most.items()
            for one, reply in [who[each]]
            if one is not None
        }


def _turn_away(session: Session, reply: Reply) -> None:
    """Before the banner; where TLS is due nobody could read it."""
    if not session.implicit_tls or session.secure:
        session.close(reply)
    session.note("limits", "session", f"{reply.code} {reply.text}")
    log.info("refused", session=session.id, client=str(session.client), phase="session", by="limits", reply=str(reply))
