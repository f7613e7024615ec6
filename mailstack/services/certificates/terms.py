"""What a server insists on in handshakes, and the `ssl` contexts that insist on it."""

from __future__ import annotations

import ssl
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from ...option import ConfigError
from .place import Pair

_VERSIONS = {"TLSv1.2": ssl.TLSVersion.TLSv1_2, "TLSv1.3": ssl.TLSVersion.TLSv1_3}
_DEMANDS = {"off": ssl.CERT_NONE, "optional": ssl.CERT_OPTIONAL, "required": ssl.CERT_REQUIRED}


@dataclass(frozen=True, slots=True)
class Terms:
    """Renegotiation and compression are always off.

    minimum -- the oldest version (RFC 8996 forbids what is older than 1.2). ciphers -- OpenSSL's list for TLS 1.2; "":
        the library's own. tickets -- whether sessions can be resumed.
    client -- whether clients show certificates; authorities -- the PEM file of those who may have signed them, or of
        the clients' certificates themselves.
    """

    minimum: Literal["TLSv1.2", "TLSv1.3"] = "TLSv1.2"
    ciphers: str = ""
    tickets: bool = False
    client: Literal["off", "optional", "required"] = "off"
    authorities: Path | None = None

    def context(self, pairs: Iterable[Pair] = ()) -> ssl.SSLContext:
        """A context with these certificates. ConfigError when OpenSSL does not take something of this."""
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.minimum_version = _VERSIONS[self.minimum]
        context.options |= ssl.OP_NO_RENEGOTIATION | ssl.OP_NO_COMPRESSION
        context.num_tickets = 1 if self.tickets else 0  # of TLS 1.3; a mail client has use for one
        if not self.tickets:
            context.options |= ssl.OP_NO_TICKET
        if self.ciphers:
            self._choose(context)
        context.verify_mode = _DEMANDS[self.client]
        if self.authorities is not None:
            self._trust(context, self.authorities)
        for pair in pairs:
            pair.into(context)
        return context

    def _choose(self, context: ssl.SSLContext) -> None:
        try:
            context.set_ciphers(self.ciphers)
        except ssl.SSLError:
            problem = f"OpenSSL knows none of the ciphers {self.ciphers!r}"
            raise ConfigError(problem, remedy="leave it out, or see `openssl ciphers -v`") from None

    def _trust(self, context: ssl.SSLContext, file: Path) -> None:
        try:
            context.load_verify_locations(file)
        except OSError as error:
            words = "holds no certificate" if isinstance(error, ssl.SSLError) else f"cannot be read: {error.strerror}"
            remedy = "give the PEM file of those who sign the clients' certificates"
            raise ConfigError(f"{file} {words}", remedy=remedy) from None
        context.verify_flags |= ssl.VERIFY_X509_PARTIAL_CHAIN  # those of the clients themselves may be listed
