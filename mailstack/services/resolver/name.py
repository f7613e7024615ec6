"""Names for the DNS: what can be asked for at all, and which names in records are names of hosts.

A question may hold any printable ASCII (RFC 2181 §11 allows more; SPF macros make such names), a host name letters,
digits, hyphens and underscores. What is not ASCII becomes A-labels; labels that begin with "xn--" are passed on as they
are, for the DNS has names that IDNA 2008 does not know.
"""

from __future__ import annotations

import re
from typing import Final, NamedTuple

import idna

from ...session.lookup import NoSuchName

__all__ = ["Question", "canonical", "host"]

LABEL: Final = 63  # octets: RFC 1035 §2.3.4
NAME: Final = 253  # as text, without the final dot

_ASKABLE: Final = re.compile(r"[!-~]+")
_HOST: Final = re.compile(r"(?:[a-z0-9_-]{1,63}\.)*[a-z0-9_-]{1,63}")


class Question(NamedTuple):
    """A canonical name and a type in upper case: what caches compare."""

    name: str
    type: str

    @classmethod
    def of(cls, name: str, type: str) -> Question:
        """NoSuchName for what cannot be a name."""
        type = type.upper()
        found = canonical(name)
        if found is None:
            raise NoSuchName(name[: NAME + 1], type, "no name of the DNS")
        return cls(found, type)


def canonical(text: str) -> str | None:
    """Lower case, A-labels, no final dot; None for what the DNS cannot hold."""
    if len(text) > NAME + 1:
        return None
    text = text.removesuffix(".")
    if not text.isascii():
        encoded = _encode(text)
        if encoded is None:
            return None
        text = encoded
    if len(text) > NAME or not _ASKABLE.fullmatch(text):
        return None
    if not all(0 < len(label) <= LABEL for label in text.split(".")):
        return None
    return text.lower()


def _encode(text: str) -> str | None:
    try:
        labels = idna.uts46_remap(text, std3_rules=False).split(".")
        return ".".join(label if label.isascii() else idna.alabel(label).decode("ascii") for label in labels)
    except UnicodeError:  # idna.IDNAError is one
        return None


def host(labels: tuple[bytes, ...]) -> str | None:
    """A host's name from the labels of a record, "" for the root; None for anything else, which is left out."""
    text = b".".join(labels).decode("latin-1").removesuffix(".").lower()
    if not text:
        return ""
    # A dot inside of a label would make two of it.
    return text if len(text) <= NAME and _HOST.fullmatch(text) and not any(b"." in label for label in labels) else None
