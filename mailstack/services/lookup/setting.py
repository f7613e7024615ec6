"""A setting that differs from address to address, or from domain to domain.

    most = Setting({"example.org": "50M", "ann@example.org": "100M"}, parse=option.size, default=10 << 20, name="Size")
    most.of_now(recipient.address)            # where `most.waits` is False
    await most.of(recipient.address)

Keys are those of addresses.py, and so is their order. A value that does not parse is a ConfigError with its line, and
from a source that is asked Unavailable: nobody guesses what was meant.
"""

from __future__ import annotations

from contextlib import AbstractAsyncContextManager
from typing import Generic, TypeVar

from mailstack.wire.address import Address

from .addresses import addresses
from .door import Parse

__all__ = ["Setting"]

T = TypeVar("T")


class Setting(Generic[T]):
    """given -- text has no value, so: mappings and sources. parse -- as the functions of `mailstack.option` do.

    default -- for who is not there. name -- of the option. case -- whether letter case of local parts counts.
    """

    __slots__ = ("_default", "_door", "ready", "waits")

    def __init__(self, *given: object, parse: Parse[T], default: T, name: str, case: bool = False) -> None:
        self._door = addresses(*given, name=name, case=case, parse=parse)
        self._default = default
        self.waits = self._door.waits
        self.ready = self._door.ready

    def opened(self) -> AbstractAsyncContextManager[None]:
        return self._door.opened()

    def of_now(self, address: Address) -> T:
        found = self._door.find_now(address)
        return self._default if found is None else found

    async def of(self, address: Address) -> T:
        found = await self._door.find(address)
        return self._default if found is None else found
