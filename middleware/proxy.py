"""proxy: behind a load balancer that speaks the PROXY protocol, see the client and not the balancer.

    Server(
        Stack(proxy.Proxy(), …),
        listeners=[Listener("[::]:25", proxy="192.0.2.10"), Listener("127.0.0.1:2525")],
    )

A listener with `proxy=` is for proxies alone: who connects from one of those networks must begin with a header that
tells for whom it speaks, and whoever else connects there is closed without a word. At other listeners nothing changes.
So nobody can claim to be somebody else by writing a header. Versions 1 (a line of text) and 2 (binary) are told apart
by their first octet; HAProxy writes them with `send-proxy` and `send-proxy-v2`.

Afterwards `session.client` and `session.server` are the two ends as the client saw them, and `session.proxy` is the
proxy. What came behind the header in the same segment is the client's: the beginning of a TLS handshake, or octets
before the banner, which an early-talker check sees.

A client of a UNIX socket has no address, and is none of the proxies.

This entry stands above the one that makes the TLS handshake, for the header comes in clear before it, and above
conditions on the client's address.

A header that says that the proxy talks for itself (LOCAL: its health checks), or for somebody it cannot name (UNKNOWN,
UNSPEC), leaves the proxy's own address as that of the client. Do not give that address any right.

Extensions of version 2 are bounded and passed over; a checksum is verified, and the name and the TLS that the client
used at the proxy are noted in the evidence. TLS at the proxy does not make `session.secure` true.

Failure: a header that is broken, too long, incomplete after `timeout`, or for anything but TCP and UNIX streams ends
the connection without a word; the log says why. Source: The PROXY protocol, versions 1 and 2 (proxy-protocol.txt of
HAProxy).
"""

from __future__ import annotations

import ipaddress
import re
import struct
from collections.abc import Iterator
from typing import NamedTuple

from anyio import move_on_after

from mailstack import log
from mailstack.contract.hookspec import LiveOn, hookimpl
from mailstack.option import duration
from mailstack.session.session import Peer, Session

__all__ = ["Proxy"]

SIGNATURE = b"\r\n\r\n\0\r\nQUIT\n"  # of version 2, §2.2
LONGEST_LINE = 107  # octets with CRLF, §2.1
LONGEST_REST = 16384  # octets behind the 16 of version 2; a client's certificate may be among them


class Header(NamedTuple):
    """What a proxy said. client, server -- None where it talks for itself. detail -- what is worth a note."""

    client: Peer | None = None
    server: Peer | None = None
    detail: str = ""


class Proxy:
    """Read the PROXY header at listeners that have `proxy=`.

    timeout -- how long the proxy has for it: "5s" by default (`Limits(opening=…)` holds too).
    """

    rehearsable = True
    fulfils = ("proxy",)

    def __init__(self, *, timeout: float | str = "5s") -> None:
        self._timeout = duration(timeout, name="Proxy(timeout)")

    @hookimpl
    async def session(self, session: Session, call_next: LiveOn) -> None:
        if await self._introduced(session):
            await call_next()

    async def _introduced(self, session: Session) -> bool:
        """Whether a listed proxy has said for whom it speaks."""
        peer = session.client
        problem = "not one of the proxies"
        if peer.ip is not None and any(peer.ip in network for network in session.proxies):
            problem = f"no header within {self._timeout:g} s"
            with move_on_after(self._timeout):
                try:
                    header = await _read(session)
                except ValueError as error:
                    problem = str(error)
                else:
                    self._accept(session, header)
                    return True
        log.warning("proxy refused", session=session.id, client=str(peer), listener=session.listener, reason=problem)
        return False

    def _accept(self, session: Session, header: Header) -> None:
        session.proxied(header.client, header.server)
        if header.detail:
            session.note("proxy", "session", header.detail)
        log.debug("proxied", session=session.id, client=str(session.client), proxy=str(session.proxy or "itself"))


async def _read(session: Session) -> Header:
    """The header, and not one octet more. ValueError."""
    first = await session.read_exactly(1)
    if first == b"P":
        return parse_text(first + await session.read_line(LONGEST_LINE - 1))
    if first != SIGNATURE[:1]:
        raise ValueError("no PROXY header")
    start = first + await session.read_exactly(15)
    length = int.from_bytes(start[14:])
    if not start.startswith(SIGNATURE) or length > LONGEST_REST:
        raise ValueError("no PROXY header of version 2" if length <= LONGEST_REST else "the header is too long")
    return parse_binary(start + await session.read_exactly(length))


# Version 1, §2.1.

_PORT = r"(0|[1-9][0-9]{0,4})"
_TEXT = re.compile(
    rf"PROXY (?:UNKNOWN(?: .*)?|(TCP4|TCP6) ([0-9a-fA-F.:]+) ([0-9a-fA-F.:]+) {_PORT} {_PORT})", re.DOTALL
)


def parse_text(line: bytes) -> Header:
    """Read a header of version 1, given without its CRLF. ValueError."""
    found = _TEXT.fullmatch(line.decode("latin-1"))
    if found is None:
        raise ValueError("broken PROXY header of version 1")
    family, client, server, client_port, server_port = found.groups()
    if family is None:
        return Header(detail="the proxy does not name the client")
    return Header(_peer(family, client, client_port), _peer(family, server, server_port))


def _peer(family: str, host: str, port: str) -> Peer:
    if int(port) > 65535:
        raise ValueError("a port that cannot be")
    return Peer(_unmapped(ipaddress.IPv4Address(host) if family == "TCP4" else ipaddress.IPv6Address(host)), int(port))


def _unmapped(address: ipaddress.IPv4Address | ipaddress.IPv6Address) -> str:
    """One spelling of each address: an IPv4 client of an IPv6 socket is an IPv4 client."""
    mapped = address.ipv4_mapped if isinstance(address, ipaddress.IPv6Address) else None
    return str(mapped or address)


# Version 2, §2.2.

_LOCAL, _PROXY = 0x20, 0x21
_UNSPEC, _TCP4, _TCP6, _UNIX = 0x00, 0x11, 0x21, 0x31
_ADDRESSES = {_UNSPEC: 0, _TCP4: 12, _TCP6: 36, _UNIX: 216}  # octets

_AUTHORITY, _CHECKSUM, _TLS = 0x02, 0x03, 0x20
_TLS_DETAILS = {0x21: "", 0x23: "", 0x22: "client certificate of "}  # version, cipher, common name


def parse_binary(header: bytes) -> Header:
    """Read a whole header of version 2. ValueError."""
    if len(header) < 16 or not header.startswith(SIGNATURE) or len(header) != 16 + int.from_bytes(header[14:16]):
        raise ValueError("broken PROXY header of version 2")
    command, family = header[12], header[13]
    if command == _LOCAL:
        return Header()
    if command != _PROXY or family not in _ADDRESSES:
        raise ValueError("a PROXY header for neither TCP nor UNIX streams")
    size = _ADDRESSES[family]
    rest = header[16:]
    if len(rest) < size:
        raise ValueError("the PROXY header is shorter than its addresses")
    details = tuple(_details(header, 16 + size))
    if family == _UNSPEC:
        return Header(detail=", ".join(("the proxy does not name the client", *details)))
    return Header(*_ends(family, rest[:size]), ", ".join(details))


def _ends(family: int, octets: bytes) -> tuple[Peer, Peer]:
    if family == _UNIX:
        return Peer(_path(octets[:108]), None), Peer(_path(octets[108:]), None)
    half = (len(octets) - 4) // 2
    client_port, server_port = struct.unpack("!HH", octets[-4:])
    hosts = (_unmapped(ipaddress.ip_address(each)) for each in (octets[:half], octets[half : 2 * half]))
    client, server = hosts
    return Peer(client, client_port), Peer(server, server_port)


def _path(octets: bytes) -> str:
    return _words(octets.partition(b"\0")[0])


def _details(header: bytes, start: int) -> Iterator[str]:
    """What the extensions tell that is worth a note. ValueError for one that is broken, and for a wrong checksum."""
    summed = False
    for kind, at, value in _extensions(header, start):
        if kind == _CHECKSUM:
            if summed or len(value) != 4 or _checksum(header[:at] + bytes(4) + header[at + 4 :]) != value:
                raise ValueError("the checksum of the PROXY header is wrong")
            summed = True
        elif kind == _AUTHORITY:
            yield f"asked for {_words(value)}"
        elif kind == _TLS:
            if len(value) < 5:
                raise ValueError("a broken extension in the PROXY header")
            if value[0] & 1:
                found = {each: _words(text) for each, _, text in _extensions(value, 5)}
                told = [words + found[each] for each, words in _TLS_DETAILS.items() if each in found]
                yield " ".join(("at the proxy with TLS", *told))


def _extensions(octets: bytes, at: int) -> Iterator[tuple[int, int, bytes]]:
    """Type, place and value of each. ValueError where one does not fit."""
    while at < len(octets):
        value = at + 3
        end = value + int.from_bytes(octets[at + 1 : value])
        if value > len(octets) or end > len(octets):
            raise ValueError("a broken extension in the PROXY header")
        yield octets[at], value, octets[value:end]
        at = end


def _words(octets: bytes) -> str:
    """For people: printable ASCII, and not too long."""
    return octets[:255].decode("utf-8", "backslashreplace").encode("unicode_escape").decode("ascii")


# CRC-32C, reflected, with the polynomial of RFC 9260, Appendix A.


def _remainder(octet: int) -> int:
    for _ in range(8):
        octet = (octet >> 1) ^ (0x82F63B78 if octet & 1 else 0)
    return octet


_REMAINDERS = tuple(_remainder(octet) for octet in range(256))


def _checksum(octets: bytes) -> bytes:
    crc = 0xFFFFFFFF
    for octet in octets:
        crc = _REMAINDERS[(crc ^ octet) & 0xFF] ^ (crc >> 8)
    return (crc ^ 0xFFFFFFFF).to_bytes(4)
