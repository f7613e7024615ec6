"""Mail addresses and paths: the grammar of RFC 5321 §4.1.2 and §4.1.3, with RFC 6531 for UTF-8.

    sender, rest = parse_path("<user@Example.ORG> SIZE=10", utf8=False, null=True)   # user@example.org, " SIZE=10"
    Address.parse("user@bücher.example").domain                                      # "xn--bcher-kva.example"

There is one parser, and one form of each address that every policy compares: the local part unquoted, its case kept and
in Unicode's NFC; the domain in lower case and A-labels; an address literal as `ipaddress` writes it. What a parser
returned, `Address.parse()` reads back as the same value from its `path`.

Failure: `AddressError`, whose text is fixed (it never repeats input) and whose `status` says why.
"""

from __future__ import annotations

import ipaddress
import re
import unicodedata
from dataclasses import dataclass, field
from typing import ClassVar, Final

import idna

from .slots import setters

__all__ = ["Address", "AddressError", "parse_path"]

# RFC 5321 §4.5.3.1, in octets; a path is counted with its brackets.
_LOCAL: Final = 64
_DOMAIN: Final = 255
_PATH: Final = 256

# Linear on hostile input: what may follow a repeat never begins like what it repeats, so there is one way to match.
_ATEXT: Final = r"[A-Za-z0-9!#$%&'*+/=?^_`{|}~-]+"
_UTEXT: Final = r"[A-Za-z0-9!#$%&'*+/=?^_`{|}~\x80-\U0010ffff-]+"  # RFC 6531 §3.3
_LABEL: Final = r"(?!-)[A-Za-z0-9_-]{1,63}(?<!-)"  # with the underscore that is met in the wild
_NAME: Final = rf"{_LABEL}(?:\.{_LABEL})*"

PLAIN: Final = rf"{_ATEXT}(?:\.{_ATEXT})*@{_NAME}"  # what `plain_address` reads
_PLAIN: Final = re.compile(rf"<({PLAIN})>")
_BRACKETS: Final = re.compile(r'<([^">]*(?:"[^"\\]*(?:\\.[^"\\]*)*"[^">]*)*)>', re.DOTALL)
_ATOMS: Final = re.compile(rf"{_UTEXT}(?:\.{_UTEXT})*")
_QUOTED: Final = re.compile(r'"([^"\\\x00-\x1f\x7f]*(?:\\[ -~][^"\\\x00-\x1f\x7f]*)*)"')
_DOMAIN_NAME: Final = re.compile(_NAME)

# Never part of an address, quoted or not: controls, all white space but the blank, halves of surrogate pairs.
_FORBIDDEN: Final = re.compile(r"[\x00-\x1f\x7f-\x9f\ud800-\udfff]|[^\S ]")


class AddressError(ValueError):
    """What was given is no address. `status` -- enhanced status: 5.1.3 syntax, 5.6.7 non-ASCII without SMTPUTF8."""

    def __init__(self, text: str, status: str = "5.1.3") -> None:
        super().__init__(text)
        self.status = status


@dataclass(frozen=True, slots=True, init=False)
class Address:
    """A mailbox, the null sender, or bare postmaster. Made by `parse`; made by hand it must be canonical already.

    local -- local part, unquoted, case kept, NFC.
    domain -- lower case, A-labels; or a literal, "[192.0.2.1]" or "[IPv6:2001:db8::1]"; "" for null and postmaster.
    original -- as the client wrote it between < and >, without a source route. Not compared.
    """

    local: str
    domain: str
    original: str = field(default="", compare=False)

    NULL: ClassVar[Address]

    def __init__(self, local: str, domain: str, original: str = "") -> None:
        _set_local(self, local)
        _set_domain(self, domain)
        _set_original(self, original)

    @property
    def null(self) -> bool:
        """The null sender `<>` (RFC 5321 §4.5.5)."""
        return not self.domain and not self.local

    @property
    def postmaster(self) -> bool:
        """Bare `<postmaster>`, without a domain (RFC 5321 §4.5.1)."""
        return not self.domain and self.local.lower() == "postmaster"

    @property
    def utf8(self) -> bool:
        """Whether it can travel only with SMTPUTF8: a domain can always be written in ASCII, a local part cannot."""
        return not self.local.isascii()

    @property
    def path(self) -> str:
        """As in MAIL and RCPT, with brackets."""
        return f"<{self}>"

    @property
    def unicode(self) -> str:
        """For people: as `str`, the domain in U-labels."""
        return self._written(".".join(map(_u_label, self.domain.split("."))))

    def __str__(self) -> str:
        """local@domain, quoted only if it must be; "" for null, "postmaster" for bare postmaster."""
        return self._written(self.domain)

    def _written(self, domain: str) -> str:
        if not domain:
            return self.local
        return f"{_quote(self.local)}@{domain}"

    @classmethod
    def parse(cls, text: str, *, utf8: bool = True) -> Address:
        """Read "user@example.org" or "<user@example.org>"; "<>" is null, "" is an error.

        utf8 -- whether non-ASCII is allowed. AddressError.
        """
        if not text.startswith("<"):
            if not text:
                raise AddressError("no address")
            return _parse_inner(text, utf8)
        address, rest = parse_path(text, utf8=utf8, null=True)
        if rest:
            raise AddressError("text after the address")
        return address


_set_local, _set_domain, _set_original = setters(Address)
Address.NULL = Address("", "")


def plain_address(text: str) -> Address | None:
    """The address that matches `PLAIN`; None where more has to be looked at (lengths, A-labels)."""
    local, _, domain = text.partition("@")
    domain = domain.lower()
    if len(local) > _LOCAL or len(text) > _PATH - 2 or "xn--" in domain:
        return None
    return Address(local, domain, text)


def parse_path(text: str, *, utf8: bool, null: bool) -> tuple[Address, str]:
    """Read a path in angle brackets at the start of `text`: the address, and what follows the bracket.

    utf8 -- whether non-ASCII is allowed. null -- whether "<>" is. A source route is checked and dropped (RFC 5321
    App. C). AddressError.
    """
    plain = _PLAIN.match(text)
    if plain is not None and (address := plain_address(plain[1])) is not None:
        return address, text[plain.end() :]
    bracketed = _BRACKETS.match(text)
    if bracketed is None:
        raise AddressError("the address must stand in angle brackets")
    inner, rest = bracketed[1], text[bracketed.end() :]
    if inner:
        return _parse_inner(inner, utf8), rest
    if not null:
        raise AddressError("the null address is for senders only")
    return Address.NULL, rest


def _parse_inner(text: str, utf8: bool) -> Address:
    """What stands between the brackets."""
    if _FORBIDDEN.search(text):
        raise AddressError("control character or white space in the address")
    if not utf8 and not text.isascii():
        raise AddressError("a non-ASCII address needs SMTPUTF8", "5.6.7")
    if len(text.encode()) > _PATH - 2:
        raise AddressError("the path is too long")
    if text.startswith("@"):
        text = _drop_route(text)
    elif text.lower() == "postmaster":
        return Address("postmaster", "", text)
    return _parse_mailbox(text)


def _drop_route(text: str) -> str:
    """`@a,@b:user@c` → `user@c`; literals have no place in a route (A-d-l in RFC 5321 §4.1.2)."""
    route, colon, mailbox = text.partition(":")
    hops = route.split(",")
    if not colon or not all(hop.startswith("@") for hop in hops):
        raise AddressError("malformed source route")
    for hop in hops:
        _parse_domain(unicodedata.normalize("NFC", hop[1:]))
    return mailbox


def _parse_mailbox(original: str) -> Address:
    text = unicodedata.normalize("NFC", original)
    quoted = _QUOTED.match(text)
    atoms = quoted or _ATOMS.match(text)
    if atoms is None or text[atoms.end() : atoms.end() + 1] != "@":
        raise AddressError("malformed local part")
    local = re.sub(r"\\(.)", r"\1", quoted[1]) if quoted else atoms[0]
    domain = text[atoms.end() + 1 :]
    domain = _parse_literal(domain) if domain.startswith("[") else _parse_domain(domain)
    address = Address(local, domain, original)
    if len(_quote(local).encode()) > _LOCAL:
        raise AddressError("the local part is too long")
    if len(address.path.encode()) > _PATH:
        raise AddressError("the path is too long")
    return address


def _parse_literal(text: str) -> str:
    """An address literal, normalised: RFC 5321 §4.1.3, without General-address-literal."""
    try:
        if not text.endswith("]") or "%" in text:
            raise ValueError
        if text[:6].lower() == "[ipv6:":
            return f"[IPv6:{ipaddress.IPv6Address(text[6:-1])}]"
        return f"[{ipaddress.IPv4Address(text[1:-1])}]"
    except ValueError:
        raise AddressError("malformed address literal") from None


def _parse_domain(text: str) -> str:
    """A domain name in its canonical form: lower case, A-labels."""
    if not text.isascii():
        text = _encode_idna(text)
    if len(text) > _DOMAIN or not _DOMAIN_NAME.fullmatch(text):
        raise AddressError("malformed domain")
    text = text.lower()
    if "xn--" in text and not all(map(_is_sound, text.split("."))):
        raise AddressError("malformed internationalised domain")
    return text


def _encode_idna(text: str) -> str:
    try:
        return idna.encode(text, uts46=True).decode("ascii")
    except UnicodeError:
        raise AddressError("malformed internationalised domain") from None


def _is_sound(label: str) -> bool:
    """A fake A-label would be a second spelling of nothing (RFC 5890 §2.3.2.1)."""
    if not label.startswith("xn--"):
        return True
    try:
        return idna.alabel(idna.ulabel(label)) == label.encode("ascii")
    except UnicodeError:
        return False


def _u_label(label: str) -> str:
    return idna.ulabel(label) if label.startswith("xn--") else label


def _quote(local: str) -> str:
    if _ATOMS.fullmatch(local):
        return local
    return '"' + re.sub(r'(["\\])', r"\\\1", local) + '"'
