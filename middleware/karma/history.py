"""What is remembered of a client, and how a session changes it. Without I/O."""

from __future__ import annotations

import struct
from typing import Final, NamedTuple

_FORM: Final = struct.Struct("!IIIdd")


class History(NamedTuple):
    """sessions, nice, naughty -- how many there were, and how they ended. penalty_until, last -- seconds since 1970."""

    sessions: int = 0
    nice: int = 0
    naughty: int = 0
    penalty_until: float = 0.0
    last: float = 0.0

    @property
    def balance(self) -> int:
        """More than 0 for a client that has behaved well on the whole."""
        return self.nice - self.naughty

    def pack(self) -> bytes:
        return _FORM.pack(*self)

    @classmethod
    def unpack(cls, octets: bytes | None) -> History:
        """A new one for None, and for what is none."""
        if octets is None or len(octets) != _FORM.size:
            return cls()
        return cls(*_FORM.unpack(octets))

    def after(self, score: float, nice: float, strikes: float, penalty: float, now: float) -> History:
        """With one more session. Who was naughty and has no good name is shut out, the longer the worse he is."""
        base = self._replace(sessions=self.sessions + 1, last=now)
        if score >= nice:
            return base._replace(nice=self.nice + 1)
        if score > -strikes:
            return base
        worse = base._replace(naughty=self.naughty + 1)
        if worse.balance >= 0:
            return worse
        return worse._replace(penalty_until=now + penalty * min(-worse.balance, 10))
