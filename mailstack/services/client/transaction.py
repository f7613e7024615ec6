"""What has come of one transaction so far: what was asked for, what was answered, and what that means for whom."""

from __future__ import annotations

from ...wire.command import AnyCommand, Data, Mail, Rcpt
from ...wire.reply import Reply
from .exchange import END, Exchange
from .values import Disconnected, Outcome

__all__ = ["Transaction"]


class Transaction:
    """One of a connection, or none as long as `mail` is None.

    rcpts -- each recipient with the reply to it, in the order that the caller knows.
    finals -- replies to the end of the data: one, or with LMTP one per accepted recipient.
    """

    __slots__ = ("_asked", "_exchange", "data_reply", "finals", "mail", "mail_reply", "rcpts")

    def __init__(self, exchange: Exchange, mail: Mail | None = None, rcpts: tuple[Rcpt, ...] = ()) -> None:
        self._exchange = exchange
        self._asked = 0  # recipients whose reply has come by `heard`
        self.mail = mail
        self.mail_reply: Reply | None = None
        self.rcpts: list[tuple[Rcpt, Reply | None]] = [(rcpt, None) for rcpt in rcpts]
        self.data_reply: Reply | None = None
        self.finals: list[Reply] = []

    @property
    def opened(self) -> Mail:
        """What opened it. RuntimeError when nothing did."""
        if self.mail is None or self.mail_reply is None or self.mail_reply.refused:
            raise RuntimeError("no transaction is open")
        return self.mail

    @property
    def accepted(self) -> bool:
        """Whether there is anybody to send the message to."""
        if self.mail_reply is None or self.mail_reply.refused:
            return False
        return any(reply is not None and reply.positive for _, reply in self.rcpts)

    @property
    def data_refusal(self) -> Reply | None:
        return self.data_reply if self.data_reply is not None and self.data_reply.refused else None

    def hopeless(self, command: AnyCommand) -> bool:
        """Whether it makes no sense to go on with this command."""
        if self.mail_reply is not None and self.mail_reply.refused:
            return True
        return isinstance(command, Data) and not self.accepted

    def heard(self, command: AnyCommand, reply: Reply) -> None:
        """Note the answer to one of its commands; those to RCPT come in the order of the recipients."""
        if isinstance(command, Rcpt):
            self.rcpts[self._asked] = command, reply
            self._asked += 1
        elif isinstance(command, Mail):
            self.mail_reply = reply
        elif isinstance(command, Data):
            self.data_reply = reply

    def outcome(self) -> Outcome:
        """Of one that is over."""
        verdicts = tuple(filter(None, self._verdicts()))
        mail = self.mail_reply
        assert mail is not None
        assert len(verdicts) == len(self.rcpts)
        rcpt = tuple(reply if reply is not None and mail.positive else mail for _, reply in self.rcpts)
        asked = [verdict for verdict, reply in zip(verdicts, rcpt, strict=True) if reply.positive] or verdicts
        final = next((verdict for verdict in asked if verdict.refused), asked[0])
        return Outcome(mail, rcpt, final, verdicts)

    def explained(self, error: Disconnected) -> Disconnected:
        """The error, with what is known of the recipients."""
        error.verdicts = self._verdicts()
        error.unknown = error.stage == END and None in error.verdicts
        return error

    def _verdicts(self) -> tuple[Reply | None, ...]:
        """What is known of each recipient."""
        if self.mail_reply is not None and self.mail_reply.refused:
            return (self.mail_reply,) * len(self.rcpts)
        common = self._exchange.spoilt or self.data_refusal or None
        finals = iter(self.finals)
        shared = self.finals[0] if self.finals and not self._exchange.protocol.lmtp else None
        verdicts: list[Reply | None] = []
        for _, reply in self.rcpts:
            if reply is not None and reply.positive:
                reply = common or shared or next(finals, None) or self._exchange.refusal
            verdicts.append(reply)
        return tuple(verdicts)
