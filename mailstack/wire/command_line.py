"""What a client says, written down: one typed command in, one command line out. The inverse of `command`.

    encode_command(Mail(sender, {"SIZE": 1000}), {"SIZE": ""})       # b"MAIL FROM:<a@example.org> SIZE=1000\\r\\n"

A parameter of MAIL or RCPT is written only if the keyword that brings it is offered; those of others than the core's
are never, for their meaning ends with the hop that understood them. Whatever the values are, a line holds no control
character and ends once: ValueError.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Container, Mapping
from typing import Any, Final

from .address import Address
from .command import AnyCommand, Bdat, Command, Hello, Mail, Rcpt
from .parameter import PARAMETERS, OriginalRecipient

__all__ = ["encode_command", "encode_line", "offered_parameters"]

_CONTROL: Final = re.compile(r"[\x00-\x1f\x7f-\x9f\u2028\u2029\ud800-\udfff]")
_HOSTNAME: Final = re.compile(r"[!-~]{1,255}")
_NOT_XCHAR: Final = re.compile(rb"[^!-*,-<>-~]")  # RFC 3461 §4
_NOT_QCHAR: Final = re.compile(r"[^!-*,-<>-\[\]-~]")  # RFC 6533 §3
_NOTICES: Final = ("NEVER", "SUCCESS", "FAILURE", "DELAY")


def encode_line(text: str, utf8: bool = False) -> bytes:
    """A line as it is. utf8 -- whether non-ASCII is allowed. ValueError for control characters."""
    if _CONTROL.search(text):
        raise ValueError("control characters in a command line")
    if not utf8 and not text.isascii():
        raise ValueError("a non-ASCII command needs SMTPUTF8")
    return text.encode() + b"\r\n"


def encode_command(command: AnyCommand, offered: Container[str] = ()) -> bytes:
    """The line of a command. offered -- the keywords of the last EHLO answer, in upper case. ValueError."""
    return encode_line(_text_of(command, offered), isinstance(command, Mail | Rcpt) and "SMTPUTF8" in offered)


def _text_of(command: AnyCommand, offered: Container[str]) -> str:
    match command:
        case Mail():
            return f"MAIL FROM:{command.sender.path}{_parameters(command.verb, command.parameters, offered)}"
        case Rcpt():
            return f"RCPT TO:{command.recipient.path}{_parameters(command.verb, command.parameters, offered)}"
        case Hello():
            if not _HOSTNAME.fullmatch(command.hostname):
                raise ValueError(f"not a name to say hello with: {command.hostname!r}")
            return " ".join((command.verb, command.hostname, *command.words))
        case Bdat():
            return f"BDAT {command.size}{' LAST' if command.last else ''}"
        case Command():
            return f"{command.verb} {command.argument}".strip(" ")
        case _:
            return command.verb


def offered_parameters(verb: str, parameters: Mapping[str, Any], offered: Container[str]) -> dict[str, Any]:
    """Those of `parameters` that a server with these keywords understands, and that there is a way to write."""
    return {name: value for name, value in parameters.items() if _understood(verb, name, value, offered)}


def _understood(verb: str, name: str, value: object, offered: Container[str]) -> bool:
    if (verb, name) not in _WRITERS:
        return False
    if value == "BINARYMIME":  # a keyword of its own: RFC 3030 §3
        return "BINARYMIME" in offered
    return PARAMETERS[verb, name].keyword in offered


def _parameters(verb: str, parameters: Mapping[str, Any], offered: Container[str]) -> str:
    if not parameters:
        return ""
    understood = offered_parameters(verb, parameters, offered)
    return "".join(_written(name, _WRITERS[verb, name](value)) for name, value in understood.items())


def _written(name: str, value: str) -> str:
    return f" {name}={value}" if value else f" {name}"


def _xtext(text: str) -> str:
    return _NOT_XCHAR.sub(lambda octet: b"+%02X" % octet[0][0], text.encode()).decode()


def _submitter(address: Address) -> str:
    return _xtext(str(address) or "<>")


def _notify(notices: frozenset[str]) -> str:
    return ",".join(notice for notice in _NOTICES if notice in notices)


def _original_recipient(original: OriginalRecipient) -> str:
    if original.type != "utf-8":
        return f"{original.type};{_xtext(original.address)}"
    return "utf-8;" + _NOT_QCHAR.sub(lambda character: rf"\x{{{ord(character[0]):02X}}}", original.address)


_WRITERS: Final[Mapping[tuple[str, str], Callable[[Any], str]]] = {
    ("MAIL", "SIZE"): str,
    ("MAIL", "BODY"): str,
    ("MAIL", "SMTPUTF8"): lambda flag: "",
    ("MAIL", "RET"): str,
    ("MAIL", "ENVID"): _xtext,
    ("MAIL", "AUTH"): _submitter,
    ("RCPT", "NOTIFY"): _notify,
    ("RCPT", "ORCPT"): _original_recipient,
}
