"""Work that plugins begin with `session.start()`: in the server's task group, ended with its session.

A failure stays inside the `Later`; no work outlives the conversation that began it.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any

from anyio import CancelScope, get_cancelled_exc_class
from anyio.abc import TaskGroup

from ..contract.fault import failure_in
from ..session.hangup import Hangup
from ..session.later import Later


class Background:
    """The work of one session."""

    __slots__ = ("_group", "_scopes")

    def __init__(self, group: TaskGroup) -> None:
        self._group = group
        self._scopes: set[CancelScope] = set()

    def start(self, later: Later[Any], function: Callable[..., Awaitable[Any]], args: tuple[object, ...]) -> None:
        """Run `function(*args)`; what comes of it goes to `later`."""
        scope = CancelScope()
        self._scopes.add(scope)
        self._group.start_soon(self._work, later, scope, function, args)

    def cancel(self) -> None:
        """The session is over."""
        for scope in tuple(self._scopes):
            scope.cancel()

    async def _work(
        self, later: Later[Any], scope: CancelScope, function: Callable[..., Awaitable[Any]], args: tuple[object, ...]
    ) -> None:
        try:
            with scope:
                later.resolve(await function(*args))
        except (Exception, Hangup) as error:
            later.fail(error)
        except BaseExceptionGroup as group:
            later.fail(_inside(group))
        except get_cancelled_exc_class():
            later.fail(RuntimeError("the server stopped before the work was done"))
            raise
        finally:
            if not later.done:
                later.fail(RuntimeError("the session ended before the work was done"))
            self._scopes.discard(scope)


def _inside(group: BaseExceptionGroup[BaseException]) -> BaseException:
    """What the work failed of, when it held a task group of its own."""
    try:
        return failure_in(group)
    except Hangup as hangup:
        return hangup
