"""Wrong credentials cost time: who may try next, and when.

Counted are failures of one login from one network (an IPv4 address, an IPv6 /64), and of that network as a whole. A
login that has succeeded from a network is known there, and waits for its own failures alone: somebody else's broken
program in the same house does not slow it.

An attempt takes a place before it is judged, and gives it back afterwards. While there are failures one login has one
place, so that a thousand connections are no quicker than one. Who finds no place looks again until the longest wait is
over; of one network only a few may. Nothing is remembered for ever, no login is closed, and a right password waits as
long as a wrong one.

Fails: a store that cannot be asked is 454, and nobody is judged.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Awaitable, Callable
from ipaddress import IPv4Address, IPv6Network
from typing import Final

from anyio import CancelScope, sleep

from mailstack import log
from mailstack.services.store import Store, StoreError, key
from mailstack.session.session import Session
from mailstack.wire.reply import LOGIN_TROUBLE, Reply

LONGEST: Final = 10.0  # seconds; a phase has 30, and there are two of these
SPARE: Final = 10  # failures of a network before it is slowed as a whole
KNOWN: Final = 30 * 86400.0  # seconds that a login is known in a network
LOOKS: Final = 40  # times that who finds no place looks again
WAITING: Final = 20  # attempts of one network that look again, in this server

# Attempts under way at once: of one login, of one network.
_LOGIN: Final = 20
_NETWORK: Final = 50
_SLOWED: Final = 4

_BUSY: Final = Reply(421, "too many attempts to log in, try again later", status="4.7.0", close=True)


class Pace:
    """first, longest -- the delay after one failure, and after many, in seconds. forget -- when they are forgotten."""

    __slots__ = ("_first", "_forget", "_longest", "_store", "_waiting")

    def __init__(self, store: Store, first: float, longest: float, forget: float) -> None:
        self._store = store
        self._first = first
        self._longest = longest
        self._forget = forget
        self._waiting: Counter[str] = Counter()  # attempts that look again, by network

    async def judge(self, session: Session, login: str, ask: Callable[[], Awaitable[Reply]]) -> Reply:
        """What `ask` says, when it is this login's turn; 421 when that does not come."""
        if not self._first or session.rehearsal:
            return await ask()
        network = _network(session)
        tries = _Tries(self._store, network, login.casefold(), self._forget)
        try:
            delay = await self._turn(tries, network)
            if delay is None:
                log.info("too many attempts", session=session.id, client=str(session.client), user=login)
                return _BUSY
            await sleep(delay)
            reply = await ask()
            await tries.settle(reply)
            return reply
        except StoreError as error:
            log.error("store", session=session.id, problem=str(error))
            return LOGIN_TROUBLE
        finally:
            await tries.leave()

    async def _turn(self, tries: _Tries, network: str) -> float | None:
        """The delay before the judgement, once a place is free; None if that does not come."""
        delay = await self._try(tries)
        if delay is not None or self._waiting[network] >= WAITING:
            return delay
        self._waiting[network] += 1
        try:
            for _ in range(LOOKS):
                await sleep(self._longest / LOOKS)
                if (delay := await self._try(tries)) is not None:
                    return delay
            return None
        finally:
            self._waiting[network] -= 1
            if not self._waiting[network]:
                del self._waiting[network]

    async def _try(self, tries: _Tries) -> float | None:
        own, others = await tries.failures()
        return max(self._delay(own), self._delay(others)) if await tries.enter(own, others) else None

    def _delay(self, failures: int) -> float:
        """1, 2, 4, … seconds."""
        return min(self._first * 2.0 ** min(failures - 1, 30), self._longest) if failures > 0 else 0.0


class _Tries:
    """What a store holds of one login in one network."""

    __slots__ = ("_forget", "_held", "_known", "_login", "_network", "_store")

    def __init__(self, store: Store, network: str, login: str, forget: float) -> None:
        self._store = store
        self._forget = forget
        self._login = key("auth", "login", network, login)
        self._network = key("auth", "network", network)
        self._known = key("auth", "known", network, login)
        self._held: tuple[str, ...] = ()

    async def failures(self) -> tuple[int, int]:
        """Those of the login, and those of the network that are more than it may have."""
        own = await self._store.add(self._login, 0, self._forget)
        if await self._store.get(self._known) is not None:
            return own, 0
        return own, max(await self._store.add(self._network, 0, self._forget) - SPARE, 0)

    async def enter(self, own: int, others: int) -> bool:
        """Take the places of one attempt, if they are free."""
        places = {self._login: 1 if own else _LOGIN, self._network: _SLOWED if others else _NETWORK}
        with CancelScope(shield=True):  # what was taken must be known to be held
            if await self._store.enter(places) is not None:
                return False
            self._held = tuple(places)
        return True

    async def settle(self, reply: Reply) -> None:
        """Remember what came of it, if that can be. Trouble is nobody's failure."""
        try:
            if reply.positive:
                await self._store.delete(self._login)
                await self._store.put(self._known, b"1", KNOWN, soon=True)
            elif reply.permanent:
                await self._store.add(self._login, 1, self._forget)
                await self._store.add(self._network, 1, self._forget)
        except StoreError as error:
            log.error("store", problem=str(error))

    async def leave(self) -> None:
        held, self._held = self._held, ()
        await self._store.leave(*held)


def _network(session: Session) -> str:
    """An address; of IPv6 a /64, for who has one address there has them all."""
    ip = session.client.ip
    if ip is None:
        return "local"
    return str(ip) if isinstance(ip, IPv4Address) else str(IPv6Network((int(ip), 64), strict=False))
