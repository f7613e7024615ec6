"""One thing to be done on some server: for whom, what was asked before, and where it was done."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from ...session.session import Session
from ...session.transaction import Transaction
from ...wire.command import Mail, Rcpt
from ...wire.reply import Reply
from ..client import Envelope
from .hop import Hop

__all__ = ["Asked", "Errand"]


class Asked:
    """What the next server was asked while the client named its recipients; the connection is parked for this object.

    accepted -- its recipients. said -- for each that was asked for, whether it is one of them.
    """

    __slots__ = ("accepted", "hop", "mail", "said")

    def __init__(self, hop: Hop, mail: Mail) -> None:
        self.hop = hop
        self.mail = mail
        self.accepted: list[Rcpt] = []
        self.said: list[bool] = []

    def note(self, rcpt: Rcpt, reply: Reply) -> None:
        self.said.append(reply.positive)
        if reply.positive:
            self.accepted.append(rcpt)

    def is_for(self, envelope: Envelope) -> bool:
        """Whether just this was asked for."""
        return self.mail == envelope.mail and (*self.accepted,) == envelope.recipients

    def of_accepted(self, verdicts: Sequence[Reply | None]) -> tuple[Reply | None, ...]:
        """Those of the recipients that were accepted, from all that were asked for."""
        return tuple(verdict for verdict, accepted in zip(verdicts, self.said, strict=False) if accepted)


@dataclass(slots=True)
class Errand:
    """session, transaction -- for whom. asked -- what is parked for it. place, encryption -- where, and how, so far."""

    session: Session
    transaction: Transaction
    asked: Asked | None
    place: str = "nobody"
    encryption: str = ""
