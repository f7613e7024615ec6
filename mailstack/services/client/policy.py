"""What is wanted of TLS towards a server: the value `TLS`, and the `ssl` context that is made of it.

    TLS("verify")                                        # the certificate must be for the host that is connected to
    TLS("verify", ca="/etc/mailstack/next.pem")          # signed by these
    TLS("verify", fingerprint="12:AB:…")                 # this certificate, whoever signed it and whatever it says
    TLS("encrypt", implicit=True)                        # TLS from the first octet, as on port 465

| level | TLS | certificate |
|---|---|---|
| "none" | never | |
| "may" | where STARTTLS is offered; in clear where it is not | any |
| "encrypt" | always | any |
| "verify" | always | must be valid for the name, or have the fingerprint |

Only "verify" withstands somebody between the two. With "may" he can take STARTTLS out of the offer; but whatever goes
wrong after the offer is `NotSecure`, and nothing goes on in clear.

The files are read when the value is made, and again when they have changed; new ones that cannot be used are an error
in the log, and the old ones stay.
"""

from __future__ import annotations

import hashlib
import os
import re
import ssl
from collections.abc import Iterable
from pathlib import Path
from typing import Final, Literal, TypeAlias

from ... import log, option
from ...option import ConfigError
from ..files import Latest
from ..transport import Address
from ..transport.tls import TLSStream

__all__ = ["LEVELS", "TLS", "Level"]

Level: TypeAlias = Literal["none", "may", "encrypt", "verify"]
LEVELS: Final[tuple[Level, ...]] = ("none", "may", "encrypt", "verify")

_VERSIONS: Final = {"TLSv1.2": ssl.TLSVersion.TLSv1_2, "TLSv1.3": ssl.TLSVersion.TLSv1_3}
_FINGERPRINT: Final = re.compile(r"[0-9a-f]{64}")

File: TypeAlias = str | os.PathLike[str]


class TLS:
    """See the module. Immutable; ConfigError for what makes no sense, and for files that cannot be used.

    level -- "none", "may", "encrypt" or "verify". implicit -- TLS from the first octet, without STARTTLS.
    ca -- a PEM file, or a folder as `openssl rehash` makes it, of who may have signed the server's certificate; None:
        those whom the system trusts.
    name -- that the certificate must have, and that is asked for (SNI); None: the host that is connected to.
    fingerprint -- SHA-256 of the server's certificate, 64 hex digits, colons allowed; one or several. Then neither who
        signed it, nor its names, nor its dates count.
    certificate, key -- PEM files, to show who we are; without `key` it is in the first.
    minimum -- the oldest version: "TLSv1.2" or "TLSv1.3".
    """

    __slots__ = ("_ca", "_certificate", "_context", "_key", "_minimum", "fingerprints", "implicit", "level",
                 "name")  # fmt: skip

    def __init__(
        self,
        level: Level = "verify",
        *,
        implicit: bool = False,
        ca: File | None = None,
        name: str | None = None,
        fingerprint: str | Iterable[str] = (),
        certificate: File | None = None,
        key: File | None = None,
        minimum: Literal["TLSv1.2", "TLSv1.3"] = "TLSv1.2",
    ) -> None:
        self.level: Level = option.choice(level, *LEVELS, name="TLS(level)")
        self.implicit = option.boolean(implicit, name="TLS(implicit)")
        self.name = None if name is None else option.domain(name, name="TLS(name)")
        given = [fingerprint] if isinstance(fingerprint, str) else fingerprint
        self.fingerprints = frozenset(map(_fingerprint, given))
        self._ca, self._certificate, self._key = (_path(each) for each in (ca, certificate, key))
        self._minimum = option.choice(minimum, "TLSv1.2", "TLSv1.3", name="TLS(minimum)")
        self._check()
        files = filter(None, (self._ca, self._certificate, self._key))
        self._context = Latest(self._made, *files, complain=_complain) if self.wanted else None

    def _check(self) -> None:
        if self.implicit and not self.wanted:
            raise ConfigError('TLS: implicit TLS and the level "none"', remedy='write "verify"')
        if self.level != "verify" and (self._ca or self.fingerprints):
            raise ConfigError(f'TLS: nothing is checked with the level "{self.level}"', remedy='write "verify"')
        if self._ca and self.fingerprints:
            raise ConfigError(
                "TLS: where a fingerprint is given, nobody is asked who signed", remedy="drop one of them"
            )
        if self._key and not self._certificate:
            raise ConfigError("TLS: a key without its certificate", remedy="write certificate= too")

    def __repr__(self) -> str:
        return f"TLS({self.level!r}{', implicit=True' if self.implicit else ''})"

    @property
    def wanted(self) -> bool:
        """Whether TLS is used where it can be."""
        return self.level != "none"

    @property
    def required(self) -> bool:
        """Whether nothing is said without it."""
        return self.implicit or self.level in ("encrypt", "verify")

    def expected(self, address: Address) -> str:
        """The name that the server must go by: for SNI, and for the certificate if it is checked."""
        if self.name is not None:
            return self.name
        return "localhost" if isinstance(address, str) else address[0]

    @property
    def context(self) -> ssl.SSLContext:
        """With the files as they are now."""
        assert self._context is not None
        return self._context.value

    def accepts(self, stream: TLSStream) -> bool:
        """Whether the server's certificate is one that was named, if any was."""
        shown = stream.certificate
        return not self.fingerprints or (shown is not None and hashlib.sha256(shown).hexdigest() in self.fingerprints)

    def _made(self) -> ssl.SSLContext:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        context.minimum_version = _VERSIONS[self._minimum]
        context.options |= ssl.OP_NO_RENEGOTIATION | ssl.OP_NO_COMPRESSION
        context.hostname_checks_common_name = False
        if self.level != "verify" or self.fingerprints:
            context.check_hostname = False
            context.verify_mode = ssl.CERT_NONE
        elif self._ca is None:
            context.load_default_certs()
        else:
            self._trust(context, self._ca)
        if self._certificate is not None:
            self._show(context, self._certificate)
        return context

    def _trust(self, context: ssl.SSLContext, place: Path) -> None:
        try:
            if place.is_dir():
                context.load_verify_locations(capath=place)
            else:
                context.load_verify_locations(place)
        except OSError as error:
            raise _unusable("ca", place, error) from None

    def _show(self, context: ssl.SSLContext, file: Path) -> None:
        def ask() -> str:
            raise ConfigError(f"TLS(key): {self._key or file} has a passphrase", remedy="keep the key without one")

        try:
            context.load_cert_chain(file, self._key, ask)
        except OSError as error:
            raise _unusable("certificate", file, error) from None


def _fingerprint(text: str) -> str:
    found = text.replace(":", "").strip().lower()
    if not _FINGERPRINT.fullmatch(found):
        raise ConfigError(
            f"TLS(fingerprint): {text!r} is no SHA-256 in hex",
            remedy="see `openssl x509 -noout -fingerprint -sha256 -in FILE`",
        )
    return found


def _path(given: File | None) -> Path | None:
    return None if given is None else Path(given).expanduser().absolute()


def _complain(error: Exception) -> None:
    log.error("files of TLS cannot be used, the old ones stay", reason=str(error))


def _unusable(what: str, file: Path, error: OSError) -> ConfigError:
    words = getattr(error, "reason", None) or error.strerror or str(error)
    return ConfigError(f"TLS({what}): {file}: {words}", remedy="name a PEM file that this user may read")
