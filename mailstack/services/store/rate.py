"""How often something may happen, and the arithmetic of it (GCRA, the generic cell rate algorithm).

    Rate.parse("10/1m")               # ten at once, then one every six seconds
    Rate.parse("100/1h", burst=20)    # twenty at once, then one every 36 seconds

All that is remembered for a key is one number: the time at which its allowance will be whole again. Nothing runs in the
background, there are no windows whose borders let twice as many through, and a key whose allowance is whole is as good
as unknown.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

from mailstack import option
from mailstack.option import ConfigError


class Taken(NamedTuple):
    """wait -- 0.0: it is allowed; else the seconds to wait. whole -- the time at which the allowance is whole again."""

    wait: float
    whole: float


@dataclass(frozen=True, slots=True)
class Rate:
    """`count` in `seconds` on the average, and `burst` at once."""

    count: int
    seconds: float
    burst: int

    @classmethod
    def parse(cls, value: str | Rate, *, burst: int | None = None, name: str = "") -> Rate:
        """From "10/1m": a number, and the time in which it may happen. burst -- default: the number. ConfigError."""
        if isinstance(value, Rate):
            return value
        count, slash, period = str(value).partition("/")
        if not slash:
            raise ConfigError(f"{name}: {value!r} is not a rate".removeprefix(": "), remedy='write "10/1m" or "100/1h"')
        number = option.integer(count, name=name, minimum=1)
        seconds = option.duration(period, name=name, minimum=0.001)
        at_once = number if burst is None else option.integer(burst, name=f"{name} burst", minimum=1)
        return cls(number, seconds, at_once)

    def take(self, whole: float, now: float, cost: int = 1) -> Taken:
        """Whether `cost` may be taken `now`; when not, `whole` is what it was.

        A clock that was set back does not lock anybody out: nobody owes more than a whole allowance.
        """
        each = self.seconds / self.count
        most = self.burst * each
        owed = min(max(whole - now, 0.0), most)
        wait = owed + cost * each - most
        if wait > 1e-9 * most:
            return Taken(wait, now + owed)
        return Taken(0.0, now + owed + cost * each)

    def __str__(self) -> str:
        return f"{self.count}/{self.seconds:g}" + (f"/{self.burst}" if self.burst != self.count else "")
