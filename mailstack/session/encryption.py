"""What is known of the TLS that a conversation runs under."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Encryption:
    """One handshake's outcome.

    version -- "TLSv1.3". cipher -- its name in OpenSSL; bits -- of its key.
    server_name -- the name that the client asked for (SNI), or None.
    certificate -- the client's, DER; None when it showed none, or when somebody else shows it in the client's place
        (`session.restart`). Whether it was checked is up to the context.
    names -- whose certificate it is, if the context has checked it: pairs of kind and name as the ssl module has them,
        ("commonName", "alice"), ("email", "alice@example.org"), ("DNS", "relay.example.org").
    """

    version: str
    cipher: str
    bits: int
    server_name: str | None = None
    certificate: bytes | None = None
    names: tuple[tuple[str, str], ...] = ()

    @property
    def fingerprint(self) -> str | None:
        """SHA-256 of the client's certificate, 64 hexadecimal digits in lower case; None without one."""
        return None if self.certificate is None else hashlib.sha256(self.certificate).hexdigest()

    def __str__(self) -> str:
        return f"{self.version} {self.cipher}"
