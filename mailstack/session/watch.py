"""The clock over one run of checks or one onion.

No timer: a deadline is a number, and the server's sweeper calls `expire()` on a watch whose time is up (it looks about
once a second). Only the innermost watch of a session runs: an onion's clock stands still while it waits in
`call_next()`, a check's while it waits for the client. A watch with a timer of its own (`Limit`) also arms the scope's
deadline, for limits finer than the sweeper's.

A scope costs more than most checks do. So a conversation has one watch with one scope for all its plain runs, wound up
again for each; only an onion, what runs inside one, and a `Limit` get a scope of their own.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from typing import Any

from anyio import CancelScope, current_time


class Watch:
    """scope -- what is cancelled when the time is up. deadline -- time.monotonic(), or inf while it stands still.

    outer -- the watch of the onion around, which stands still. who -- the plugin that runs now, for the blame.
    began -- time.monotonic() of its call. shared -- whether it is the conversation's own.
    expired -- whether the sweeper found the time up.

    The argument `scope` makes the scope: who knows the backend's own class spares it the asking.
    """

    __slots__ = ("_left", "_pauses", "_timer", "began", "deadline", "expired", "outer", "scope", "shared", "who")

    def __init__(
        self,
        outer: Watch | None = None,
        *,
        timer: bool = False,
        shared: bool = False,
        scope: Callable[[], CancelScope] = CancelScope,
    ) -> None:
        self.scope = scope()
        self.outer = outer
        self.shared = shared
        self.who: Any = None
        self.began = 0.0
        self.expired = False
        self._pauses = 0
        self._timer = timer
        self._left = math.inf
        self.deadline = math.inf

    @property
    def late(self) -> bool:
        """Whether the time is up, be the scope cancelled or not (a thread is not cancelled by a scope)."""
        return time.monotonic() > self.deadline

    def wind(self, limit: float) -> None:
        """Run from now, for `limit` seconds."""
        self.deadline = time.monotonic() + limit
        if self._timer:
            self.scope.deadline = current_time() + limit

    def stop(self) -> None:
        """Stand still for good."""
        self.deadline = math.inf

    def pause(self) -> None:
        """Stand still, and remember what was left. As many times as it is paused it must be resumed."""
        self._pauses += 1
        if self._pauses > 1:
            return
        self._left = self.deadline - time.monotonic()
        self.deadline = math.inf
        if self._timer:
            self.scope.deadline = math.inf

    def resume(self) -> None:
        """Go on with what was left."""
        self._pauses -= 1
        if not self._pauses:
            self.wind(self._left)

    def expire(self) -> None:
        """The time is up: cancel what runs under it."""
        self.expired = True
        self.scope.cancel()
