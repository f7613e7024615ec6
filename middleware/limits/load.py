"""limits.LoadGate: nobody new while the machine has too much to do."""

from __future__ import annotations

import os
import time

from mailstack import option
from mailstack.contract.hookspec import hookimpl
from mailstack.option import ConfigError
from mailstack.wire.reply import Reply

_BUSY = Reply(421, "the machine is too busy, try again later", status="4.3.2", close=True)


class LoadGate:
    """Refuse new connections while the load average of the last minute is too high.

    above -- the load: about the number of programs that want to run; as many as there are processors is busy.
    every -- how often to look.

    ConfigError where the system does not tell its load.
    """

    name = "limits"
    rehearsable = True

    def __init__(self, above: float, *, every: float | str = "5s") -> None:
        self._above = option.number(above, name="LoadGate(above)")
        if self._above <= 0:
            raise ConfigError(f"LoadGate(above): {above!r} would refuse everybody", remedy="write a load, such as 20")
        self._every = option.duration(every, name="LoadGate(every)")
        self._until = 0.0
        self._load = 0.0
        try:
            os.getloadavg()
        except (AttributeError, OSError):
            raise ConfigError("LoadGate: this system does not tell its load", remedy="leave it out") from None

    @hookimpl
    def connect(self) -> Reply | None:
        now = time.monotonic()
        if now >= self._until:
            self._load, self._until = os.getloadavg()[0], now + self._every
        return _BUSY if self._load > self._above else None
