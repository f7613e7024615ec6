"""Tables in memory: what `Inline` and `File` hold, letter case apart, and what every table refuses."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import TypeVar

from mailstack.option import ConfigError

from .item import Item

__all__ = ["as_nothing", "single", "table", "unlike"]

K = TypeVar("K")
T = TypeVar("T")


def table(items: Iterable[Item]) -> dict[str, str]:
    """key in small letters → value. ConfigError, with the place, for a key that has two values."""
    found: dict[str, str] = {}
    for item in items:
        with item.blamed():
            unlike(found, item.key.lower(), item.value, item.key)
    return found


def unlike(found: dict[K, T], key: K, value: T, written: str) -> None:
    """Put it in. ConfigError when it is there with another value."""
    if found.setdefault(key, value) != value:
        raise ConfigError(f"{written!r} is there twice, with different values", remedy="leave one of them out")


def single(item: Item, name: str, parse: Callable[[str], object], another: Callable[[str], object]) -> None:
    """ConfigError when several items stand on one line: where values mean nothing, the others would go unnoticed.

    another -- whether a word is an item as well.
    """
    if item.value and parse is as_nothing:
        for word in item.value.replace(",", " ").split():
            try:
                found = another(word)
            except ConfigError:
                continue
            if found:
                raise ConfigError(f"{name}: {item.text!r} are several", remedy="write each of them on its own line")


def as_nothing(value: str) -> str:
    """Of a value that nobody looks at."""
    return ""
