"""The one clock of a server: looks at every connection about once a second.

Nothing in the hot path arms a timer; deadlines are numbers, and this task compares them.
"""

from __future__ import annotations

import time

from anyio import sleep

from .house import House


async def sweep(house: House) -> None:
    """Run until cancelled."""
    while True:
        await sleep(float(house.limits.sweep))
        house.now = now = time.monotonic()
        for connection in tuple(house.connections):
            connection.sweep(now)
