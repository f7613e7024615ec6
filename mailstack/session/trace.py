"""The trace fields that the core writes: Received (RFC 5321 §4.4) and Authentication-Results (RFC 8601).

Nothing of the client's gets in unescaped: the HELO name was checked at the parser, and is checked here again.
"""

from __future__ import annotations

import re
import time
from email.utils import formatdate
from functools import lru_cache

from ..wire.address import Address
from ..wire.header import format_field
from .encryption import Encryption
from .session import Peer, Session
from .transaction import Result, Transaction

_NOT_A_NAME = re.compile(r"[^A-Za-z0-9.\-_:\[\]]")
_TOKEN = re.compile(r"[A-Za-z0-9!#$%&'*+\-^_`{|}~.@]+")
_LONGEST = 256  # characters of one value: a line of the field must not exceed 998 octets
_HOSTILE = re.compile(r"[^ -~]")

# By whether it is LMTP, and whether the message came with SMTPUTF8.
_PROTOCOLS = {
    (False, False): "ESMTP",
    (False, True): "UTF8SMTP",
    (True, False): "LMTP",
    (True, True): "UTF8LMTP",
}

_second = 0
_date = ""


def date_now() -> str:
    """The time as RFC 5322 §3.3 writes it, with the local offset."""
    global _second, _date
    now = int(time.time())
    if now != _second:
        _second, _date = now, formatdate(now, localtime=True)
    return _date


def protocol_of(session: Session, *, utf8: bool = False) -> str:
    """The `with` word: SMTP, ESMTP, ESMTPS, ESMTPA, ESMTPSA, LMTP… (RFC 3848), UTF8SMTP, UTF8LMTP… (RFC 6531 §4.3)."""
    if not session.esmtp:
        return "SMTP"
    word = _PROTOCOLS[session.lmtp, utf8]
    return word + ("S" if session.secure else "") + ("A" if session.user is not None else "")


def received(session: Session, transaction: Transaction) -> bytes:
    """The Received field, CRLF and all. A single recipient is named; several are nobody's business."""
    utf8 = transaction.sender.utf8
    tls = session.encryption
    opening = _opening(
        session.helo, _seen(session.client), session.hostname, protocol_of(session, utf8=utf8), tls and _tls_words(tls)
    )
    recipients = transaction.recipients
    whom = f"\r\n\tfor {_path(recipients[0].given)}" if len(recipients) == 1 else ""
    field = f"{opening}{transaction.id}{whom};\r\n\t{date_now()}\r\n"
    return field.encode("utf-8" if utf8 else "ascii", "replace")


@lru_cache(maxsize=1024)
def _opening(helo: str | None, seen: str, hostname: str, protocol: str, tls: str | None) -> str:
    """What all messages of one conversation have in common."""
    name = _NOT_A_NAME.sub("?", helo or "unknown")
    return f"Received: from {name} ({seen})\r\n\tby {hostname} with {protocol}{tls or ''} id "


def _seen(client: Peer) -> str:
    """Address and, where somebody asked, name of the client; one that does not lead back is marked as others do."""
    reverse, literal = client.reverse, client.literal
    if not literal or reverse.result == "none":
        return literal or "local"
    if reverse.name is None:
        return f"unknown {literal}"
    name = _NOT_A_NAME.sub("?", reverse.name[:_LONGEST])
    return f"{name} {literal}" if reverse.confirmed else f"{name} {literal} (may be forged)"


def _tls_words(tls: Encryption) -> str:
    """A comment with version and cipher, on a line of its own."""
    return f"\r\n\t(using {_NOT_A_NAME.sub('?', tls.version)} with cipher {_NOT_A_NAME.sub('?', tls.cipher)})"


def _path(address: Address) -> str:
    """A path was parsed, so it holds no control characters; a quoted local part may still hold what folds badly."""
    if '"' not in address.original:
        return f"<{address.original or address}>"
    path = address.path
    return _HOSTILE.sub("?", path) if path.isascii() else path


def authentication_results(hostname: str, transaction: Transaction) -> bytes:
    """The Authentication-Results field from what middleware found; empty when it found nothing."""
    if not transaction.has_results:
        return b""
    parts = [hostname, *(_result(result) for result in transaction.results)]
    return format_field("Authentication-Results", ";\r\n\t".join(parts))


def _result(result: Result) -> str:
    words = [f"{_token(result.method)}={_token(result.result)}"]
    if result.reason:
        words.append(f"reason={_quoted(result.reason)}")
    words += [f"{_token(name)}={_value(value)}" for name, value in result.properties.items()]
    return " ".join(words)


def _token(text: str) -> str:
    return "".join(_TOKEN.findall(text))[:_LONGEST] or "unknown"


def _value(text: str) -> str:
    return text if len(text) <= _LONGEST and _TOKEN.fullmatch(text) else _quoted(text)


def _quoted(text: str) -> str:
    clean = _HOSTILE.sub("?", text[:_LONGEST]).replace("\\", "\\\\").replace('"', '\\"')
    return f'"{clean}"'
