"""Which extensions a message needs, and what MAIL says of them to a server with these keywords."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import replace
from typing import Any, Final

from ...wire.command import Mail, Rcpt
from ...wire.reply import Reply
from .content import survey
from .values import Content, Unsupported

__all__ = ["adapt", "check_recipient", "is_binary"]

_UTF8: Final = Reply(554, "the next server does not offer SMTPUTF8", status="5.6.7")
_EIGHT_BIT: Final = Reply(554, "the next server does not offer 8BITMIME", status="5.6.3")
_BINARY: Final = Reply(554, "the next server does not offer BINARYMIME", status="5.6.1")


def is_binary(mail: Mail) -> bool:
    """Whether the octets are to arrive as they are (RFC 3030 §3)."""
    return mail.parameters.get("BODY") == "BINARYMIME"


async def adapt(mail: Mail, recipients: Iterable[Rcpt], content: Content | None, offered: Mapping[str, str]) -> Mail:
    """MAIL with the parameters that are due. content -- None: not known yet. Unsupported."""
    if is_binary(mail) and not {"BINARYMIME", "CHUNKING"} <= offered.keys():
        raise Unsupported(_BINARY)
    utf8 = mail.sender.utf8 or any(rcpt.recipient.utf8 for rcpt in recipients)
    if utf8 and "SMTPUTF8" not in offered:
        raise Unsupported(_UTF8)
    if content is not None:
        await _check(content, "SMTPUTF8" in mail.parameters, offered)
    return replace(mail, parameters=dict(_parameters(mail, utf8, content, offered)))


def check_recipient(rcpt: Rcpt, mail: Mail) -> None:
    """Whether the recipient can be named in a transaction that was opened so. Unsupported."""
    if rcpt.recipient.utf8 and "SMTPUTF8" not in mail.parameters:
        raise Unsupported(_UTF8)


async def _check(content: Content, utf8: bool, offered: Mapping[str, str]) -> None:
    """What only the octets can tell. A message that was given with SMTPUTF8 may need it or not (RFC 6531 §3.4)."""
    utf8 = utf8 and "SMTPUTF8" not in offered
    eight_bit = content.eight_bit
    if utf8 or (eight_bit is None and "8BITMIME" not in offered):
        found = await survey(content)
        eight_bit = found.eight_bit
        if utf8 and found.utf8:
            raise Unsupported(_UTF8)
    if eight_bit and "8BITMIME" not in offered:
        raise Unsupported(_EIGHT_BIT)


def _parameters(
    mail: Mail, utf8: bool, content: Content | None, offered: Mapping[str, str]
) -> Iterable[tuple[str, Any]]:
    for name, value in mail.parameters.items():
        if name not in ("SIZE", "BODY", "SMTPUTF8"):
            yield name, value
    size = content.size if content is not None else None
    if (size := mail.parameters.get("SIZE") if size is None else size) is not None:
        yield "SIZE", size
    if is_binary(mail):
        yield "BODY", "BINARYMIME"
    elif "8BITMIME" in offered and (content is None or content.eight_bit is not False):
        yield "BODY", "8BITMIME"
    if "SMTPUTF8" in offered and (utf8 or "SMTPUTF8" in mail.parameters):
        yield "SMTPUTF8", True
