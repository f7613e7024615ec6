"""The handshake of a client, and whether the certificate is the one that was named."""

from __future__ import annotations

from typing import cast

from ..transport import Address, RawStream, Stream, tls
from .policy import TLS
from .values import NotSecure

__all__ = ["handshake"]


async def handshake(stream: Stream, policy: TLS, address: Address) -> tls.TLSStream:
    """TLS over `stream`, which was connected to `address`. NotSecure, BrokenStream; the stream is closed then."""
    try:
        name = policy.expected(address)
        wrapped = await tls.wrap(cast(RawStream, stream), policy.context, server_hostname=name)
    except tls.HandshakeFailed as error:
        stream.abort()
        raise NotSecure(f"no TLS: {error.strerror}") from None
    if not policy.accepts(wrapped):
        wrapped.abort()
        raise NotSecure("the certificate does not have the fingerprint that was named")
    return wrapped
