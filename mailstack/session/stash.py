"""Private, typed storage for plugins.

A plugin makes a `Key` once, and keeps what it needs on `session.stash` (one connection) or `session.transaction.stash`
(one message). Keys are objects: two instances of one middleware never collide, and type checkers know what lies there.

    class Greylist:
        def __init__(self) -> None:
            self.first_seen: Key[float] = Key("greylist.first_seen")
"""

from __future__ import annotations

from typing import Any, Generic, TypeVar, overload

T = TypeVar("T")
D = TypeVar("D")


class Key(Generic[T]):
    """The name of one thing in a stash; equal only to itself. `name` is for people who debug."""

    __slots__ = ("name",)

    def __init__(self, name: str = "") -> None:
        self.name = name

    def __repr__(self) -> str:
        return f"Key({self.name!r})"


class Stash:
    """A mapping from keys to values of their type. Missing keys raise KeyError."""

    __slots__ = ("_values",)

    def __init__(self) -> None:
        self._values: dict[Key[Any], Any] = {}

    def __getitem__(self, key: Key[T]) -> T:
        value: T = self._values[key]
        return value

    def __setitem__(self, key: Key[T], value: T) -> None:
        self._values[key] = value

    def __delitem__(self, key: Key[T]) -> None:
        del self._values[key]

    def __contains__(self, key: Key[T]) -> bool:
        return key in self._values

    def __len__(self) -> int:
        return len(self._values)

    @overload
    def get(self, key: Key[T]) -> T | None: ...
    @overload
    def get(self, key: Key[T], default: D) -> T | D: ...
    def get(self, key: Key[T], default: D | None = None) -> T | D | None:
        """The value, or `default`."""
        return self._values.get(key, default)

    def setdefault(self, key: Key[T], default: T) -> T:
        """The value; `default` is put there first when there is none."""
        value: T = self._values.setdefault(key, default)
        return value
