"""TLS over any stream: `wrap` makes the handshake, and what it returns is a stream again.

    stream = await tls.wrap(stream, context)                                        # the server's side
    stream = await tls.wrap(stream, context, server_hostname="mx.example.org")      # the client's

The library's own SSLObject works on octets in memory; here its records are carried over the stream below. No
renegotiation is answered, and the end is said (close_notify) but not waited for, as all mail servers do it.

Failure: `HandshakeFailed`, an OSError, when the peer leaves, speaks no TLS, or either side does not like what it sees;
whatever alert is due has been sent. Later a broken record ends the stream as a lost connection does. There is no
deadline here: put `anyio.fail_after` around `wrap`.
"""

from __future__ import annotations

import errno
import ssl
from typing import Any
from weakref import WeakKeyDictionary

from .stream import Address, BrokenStream, RawStream

__all__ = ["HandshakeFailed", "TLSStream", "remember_name", "wrap"]

RECORD = 16 * 1024  # octets that a record holds at most (RFC 8446 §5.1)
LIMIT = 128 * 1024  # octets that one receive() returns at most, about


class HandshakeFailed(OSError):
    """There is no TLS. The text says why, for the log."""


_names: WeakKeyDictionary[ssl.SSLObject, str] = WeakKeyDictionary()


def remember_name(connection: ssl.SSLObject, name: str) -> None:
    """For a context's `sni_callback`: the name that the client asks for (RFC 6066 §3), kept for `server_name`."""
    _names[connection] = name


async def wrap(
    stream: RawStream, context: ssl.SSLContext, *, server_hostname: str | None = None, received: bytes = b""
) -> TLSStream:
    """Make the handshake over `stream`, which must not be used any more afterwards.

    server_hostname -- we are the client, and the server must go by this name; None: we are the server.
    received -- what has been read of the stream already and belongs to TLS.
    """
    wrapped = TLSStream(stream, context, server_hostname, received)
    await wrapped._handshake()
    return wrapped


class TLSStream:
    """A stream under TLS; its promises are those of the stream below.

    version -- "TLSv1.3". cipher -- "TLS_AES_256_GCM_SHA384". bits -- of its key. server_name -- what the client asked
    for, or None. certificate -- the peer's, DER, or None. names -- those in it, if it was checked.
    last -- to be set before a `send` that nothing will follow: the end is said in the same write.
    """

    __slots__ = ("_ended", "_held", "_incoming", "_more", "_object", "_outgoing", "_raw", "_said_goodbye", "last")

    def __init__(self, raw: RawStream, context: ssl.SSLContext, server_hostname: str | None, received: bytes) -> None:
        self._raw = raw
        self._incoming = ssl.MemoryBIO()
        self._outgoing = ssl.MemoryBIO()
        self._incoming.write(received)
        self._ended = False
        self._said_goodbye = False
        self.last = False
        self._held = 0  # octets that need not leave before the next reply does
        self._more = True  # whether there may be a record that has come and was not read
        self._object = context.wrap_bio(
            self._incoming, self._outgoing, server_side=server_hostname is None, server_hostname=server_hostname
        )

    # Facts.

    @property
    def peer(self) -> Address:
        return self._raw.peer

    @property
    def local(self) -> Address:
        return self._raw.local

    @property
    def gone(self) -> bool:
        return self._ended or self._raw.gone

    @property
    def version(self) -> str:
        return self._object.version() or ""

    @property
    def cipher(self) -> str:
        return (self._object.cipher() or ("",))[0]

    @property
    def bits(self) -> int:
        return (self._object.cipher() or ("", "", 0))[2]

    @property
    def server_name(self) -> str | None:
        return _names.get(self._object)

    @property
    def certificate(self) -> bytes | None:
        return self._object.getpeercert(binary_form=True)

    @property
    def names(self) -> tuple[tuple[str, str], ...]:
        found: dict[str, Any] = dict(self._object.getpeercert() or {})
        subject = (pair for part in found.get("subject", ()) for pair in part)
        return tuple((kind, str(name)) for kind, name in (*subject, *found.get("subjectAltName", ())))

    # Octets.

    async def _handshake(self) -> None:
        ours, incoming = self._object, self._incoming
        waits = ours.server_side and not incoming.pending  # the client begins
        try:
            while True:
                if waits:
                    octets = await self._raw.receive()
                    if not octets:
                        raise HandshakeFailed(errno.ECONNRESET, "the peer left in the handshake")
                    incoming.write(octets)
                try:
                    ours.do_handshake()
                    break
                except ssl.SSLWantReadError:
                    await self._flush()
                    waits = True
        except (ssl.SSLError, ssl.CertificateError) as error:
            try:
                await self._flush()  # the alert
            except BrokenStream:
                pass
            raise HandshakeFailed(errno.EPROTO, _reason(error)) from None
        if ours.server_side and ours.version() == "TLSv1.3":
            self._held = self._outgoing.pending  # tickets, for which nobody waits (RFC 8446 §4.6.1)
        else:
            await self._flush()

    async def _flush(self) -> None:
        octets = self._outgoing.read()
        if octets:
            self._held = 0
            await self._raw.send(octets)

    async def receive(self) -> bytes:
        while not self._ended:
            if not self._more:
                records = await self._raw.receive()
                if not records:
                    self._ended = True
                    break
                self._incoming.write(records)
            octets = self._decrypt()
            if self._outgoing.pending > self._held:
                await self._answer()
            if octets:
                return octets
        return b""

    async def _answer(self) -> None:
        """What reading has made us say: renegotiation is refused (an alert), new keys are answered with new keys."""
        try:
            await self._flush()
        except BrokenStream:
            self._ended = True

    def _decrypt(self) -> bytes:
        """What the records at hand hold, to LIMIT. What is no record ends the stream."""
        pieces: list[bytes] = []
        size = 0
        incoming, read = self._incoming, self._object.read
        self._more = False
        try:
            while incoming.pending:
                piece = read(RECORD)  # a whole one: nothing of it stays behind
                if not piece:
                    self._ended = True
                    break
                pieces.append(piece)
                size += len(piece)
                if size >= LIMIT:
                    self._more = True
                    break
        except ssl.SSLWantReadError:
            pass
        except ssl.SSLError:  # close_notify among them
            self._ended = True
        return pieces[0] if len(pieces) == 1 else b"".join(pieces)

    def discard(self) -> None:
        self._decrypt()
        self._raw.discard()

    async def send(self, data: bytes) -> None:
        if data:
            try:
                self._object.write(data)
            except ssl.SSLError as error:
                raise BrokenStream(errno.EPIPE, _reason(error)) from None
            if self.last:
                self._say_goodbye()
            self._held = 0
            await self._raw.send(self._outgoing.read())

    # Ends.

    async def send_eof(self) -> None:
        self._say_goodbye()
        await self._flush()
        await self._raw.send_eof()

    async def close(self) -> None:
        if not self._said_goodbye:
            self._say_goodbye()
            try:
                await self._flush()
            except BrokenStream:
                pass
        await self._raw.close()

    def abort(self) -> None:
        self._raw.abort()

    def _say_goodbye(self) -> None:
        """close_notify (RFC 8446 §6.1); that of the peer is not waited for."""
        if self._said_goodbye:
            return
        self._said_goodbye = True
        try:
            self._object.unwrap()
        except ssl.SSLError:
            pass  # it wants to read the other's, or there is nothing to end any more


def _reason(error: ssl.SSLError | ssl.CertificateError) -> str:
    """In the words of the library, without its source lines."""
    return str(getattr(error, "verify_message", "") or getattr(error, "reason", "") or error)
