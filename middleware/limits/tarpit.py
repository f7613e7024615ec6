"""limits.Tarpit: who makes errors waits, and goes."""

from __future__ import annotations

from anyio import sleep

from mailstack import option
from mailstack.contract.hookspec import hookimpl
from mailstack.option import ConfigError
from mailstack.session.session import Session
from mailstack.session.stash import Key
from mailstack.wire.reply import Reply

_LONGEST = 10.0  # seconds: well below what a phase has, for others want to be asked too
_ENOUGH = Reply(421, "too many errors", status="4.7.0", close=True)


class Tarpit:
    """Answer the commands of a client slowly that has made errors, and send it away when it makes more.

    after -- permanent refusals (5xx) since the last message that was taken; then each command but QUIT and RSET waits.
    delay -- how long; at most 10 s.
    at_once -- sessions that may wait at the same time; who comes then is answered at once.
    close_after -- refusals of either kind, 4xx or 5xx, since the last message that was taken: then 421. Default: those
        that `Limits(errors=…)` counts, 5xx alone.

    Waiting takes nothing but the connection: no thread, no lock, no place in a store.
    """

    name = "limits"
    rehearsable = True

    def __init__(
        self, after: int = 5, *, delay: float | str = "2s", at_once: int = 100, close_after: int | None = None
    ) -> None:
        self._after = option.integer(after, name="Tarpit(after)", minimum=1)
        self._delay = option.duration(delay, name="Tarpit(delay)")
        if self._delay > _LONGEST:
            raise ConfigError(f"Tarpit(delay): {delay!r} is too long", remedy=f"write at most {_LONGEST:g} seconds")
        self._at_once = option.integer(at_once, name="Tarpit(at_once)", minimum=1)
        self._close_after = (
            None if close_after is None else option.integer(close_after, name="Tarpit(close_after)", minimum=1)
        )
        self._refusals: Key[int] = Key("limits.refusals")
        self.waiting = 0  # sessions

    @hookimpl
    async def ehlo(self, session: Session) -> None:
        await self._wait(session)

    @hookimpl
    async def mail(self, session: Session) -> None:
        await self._wait(session)

    @hookimpl
    async def rcpt(self, session: Session) -> None:
        await self._wait(session)

    @hookimpl
    async def data(self, session: Session) -> None:
        await self._wait(session)

    @hookimpl
    async def command(self, session: Session) -> None:
        await self._wait(session)

    @hookimpl
    def replied(self, session: Session, phase: str, reply: Reply) -> None:
        if self._close_after is None:
            return
        if reply.code < 400:
            if phase == "queue":
                session.stash[self._refusals] = 0
            return
        refusals = session.stash[self._refusals] = session.stash.get(self._refusals, 0) + 1
        if refusals >= self._close_after and not reply.close:
            session.close(_ENOUGH)

    async def _wait(self, session: Session) -> None:
        if session.error_count < self._after or session.rehearsal or self.waiting >= self._at_once:
            return
        self.waiting += 1
        try:
            await sleep(self._delay)
        finally:
            self.waiting -= 1
