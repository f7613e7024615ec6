"""karma: what a client does now, and what it did before.

    karma.Karma()
    karma.Karma(weights={"dnsbl": -2, "spamassassin": -3}, nice=1, strikes=3, penalty="1d", sessions=(1, 5, 20))

Every session has a score. What the other entries say of it counts, as it stands in the evidence: a refusal by an entry
has the weight that `weights` gives its name, or that of "refused", once for each entry and message; a message that was
taken has "message"; a command that makes no sense has "error". A refusal that Postpone or Score has put off counts as
well, one that is only observed does not. Who tries one name after the other is `limits.Tarpit`'s business.

At the end of the session the score becomes history, for each address (IPv6: each /64): `nice` or more is a nice
session, one message that was taken and nothing else; minus `strikes` or less is a naughty one. A client with more
naughty sessions than nice ones is shut out for `penalty`, times the difference (at most ten): 421 before the banner.
Put the entry into `Postpone` and postmaster can be asked why.

`sessions` is how many a client may have at a time: with a bad name, with none, with a good one. `tarpit` is how long
each RCPT waits once the score is minus `strikes` or less; at `drop` the session ends with 421.

`known(least)` is a predicate for conditions around entries below this one: clients with a balance of at least so much.

    history = karma.Karma()
    Stack(history, Unless(history.known(5), greylist.Greylist()), …)

Clients on this machine (127.0.0.1, ::1, UNIX sockets) have no history.

Records are in `store`, an SQLite file `karma.db` in $STATE_DIRECTORY or ./var unless another is given, for `keep` after
the last session. A store that gives no answer knows nobody, and the log says so.

    mailstack karma show 192.0.2.1 -c conf/mx.py
    mailstack karma set 192.0.2.1 --nice 5 --naughty 0 -c conf/mx.py
"""

from __future__ import annotations

import ipaddress
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Final

from anyio import sleep

from mailstack import log, option
from mailstack.contract import predicate
from mailstack.contract.hookspec import Host, LiveOn, hookimpl
from mailstack.contract.predicate import Predicate
from mailstack.option import ConfigError
from mailstack.services.store import Store, StoreError, chosen, key
from mailstack.session.session import Session
from mailstack.session.stash import Key
from mailstack.wire.reply import Reply

from .history import History

__all__ = ["WEIGHTS", "Karma"]

WEIGHTS: Final[Mapping[str, float]] = {
    "message": 1.0,
    "refused": -1.0,
    "error": -0.5,
    "earlytalker": -2.0,
    "dnsbl": -2.0,
    "rhsbl": -2.0,
    "uribl": -3.0,
    "spamassassin": -3.0,
    "greylist": 0.0,
    "limits": 0.0,
    "karma": 0.0,
}

_COUNTS: Final = ("refused", "postponed", "scored")
_LONGEST: Final = 10.0  # seconds of a tarpit: well below what a phase has
_MOST_COUNTED: Final = 1000  # entries times messages of one session
_DROPPED: Final = Reply(421, "that is enough for now", status="4.7.0", close=True)
_TOO_MANY: Final = Reply(421, "too many sessions of yours", status="4.7.0", close=True)


@dataclass(slots=True)
class _Tally:
    """The session so far. seen -- findings that were looked at. counted -- which entries have had their say."""

    history: History
    score: float = 0.0
    seen: int = 0
    counted: set[tuple[str, str]] = field(default_factory=set)


class Karma:
    """Count, remember, and shut out.

    weights -- points by the name of an entry, and for "refused", "message", "error"; they are put over `WEIGHTS`.
    nice -- the score that makes a session nice. strikes -- the one that, below zero, makes it naughty.
    penalty -- how long who is naughty is shut out.
    sessions -- at a time, of clients with a bad name, without one, with a good one; None: no limit.
    tarpit -- how long RCPT waits in a naughty session, at most 10 s. drop -- the score at which a session ends; None.
    keep -- how long a client is remembered. store -- where. clock -- what time it is, for tests.

    ConfigError for what makes no sense.
    """

    rehearsable = True

    def __init__(
        self,
        *,
        weights: Mapping[str, float] | None = None,
        nice: float = 1.0,
        strikes: float = 3.0,
        penalty: str | float = "1d",
        sessions: Sequence[int] | None = (1, 5, 20),
        tarpit: str | float = "0s",
        drop: float | None = -10.0,
        keep: str | float = "60d",
        store: Store | None = None,
        clock: Callable[[], float] = time.time,
    ) -> None:
        given = {
            name: option.number(points, name=f"Karma(weights, {name})") for name, points in (weights or {}).items()
        }
        self._weights = {**WEIGHTS, **given}
        self._nice = option.number(nice, name="Karma(nice)", minimum=0.1)
        self._strikes = option.number(strikes, name="Karma(strikes)", minimum=0.1)
        self._penalty = option.duration(penalty, name="Karma(penalty)")
        self._sessions = _three(sessions)
        self._tarpit = option.duration(tarpit, name="Karma(tarpit)")
        if self._tarpit > _LONGEST:
            raise ConfigError(f"Karma(tarpit): {tarpit!r} is too long", remedy=f"write at most {_LONGEST:g} seconds")
        self._drop = None if drop is None else option.number(drop, name="Karma(drop)", maximum=0.0)
        self._keep = option.duration(keep, name="Karma(keep)", minimum=1.0)
        self.store = chosen(store, name="Karma(store)", file="karma.db")
        self._clock = clock
        self._tally: Key[_Tally] = Key("karma")
        self._places: dict[str, str] = {}  # that sessions hold, by their ids: a restart (XCLIENT) takes the stash

    def known(self, least: int = 1) -> Predicate:
        """Whether the client's balance of nice and naughty sessions is at least so much, as this session began."""

        def ask(session: Session) -> bool:
            tally = session.stash.get(self._tally)
            return tally is not None and tally.history.balance >= least

        ask.__name__ = f"known({least})"
        return predicate.known("connect")(ask)

    @hookimpl
    async def lifespan(self, server: Host, call_next: LiveOn) -> None:
        async with self.store.opened(read_only=server.rehearsal):
            await call_next()

    # The session.

    @hookimpl
    async def connect(self, session: Session) -> Reply | None:
        await self._leave(session)
        host = _whom(session)
        if host is None:
            return None
        try:
            return await self._admit(session, host)
        except StoreError as error:
            log.warning("nobody is known", session=session.id, who="karma", reason=str(error))
            session.stash[self._tally] = _Tally(History())
            return None

    async def _admit(self, session: Session, host: str) -> Reply | None:
        history = History.unpack(await self.store.get(key("karma", host)))
        session.stash[self._tally] = _Tally(history)
        now = self._clock()
        words = f"{host}: {history.nice} nice, {history.naughty} naughty of {history.sessions} sessions"
        session.note("karma", "connect", words)
        if history.penalty_until > now:
            hours = (history.penalty_until - now) / 3600
            return Reply(421, f"you may come again in {hours:.1f} hours", status="4.7.1", close=True)
        if self._sessions is None:
            return None
        most = self._sessions[0 if history.balance < 0 else 2 if history.balance > 0 else 1]
        place = key("karma-session", host)
        if await self.store.enter({place: most}) is not None:
            return _TOO_MANY
        self._places[session.id] = place
        return None

    async def _leave(self, session: Session) -> None:
        if place := self._places.pop(session.id, ""):
            await self.store.leave(place)

    @hookimpl
    async def rcpt(self, session: Session) -> None:
        tally = session.stash.get(self._tally)
        if self._tarpit and tally is not None and tally.score <= -self._strikes and not session.rehearsal:
            await sleep(self._tarpit)

    @hookimpl
    def replied(self, session: Session, phase: str, by: str, reply: Reply) -> None:
        tally = session.stash.get(self._tally)
        if tally is None:
            return
        before = tally.score
        self._count(session, tally)
        if phase == "queue" and reply.positive:
            tally.score += self._weights["message"]
        elif by == "core" and reply.permanent:
            tally.score += self._weights["error"]
        if self._drop is not None and tally.score <= self._drop < before:
            session.note("karma", phase, f"the score is {tally.score:g}")
            session.close(_DROPPED)

    def _count(self, session: Session, tally: _Tally) -> None:
        """What the entries have found since the last look."""
        tally.seen, new = session.evidence.since(tally.seen)
        transaction = session.transaction.id if session.transaction is not None else ""
        for finding in new:
            whom = finding.who.partition("#")[0], transaction
            if finding.outcome in _COUNTS and whom not in tally.counted and len(tally.counted) < _MOST_COUNTED:
                tally.counted.add(whom)
                tally.score += self._weights.get(whom[0], self._weights["refused"])

    @hookimpl
    async def disconnect(self, session: Session) -> None:
        await self._leave(session)
        tally, host = session.stash.get(self._tally), _whom(session)
        if tally is None or host is None:
            return
        if tally.history.penalty_until > self._clock():
            return  # it was not let in
        self._count(session, tally)
        try:
            await self._remember(session, host, tally.score)
        except StoreError as error:
            log.warning("not remembered", session=session.id, who="karma", reason=str(error))

    async def _remember(self, session: Session, host: str, score: float) -> None:
        name = key("karma", host)
        history = History.unpack(await self.store.get(name))  # other sessions of the client have ended meanwhile
        after = history.after(score, self._nice, self._strikes, self._penalty, self._clock())
        await self.store.put(name, after.pack(), self._keep, soon=True)
        if after.naughty > history.naughty:
            log.info("naughty", session=session.id, client=host, who="karma", score=score, balance=after.balance)

    # For `mailstack karma`.

    async def show(self, host: str) -> History:
        """What is remembered. ValueError for what is no address."""
        return History.unpack(await self.store.get(key("karma", _of_ip(host))))

    async def change(self, host: str, history: History) -> None:
        """Remember this instead."""
        await self.store.put(key("karma", _of_ip(host)), history.pack(), self._keep)


def _whom(session: Session) -> str | None:
    """The client, as it is remembered; None for one of this machine."""
    ip = session.client.ip
    return None if ip is None or ip.is_loopback else _of_ip(str(ip))


def _of_ip(text: str) -> str:
    ip = ipaddress.ip_address(text)
    return text if ip.version == 4 else str(ipaddress.ip_network(f"{ip}/64", strict=False))


def _three(given: Sequence[int] | None) -> tuple[int, int, int] | None:
    if given is None:
        return None
    try:
        bad, new, good = given
    except (TypeError, ValueError) as error:
        raise ConfigError(f"Karma(sessions): {given!r} is not three numbers", remedy="write (1, 5, 20)") from error
    return (
        option.integer(bad, name="Karma(sessions)", minimum=1),
        option.integer(new, name="Karma(sessions)", minimum=1),
        option.integer(good, name="Karma(sessions)", minimum=1),
    )
