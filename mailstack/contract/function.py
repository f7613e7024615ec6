"""A plain function at the end of a stack: the shortest queue handler.

    async def receive(message):
        await store(await message.read())

It takes `message`, and `session` if it likes. Returning means that it has the message (250 with the queue id); it may
return a Reply of its own; an exception is a 451 and the client keeps the mail.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable
from typing import Any

from ..option import ConfigError
from ..session.message import Message
from ..session.session import Session
from ..wire.reply import Reply
from .hookspec import hookimpl

_KNOWN = ("session", "message")


class FunctionHandler:
    """A plugin whose `queue` is the function. ConfigError when it takes something else than session and message."""

    def __init__(self, function: Callable[..., Any]) -> None:
        self.name = function.__name__
        names = tuple(inspect.signature(function).parameters)
        if not set(names) <= set(_KNOWN):
            raise ConfigError(
                f"{self.name}({', '.join(names)}) cannot be a handler",
                remedy="a handler takes message, or session and message",
            )
        self.queue = hookimpl(
            _waiting(function, names) if inspect.iscoroutinefunction(function) else _plain(function, names)
        )


def _waiting(function: Callable[..., Any], names: tuple[str, ...]) -> Callable[..., Any]:
    async def queue(session: Session, message: Message) -> Reply:
        known = {"session": session, "message": message}
        reply: Reply | None = await function(**{name: known[name] for name in names})
        return taken(message) if reply is None else reply

    return queue


def _plain(function: Callable[..., Any], names: tuple[str, ...]) -> Callable[..., Any]:
    def queue(session: Session, message: Message) -> Reply:
        known = {"session": session, "message": message}
        reply: Reply | None = function(**{name: known[name] for name in names})
        return taken(message) if reply is None else reply

    return queue


def taken(message: Message) -> Reply:
    """The reply of a handler that has the message."""
    return Reply(250, f"queued as {message.id}")
