"""What is known of the TLS that a conversation runs under."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Encryption:
    """One handshake's outcome.

    version -- "TLSv1.3". cipher -- its name in OpenSSL; bits -- of its key.
    server_name -- the name that the client asked for (SNI), or None.
    certificate -- the client's, DER; None when it showed none. Whether it was checked is up to the context.
    """

    version: str
    cipher: str
    bits: int
    server_name: str | None = None
    certificate: bytes | None = None

    def __str__(self) -> str:
        return f"{self.version} {self.cipher}"
