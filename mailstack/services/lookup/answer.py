"""What sources with a backend share: which keys a backend can have at all, and what its answers are as text.

octets = written(key)               # None: no backend holds such a key, and none is asked
return joined(rows)                 # "one, two", "" for an answer without a text, None for no answer
"""

from __future__ import annotations

from collections.abc import Iterable

from .source import Unavailable

__all__ = ["joined", "text", "written"]


def written(key: str) -> bytes | None:
    """The key in UTF-8, or None when it is no text: a NUL would end it early in C, half a character has no octets."""
    if "\0" in key:
        return None
    try:
        return key.encode()
    except UnicodeEncodeError:
        return None


def text(value: object) -> str:
    """One value. Octets must be UTF-8: Unavailable."""
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, (bytes, bytearray, memoryview)):
        try:
            return bytes(value).decode()
        except UnicodeDecodeError:
            raise Unavailable("a value is not UTF-8") from None
    return str(value)


def joined(values: Iterable[object]) -> str | None:
    """All of them as one text, or None when there are none. None among them is no value: NULL is nothing."""
    found = [text(value) for value in values if value is not None]
    return ", ".join(found) if found else None
