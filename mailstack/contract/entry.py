"""One entry of a stack, loaded: its name, where it was made, and its implementations by hook."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from .fault import OnFault


@dataclass(frozen=True, slots=True)
class Origin:
    """Where in a configuration file an entry was written."""

    file: str = ""
    line: int = 0

    def __str__(self) -> str:
        return f"{self.file}:{self.line}" if self.file else "?"


@dataclass(frozen=True, slots=True)
class Impl:
    """One implementation of one hook.

    arguments -- the names it takes, in its order. onion -- whether it takes `call_next`.
    timeout, on_fault -- what `Limit` said; None and "defer" otherwise.
    """

    who: str
    hook: str
    function: Callable[..., Any]
    arguments: tuple[str, ...]
    is_async: bool
    onion: bool
    timeout: float | None = None
    on_fault: OnFault = "defer"


@dataclass(slots=True)
class Entry:
    """One plugin object in the stack."""

    name: str
    plugin: object
    origin: Origin
    impls: dict[str, Impl] = field(default_factory=dict)
