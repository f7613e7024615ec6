"""How a connection begins: connect, TLS, the banner, EHLO, STARTTLS and EHLO again, AUTH."""

from __future__ import annotations

import anyio

from ..transport import Address, RawStream, Stream, connect
from .client import Client
from .login import Login
from .policy import TLS
from .secure import handshake
from .transcript import Transcript
from .values import Timeouts

__all__ = ["begin", "dial", "open_client", "reach"]


async def open_client(
    address: Address,
    *,
    hostname: str,
    lmtp: bool = False,
    tls: TLS | None = None,
    login: Login | None = None,
    timeouts: Timeouts | None = None,
    transcript: Transcript | None = None,
    pipelining: bool = True,
    chunking: bool = True,
) -> Client:
    """Connect to (host, port) or to the path of a UNIX socket, and get ready for a transaction.

    hostname -- what we call ourselves. tls -- None: in clear. login -- None: as nobody. transcript -- called with
    ("C", line) and ("S", line) for each line, bodies abbreviated, secrets masked, nothing unprintable in it.
    pipelining, chunking -- whether these are used where the server offers them. Where EHLO is refused with 5xx, HELO is
    tried. OSError, Refused, NotSecure, NotAuthenticated, Disconnected, ValueError (hostname).
    """
    stream = await reach(address, timeouts, tls)
    client = Client(
        stream, lmtp=lmtp, timeouts=timeouts, transcript=transcript, pipelining=pipelining, chunking=chunking
    )
    await begin(client, address, hostname, tls, login)
    return client


async def begin(client: Client, address: Address, hostname: str, tls: TLS | None, login: Login | None) -> None:
    """From the banner on; raises as `open_client`, and the client is closed then."""
    try:
        await client.greet()
        await client.hello(hostname)
        wanted = tls is not None and tls.wanted and not client.encryption
        if tls is not None and wanted and await client.start_tls(tls, address):
            await client.hello(hostname)
        if login is not None:
            await client.authenticate(login)
    except BaseException:
        client.abort()
        raise


async def reach(address: Address, timeouts: Timeouts | None = None, tls: TLS | None = None) -> Stream:
    """Connect, and make the handshake if TLS is implicit, both within `timeouts.connect`. OSError, NotSecure."""
    seconds = (timeouts or Timeouts()).connect
    until = anyio.current_time() + seconds
    raw = await dial(address, timeouts)
    if tls is None or not tls.implicit:
        return raw
    stream = None
    try:
        with anyio.move_on_after(until - anyio.current_time()):
            stream = await handshake(raw, tls, address)
    except BaseException:
        raw.abort()
        raise
    if stream is None:
        raw.abort()
        raise TimeoutError(f"no TLS within {seconds:g} s")
    return stream


async def dial(address: Address, timeouts: Timeouts | None = None) -> RawStream:
    """Connect within `timeouts.connect`. OSError."""
    seconds = (timeouts or Timeouts()).connect
    stream = None
    with anyio.move_on_after(seconds):
        stream = await connect(address)
    if stream is None:
        raise TimeoutError(f"no connection within {seconds:g} s")
    return stream
