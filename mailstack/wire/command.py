"""What a client says: one command line in, one typed command out (RFC 5321 §4.1.1).

    parse_command(b"MAIL FROM:<user@example.org> SIZE=1000", {"SIZE"})   # Mail(user@example.org, {"SIZE": 1000})

The core's verbs have types of their own; every other verb is a `Command` with its text. Verbs and parameters are looked
up in explicit tables. A parameter is understood only if the EHLO keyword that brings it was offered to this client.

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
from .reply import Reply
from .slots import setters

__all__ = [
    "PARAMETERS",
    "VERBS",
    "AnyCommand",
    "Bdat",
    "Command",
    "CommandError",
    "Data",
    "Hello",
    "Mail",
    "OriginalRecipient",
    "Parameter",
    "Quit",
    "Rcpt",
    "Rset",
    "decode_xtext",
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


# The parameters of MAIL and RCPT.


@dataclass(frozen=True, slots=True)
class Parameter:
    """One parameter of MAIL or RCPT.

    name -- as the client writes it, in upper case. verb -- "MAIL" or "RCPT".
    keyword -- the EHLO keyword that must have been offered.
    parse -- from the text after "=" (None without one) to a value; ValueError becomes 501, CommandError is answered.
    """

    name: str
    verb: str
    keyword: str
    parse: Callable[[str | None], object]


@dataclass(frozen=True, slots=True)
class OriginalRecipient:
    """ORCPT (RFC 3461 §4.2). type -- lower case, such as "rfc822" or "utf-8". address -- decoded."""

    type: str
    address: str


_NUMBER: Final = re.compile(r"[0-9]{1,20}")
_XTEXT: Final = re.compile(r"[!-*,-<>-~]*(?:\+[0-9A-Fa-f]{2}[!-*,-<>-~]*)*")  # RFC 3461 §4
_XTEXT_OCTET: Final = re.compile(rb"\+(..)")
_QCHAR: Final = r"[!-*,-<>-\[\]-~\x80-\U0010ffff]"  # RFC 6533 §3
_UTEXT: Final = re.compile(rf"{_QCHAR}*(?:\\x\{{[0-9A-Fa-f]{{2,6}}\}}{_QCHAR}*)*")
_UTEXT_POINT: Final = re.compile(r"\\x\{(.+?)\}")
_UNPRINTABLE: Final = re.compile(r"[\x00-\x1f\x7f-\x9f\u2028\u2029\ud800-\udfff]")
_ATOM: Final = re.compile(r"[A-Za-z0-9!#$%&'*+/=?^_`{|}~-]+")
_NOTICES: Final = frozenset({"SUCCESS", "FAILURE", "DELAY"})


def _size(value: str | None) -> int:
    """RFC 1870."""
    if value is None or not _NUMBER.fullmatch(value):
        raise ValueError("SIZE is 1 to 20 digits")
    return int(value)


def _flag(value: str | None) -> bool:
    if value is not None:
        raise ValueError("no value expected")
    return True


def _one_of(*choices: str) -> Callable[[str | None], str]:
    def parse(value: str | None) -> str:
        chosen = _ascii(value or "").upper()
        if chosen not in choices:
            raise ValueError("not one of the values")
        return chosen

    return parse


def decode_xtext(value: str | None) -> str:
    """The text behind xtext (RFC 3461 §4): printable, UTF-8 only by its octets. ValueError."""
    if not value or not _XTEXT.fullmatch(value):
        raise ValueError("not xtext")
    return _printable(_XTEXT_OCTET.sub(lambda octet: bytes.fromhex(octet[1].decode()), value.encode()).decode())


def _printable(text: str) -> str:
    if _UNPRINTABLE.search(text):
        raise ValueError("not printable")
    return text


def _ascii(text: str) -> str:
    if not text.isascii():
        raise ValueError("not ASCII")
    return text


def _envelope_id(value: str | None) -> str:
    """RFC 3461 §4.4."""
    decoded = _ascii(decode_xtext(value))
    if len(decoded) > 100:
        raise ValueError("longer than 100 characters")
    return decoded


def _submitter(value: str | None) -> Address:
    """AUTH of RFC 4954 §5: who sent it first, as the client claims; null when it does not know."""
    return Address.parse(decode_xtext(value))


def _notify(value: str | None) -> frozenset[str]:
    """RFC 3461 §4.1."""
    notices = frozenset(_ascii(value or "").upper().split(","))
    if notices != {"NEVER"} and not notices <= _NOTICES:
        raise ValueError("NEVER alone, or a list of SUCCESS, FAILURE, DELAY")
    return notices


def _original_recipient(value: str | None) -> OriginalRecipient:
    """RFC 3461 §4.2, and RFC 6533 §3 for the type utf-8."""
    kind, semicolon, address = (value or "").partition(";")
    if not semicolon or not _ATOM.fullmatch(kind) or len(address) > 500:
        raise ValueError("not type;address")
    kind = kind.lower()
    return OriginalRecipient(kind, _utext(address) if kind == "utf-8" else _ascii(decode_xtext(address)))


def _utext(value: str) -> str:
    """Decode utf-8-addr-xtext and utf-8-addr-unitext."""
    if not value or not _UTEXT.fullmatch(value):
        raise ValueError("not utf-8-addr-xtext")
    return _printable(_UTEXT_POINT.sub(lambda point: chr(int(point[1], 16)), value))


PARAMETERS: Final[Mapping[tuple[str, str], Parameter]] = MappingProxyType(
    {
        (parameter.verb, parameter.name): parameter
        for parameter in (
            Parameter("SIZE", "MAIL", "SIZE", _size),
            Parameter("BODY", "MAIL", "8BITMIME", _one_of("7BIT", "8BITMIME", "BINARYMIME")),
            Parameter("SMTPUTF8", "MAIL", "SMTPUTF8", _flag),
            Parameter("RET", "MAIL", "DSN", _one_of("FULL", "HDRS")),
            Parameter("ENVID", "MAIL", "DSN", _envelope_id),
            Parameter("AUTH", "MAIL", "AUTH", _submitter),
            Parameter("NOTIFY", "RCPT", "DSN", _notify),
            Parameter("ORCPT", "RCPT", "DSN", _original_recipient),
        )
    }
)

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
    if not argument.isascii() or not _NUMBER.fullmatch(size) or int(size) >= 2**63 or (words and not last):
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
