"""A hand-made sender of PROXY headers, versions 1 and 2, that can say anything."""

from __future__ import annotations

import ipaddress
import struct

SIGNATURE = b"\r\n\r\n\0\r\nQUIT\n"
LOCAL, PROXY = 0x20, 0x21
UNSPEC, TCP4, UDP4, TCP6, UNIX = 0x00, 0x11, 0x12, 0x21, 0x31


def text(client: str = "198.51.100.7", server: str = "203.0.113.1", ports: str = "4711 25", family: str = "") -> bytes:
    """A header of version 1."""
    family = family or ("TCP6" if ":" in client else "TCP4")
    return f"PROXY {family} {client} {server} {ports}\r\n".encode()


def binary(
    client: str = "198.51.100.7",
    server: str = "203.0.113.1",
    ports: tuple[int, int] = (4711, 25),
    *,
    command: int = PROXY,
    family: int | None = None,
    extensions: bytes = b"",
) -> bytes:
    """A header of version 2 for two addresses; `family` says something else than they are."""
    ends = [ipaddress.ip_address(each) for each in (client, server)]
    addresses = b"".join(each.packed for each in ends) + struct.pack("!HH", *ports)
    usual = TCP4 if ends[0].version == 4 else TCP6
    return frame(command, usual if family is None else family, addresses + extensions)


def frame(command: int, family: int, rest: bytes) -> bytes:
    return SIGNATURE + bytes((command, family)) + len(rest).to_bytes(2) + rest


def extension(kind: int, value: bytes) -> bytes:
    return bytes((kind,)) + len(value).to_bytes(2) + value


def crc32c(octets: bytes) -> bytes:
    """Bit by bit, as RFC 9260 defines it; slow, and another way than the server's."""
    crc = 0xFFFFFFFF
    for octet in octets:
        crc ^= octet
        for _ in range(8):
            crc = (crc >> 1) ^ (0x82F63B78 & -(crc & 1))
    return (crc ^ 0xFFFFFFFF).to_bytes(4)


def summed(header: bytes) -> bytes:
    """The same header with a checksum at its end."""
    blank = frame(header[12], header[13], header[16:] + extension(3, bytes(4)))
    return blank[:-4] + crc32c(blank)
