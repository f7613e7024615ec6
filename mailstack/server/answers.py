"""What the core says when no middleware has an opinion: the ends of the chains, and its fixed replies."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

from ..contract.rehearsal import would_take
from ..session.message import Message
from ..session.session import Session
from ..session.transaction import Recipient
from ..wire.command import Command
from ..wire.reply import CANNOT_VERIFY, RELAYING_DENIED, Reply

GO_ON = Reply(250, "go on")
NOBODY_TOOK_IT = Reply(451, "nobody took the message", status="4.3.5")
START_INPUT = Reply(354, "end data with <CR><LF>.<CR><LF>")
SENDER_OK = Reply(250, "sender ok", status="2.1.0")
RECIPIENT_OK = Reply(250, "recipient ok", status="2.1.5")
NOBODY_KNOWS = Reply(535, "authentication failed", status="5.7.8")
RESET = Reply(250, "flushed")
BYE = Reply(221, "bye", close=True)

TOO_MANY_CONNECTIONS = Reply(421, "too many connections, try again later", close=True)
TOO_MANY_RECIPIENTS = Reply(452, "too many recipients", status="4.5.3")
TOO_MANY_ERRORS = Reply(421, "too many errors", status="4.7.0", close=True)
TOO_LARGE = Reply(552, "message is larger than this server takes", status="5.3.4")
HEADER_TOO_LARGE = Reply(552, "header section is larger than this server takes", status="5.3.4")
LOOP = Reply(554, "too many Received fields: a mail loop", status="5.4.6")
NO_SPACE = Reply(452, "no space to keep the message, try again later", status="4.3.1")
IDLE = Reply(421, "idle too long", status="4.4.2", close=True)
TOO_SLOW = Reply(421, "data comes too slowly", status="4.4.2", close=True)
TOO_LONG = Reply(421, "session is over its time", status="4.4.2", close=True)
SHUTDOWN = Reply(421, "server is stopping, try again later", status="4.3.2", close=True)
BROKEN = Reply(421, "temporary problem, try again later", status="4.3.0", close=True)

FAULTY_OCTETS = {
    fault: Reply(554, f"message has {words}; lines must end with CR LF", status="5.6.0", close=True)
    for fault, words in {"bare CR": "a bare CR", "bare LF": "a bare LF", "NUL": "a NUL octet"}.items()
}

_COMMANDS = ("EHLO", "HELO", "MAIL", "RCPT", "DATA", "BDAT", "RSET", "NOOP", "VRFY", "HELP", "QUIT")
_NOOP = Reply(250, "ok")
_NOT_HERE = Reply(502, "command not implemented")
_UNKNOWN = Reply(500, "command not recognised", status="5.5.1")

_OTHER_COMMANDS = {
    "NOOP": _NOOP,
    "VRFY": CANNOT_VERIFY,
    "EXPN": _NOT_HERE,
    "ETRN": _NOT_HERE,
    "AUTH": _NOT_HERE,
    "STARTTLS": _NOT_HERE,
}


def _always(reply: Reply) -> Callable[[Session, Any], Reply]:
    return lambda session, subject: reply


def _rcpt(session: Session, recipient: Recipient) -> Reply:
    return RECIPIENT_OK if recipient.accepted else RELAYING_DENIED


def command(verbs: Iterable[str]) -> Callable[[Session, Command], Reply]:
    """The end of `command`. verbs -- those that middleware declares; HELP lists them behind the core's."""
    words = " ".join(dict.fromkeys((*_COMMANDS, *verbs)))
    help = Reply(214, f"commands: {words}\nRFC 5321, https://www.rfc-editor.org/rfc/rfc5321")
    replies = {**_OTHER_COMMANDS, "HELP": help}
    return lambda session, command: replies.get(command.verb, _UNKNOWN)


def would_be_queued(session: Session, message: Message) -> Reply:
    """The end of `queue` in a rehearsal, which stops before the handler."""
    return Reply(250, f"would have been queued as {message.id}") if would_take(session) else NOBODY_TOOK_IT


# The end of each phase's chain; those of `connect`, `ehlo` and `command` are made for each `House`.
ENDS: dict[str, Callable[[Session, Any], Reply]] = {
    "auth": _always(NOBODY_KNOWS),
    "mail": _always(SENDER_OK),
    "rcpt": _rcpt,
    "data": _always(START_INPUT),
    "headers": _always(GO_ON),
    "message": _always(GO_ON),
    "queue": _always(NOBODY_TOOK_IT),
}
