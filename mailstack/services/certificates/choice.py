"""Which certificate is for which name."""

from __future__ import annotations

import ssl
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field

from .place import Facts, Pair


@dataclass(frozen=True, slots=True)
class Loaded:
    """A certificate that can be used."""

    pair: Pair
    facts: Facts


@dataclass(frozen=True, slots=True, eq=False)
class Group:
    """Certificates for the same names, in one context."""

    members: tuple[Loaded, ...]
    context: ssl.SSLContext

    @property
    def names(self) -> frozenset[str]:
        return self.members[0].facts.names

    @property
    def about(self) -> object:
        """What no two groups have in common."""
        return subject(self.members[0])


def subject(loaded: Loaded) -> object:
    """The names, or the files when it has none."""
    return loaded.facts.names or loaded.pair


def same_names(loaded: Iterable[Loaded]) -> list[tuple[Loaded, ...]]:
    """Those for the same names together, the longest-lived last, for OpenSSL keeps the last of each kind of key."""
    groups: dict[object, list[Loaded]] = {}
    for each in loaded:
        groups.setdefault(subject(each), []).append(each)
    return [tuple(sorted(group, key=lambda each: each.facts.ends)) for group in groups.values()]


@dataclass(slots=True)
class Choice:
    """All groups. Of those that share a name the first counts; those without a name come last."""

    groups: Sequence[Group] = ()
    _by_name: dict[str, ssl.SSLContext] = field(init=False)

    def __post_init__(self) -> None:
        self.groups = sorted(self.groups, key=lambda group: (not group.names, group.members[0].pair))
        self._by_name = {name: group.context for group in reversed(self.groups) for name in group.names}

    def named(self, name: str) -> ssl.SSLContext | None:
        """The context for a name, exactly or by a wildcard in the place of its first label (RFC 6125 §6.4.3)."""
        name = name.lower().rstrip(".")
        return self._by_name.get(name) or self._by_name.get(f"*.{name.partition('.')[2]}")

    def front(self, name: str) -> ssl.SSLContext | None:
        """The same, or the first there is."""
        return self.named(name) or next((group.context for group in self.groups), None)
