"""The hosts that the addresses (URLs) in a message lead to. Without I/O; the work is bounded by the octets given.

Spam hides them: in base64 and quoted-printable, behind entities of HTML and percent signs, as numbers. What a browser
would find is found here, and nothing is fetched.
"""

from __future__ import annotations

import email.parser
import email.policy
import html
import ipaddress
import re
import socket
from collections.abc import Iterator
from email.message import Message as Part
from typing import Final
from urllib.parse import unquote

IPAddress = ipaddress.IPv4Address | ipaddress.IPv6Address

_PARTS: Final = 50  # of a message, that are looked into
_LONGEST: Final = 1024  # characters of one address that are looked at

# The authority of an address with a scheme, or a name that begins with "www.", as people write it in text.
_URI: Final = re.compile(
    r"(?:https?|ftp):[/\\]{2}([^\s/\\?#\"'<>()]{1,1024})|\b(www\.[^\s/\\?#\"'<>()]{1,253})", re.IGNORECASE
)
_NAME: Final = re.compile(r"[a-z0-9_-]+(?:\.[a-z0-9_-]+)+")


def hosts(octets: bytes, most: int) -> list[str | IPAddress]:
    """The names (lower case, A-labels) and addresses of hosts in the text parts, each once, at most so many."""
    found: dict[str | IPAddress, None] = {}
    for text in _texts(octets):
        for match in _URI.finditer(text):
            host = _host(match[1] or match[2])
            if host is not None:
                found[host] = None
                if len(found) >= most:
                    return list(found)
    return list(found)


def _texts(octets: bytes) -> Iterator[str]:
    """The text parts, decoded; what is broken is read as well as it goes."""
    message = email.parser.BytesParser(policy=email.policy.compat32).parsebytes(octets)
    for _, part in zip(range(_PARTS), message.walk(), strict=False):
        if part.get_content_maintype() == "text":
            yield from _text(part)


def _text(part: Part) -> Iterator[str]:
    payload = part.get_payload(decode=True)
    if not isinstance(payload, bytes):
        return
    text = payload.decode("utf-8", "replace")
    if part.get_content_subtype() == "html":
        text = html.unescape(text)
    yield text


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
