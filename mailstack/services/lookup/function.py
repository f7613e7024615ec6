"""A lookup that is a Python function of the key, plain or async.

    async def quota(address: str) -> str | None: ...
    lookup.Function(quota)

It returns the value, None or False for "not there", True for a key without a value, or a number. What it raises is an
error, and never "not there". A plain function must not wait: it runs in the event loop.
"""

from __future__ import annotations

import inspect
from collections.abc import Awaitable, Callable
from contextlib import AbstractAsyncContextManager, nullcontext
from functools import partial

from mailstack.option import ConfigError

from .source import Unavailable

__all__ = ["Function"]

Value = str | bool | int | float | None


class Function:
    """function -- of the key. A plain one makes a table. ConfigError for what takes no key."""

    ready = True

    def __init__(self, function: Callable[[str], Value | Awaitable[Value]]) -> None:
        if not callable(function):
            raise ConfigError(f"Function: {function!r} is no function", remedy="name a function of one text, the key")
        try:
            inspect.signature(function).bind("key")
        except TypeError:
            raise ConfigError(f"Function: {function!r} takes no key", remedy="let it take one text, the key") from None
        except ValueError:  # built in, without a signature
            pass
        self._function = function
        if not _is_async(function):
            self.find_now = self._find_now

    def opened(self) -> AbstractAsyncContextManager[None]:
        return nullcontext()

    async def find(self, key: str) -> str | None:
        answer = self._function(key)
        return _value(await answer if inspect.isawaitable(answer) else answer)

    def _find_now(self, key: str) -> str | None:
        return _value(self._function(key))


def _is_async(function: object) -> bool:
    while isinstance(function, partial):
        function = function.func
    return inspect.iscoroutinefunction(function) or inspect.iscoroutinefunction(getattr(function, "__call__", None))  # noqa: B004


def _value(answer: object) -> str | None:
    if answer is None or answer is False:
        return None
    if answer is True:
        return ""
    if isinstance(answer, str | int | float):
        return str(answer)
    if inspect.iscoroutine(answer):
        answer.close()
    raise Unavailable(f"the function returned {type(answer).__name__}, and neither text nor None")
