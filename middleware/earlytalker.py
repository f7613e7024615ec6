"""earlytalker: a client that talks before it is its turn is no mail server.

SMTP is a dialog, and whoever wants to be rid of much mail quickly does not listen. A client has to wait twice: for the
banner (RFC 5321 §3.1), and after DATA, the last command of a pipelined group, for the 354 (RFC 2920 §3.1).

    earlytalker.EarlyTalker()                                    # 554 and the end
    earlytalker.EarlyTalker(wait="3s", at="connect", action="defer")
    Observe(earlytalker.EarlyTalker())                           # only find out

At `connect` the banner is held back for `wait`; what the client says meanwhile is early. A client that merely leaves
has said nothing, and is no early talker. Under TLS from the first octet the wait begins after the handshake, behind a
proxy after its header. At `data` nobody waits: octets that came together with DATA are early. BDAT is left alone, for
its octets rightly follow at once (RFC 3030).

Who is refused at `data` is also cut off: the message that is on its way would be read as commands.

Those who are known need not wait, and a refusal before the banner is better given where postmaster can be let through:

    Unless(predicate.client_in("192.0.2.0/24"), Postpone(earlytalker.EarlyTalker()))

Postpone keeps the refusal of `connect` until RCPT; that of `data` is given at once.

Cost: one timer for each connection and no task, but each connection lasts `wait` longer, so more of them are open at
once. After XCLIENT the banner is held back once more; `Unless` spares a proxy that has waited itself.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace

from mailstack import log
from mailstack.contract.hookspec import hookimpl
from mailstack.option import ConfigError, choice, duration
from mailstack.session.session import Session
from mailstack.wire.reply import Reply

__all__ = ["EarlyTalker"]

_REPLIES = {
    "deny": Reply(554, "you talk before it is your turn", status="5.5.1", close=True),
    "defer": Reply(421, "you talk before it is your turn", status="4.5.1", close=True),
    "log": None,
}


class EarlyTalker:
    """Refuse clients that talk too early.

    wait -- how long the banner is held back: "1s" by default. Good clients wait for minutes (RFC 5321 §4.5.3.2.1).
    at -- "connect", "data", or both (the default).
    action -- "deny": 554 and the end. "defer": 421 and the end. "log": a line in the log and in the evidence.
    reply -- a refusal of one's own in the place of 554 or 421. One without `close` leaves the client before the banner
        connected, and answers 503 to all but QUIT; at `data` it always closes.

    ConfigError for anything else.
    """

    rehearsable = True

    def __init__(
        self,
        *,
        wait: float | str = "1s",
        at: str | Iterable[str] = ("connect", "data"),
        action: str = "deny",
        reply: Reply | None = None,
    ) -> None:
        self._wait = duration(wait, name="EarlyTalker(wait)")
        places = [at] if isinstance(at, str) else list(at)
        self._at = {choice(place, "connect", "data", name="EarlyTalker(at)") for place in places}
        if not self._at:
            raise ConfigError("EarlyTalker(at) is empty: it would never look", remedy='write at=("connect", "data")')
        usual = _REPLIES[choice(action, *_REPLIES, name="EarlyTalker(action)")]
        if reply is not None and (reply.positive or usual is None):
            raise ConfigError(
                "EarlyTalker(reply) is no refusal, or nothing is to be said",
                remedy='write a reply of 4xx or 5xx, and not action="log"',
            )
        self._reply = reply or usual

    @hookimpl
    async def connect(self, session: Session) -> Reply | None:
        if "connect" not in self._at or not await session.input_waits(self._wait):
            return None
        return self._found(session, "connect")

    @hookimpl
    async def data(self, session: Session, chunked: bool) -> Reply | None:
        if chunked or "data" not in self._at or not await session.input_waits(0):
            return None
        reply = self._found(session, "data")
        return reply and replace(reply, close=True)

    def _found(self, session: Session, phase: str) -> Reply | None:
        if self._reply is None:
            log.info("early talker", session=session.id, client=str(session.client), phase=phase)
            session.note("earlytalker", phase, "talks before its turn")
        return self._reply
