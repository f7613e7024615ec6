"""Hooks that one object of a class has and another has not: bound when it is made.

    def __init__(self, *domains):
        self._domains = lookup.domains(*domains, name="Domains")
        hold_open(self, self._domains)              # a `lifespan`, if there is something to open
        if self._domains.waits:
            bind(self, rcpt=_rcpt)                  # async; otherwise the class's plain `rcpt` stays

So who has no use for a hook does not pay for it, and a check that need not wait stays a plain one.
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractAsyncContextManager, AsyncExitStack
from types import MethodType
from typing import Any, Protocol

from .hookspec import LiveOn, hookimpl

__all__ = ["Openable", "bind", "hold_open"]


class Openable(Protocol):
    """ready -- whether it works without having been opened."""

    ready: bool

    def opened(self) -> AbstractAsyncContextManager[None]: ...


def bind(plugin: object, **hooks: Callable[..., Any]) -> None:
    """Give it these hooks, in the place of its class's. Functions whose first argument is the plugin."""
    for hook, function in hooks.items():
        setattr(plugin, hook, MethodType(hookimpl(function), plugin))


def hold_open(plugin: object, *doors: Openable) -> None:
    """Give it a `lifespan` that holds these open, unless all of them are ready."""
    if all(door.ready for door in doors):
        return

    async def lifespan(self: object, call_next: LiveOn) -> None:
        async with AsyncExitStack() as stack:
            for door in doors:
                await stack.enter_async_context(door.opened())
            await call_next()

    bind(plugin, lifespan=lifespan)
