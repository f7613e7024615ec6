"""What goes into a client and what comes out of it, as values."""

from __future__ import annotations

from collections.abc import AsyncIterable, AsyncIterator, Callable, Iterable
from dataclasses import dataclass

from ...wire.address import Address
from ...wire.command import Mail, Rcpt
from ...wire.reply import Reply

__all__ = [
    "Content",
    "Disconnected",
    "Envelope",
    "NoMechanism",
    "NotAuthenticated",
    "NotSecure",
    "Outcome",
    "Refused",
    "Timeouts",
    "Unsupported",
]


@dataclass(frozen=True, slots=True)
class Timeouts:
    """Seconds that each step may take; the defaults are the least of RFC 5321 §4.5.3.2.

    connect -- the connection, all addresses together, and the handshake of TLS from the first octet; a handshake after
    STARTTLS has as long again. greeting -- the banner. hello -- EHLO, HELO, LHLO.
    mail, rcpt, data -- the reply to each. block -- the server takes one piece of the body. final -- the reply after
    the end of the data. command -- RSET and all other commands. quit -- the reply to QUIT, and the end.
    """

    connect: float = 30.0
    greeting: float = 300.0
    hello: float = 300.0
    mail: float = 300.0
    rcpt: float = 300.0
    data: float = 120.0
    block: float = 180.0
    final: float = 600.0
    command: float = 300.0
    quit: float = 5.0


@dataclass(frozen=True, slots=True)
class Envelope:
    """Who sends, and who is to get it.

    Parameters have the typed values that the server's parser makes (`wire.command`); those whose keyword the server
    does not offer are left out, and SIZE, BODY and SMTPUTF8 are set from the content.
    """

    mail: Mail
    recipients: tuple[Rcpt, ...]

    @classmethod
    def of(cls, sender: Address | str, recipients: Iterable[Address | str]) -> Envelope:
        """From addresses alone; "" is the null sender. AddressError."""
        return cls(Mail(_address(sender)), tuple(Rcpt(_address(each)) for each in recipients))


def _address(given: Address | str) -> Address:
    if isinstance(given, Address):
        return given
    return Address.parse(given) if given else Address.NULL


@dataclass(frozen=True, slots=True)
class Content:
    """The octets of a message, header section and body.

    chunks -- opens them for reading, from the start each time: `message.chunks`. They are read once to be sent, and
              once before if something must be known that is not told here.
    size -- octets, as nearly as is known (for SIZE=). None: unknown.
    eight_bit -- whether an octet is above 127. None: unknown; taken for true where the server offers 8BITMIME, looked
                 at where it does not.
    """

    chunks: Callable[[], AsyncIterable[bytes]]
    size: int | None = None
    eight_bit: bool | None = None

    @classmethod
    def of(cls, octets: bytes) -> Content:
        """A message that is in memory."""

        async def chunks() -> AsyncIterator[bytes]:
            yield octets

        return cls(chunks, len(octets), not octets.isascii())


@dataclass(frozen=True, slots=True)
class Outcome:
    """What came of a transaction, as far as it got.

    mail -- the reply to MAIL.
    rcpt -- the reply to each RCPT, in the envelope's order; that of MAIL when it was refused.
    final -- what ended it: the reply to MAIL when refused, the first refusal when no recipient was accepted, the reply
             to DATA when refused, else the one after the data (LMTP: the first that is no success, or the first).
    verdicts -- what became of each recipient, in the envelope's order: its RCPT's refusal, its own reply after the
                data (LMTP), or `final`.
    """

    mail: Reply
    rcpt: tuple[Reply, ...]
    final: Reply
    verdicts: tuple[Reply, ...]

    @property
    def taken(self) -> bool:
        """Whether the server has taken the message for at least one recipient."""
        return any(verdict.positive for verdict in self.verdicts)

    @property
    def complete(self) -> bool:
        """Whether it has taken it for all."""
        return all(verdict.positive for verdict in self.verdicts)


class Refused(Exception):
    """The server does not serve us. `reply` -- what it said instead of its banner, or to EHLO and HELO."""

    def __init__(self, reply: Reply) -> None:
        super().__init__(str(reply))
        self.reply = reply


class NotSecure(Exception):
    """TLS is wanted, and cannot be had: not offered, refused, a handshake that failed, a certificate that is not right.

    offered -- whether the server offers TLS. reply -- what it answered to STARTTLS, if that was a refusal.
    """

    def __init__(self, why: str, *, offered: bool = True, reply: Reply | None = None) -> None:
        super().__init__(why if reply is None else f"{why}: {reply}")
        self.offered = offered
        self.reply = reply


class NotAuthenticated(Exception):
    """We could not log in.

    user -- who wanted to. reply -- the server's refusal; None: it was not asked, or did not keep to the mechanism.
    temporary -- whether it may work later without anybody's doing: a 4xx.
    """

    def __init__(self, why: str, user: str, *, reply: Reply | None = None) -> None:
        super().__init__(f"{why}: {reply}" if reply is not None else why)
        self.user = user
        self.reply = reply

    @property
    def temporary(self) -> bool:
        return self.reply is not None and self.reply.temporary


class NoMechanism(NotAuthenticated):
    """AUTH is not offered, or no mechanism that may be used here; nothing secret was said."""


class Unsupported(Exception):
    """The mail needs an extension that the server does not offer; nothing was sent.

    reply -- due to whom we have it from: 554 5.6.7 (SMTPUTF8), 5.6.3 (8BITMIME), 5.6.1 (BINARYMIME).
    """

    def __init__(self, reply: Reply) -> None:
        super().__init__(str(reply))
        self.reply = reply


class Disconnected(OSError):
    """The conversation broke off: cut, too slow, or what came is no SMTP.

    stage -- what was waited for: "greeting", "EHLO", "MAIL", "RCPT", "DATA", "body" (the data was being sent, and its
             end was not), "end of data" (its end was sent, the answer is missing), or another verb.
    unknown -- whether the server may have taken the message: only at "end of data". Else it certainly has not, but for
               those recipients whose verdict says so.
    verdicts -- of each recipient of the envelope, as far as they are known: (Reply or None, …). After the end of data
                LMTP may have answered for some; they are final. Empty before MAIL.
    """

    def __init__(self, why: str, stage: str, *, unknown: bool = False, verdicts: tuple[Reply | None, ...] = ()) -> None:
        super().__init__(f"{why} ({stage})")
        self.stage = stage
        self.unknown = unknown
        self.verdicts = verdicts
