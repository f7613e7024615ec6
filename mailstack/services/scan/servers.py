"""Which daemon is asked: the first that can be reached, and not one that has just failed while another is there."""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from typing import Final

from ... import option
from ...option import ConfigError
from ..transport import Address

_PENALTY: Final = 30.0  # seconds for which one that failed is asked last


class Servers:
    """Addresses in the order in which they are to be asked.

    given -- "127.0.0.1:783", "[::1]", "unix:/run/spamd.sock", a host name; one or several. port -- where none is named.
    name -- the option, for ConfigError.
    """

    __slots__ = ("_failed", "addresses")

    def __init__(self, given: Sequence[str], *, port: int, name: str) -> None:
        if not given:
            raise ConfigError(f"{name} has no servers", remedy=f'write {name}("127.0.0.1:{port}")')
        self.addresses: dict[str, Address] = {text: _address(text, port, name) for text in given}
        self._failed: dict[str, float] = {}

    def __iter__(self) -> Iterator[tuple[str, Address]]:
        """Each once, as written and as an address; who failed a short while ago comes last."""
        now = time.monotonic()
        suspect = {text for text, until in self._failed.items() if now < until}
        for text in sorted(self.addresses, key=lambda text: text in suspect):
            yield text, self.addresses[text]

    def failed(self, text: str) -> None:
        """Ask it last for a while."""
        self._failed[text] = time.monotonic() + _PENALTY

    def answered(self, text: str) -> None:
        """It is well."""
        self._failed.pop(text, None)


def _address(text: str, port: int, name: str) -> Address:
    place = option.socket_address(text, name=name, port=port)
    if place.path is not None:
        return place.path
    if not place.port or place.host is None:
        raise ConfigError(f"{name}: {text!r} has port 0", remedy="write the port where the daemon listens")
    return place.host, place.port
