"""Which name servers are asked: those that were given, or those of /etc/resolv.conf as it is now."""

from __future__ import annotations

import ipaddress
import os
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Final

from ... import option

__all__ = ["RESOLV_CONF", "NoServers", "Servers"]

RESOLV_CONF = "/etc/resolv.conf"
_MOST: Final = 3  # of resolv.conf, as in the C library
_LOOK: Final = 5.0  # seconds between two looks at the file

Server = tuple[str, int]


class NoServers(Exception):
    """There is nobody to ask. Its text says why, and what to do."""


class Servers:
    """given -- addresses as text, "127.0.0.1:5353", port 53 unless written; none: those of `file`, RESOLV_CONF unless
    given.

    The file is read when somebody is to be asked, and again when it has changed. Its search domains are not used.
    ConfigError for what is no address.
    """

    __slots__ = ("_file", "_given", "_looked", "_order", "_stamp")

    def __init__(self, given: Sequence[str] = (), file: str | None = None) -> None:
        self._given = tuple(_server(each) for each in given)
        self._order = list(self._given)
        self._file = file or RESOLV_CONF
        self._stamp: tuple[int, int] | None = None
        self._looked = float("-inf")

    def __str__(self) -> str:
        if not self._given:
            return f"the name servers of {self._file}"
        return ", ".join(str(option.SocketAddress(host, port)) for host, port in self._given)

    def now(self) -> list[Server]:
        """Whom to ask, the first first. NoServers."""
        if not self._given:
            self._look()
        return list(self._order)

    def prefer(self, server: Server) -> None:
        """This one answered: it is asked first, until it does not."""
        if self._order and self._order[0] != server and server in self._order:
            self._order.remove(server)
            self._order.insert(0, server)

    def _look(self) -> None:
        now = time.monotonic()
        if self._order and now - self._looked < _LOOK:
            return
        self._looked = now
        try:
            status = os.stat(self._file)
            stamp = (status.st_mtime_ns, status.st_ino)
            if stamp != self._stamp:
                self._order = _read(Path(self._file).read_text("utf-8", "replace"))
                self._stamp = stamp
        except OSError as error:
            if not self._order:
                raise NoServers(f"{self._file}: {error.strerror}; {_REMEDY}") from None
        if not self._order:
            self._stamp = None
            raise NoServers(f"{self._file} names no name server; {_REMEDY}")


_REMEDY: Final = 'write Server(resolver=Resolver("127.0.0.1"))'


def _server(text: str) -> Server:
    if str(text).count(":") > 1 and not text.startswith("["):
        text = f"[{text}]"
    found = option.socket_address(text, name="Resolver", port=53)
    try:
        ipaddress.ip_address(found.host or "")
    except ValueError:
        raise option.ConfigError(
            f"Resolver: {text!r} is not the address of a name server", remedy='write "127.0.0.1" or "[::1]:5353"'
        ) from None
    assert found.host is not None
    assert found.port is not None
    return found.host, found.port


def _read(text: str) -> list[Server]:
    """The lines `nameserver ADDRESS`; what is no address is passed over, as the C library does."""
    found: list[Server] = []
    for line in text.splitlines():
        words = line.split()
        if len(words) >= 2 and words[0] == "nameserver" and _is_address(words[1]):
            found.append((words[1], 53))
    return found[:_MOST]


def _is_address(text: str) -> bool:
    try:
        ipaddress.ip_address(text)
    except ValueError:
        return False
    return True
