"""The result of background work that a plugin began with `session.start()`."""

from __future__ import annotations

from typing import Generic, TypeVar

from anyio import Event

T = TypeVar("T")


class Later(Generic[T]):
    """A value that comes later. Its failure stays inside until somebody asks.

    done -- whether it is there, or has failed.
    """

    __slots__ = ("_error", "_event", "_value", "done")

    def __init__(self) -> None:
        self.done = False
        self._event: Event | None = None
        self._value: list[T] = []
        self._error: BaseException | None = None

    async def get(self) -> T:
        """Wait for the value. Raises what the work raised, or RuntimeError when the session ended first."""
        if not self.done:
            if self._event is None:
                self._event = Event()
            await self._event.wait()
        if self._error is not None:
            raise self._error
        return self._value[0]

    def resolve(self, value: T) -> None:
        """The work is done (the core's business)."""
        self._value.append(value)
        self._finish()

    def fail(self, error: BaseException) -> None:
        """The work failed (the core's business)."""
        self._error = error
        self._finish()

    def _finish(self) -> None:
        self.done = True
        if self._event is not None:
            self._event.set()
