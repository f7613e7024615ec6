"""The hosts that the addresses (URLs) in a message lead to. Without I/O; the work is linear in the octets given.

Spam hides them: in base64 and quoted-printable, behind entities of HTML and percent signs, as numbers, in links without
a scheme or with line ends in it. Links of HTML are read as browsers do; in plain text an address has a scheme, or
begins with "www.". Nothing is fetched.
"""

from __future__ import annotations

import html
import ipaddress
import re
import socket
from collections.abc import Iterator
from typing import Final
from urllib.parse import unquote

from .parts import texts

IPAddress = ipaddress.IPv4Address | ipaddress.IPv6Address

_LONGEST: Final = 1024  # characters of one address that are looked at

# The authority of an address with a scheme, or a name that begins with "www.", as people write it in text.
_URI: Final = re.compile(
    r"(?:https?|ftp):[/\\]{2}([^\s/\\?#\"'<>()]{1,1024})|\b(www\.[^\s/\\?#\"'<>()]{1,253})", re.IGNORECASE
)
# A link of HTML. Browsers drop line ends and tabs in it, take any number of slashes, and need no scheme before two.
_ATTRIBUTE: Final = re.compile(
    r"\b(?:href|src|action|background)\s{0,9}=\s{0,9}(\"[^\"]{0,2048}|'[^']{0,2048}|[^\s\"'>]{1,2048})", re.IGNORECASE
)
_DROPPED: Final = re.compile(r"[\t\r\n]+")
_LINK: Final = re.compile(r"(?:(?:https?|ftp):[/\\]*|[/\\]{2,})([^/\\?#\s\"'<>]{1,1024})", re.IGNORECASE)
_ZEROS: Final = re.compile(r"&#(x?)0+(?=[0-9a-f])", re.IGNORECASE)
_DIGITS: Final = re.compile(r"&#x?[0-9a-f]{8,}", re.IGNORECASE)  # no character; and Python counts a long number slowly
_NAME: Final = re.compile(r"[a-z0-9_-]+(?:\.[a-z0-9_-]+)+")


def hosts(octets: bytes, most: int) -> list[str | IPAddress]:
    """The names (lower case, A-labels) and addresses of hosts in the text parts, each once, at most so many."""
    found: dict[str | IPAddress, None] = {}
    for text, is_html in texts(octets):
        for authority in _authorities(_unescaped(text) if is_html else text, is_html):
            host = _host(authority)
            if host is not None:
                found[host] = None
                if len(found) >= most:
                    return list(found)
    return list(found)


def _authorities(text: str, is_html: bool) -> Iterator[str]:
    for match in _URI.finditer(text):
        yield match[1] or match[2]
    for match in _ATTRIBUTE.finditer(text) if is_html else ():
        link = _LINK.match(_DROPPED.sub("", match[1].strip("\"' ")))
        if link is not None:
            yield link[1]


def _unescaped(text: str) -> str:
    """Without entities; a number has no more digits than a character can have, zeros in front apart."""
    return html.unescape(_DIGITS.sub("", _ZEROS.sub(r"&#\1", text)))


def _host(authority: str) -> str | IPAddress | None:
    """RFC 3986 §3.2: without the user and the port."""
    host = unquote(authority[:_LONGEST]).rpartition("@")[2].lower()
    if host.startswith("["):
        return _ip(host[1:].partition("]")[0])
    host = host.partition(":")[0].rstrip(".,;!").lstrip(".")
    if not host.isascii():
        try:
            host = host.encode("idna").decode("ascii")
        except UnicodeError:
            return None
    return _ip(host) or (host if _NAME.fullmatch(host) and len(host) <= 253 else None)


def _ip(text: str) -> IPAddress | None:
    """An address, in any form that browsers take: 192.0.2.1, 0xC0000201, 3221225985, 0300.0.2.1."""
    try:
        return ipaddress.ip_address(text)
    except ValueError:
        pass
    if not text or text.strip("0123456789abcdefx.") or not text[0].isdigit():
        return None
    try:
        return ipaddress.IPv4Address(socket.inet_aton(text))
    except OSError:
        return None
