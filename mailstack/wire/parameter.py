"""The parameters of MAIL and RCPT: how the text behind each "=" is read.

    PARAMETERS["MAIL", "SIZE"].parse("1000")     # 1000

SIZE (RFC 1870), BODY (RFC 6152, 3030), SMTPUTF8 (RFC 6531), AUTH (RFC 4954), RET, ENVID, NOTIFY and ORCPT (RFC 3461).
Middleware brings others of its own.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Final

from .address import Address

__all__ = ["PARAMETERS", "OriginalRecipient", "Parameter", "decode_xtext"]


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
