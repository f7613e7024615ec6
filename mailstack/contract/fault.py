"""What happens when a plugin raises or is late: it is decided, never accidental.

The fault is named, logged with its traceback, counted and recorded in the evidence. The client hears a fixed text; the
exception's own text stays in the log.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Coroutine
from typing import Literal

from anyio import get_cancelled_exc_class

from .. import log
from ..session.evidence import Finding
from ..session.hangup import Hangup, hangup_in
from ..session.session import Session
from ..wire.reply import Reply

OnFault = Literal["defer", "pass", "reject"]

DEFER = Reply(451, "temporary problem, try again later", status="4.3.0")
REJECT = Reply(554, "a check could not be made", status="5.3.0")

_REPLIES: dict[str, Reply | None] = {"defer": DEFER, "pass": None, "reject": REJECT}

# Faults so far in this process, by (entry, phase).
counted: Counter[tuple[str, str]] = Counter()


class ContractError(Exception):
    """A plugin broke the contract: it returned something else than a Reply or None, or an onion returned nothing."""


class Late(Exception):
    """A plugin used up its time."""


def failure_in(group: BaseExceptionGroup[BaseException]) -> Exception:
    """The failure that a group is. Raises the Hangup, the cancellation or the interrupt where it is one of these."""
    cancelled = get_cancelled_exc_class()
    hangup = hangup_in(group, cancelled)
    if hangup is not None:
        raise hangup
    failures, rest = group.split(Exception)
    if failures is None or (rest is not None and rest.split((Hangup, cancelled))[1] is not None):
        raise group  # KeyboardInterrupt and its like are nobody's failure
    return ExceptionGroup(group.message, list(failures.exceptions))


def no_answer(given: object) -> str:
    """What to say of a value that is no answer. A coroutine that nobody awaited is closed: it would only warn."""
    if isinstance(given, Coroutine):
        given.close()
    return f"it returned {given!r}"


def judge(session: Session, who: str, phase: str, error: Exception, on_fault: OnFault, seconds: float) -> Reply | None:
    """Record the fault; returns the reply, or None where the entry was told to pass."""
    counted[who, phase] += 1
    reply = _REPLIES[on_fault]
    outcome = "late" if isinstance(error, Late) else "fault"
    detail = f"{type(error).__name__}: {error}"
    session.evidence.add(Finding(who, phase, outcome, reply, seconds, detail))
    transaction = session.transaction
    log.exception(
        outcome,
        error=error,
        session=session.id,
        queue_id=transaction.id if transaction else None,
        who=who,
        phase=phase,
        seconds=round(seconds, 3),
        then=on_fault,
    )
    if reply is not None:
        session.answered_by = who
    return reply
