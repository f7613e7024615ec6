"""What a client says: one command line in, one typed command out (RFC 5321 §4.1.1).

    parse_command(b"MAIL FROM:<user@example.org> SIZE=1000", {"SIZE"})   # Mail(user@example.org, {"SIZE": 1000})

The core's verbs have types of their own; every other verb is a `Command` with its text. Verbs and parameters are looked
up in explicit tables. A parameter (`parameter.py`) is understood only if the EHLO keyword that brings it was offered.

Failure: `CommandError`, and nothing else whatever the octets were. It carries the reply, whose text is fixed: it never
repeats what the client said.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Container, Mapping
from dataclasses import dataclass, field
from functools import lru_cache
from types import MappingProxyType
from typing import Any, ClassVar, Final

from .address import PLAIN, Address, AddressError, parse_path, plain_address
from .parameter import PARAMETERS, Parameter
from .reply import Reply
from .slots import setters

__all__ = [
    "VERBS",
    "AnyCommand",
    "Bdat",
    "Command",
    "CommandError",
    "Data",
    "Hello",
    "Mail",
    "Quit",
    "Rcpt",
    "Rset",
    "parse_command",
]


class CommandError(Exception):
    """The client broke the syntax. `reply` -- what it hears."""

    def __init__(self, reply: Reply) -> None:
        super().__init__(reply)
        self.reply = reply


# The commands.


def _no_parameters() -> Mapping[str, Any]:
    return _NO_PARAMETERS


_NO_PARAMETERS: Final[Mapping[str, Any]] = MappingProxyType({})


@dataclass(frozen=True, slots=True)
class Hello:
    """HELO, EHLO or LHLO. words -- what followed the hostname."""

    verb: str
    hostname: str
    words: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, init=False)
class Mail:
    """MAIL. parameters -- by upper-case name, with the values that their `Parameter.parse` made."""

    sender: Address
    parameters: Mapping[str, Any]
    verb: ClassVar[str] = "MAIL"

    def __init__(self, sender: Address, parameters: Mapping[str, Any] = _NO_PARAMETERS) -> None:
        _set_sender(self, sender)
        _set_parameters(self, parameters)


_set_sender, _set_parameters = setters(Mail)


@dataclass(frozen=True, slots=True)
class Rcpt:
    """RCPT. parameters -- as in Mail."""

    recipient: Address
    parameters: Mapping[str, Any] = field(default_factory=_no_parameters)
    verb: ClassVar[str] = "RCPT"


@dataclass(frozen=True, slots=True)
class Data:
    """DATA."""

    verb: ClassVar[str] = "DATA"


@dataclass(frozen=True, slots=True)
class Bdat:
    """BDAT (RFC 3030). size -- octets that follow the line. last -- whether the message is then complete."""

    size: int
    last: bool
    verb: ClassVar[str] = "BDAT"


@dataclass(frozen=True, slots=True)
class Rset:
    """RSET."""

    verb: ClassVar[str] = "RSET"


@dataclass(frozen=True, slots=True)
class Quit:
    """QUIT."""

    verb: ClassVar[str] = "QUIT"


@dataclass(frozen=True, slots=True)
class Command:
    """A verb that is not the core's, in upper case. argument -- the rest of the line, without blanks around it."""

    verb: str
    argument: str = field(repr=False)  # that of AUTH may hold a password


AnyCommand = Hello | Mail | Rcpt | Data | Bdat | Rset | Quit | Command


# The line.

_UNKNOWN: Final = Reply(500, "command not recognised", status="5.5.2")
_OCTETS: Final = Reply(501, "control characters or broken UTF-8 in the command", status="5.5.2")
_NON_ASCII: Final = Reply(501, "non-ASCII characters in the command", status="5.5.2")
_NO_HOSTNAME: Final = Reply(501, "a hostname or an address literal is needed")
_NO_ARGUMENT: Final = Reply(501, "this command takes no argument")
_MAIL_SYNTAX: Final = Reply(501, "the syntax is MAIL FROM:<address>")
_RCPT_SYNTAX: Final = Reply(501, "the syntax is RCPT TO:<address>")
_BARE_SENDER: Final = Reply(501, "the sender needs a domain", status="5.1.7")
_PARAMETER_SYNTAX: Final = Reply(501, "syntax error in the parameters")
_PARAMETER_TWICE: Final = Reply(501, "a parameter is given twice")
_PARAMETER_VALUE: Final = Reply(501, "a parameter has a wrong value")
_PARAMETER_UNKNOWN: Final = Reply(555, "a parameter is not recognised")
_NEEDS_UTF8: Final = Reply(553, "a non-ASCII address needs SMTPUTF8", status="5.6.7")
# The octets that follow cannot be skipped, and must never be read as commands.
_CHUNK_LOST: Final = Reply(501, "the syntax is BDAT size [LAST]", close=True)

_VERB: Final = re.compile(r"[A-Za-z][A-Za-z0-9-]{0,19}")
_CONTROL: Final = re.compile(r"[\x00-\x08\x0a-\x1f\x7f-\x9f]")
_PLAIN_MAIL: Final = re.compile(rf"(?i:MAIL FROM):<({PLAIN})>".encode())
_PLAIN_RCPT: Final = re.compile(rf"(?i:RCPT TO):<({PLAIN})>".encode())
_LONGEST_PLAIN: Final = 320  # octets; what is cut there is over the length of a path, and no plain one
_SIZE: Final = re.compile(r"[0-9]{1,20}")
_PARAMETER: Final = re.compile(r"([A-Za-z0-9][A-Za-z0-9-]*)(?:=([^\x00- =\x7f]+))?")  # RFC 5321 §4.1.2


_Offered = Container[str]
_Parameters = Mapping[tuple[str, str], Parameter]
_Parse = Callable[[str, str, _Offered, _Parameters, bool], AnyCommand]


def parse_command(
    line: bytes,
    offered: Container[str] = (),
    parameters: Mapping[tuple[str, str], Parameter] = PARAMETERS,
    utf8: bool = False,
) -> AnyCommand:
    """Read one command line, given without its line end.

    offered -- the keywords of the last EHLO answer, in upper case. parameters -- those that are understood.
    utf8 -- whether the transaction at hand was opened with SMTPUTF8 (it matters to RCPT). CommandError.
    """
    command = _BARE.get(line) or (_plain_rcpt if line.startswith(b"RCPT ") else _plain_mail)(line[:_LONGEST_PLAIN])
    if command is not None:
        return command
    text = _decode(line)
    verb, _, argument = text.partition(" ")
    if not verb.isascii():  # before upper(): "ſ" becomes "S"
        raise _unreadable(text, _NON_ASCII)
    verb = verb.upper()
    parse = _VERBS.get(verb, _parse_command)
    return parse(verb, argument.strip(" \t"), offered, parameters, utf8)


def _plain_mail(line: bytes) -> Mail | None:
    """MAIL with a plain address and no parameters, as most are: one match instead of the whole way."""
    found = _PLAIN_MAIL.fullmatch(line)
    address = found and plain_address(found[1].decode("ascii"))
    return Mail(address, _NO_PARAMETERS) if address else None


@lru_cache(maxsize=1024)
def _plain_rcpt(line: bytes) -> Rcpt | None:
    """The same for RCPT. A site's recipients are few, and come again and again."""
    found = _PLAIN_RCPT.fullmatch(line)
    address = found and plain_address(found[1].decode("ascii"))
    return Rcpt(address, _NO_PARAMETERS) if address else None


def _decode(line: bytes) -> str:
    try:
        text = line.decode()
    except UnicodeDecodeError:
        raise _unreadable(line.decode("ascii", "replace"), _OCTETS) from None
    if not text.isprintable() and _CONTROL.search(text):
        raise _unreadable(text, _OCTETS)
    return text


def _unreadable(text: str, reply: Reply) -> CommandError:
    """The error for a line without a sound verb, or with unsound octets. What looks like BDAT has octets behind it."""
    return CommandError(_CHUNK_LOST if text.lstrip()[:4].upper() == "BDAT" else reply)


def _parse_command(verb: str, argument: str, offered: _Offered, parameters: _Parameters, utf8: bool) -> Command:
    if not _VERB.fullmatch(verb):
        raise _unreadable(f"{verb} {argument}", _UNKNOWN)
    if not argument.isascii():
        raise CommandError(_NON_ASCII)
    return Command(verb, argument)


def _parse_hello(verb: str, argument: str, offered: _Offered, parameters: _Parameters, utf8: bool) -> Hello:
    if not argument.isascii():
        raise CommandError(_NON_ASCII)
    hostname, *words = argument.split() or [""]
    if not 1 <= len(hostname) <= 255:
        raise CommandError(_NO_HOSTNAME)
    return Hello(verb, hostname, tuple(words))


def _parse_mail(verb: str, argument: str, offered: _Offered, parameters: _Parameters, utf8: bool) -> Mail:
    plain = argument.isascii()
    if not plain and "SMTPUTF8" not in offered:
        raise CommandError(_NEEDS_UTF8)
    if argument[:5].upper() != "FROM:":
        raise CommandError(_MAIL_SYNTAX)
    sender, rest = _parse_path(argument[5:], null=True, status="5.1.7")
    if not sender.domain and sender.postmaster:
        raise CommandError(_BARE_SENDER)
    if not rest:
        if not plain:
            raise CommandError(_NEEDS_UTF8)
        return Mail(sender, _NO_PARAMETERS)
    values = _parse_parameters(verb, rest, offered, parameters)
    if not plain and "SMTPUTF8" not in values:
        raise CommandError(_NEEDS_UTF8)
    if values.get("BODY") == "BINARYMIME" and "BINARYMIME" not in offered:  # a keyword of its own: RFC 3030 §3
        raise CommandError(_PARAMETER_UNKNOWN)
    return Mail(sender, values)


def _parse_rcpt(verb: str, argument: str, offered: _Offered, parameters: _Parameters, utf8: bool) -> Rcpt:
    if not argument.isascii() and not utf8:
        raise CommandError(_NEEDS_UTF8)
    if argument[:3].upper() != "TO:":
        raise CommandError(_RCPT_SYNTAX)
    recipient, rest = _parse_path(argument[3:], null=False, status="5.1.3")
    return Rcpt(recipient, _parse_parameters(verb, rest, offered, parameters) if rest else _NO_PARAMETERS)


def _parse_path(text: str, *, null: bool, status: str) -> tuple[Address, str]:
    """A path and what follows it. Whether non-ASCII is allowed has been seen to."""
    try:
        address, rest = parse_path(text.lstrip(" \t"), utf8=True, null=null)
    except AddressError as error:
        raise CommandError(Reply(501, str(error), status=status)) from None
    if rest and rest[0] not in " \t":
        raise CommandError(Reply(501, "text directly after the address", status=status))
    return address, rest


def _parse_parameters(verb: str, text: str, offered: _Offered, parameters: _Parameters) -> Mapping[str, Any]:
    values: dict[str, object] = {}
    for word in text.split():
        matched = _PARAMETER.fullmatch(word)
        if matched is None:
            raise CommandError(_PARAMETER_SYNTAX)
        name, value = matched.groups()
        name = name.upper()
        if name in values:
            raise CommandError(_PARAMETER_TWICE)
        values[name] = _parse_value(parameters.get((verb, name)), value, offered)
    return MappingProxyType(values)


def _parse_value(parameter: Parameter | None, value: str | None, offered: _Offered) -> object:
    if parameter is None or parameter.keyword not in offered:
        raise CommandError(_PARAMETER_UNKNOWN)
    try:
        return parameter.parse(value)
    except ValueError:
        raise CommandError(_PARAMETER_VALUE) from None


def _parse_bdat(verb: str, argument: str, offered: _Offered, parameters: _Parameters, utf8: bool) -> Bdat:
    size, *words = argument.split() or [""]
    last = [word.upper() for word in words] == ["LAST"]
    if not argument.isascii() or not _SIZE.fullmatch(size) or int(size) >= 2**63 or (words and not last):
        raise CommandError(_CHUNK_LOST)
    return Bdat(int(size), last)


def _bare(command: AnyCommand) -> _Parse:
    """A command without argument; blanks at its end are forgiven."""

    def parse(verb: str, argument: str, offered: _Offered, parameters: _Parameters, utf8: bool) -> AnyCommand:
        if argument:
            raise CommandError(_NO_ARGUMENT)
        return command

    return parse


_BARE: Final[Mapping[bytes, AnyCommand]] = {b"DATA": Data(), b"RSET": Rset(), b"QUIT": Quit()}

_VERBS: Final[Mapping[str, _Parse]] = {
    "HELO": _parse_hello,
    "EHLO": _parse_hello,
    "LHLO": _parse_hello,
    "MAIL": _parse_mail,
    "RCPT": _parse_rcpt,
    "DATA": _bare(Data()),
    "BDAT": _parse_bdat,
    "RSET": _bare(Rset()),
    "QUIT": _bare(Quit()),
}

# The core's own verbs; every other one is a `Command`.
VERBS: Final = frozenset(_VERBS)
