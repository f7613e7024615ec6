"""Score and Threshold: refusals become points, and one place in the stack judges the sum.

    Score(DNSBL("zen.spamhaus.org"), 5)
    Score(Hello(), 2)
    Score(DNSBL("list.dnswl.example"), -4)                   # being listed speaks for the client here
    Threshold(reject_at=7, defer_at=4)

A refusal by what is inside, from `connect` to `message`, is evidence ("scored") and points, and the session goes on. An
entry counts once in a transaction, however often it refuses; each entry of a Stack inside counts for itself. Points
from `connect` hold for the session, those from `ehlo` while that greeting is in force, all others for the transaction.
A positive answer is an answer as ever. So is a failure: `Limit` decides what it means. `auth` and `command` are not
about mail, and are answered as ever.

`Threshold` adds up what was found above it in the stack and before its phase. Anybody may read: `score(session)` is the
sum, `scores(session)` who gave what, `predicate.score_at_least(5)` a condition.

Over an onion, a handler or another Score it is a load error.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

from .. import log
from ..option import ConfigError, choice, number
from ..session.evidence import Finding
from ..session.session import Session
from ..session.stash import Key
from ..session.transaction import Recipient
from ..wire.reply import Reply
from .entry import Entry, Impl, Origin
from .hookspec import hookimpl
from .origin import origins
from .postpone import all_must_be_heard, must_be_heard
from .standing import Standing

SCORED = ("connect", "ehlo", "mail", "rcpt", "data", "headers", "message")

# Who has ever scored in this session: his points, and whether they count now.
_LEDGER: Key[dict[str, tuple[float, Standing]]] = Key("score")

REJECT = Reply(550, "refused by policy", status="5.7.1")
DEFER = Reply(451, "not now, try again later", status="4.7.1")


def scores(session: Session) -> dict[str, float]:
    """Who gave how many points, as things stand: the session's, and those of the transaction at hand."""
    ledger = session.stash.get(_LEDGER, {})
    return {who: points for who, (points, standing) in ledger.items() if standing.found(session) is not None}


def score(session: Session) -> float:
    """The sum of the points, as things stand; 0.0 when nobody has given any."""
    return sum(scores(session).values(), 0.0)


class Score:
    """One entry, or a Stack, When or Limit of entries, whose refusals are points.

    points -- for each entry inside that refuses; negative ones speak for the mail.
    """

    __slots__ = ("entry", "origins", "points")
    idle = "nobody inside gives an answer that could be scored"

    def __init__(self, entry: object, points: float) -> None:
        self.entry = entry
        self.points = number(points, name="Score(points)")
        self.origins: tuple[Origin, ...] = origins(1)

    def wrap(self, entry: Entry) -> None:
        """Redirect its refusals. ConfigError where that cannot be."""
        if "queue" in entry.impls:
            raise ConfigError(
                f"{entry.name} cannot be scored: it implements queue, and nobody judges points after that",
                remedy="leave the handler outside, and score only checks",
            )
        outlet = Scored(entry.name, self.points)
        for impl in [entry.impls[hook] for hook in SCORED if hook in entry.impls]:
            if impl.observed or impl.answers == "never":
                continue
            self._check(impl)
            entry.impls[impl.hook] = replace(impl, outlets=(*impl.outlets, outlet))

    def _check(self, impl: Impl) -> None:
        if impl.onion:
            raise ConfigError(
                f"{impl.who} cannot be scored: its {impl.hook} is an onion, which has acted when it answers",
                remedy="score checks only, those without call_next",
            )
        if any(isinstance(outlet, Scored) for outlet in impl.outlets):
            raise ConfigError(f"{impl.who} stands in two Scores", remedy="write its points in one of them")


class Scored:
    """The outlet of one entry (see `entry.Outlet`)."""

    __slots__ = ("_standing", "points", "who", "words")

    def __init__(self, who: str, points: float) -> None:
        self.who = who
        self.points = points
        self.words = f"{points:g} points"
        self._standing = Standing(f"scored by {who}")

    def begin(self, session: Session, impl: Impl, subject: Any) -> None:
        self._standing.begin(session, impl.hook, subject)

    def take(self, session: Session, impl: Impl, reply: Reply, seconds: float, *, fault: bool) -> bool:
        if fault:
            return False
        counted = self._standing.found(session) is not None
        undo = self._standing.keep(session, impl.hook, reply)
        session.stash.setdefault(_LEDGER, {})[self.who] = (self.points, self._standing)
        if undo is not None:
            session.journal.record(f"scored {self.words}", undo)  # so that Observe takes it back
        outcome = "would have scored" if impl.observed else "scored"
        detail = "counted already" if counted else self.words
        session.evidence.add(Finding(impl.who, impl.hook, outcome, reply, seconds, detail))
        if not counted:
            log.info(outcome, session=session.id, who=impl.who, phase=impl.hook, points=self.points, reply=str(reply))
        return True


class Threshold:
    """The entry that judges the score at its place in the stack.

    reject_at, defer_at -- a score of so much or more is refused: for good, or with 451 for now. One of them is needed.
    phase -- when it judges: "rcpt", "data" (the default), "headers" or "message".
    reply -- what it rejects with; default: 550 5.7.1.
    name -- what it is called in the log.

    The evidence tells who contributed. As in Postpone, postmaster and abuse are spared: at `rcpt` as recipients, later
    when the mail is for them alone.
    """

    rehearsable = True

    def __init__(
        self,
        *,
        reject_at: float | None = None,
        defer_at: float | None = None,
        phase: str = "data",
        reply: Reply = REJECT,
        name: str = "threshold",
    ) -> None:
        self.name = name
        self.phase = choice(phase, "rcpt", "data", "headers", "message", name="Threshold(phase)")
        self.reject_at = None if reject_at is None else number(reject_at, name="Threshold(reject_at)")
        self.defer_at = None if defer_at is None else number(defer_at, name="Threshold(defer_at)")
        self.reply = reply
        self._check()
        setattr(self, self.phase, hookimpl(self._of_recipient() if self.phase == "rcpt" else self._of_mail()))

    def _check(self) -> None:
        if self.reject_at is None and self.defer_at is None:
            raise ConfigError("Threshold() refuses nothing", remedy="write reject_at=…, defer_at=…, or both")
        if self.reject_at is not None and self.defer_at is not None and self.defer_at >= self.reject_at:
            raise ConfigError(
                f"Threshold: defer_at={self.defer_at:g} is not below reject_at={self.reject_at:g}: nothing is deferred",
                remedy="take a smaller defer_at",
            )
        if not _is_refusal(self.reply):
            raise ConfigError(f"Threshold(reply): {self.reply} refuses nothing", remedy="write Reply(550, …)")

    def _of_recipient(self) -> Callable[..., Reply | None]:
        def rcpt(session: Session, recipient: Recipient) -> Reply | None:
            return None if must_be_heard(recipient.given) else self._judge(session)

        return rcpt

    def _of_mail(self) -> Callable[..., Reply | None]:
        def judge(session: Session) -> Reply | None:
            return None if all_must_be_heard(session) else self._judge(session)

        return judge

    def _judge(self, session: Session) -> Reply | None:
        found = scores(session)
        total = sum(found.values(), 0.0)
        reply = self._verdict(total)
        if reply is not None:
            who = ", ".join(f"{name} {points:g}" for name, points in found.items())
            session.note(self.name, self.phase, f"{total:g} points: {who}")
        return reply

    def _verdict(self, total: float) -> Reply | None:
        if self.reject_at is not None and total >= self.reject_at:
            return self.reply
        return DEFER if self.defer_at is not None and total >= self.defer_at else None


def _is_refusal(given: object) -> bool:
    return isinstance(given, Reply) and given.refused
