"""SPAMC 1.5: what spamd is asked, and what it says (`spamd/PROTOCOL` in SpamAssassin's source). Without I/O."""

from __future__ import annotations

import re
from dataclasses import dataclass
from math import isfinite
from typing import Final

from mailstack.services.scan.scanner import ScanError
from mailstack.wire.header import Header

__all__ = ["LONGEST", "Answer", "is_whole", "parse", "request"]

LONGEST: Final = 1024 * 1024  # octets of an answer: the header section of the message, as spamd would have it

_STATUS: Final = re.compile(rb"SPAMD/[0-9.]+ +([0-9]+) +([^\r\n]*)\r?\n")
_SPAM: Final = re.compile(r"(True|False|Yes|No) *; *(-?[0-9.]+) */ *(-?[0-9.]+)", re.IGNORECASE)
_LENGTH: Final = re.compile(rb"^content-length: *([0-9]{1,10})\r?$", re.IGNORECASE | re.MULTILINE)
_LINE_ENDS: Final = re.compile(rb"\r+\n|\r|\n")
_NEXT: Final = re.compile(r"\s[a-z_]+=")  # after a blank or, where the field is folded, a tab
_USER: Final = re.compile(r"[!-~]+")


@dataclass(frozen=True, slots=True)
class Answer:
    """score and required are spamd's; spam -- whether it calls the message so. fields -- its X-Spam fields."""

    spam: bool
    score: float
    required: float
    fields: tuple[tuple[str, str], ...] = ()

    @property
    def tests(self) -> str:
        """The names of the rules that hit, as X-Spam-Status has them; "" where it does not say."""
        status = next((value for name, value in self.fields if name.lower() == "x-spam-status"), "")
        tests = _NEXT.split(status.partition("tests=")[2], maxsplit=1)[0]
        return "".join(tests.split()).removesuffix("none")


def request(size: int, user: str | None) -> bytes:
    """Ask for the message's header section as spamd would have it; so many octets follow."""
    lines = ["HEADERS SPAMC/1.5", f"Content-length: {size}"]
    if user is not None and _USER.fullmatch(user):
        lines.append(f"User: {user}")
    return "".join(f"{line}\r\n" for line in [*lines, ""]).encode("ascii")


def is_whole(octets: bytes | bytearray) -> bool:
    """Whether all has come that was announced; what announces nothing ends when spamd closes."""
    body = _body_at(octets)
    length = _LENGTH.search(octets, 0, body)
    return body > 3 and length is not None and len(octets) - body >= int(length[1])


def parse(octets: bytes) -> Answer:
    """Everything that spamd said. ScanError for what is no answer, or says that it could not do it."""
    status = _STATUS.match(octets)
    if status is None:
        raise ScanError("the answer is not spamd's")
    if status[1] != b"0":
        raise ScanError(f"spamd says {status[1].decode()} {status[2].decode('ascii', 'replace')!r}")
    head, _, rest = _LINE_ENDS.sub(b"\r\n", octets[status.end() :]).partition(b"\r\n\r\n")
    protocol = Header(head + b"\r\n")
    length, verdict = protocol.get("Content-length"), _SPAM.fullmatch(protocol.get("Spam", ""))
    if verdict is None:
        raise ScanError("the answer has no verdict")
    if length != str(len(octets[_body_at(octets) :])):
        raise ScanError("the answer is cut off")
    fields = tuple(
        (field.name, field.value)
        for field in Header(rest.partition(b"\r\n\r\n")[0] + b"\r\n").fields
        if field.name.lower().startswith("x-spam-")
    )
    try:
        score, required = float(verdict[2]), float(verdict[3])
    except ValueError:
        raise ScanError("the answer has no score") from None
    if not (isfinite(score) and isfinite(required)):
        raise ScanError("the answer has no score")
    return Answer(verdict[1].lower() in ("true", "yes"), score, required, fields)


def _body_at(octets: bytes | bytearray) -> int:
    """Where the answer's body begins; 3 when that has not come."""
    return octets.find(b"\r\n\r\n") + 4
