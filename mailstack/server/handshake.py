"""The server's TLS handshake, at STARTTLS or before the banner, and what the session knows after it."""

from __future__ import annotations

import ssl
from typing import TYPE_CHECKING

from .. import log
from ..services.transport import tls
from ..session.encryption import Encryption
from ..session.hangup import Hangup

if TYPE_CHECKING:
    from .connection import Connection


async def encrypt(connection: Connection, context: ssl.SSLContext, received: bytes = b"") -> None:
    """Go on under TLS. received -- what has come already and belongs to the handshake.

    A failure is nobody's fault but the client's: Hangup. The sweeper sees to its end.
    """
    house, session = connection.house, connection.session
    connection.encrypted_by = due = house.now + float(house.limits.opening)
    try:
        connection.stream = stream = await tls.wrap(connection.stream, context, received=received)
    except OSError as error:
        failure = "it took too long" if house.now > due else error.strerror or str(error)
        log.info("handshake failed", session=session.id, client=str(session.client), reason=failure)
        connection.stream.abort()
        raise Hangup("tls") from None
    connection.encrypted_by = None
    session.secure = True
    session.encryption = _outcome(stream, is_clients=not connection.abilities.speaks_for_another)


def _outcome(stream: tls.TLSStream, *, is_clients: bool) -> Encryption:
    """Who speaks for another shows a certificate of its own, which proves nothing of that other."""
    facts = stream.version, stream.cipher, stream.bits, stream.server_name
    certificate = stream.certificate if is_clients else None
    return Encryption(*facts) if certificate is None else Encryption(*facts, certificate, stream.names)
