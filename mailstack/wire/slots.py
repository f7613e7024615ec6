"""Quick constructors for frozen values: those that are made for each message.

    @dataclass(frozen=True, slots=True, init=False)
    class Point:
        x: int

        def __init__(self, x: int) -> None:
            _set_x(self, x)

    (_set_x,) = setters(Point)

The `__init__` that `dataclass` writes for a frozen class calls `object.__setattr__` for each field, which looks for the
field in the class anew: half of what such a value costs.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

__all__ = ["setters"]


def setters(kind: type) -> tuple[Callable[[Any, Any], None], ...]:
    """What writes each slot of a class, in their order, whether it is frozen or not."""
    slots: tuple[str, ...] = kind.__slots__  # type: ignore[attr-defined]
    return tuple(getattr(kind, name).__set__ for name in slots)
