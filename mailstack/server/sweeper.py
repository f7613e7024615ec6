"""The one clock of a server: looks at every connection about once a second.

Nothing in the hot path arms a timer; deadlines are numbers, and this task compares them.
"""

from __future__ import annotations

import time

from anyio import CancelScope, sleep

from .house import House


async def sweep(house: House, clock: CancelScope) -> None:
    """Run until `clock` is cancelled, and not before: in a server that is cut short, what is shielded has its limit."""
    clock.shield = True
    with clock:
        while True:
            house.now = now = time.monotonic()
            house.load = len(house.connections) / house.limits.connections
            for connection in tuple(house.connections):
                connection.sweep(now)
            await sleep(float(house.limits.sweep))
