"""One entry of a stack, loaded: its name, where it was made, and its implementations by hook."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, Literal, Protocol

from ..session.session import Session
from ..wire.reply import Reply
from .fault import OnFault


@dataclass(frozen=True, slots=True)
class Origin:
    """Where in a configuration file an entry was written."""

    file: str = ""
    line: int = 0

    def __str__(self) -> str:
        return f"{self.file}:{self.line}" if self.file else "?"


class Outlet(Protocol):
    """Where the refusals of a check go instead of to the client: what `Postpone` and `Score` make of them."""

    words: str

    def begin(self, session: Session, impl: Impl, subject: Any) -> None:
        """The check is about to be asked."""

    def take(self, session: Session, impl: Impl, reply: Reply, seconds: float, *, fault: bool) -> bool:
        """It has refused (or failed, and `reply` is what that means). True: taken, the chain goes on."""


@dataclass(frozen=True, slots=True)
class Impl:
    """One implementation of one hook.

    arguments -- the names it takes, in its order. onion -- whether it takes `call_next`.
    timeout, on_fault -- what `Limit` said; None and "defer" otherwise.
    observed -- whether it is only tried (`Observe`). outlets -- where its refusals go, the innermost wrapper's first.
    answers -- whether it is known to answer always, so that nobody behind it is asked, or never.
    mechanisms -- of `auth`: what it can judge, at present. fulfils -- of `session`: what it is there for, if only that.
    note -- for people: what it is, where that is not its entry's own doing.
    """

    who: str
    hook: str
    function: Callable[..., Any]
    arguments: tuple[str, ...]
    is_async: bool
    onion: bool
    timeout: float | None = None
    on_fault: OnFault = "defer"
    observed: bool = False
    outlets: tuple[Outlet, ...] = ()
    answers: Literal["always", "never", "maybe"] = "maybe"
    mechanisms: Callable[[], tuple[str, ...]] = tuple
    fulfils: tuple[str, ...] = ()
    note: str = ""

    @property
    def plain(self) -> bool:
        """Whether its answer is the chain's."""
        return not self.observed and not self.outlets

    @property
    def treatment(self) -> list[str]:
        """What wrappers made of it, in words, the innermost first."""
        words = [self.note, *(outlet.words for outlet in self.outlets), "only observed" if self.observed else ""]
        return [word for word in words if word]


@dataclass(slots=True)
class Entry:
    """One plugin object in the stack. decided -- whether a wrapper has said what its failure means."""

    name: str
    plugin: object
    origin: Origin
    impls: dict[str, Impl] = field(default_factory=dict)
    decided: bool = False
