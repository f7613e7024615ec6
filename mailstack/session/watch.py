"""The clock over one run of checks or one onion.

No timer: a deadline is a number, and the server's sweeper cancels the scope of a watch whose time is up (it looks about
once a second). Only the innermost watch of a session runs: an onion's clock stands still while it waits in
`call_next()`, a check's while it waits for the client. A watch with a timer of its own (`Limit`) also arms the scope's
deadline, for limits finer than the sweeper's.
"""

from __future__ import annotations

import math
import time

from anyio import CancelScope, current_time


class Watch:
    """scope -- what is cancelled when the time is up. deadline -- time.monotonic(), or inf while it stands still.

    outer -- the watch of the onion around, which stands still. who -- the plugin that runs now, for the blame.
    """

    __slots__ = ("_left", "_timer", "deadline", "outer", "scope", "who")

    def __init__(self, limit: float, outer: Watch | None = None, *, timer: bool = False) -> None:
        self.scope = CancelScope()
        self.outer = outer
        self.who: object = None
        self._timer = timer
        self._left = limit
        self.deadline = math.inf
        self.resume()

    @property
    def late(self) -> bool:
        """Whether the time is up, be the scope cancelled or not (a thread is not cancelled by a scope)."""
        return time.monotonic() > self.deadline

    def pause(self) -> None:
        """Stand still."""
        self._left = self.deadline - time.monotonic()
        self.deadline = math.inf
        if self._timer:
            self.scope.deadline = math.inf

    def resume(self) -> None:
        """Go on with what was left."""
        self.deadline = time.monotonic() + self._left
        if self._timer:
            self.scope.deadline = current_time() + self._left
