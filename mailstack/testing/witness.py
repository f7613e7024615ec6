"""What the contract tests put around a plugin: a witness above it, and a hand on one of its hooks."""

from __future__ import annotations

import functools
import inspect
import logging
import types
from collections.abc import Awaitable, Callable
from typing import Any

from ..contract.function import FunctionHandler
from ..contract.hookspec import LiveOn, hookimpl
from ..contract.load import HOOKS, name_of
from ..server.answers import SHUTDOWN
from ..server.server import Server
from ..session.hangup import Hangup
from ..session.session import Session
from ..session.transaction import Sender, Transaction

__all__ = ["Grip", "Witness", "hooks_of"]

FAULTS = ("fault", "late")


class Witness:
    """Stands on top of the stack, changes nothing, and remembers.

    sessions -- all that connected. problems -- what broke the balance of notices, in words.
    faults -- what was logged as an error, and each fault in the evidence of a session.
    """

    name = "witness"
    rehearsable = True

    def __init__(self) -> None:
        self.sessions: list[Session] = []
        self.problems: list[str] = []
        self._connected: set[str] = set()
        self._open: dict[int, Transaction] = {}
        self._server: Server | None = None
        self._logged = _Errors()

    @hookimpl
    async def lifespan(self, server: Server, call_next: LiveOn) -> None:
        self._server = server
        logger = logging.getLogger("mailstack")
        logger.addHandler(self._logged)
        try:
            await call_next()
        finally:
            logger.removeHandler(self._logged)
        if self._connected:
            self.problems.append("a session had no disconnect")
        if self._open:
            self.problems.append("a transaction had no reset")

    @hookimpl
    def connect(self, session: Session) -> None:
        self.sessions.append(session)
        self._connected.add(session.id)

    @hookimpl
    def mail(self, session: Session, sender: Sender) -> None:
        if session.transaction is not None:
            self._open[id(session.transaction)] = session.transaction

    @hookimpl
    def reset(self, transaction: Transaction) -> None:
        if self._open.pop(id(transaction), None) is None:
            self.problems.append("a transaction was reset twice, or never began")

    @hookimpl
    async def disconnect(self, session: Session) -> None:
        if session.id not in self._connected:
            self.problems.append("a session had two disconnects")
        self._connected.discard(session.id)

    @property
    def faults(self) -> list[str]:
        """What went wrong in anybody's code."""
        found = [f for session in self.sessions for f in session.evidence if f.outcome in FAULTS]
        return [f"{f.who} in {f.phase}: {f.detail}" for f in found] + self._logged.lines

    def cut(self) -> None:
        """End all conversations as a server does whose grace is over."""
        assert self._server is not None
        house = self._server._house
        assert house is not None
        for connection in tuple(house.connections):
            connection.cut(Hangup("shutdown", SHUTDOWN))


class _Errors(logging.Handler):
    """Keeps the faults that are logged: those of notices and lives are told there alone."""

    def __init__(self) -> None:
        super().__init__(logging.ERROR)
        self.lines: list[str] = []

    def emit(self, record: logging.LogRecord) -> None:
        message = record.getMessage()
        if message.startswith(FAULTS):
            self.lines.append(message)


def hooks_of(plugin: object) -> list[str]:
    """The hooks that a plugin implements under their own names."""
    if isinstance(plugin, types.FunctionType):
        return ["queue"]
    return [hook for hook in HOOKS if hasattr(getattr(plugin, hook, None), "mailstack_impl")]


class Grip:
    """The plugin as it is, but for one hook: before it runs, `before` does (or waits). `gripped` counts its calls."""

    def __init__(self, plugin: object, hook: str, before: Callable[[], Awaitable[None] | None]) -> None:
        self.name = name_of(plugin)
        self.gripped = 0
        self._plugin = FunctionHandler(plugin) if isinstance(plugin, types.FunctionType) else plugin
        for each in hooks_of(self._plugin):
            function = getattr(self._plugin, each)
            setattr(self, each, self._hold(function, before) if each == hook else function)

    def __getattr__(self, name: str) -> Any:
        return getattr(self.__dict__["_plugin"], name)

    def _hold(self, function: Callable[..., Any], before: Callable[[], Awaitable[None] | None]) -> Callable[..., Any]:
        @functools.wraps(function)
        async def held_async(*arguments: Any) -> Any:
            self.gripped += 1
            waiting = before()
            if waiting is not None:
                await waiting
            return await function(*arguments)

        @functools.wraps(function)
        def held(*arguments: Any) -> Any:
            self.gripped += 1
            before()
            return function(*arguments)

        return held_async if inspect.iscoroutinefunction(function) else held
