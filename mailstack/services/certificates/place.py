"""Where certificates lie, and whether one can be used.

A place is a PEM file with key and chain, a file for each, or a folder: with `fullchain.pem` and `privkey.pem` in it, or
in the folders below it as ACME clients lay them out, or with PEM files that hold key and chain.

A certificate is checked by a handshake in memory with a client that trusts it and nothing else: the standard library
shows no certificate but that of a peer, and what this client would not take, no other would.

Failure: ConfigError with the file and a remedy.
"""

from __future__ import annotations

import ssl
import stat
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

from ... import log
from ...option import ConfigError

CHAIN, KEY = "fullchain.pem", "privkey.pem"  # as ACME clients call them

# X509_V_FLAG_NO_CHECK_TIME: dates are ours to judge, with words for each.
_NO_CHECK_TIME = 0x200000
_BEGIN, _END = b"-----BEGIN CERTIFICATE-----", b"-----END CERTIFICATE-----"
_RENEW = "renew it (`mailstack certs --renew` does so for one of its own)"
_RIGHTS = "make it readable for the user that the server runs as"


@dataclass(frozen=True, slots=True)
class Facts:
    """What a certificate says. names -- DNS names, in lower case. begins, ends -- seconds since the epoch."""

    names: frozenset[str]
    begins: float
    ends: float


class Pair(NamedTuple):
    """The files of one certificate: chain and key, which may be one file."""

    chain: Path
    key: Path

    def into(self, context: ssl.SSLContext) -> None:
        """Load it. ConfigError tells what is wrong with which file."""
        chain, key = _content(self.chain), _content(self.key)
        if _BEGIN not in chain:
            raise ConfigError(f"there is no certificate in {self.chain}", remedy="give it in PEM, its chain behind it")
        if b"PRIVATE KEY-----" not in key:
            raise ConfigError(f"there is no key in {self.key}", remedy="add it to the file, or name its own with key=")
        try:
            context.load_cert_chain(self.chain, self.key, password=lambda: b"")
        except OSError as error:
            raise self._complaint(error, key) from None

    def _complaint(self, error: OSError, key: bytes) -> ConfigError:
        reason = getattr(error, "reason", None) or "it is no PEM, or only a part of one"
        if "MISMATCH" in reason:
            problem = f"the key in {self.key} is not that of the certificate in {self.chain}"
            return ConfigError(problem, remedy="give the key that it was made with; the server's own comes first")
        if b"ENCRYPTED" in key:
            problem = f"the key in {self.key} is protected by a passphrase"
            return ConfigError(problem, remedy=f"openssl pkey -in {self.key} -out FILE takes it away")
        return ConfigError(f"{self.chain} with {self.key} cannot be loaded: {reason}", remedy="give both in PEM")

    def check(self, *, expired_ok: bool = False) -> Facts:
        """What it says; ConfigError when no client would take it. Its dates count unless `expired_ok`."""
        server = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        self.into(server)
        shown = self._shown(server)
        begins, ends = (float(ssl.cert_time_to_seconds(shown[date])) for date in ("notBefore", "notAfter"))
        now = time.time()
        if not (expired_ok or begins <= now < ends):
            words = f"has expired: {shown['notAfter']}" if now >= ends else f"is not valid yet: {shown['notBefore']}"
            raise ConfigError(f"the certificate in {self.chain} {words}", remedy=_RENEW)
        if _public(self.key):
            log.warning("key readable by everybody", file=str(self.key), remedy=f"chmod o= {self.key}")
        names = (name.lower() for kind, name in shown.get("subjectAltName", ()) if kind == "DNS")
        return Facts(frozenset(names), begins, ends)

    def _shown(self, server: ssl.SSLContext) -> dict[str, Any]:
        """What a client sees of it."""
        text = _BEGIN + _content(self.chain).partition(_BEGIN)[2].partition(_END)[0] + _END
        client = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        client.check_hostname = False
        client.verify_flags |= ssl.VERIFY_X509_PARTIAL_CHAIN | _NO_CHECK_TIME
        try:
            client.load_verify_locations(cadata=ssl.PEM_cert_to_DER_cert(text.decode("ascii", "replace")))
            return _handshake(server, client)
        except (ssl.SSLError, ValueError) as error:
            reason = getattr(error, "verify_message", "") or getattr(error, "reason", "") or error
            problem = f"no client would take the certificate in {self.chain}: {reason}"
            raise ConfigError(problem, remedy="have one made for a server") from None


def _handshake(server: ssl.SSLContext, client: ssl.SSLContext) -> dict[str, Any]:
    to_server, to_client = ssl.MemoryBIO(), ssl.MemoryBIO()
    here = server.wrap_bio(to_server, to_client, server_side=True)
    there = client.wrap_bio(to_client, to_server)
    for side in (there, here, there):
        try:
            side.do_handshake()
        except ssl.SSLWantReadError:
            pass
    return dict(there.getpeercert() or {})


@dataclass(frozen=True, slots=True)
class Place:
    """path -- of a file or folder. key -- of the key's own file, or None."""

    path: Path
    key: Path | None = None

    def pairs(self) -> list[Pair]:
        """What lies there now, in the order of names; nothing when nothing does."""
        try:
            if self.key is None and self.path.is_dir():
                return self._below()
            pair = Pair(self.path, self.key or self.path)
            return [pair] if any(file.exists() for file in pair) else []
        except OSError as error:
            raise ConfigError(f"{self.path} cannot be read: {error.strerror}", remedy=_RIGHTS) from None

    def _below(self) -> list[Pair]:
        if (self.path / CHAIN).exists():
            return [Pair(self.path / CHAIN, self.path / KEY)]
        files = sorted(self.path.iterdir())
        folders = [Pair(each / CHAIN, each / KEY) for each in files if (each / CHAIN).exists()]
        return folders + [Pair(each, each) for each in files if each.suffix == ".pem" and each.is_file()]

    def missing(self) -> ConfigError:
        """The words for a place where nothing lies."""
        what = "no certificate in" if self.path.is_dir() else "no file"
        remedy = "give the path of a PEM file, or have one made by `mailstack certs`"
        return ConfigError(f"there is {what} {self.path}", remedy=remedy)


def _content(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except FileNotFoundError:
        raise Place(path).missing() from None
    except OSError as error:
        raise ConfigError(f"{path} cannot be read: {error.strerror}", remedy=_RIGHTS) from None


def _public(file: Path) -> bool:
    try:
        return bool(file.stat().st_mode & stat.S_IROTH)
    except OSError:
        return False
