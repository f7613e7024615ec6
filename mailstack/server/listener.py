"""Where a server listens: TCP over IPv4 and IPv6, and UNIX sockets."""

from __future__ import annotations

import errno
import os
import socket
import stat
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any

from .. import option
from ..option import ConfigError, SocketAddress, socket_address

BACKLOG = 1024


@dataclass(frozen=True)
class Listener:
    """One address to listen on.

    address -- "127.0.0.1:2525", "[::]:25" (IPv4 too), "localhost:2525" (all its addresses), "unix:/run/mail.sock".
        Port 0 takes a free one; the server's `addresses` tell which.
    name -- how predicates and the log call it; default: the address.
    lmtp -- speak LMTP (RFC 2033): a reply for each recipient after the data. Never on port 25.
    tls -- TLS from the first octet (RFC 8314): the middleware `tls` makes the handshake.
    proxy -- the networks of the proxies in front ("192.0.2.0/24", or several): who connects from there must begin with
        a PROXY header, and nobody else is served. The middleware `proxy` reads it.
    mode -- the permissions of a UNIX socket; default 0o600: its owner alone may connect.
    """

    address: str
    name: str = ""
    lmtp: bool = field(default=False, kw_only=True)
    tls: bool = field(default=False, kw_only=True)
    proxy: Any = field(default=(), kw_only=True)
    mode: int = field(default=0o600, kw_only=True)

    def __post_init__(self) -> None:
        wanted = socket_address(self.address, name="Listener")
        object.__setattr__(self, "lmtp", option.boolean(self.lmtp, name="Listener(lmtp)"))
        object.__setattr__(self, "tls", option.boolean(self.tls, name="Listener(tls)"))
        object.__setattr__(self, "proxy", option.networks(self.proxy, name="Listener(proxy)") if self.proxy else ())
        if self.lmtp and wanted.port == 25:
            raise ConfigError(
                "LMTP must not be spoken on port 25 (RFC 2033 §5)", remedy="take port 24 or 2424, or a UNIX socket"
            )

    @property
    def label(self) -> str:
        """The name, or the address."""
        return self.name or self.address

    @property
    def wants(self) -> dict[str, str]:
        """What somebody in the stack must see to before the banner (`contract.extension.OPENINGS`), and the remedy."""
        found = {}
        if self.tls:
            found["tls"] = 'put tls.TLS("certificate.pem") of mailstack.middleware into the stack'
        if self.proxy:
            found["proxy"] = "put proxy.Proxy() of mailstack.middleware into the stack"
        return found

    def clean_up(self) -> None:
        """Remove the file of a UNIX socket that was closed, unless somebody else listens there by now."""
        path = socket_address(self.address, name="Listener").path
        if path is not None:
            with suppress(OSError):  # who has given up root's rights may not be able to
                _remove_stale(path)

    def bind(self) -> list[socket.socket]:
        """Listening sockets, non-blocking. ConfigError when the address cannot be had."""
        wanted = socket_address(self.address, name="Listener")
        try:
            return [_bind_unix(wanted.path, self.mode)] if wanted.path is not None else _bind_tcp(wanted)
        except OSError as error:
            problem = f"cannot listen on {self.address}: {error.strerror or error}"
            raise ConfigError(problem, remedy=_remedy(error, wanted)) from error


def _remedy(error: OSError, wanted: SocketAddress) -> str:
    if isinstance(error, PermissionError):
        if wanted.path is not None:
            return "take a folder that this user may write in"
        return "ports below 1024 need root, or CAP_NET_BIND_SERVICE; take 2525 to try things out"
    return _OF_THIS_MACHINE if isinstance(error, socket.gaierror) else _REMEDIES.get(error.errno or 0, _TAKEN)


_TAKEN = "another server may have it: stop that one or take another port"
_OF_THIS_MACHINE = "take an address of this machine"
_REMEDIES = {
    errno.EADDRNOTAVAIL: _OF_THIS_MACHINE,
    errno.EAFNOSUPPORT: 'there is no IPv6 on this machine: write "0.0.0.0:25" for all its addresses',
    errno.ENOENT: "make the folder first",
    errno.ENOTDIR: "take a path in a folder",
}


def _bind_tcp(wanted: SocketAddress) -> list[socket.socket]:
    sockets: list[socket.socket] = []
    found = socket.getaddrinfo(wanted.host, wanted.port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)
    try:
        for family, _, _, _, address in dict.fromkeys(found):
            sockets.append(_listening(family, address))
    except OSError:
        for each in sockets:
            each.close()
        raise
    return sockets


def _listening(family: int, address: object) -> socket.socket:
    each = socket.socket(family, socket.SOCK_STREAM)
    try:
        each.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        if family == socket.AF_INET6:
            # "[::]" means every address of the machine, IPv4 included.
            each.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 0 if address[0] == "::" else 1)  # type: ignore[index]
        each.setblocking(False)
        each.bind(address)  # type: ignore[arg-type]
        each.listen(BACKLOG)
    except OSError:
        each.close()
        raise
    return each


def _bind_unix(path: str, mode: int) -> socket.socket:
    _remove_stale(path)
    each = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    try:
        each.setblocking(False)
        each.bind(path)
        os.chmod(path, mode)
        each.listen(BACKLOG)
    except OSError:
        each.close()
        raise
    return each


def _remove_stale(path: str) -> None:
    """A socket that nobody listens on any more; a file that is no socket stays."""
    try:
        if not stat.S_ISSOCK(os.stat(path).st_mode):
            return
    except FileNotFoundError:
        return
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as probe:
        probe.setblocking(False)
        try:
            probe.connect(path)
        except BlockingIOError:
            return  # its server is busy: bind() will say that the address is taken
        except ConnectionRefusedError:
            os.unlink(path)
