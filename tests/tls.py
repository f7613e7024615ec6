"""Certificates for tests, made once for each run: an authority, a server at mx.test, a client."""

from __future__ import annotations

import atexit
import ssl
from datetime import UTC, datetime, timedelta
from functools import cache
from pathlib import Path
from tempfile import TemporaryDirectory

import trustme


@cache
def authority() -> trustme.CA:
    return trustme.CA(key_type=trustme.KeyType.ECDSA)


@cache
def server_context(*names: str) -> ssl.SSLContext:
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    authority().issue_cert(*(names or ("mx.test",)), key_type=trustme.KeyType.ECDSA).configure_cert(context)
    return context


@cache
def client_context(user: str = "") -> ssl.SSLContext:
    """A client that trusts the authority; `user` -- its own certificate is that of this address."""
    context = ssl.create_default_context()
    authority().configure_trust(context)
    if user:
        authority().issue_cert(user, common_name=user, key_type=trustme.KeyType.ECDSA).configure_cert(context)
    return context


@cache
def asking_context() -> ssl.SSLContext:
    """A server that wants to see a certificate of the authority's."""
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    authority().issue_cert("mx.test", key_type=trustme.KeyType.ECDSA).configure_cert(context)
    authority().configure_trust(context)
    context.verify_mode = ssl.CERT_REQUIRED
    return context


def write_pem(file: Path, *names: str, days: tuple[int, int] = (-1, 30), rsa: bool = False) -> Path:
    """A file with key and chain of the authority's. days -- from today when it begins and ends."""
    begins, ends = (datetime.now(UTC) + timedelta(days=each) for each in days)
    kind = trustme.KeyType.RSA if rsa else trustme.KeyType.ECDSA
    leaf = authority().issue_cert(*(names or ("mx.test",)), not_before=begins, not_after=ends, key_type=kind)
    file.parent.mkdir(exist_ok=True)
    file.write_bytes(leaf.private_key_and_cert_chain_pem.bytes())
    file.chmod(0o600)
    return file


def write_pair(folder: Path, *names: str, days: tuple[int, int] = (-1, 30)) -> tuple[Path, Path]:
    """`fullchain.pem` and `privkey.pem` in a folder."""
    whole = write_pem(folder / "fullchain.pem", *names, days=days).read_bytes()
    middle = whole.index(b"-----BEGIN CERTIFICATE")
    key = folder / "privkey.pem"
    key.write_bytes(whole[:middle])
    key.chmod(0o600)
    (folder / "fullchain.pem").write_bytes(whole[middle:])
    return folder / "fullchain.pem", key


@cache
def pem() -> Path:
    """One for mx.test, for as long as the tests run."""
    folder = TemporaryDirectory(prefix="mailstack-tls-")
    atexit.register(folder.cleanup)
    return write_pem(Path(folder.name, "mx.pem"))


@cache
def authority_pem() -> Path:
    """The authority's own certificate."""
    file = pem().with_name("ca.crt")
    authority().cert_pem.write_to_path(file)
    return file
