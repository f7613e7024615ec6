"""One next server: how a connection to it is made, the pool of them, and whether it is worth being asked now."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Final

from ..client import TLS, Client, Login, NotAuthenticated, Timeouts, open_client
from ..client.pool import Pool
from ..transport import Address

__all__ = ["Access", "Hop"]

REST: Final = 30.0  # seconds for which a server that could not be talked to is tried last
REFUSED: Final = 60.0  # seconds for which a login that was refused is not tried again: some servers lock accounts


class Access:
    """How a connection to one server is made: with what TLS, as whom. All connections of a pool are made so.

    ours -- what we call ourselves. tls -- None: STARTTLS where it is offered, but not over UNIX sockets.
    login -- None: as nobody.

    A login that the server has refused is not tried again for a minute, unless its password file has changed.
    """

    __slots__ = ("_address", "_lmtp", "_login", "_ours", "_refused", "_timeouts", "_tls")

    def __init__(
        self,
        address: Address,
        *,
        ours: Callable[[], str],
        lmtp: bool,
        tls: TLS | None,
        login: Login | None,
        timeouts: Timeouts,
    ) -> None:
        self._address = address
        self._ours = ours
        self._lmtp = lmtp
        self._tls = TLS("may") if tls is None and not isinstance(address, str) else tls
        self._login = login
        self._timeouts = timeouts
        self._refused: tuple[float, object, str] | None = None  # until when, for which password, why

    async def open(self) -> Client:
        """A client that is ready; raises as `open_client`."""
        if self._login is not None:
            self._check_refused(self._login)
        try:
            return await open_client(
                self._address,
                hostname=self._ours(),
                lmtp=self._lmtp,
                tls=self._tls,
                login=self._login,
                timeouts=self._timeouts,
            )
        except NotAuthenticated as error:
            if self._login is not None and error.reply is not None and not error.temporary:
                self._refused = time.monotonic() + REFUSED, self._login.stamp, str(error)
            raise

    def _check_refused(self, login: Login) -> None:
        if self._refused is None:
            return
        until, stamp, why = self._refused
        if time.monotonic() < until and login.stamp == stamp:
            raise NotAuthenticated(f"{why} (not tried again yet)", login.user)
        self._refused = None


class Hop:
    """name -- its address as configured. pool -- the connections to it."""

    __slots__ = ("_rests_until", "name", "pool")

    def __init__(self, name: str, pool: Pool) -> None:
        self.name = name
        self.pool = pool
        self._rests_until = 0.0

    def rest(self) -> None:
        """It could not be talked to: others come first for a while."""
        self._rests_until = time.monotonic() + REST

    @property
    def resting(self) -> bool:
        return time.monotonic() < self._rests_until
