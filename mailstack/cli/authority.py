"""A certificate authority in a folder, for tests and for machines of one's own, with what it has signed beside it.

    folder/ca/ca.pem, key.pem                    # what clients trust, and what signs
    folder/NAME/fullchain.pem, privkey.pem       # as `tls.TLS("folder")` finds them

All keys are ECDSA P-256. Files can be read by their owner alone, and are complete whenever they are there. It needs
`cryptography` (`mailstack[certs]`).
"""

from __future__ import annotations

import datetime
import ipaddress
import os
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from .. import extra, option
from ..option import ConfigError

if TYPE_CHECKING:
    from cryptography import x509
    from cryptography.hazmat.primitives.asymmetric.ec import EllipticCurvePrivateKey

CA = "ca"
YEARS = 10  # that the authority lives
EARLY = datetime.timedelta(days=30)  # before its end a certificate is renewed
SKEW = datetime.timedelta(hours=1)  # that the clock of a client may be late


@dataclass(frozen=True, slots=True)
class Made:
    """A certificate on disk."""

    folder: Path
    names: tuple[str, ...]
    ends: datetime.datetime


class Authority:
    """The one in `folder`; made when it is first needed. ConfigError when its files cannot be used."""

    def __init__(self, folder: Path) -> None:
        extra.require("cryptography", "mailstack[certs]")
        self.folder = folder
        self.file = folder / CA / "ca.pem"
        self._key_file = folder / CA / "key.pem"

    def signed(self) -> list[Made]:
        """What lies beside it."""
        files = sorted(self.folder.glob("*/fullchain.pem"))
        return [_made(file.parent, _certificate(file)) for file in files]

    def find(self, names: Sequence[str]) -> Made | None:
        """The certificate that `sign` would make anew."""
        file = self.folder / _folder(names) / "fullchain.pem"
        return _made(file.parent, _certificate(file)) if file.exists() else None

    def sign(self, names: Sequence[str], days: int) -> Made:
        """A new certificate with a new key, in the place of one that is there.

        names -- domains, "*.example.org", addresses of machines, mailboxes (for clients). days -- it lives so long, and
            not longer than the authority.
        """
        ca, ca_key = self._own()
        key = _new_key()
        certificate = _sign(_named(names[0]), key, ca, ca_key, days, _leaf(names))
        folder = self.folder / _folder(names)
        _write(folder / "privkey.pem", _pem_of_key(key))
        _write(folder / "fullchain.pem", _pem(certificate) + _pem(ca))
        return _made(folder, certificate)

    def _own(self) -> tuple[x509.Certificate, EllipticCurvePrivateKey]:
        if not self.file.exists() and not self._key_file.exists():
            self._found()
        certificate, key = _certificate(self.file), _key(self._key_file)
        if certificate.public_key() != key.public_key():
            raise ConfigError(f"{self._key_file} is not the key of {self.file}", remedy=_ANEW)
        if certificate.not_valid_after_utc <= now():
            raise ConfigError(f"the authority in {self.file} has expired", remedy=_ANEW)
        return certificate, key

    def _found(self) -> None:
        from cryptography import x509

        key = _new_key()
        usage = x509.KeyUsage(False, False, False, False, False, True, True, False, False)
        own: list[tuple[x509.ExtensionType, bool]] = [(x509.BasicConstraints(True, 0), True), (usage, True)]
        certificate = _sign(_named("mailstack test authority"), key, None, key, YEARS * 365, own)
        _write(self._key_file, _pem_of_key(key))
        _write(self.file, _pem(certificate))


_ANEW = "remove the folder `ca`, make new certificates with --force, and give clients the new ca.pem"


def name(written: str) -> str:
    """A name as it stands in a certificate. ConfigError for what cannot."""
    if "@" in written:
        return str(option.address(written, name="NAME"))
    with suppress(ValueError):
        return str(ipaddress.ip_address(written.strip("[]")))
    if written.startswith("*."):
        return "*." + option.domain(written[2:], name="NAME")
    return option.domain(written, name="NAME")


def _folder(names: Sequence[str]) -> str:
    if names[0] == CA:
        raise ConfigError(f"the folder {CA} is the authority's", remedy="give another name first")
    return names[0].replace("*", "wildcard").replace("/", "_")


# X.509.


def now() -> datetime.datetime:
    return datetime.datetime.now(datetime.UTC).replace(microsecond=0)


def _new_key() -> EllipticCurvePrivateKey:
    from cryptography.hazmat.primitives.asymmetric import ec

    return ec.generate_private_key(ec.SECP256R1())


def _named(name: str) -> x509.Name:
    from cryptography import x509
    from cryptography.x509.oid import NameOID

    return x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name[:64])])


def _leaf(names: Sequence[str]) -> list[tuple[x509.ExtensionType, bool]]:
    from cryptography import x509
    from cryptography.x509.oid import ExtendedKeyUsageOID

    both = [ExtendedKeyUsageOID.SERVER_AUTH, ExtendedKeyUsageOID.CLIENT_AUTH]
    return [
        (x509.SubjectAlternativeName([_alternative(each) for each in names]), False),
        (x509.BasicConstraints(False, None), True),
        (x509.KeyUsage(True, False, False, False, False, False, False, False, False), True),
        (x509.ExtendedKeyUsage(both), False),
    ]


def _alternative(name: str) -> x509.GeneralName:
    from cryptography import x509

    if "@" in name:
        return x509.RFC822Name(name)
    with suppress(ValueError):
        return x509.IPAddress(ipaddress.ip_address(name))
    return x509.DNSName(name)


def _sign(
    subject: x509.Name,
    key: EllipticCurvePrivateKey,
    ca: x509.Certificate | None,
    ca_key: EllipticCurvePrivateKey,
    days: int,
    extensions: Sequence[tuple[x509.ExtensionType, bool]],
) -> x509.Certificate:
    """ca -- who signs; None: it signs itself."""
    from cryptography import x509
    from cryptography.hazmat.primitives import hashes

    begins = now() - SKEW
    ends = now() + datetime.timedelta(days=days)
    builder = (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(subject if ca is None else ca.subject)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(begins)
        .not_valid_after(ends if ca is None else min(ends, ca.not_valid_after_utc))
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), False)
        .add_extension(x509.AuthorityKeyIdentifier.from_issuer_public_key(ca_key.public_key()), False)
    )
    for extension, critical in extensions:
        builder = builder.add_extension(extension, critical)
    return builder.sign(ca_key, hashes.SHA256())


def _made(folder: Path, certificate: x509.Certificate) -> Made:
    from cryptography import x509

    try:
        found = certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    except x509.ExtensionNotFound:
        return Made(folder, (), certificate.not_valid_after_utc)
    names = tuple(str(each.value) for each in found)
    return Made(folder, names, certificate.not_valid_after_utc)


# Files.


def _certificate(file: Path) -> x509.Certificate:
    from cryptography import x509

    try:
        return x509.load_pem_x509_certificate(_read(file))
    except ValueError:
        raise ConfigError(
            f"there is no certificate in {file}", remedy="remove it, or make it anew with --force"
        ) from None


def _key(file: Path) -> EllipticCurvePrivateKey:
    from cryptography.hazmat.primitives.asymmetric.ec import EllipticCurvePrivateKey
    from cryptography.hazmat.primitives.serialization import load_pem_private_key

    try:
        key = load_pem_private_key(_read(file), None)
    except (ValueError, TypeError):
        raise ConfigError(f"there is no key in {file} that can be used", remedy=_ANEW) from None
    if not isinstance(key, EllipticCurvePrivateKey):
        raise ConfigError(f"the key in {file} is no ECDSA key", remedy=_ANEW)
    return key


def _pem(certificate: x509.Certificate) -> bytes:
    from cryptography.hazmat.primitives.serialization import Encoding

    return certificate.public_bytes(Encoding.PEM)


def _pem_of_key(key: EllipticCurvePrivateKey) -> bytes:
    from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat

    return key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())


def _read(file: Path) -> bytes:
    try:
        return file.read_bytes()
    except OSError as error:
        raise ConfigError(
            f"{file} cannot be read: {error.strerror}", remedy="see to its rights, or remove it"
        ) from None


def _write(file: Path, content: bytes) -> None:
    """The whole file or none, for its owner alone."""
    aside = file.with_name(f".{file.name}.{os.getpid()}")
    try:
        file.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        with suppress(FileNotFoundError):
            aside.unlink()
        with open(os.open(aside, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb") as out:
            out.write(content)
            out.flush()
            os.fsync(out.fileno())
        os.replace(aside, file)
    except OSError as error:
        with suppress(OSError):
            aside.unlink()
        raise ConfigError(f"{file} cannot be written: {error.strerror}", remedy="give another --folder") from None
