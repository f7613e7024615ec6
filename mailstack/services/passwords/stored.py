"""What is stored of a password, read into something that a password can be compared with.

    stored = read("{SSHA512}eCb0…")
    stored.matches("secret")         # in a thread: `work` tells about how many seconds it takes

Read are the forms of Dovecot ("{SCHEME}…", "{SCHEME.HEX}…", "{SCHEME.B64}…"), of htpasswd and crypt(3) ("$2y$…",
"$apr1$…", "$6$…", "$argon2id$…"), and PostgreSQL's "SCRAM-SHA-256$…". What has no scheme and does not begin like one is
refused: clear text is written "{PLAIN}…".

    clear text     PLAIN CLEARTEXT CLEAR
    digests        SSHA SSHA256 SSHA512; weak: SHA SHA256 SHA512 SMD5 PLAIN-MD5 LDAP-MD5
    crypt          BLF-CRYPT ARGON2I ARGON2ID SHA256-CRYPT SHA512-CRYPT MD5-CRYPT MD5 CRYPT, $apr1$; $y$ where the
                   machine's crypt(3) knows it; weak: DES-CRYPT
    PBKDF2         PBKDF2 (Dovecot's), $pbkdf2$ $pbkdf2-sha256$ $pbkdf2-sha512$
    SCRAM          SCRAM-SHA-1 SCRAM-SHA-256

Weak ones, which have no salt or are broken by trying all, are read only with `weak=True`.

A password is compared as it came and, if it is not ASCII, as SASLprep makes it (RFC 4616 §2). Empty ones, those with a
NUL and those of more than `LONGEST` octets never match, nor does one of more than 72 octets match a hash of bcrypt,
which would see only the first 72; each of them costs the same as any other wrong one.

Fails: `Unreadable`, whose text has nothing of what is stored; ConfigError where a library is missing. What `read` gave,
does not fail.
"""

from __future__ import annotations

import binascii
import hashlib
import hmac
import re
from base64 import b64decode
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import partial
from typing import Any, Final

from mailstack import extra
from mailstack.session.credentials import ScramKeys, Secret

from . import libcrypt
from .saslprep import prepare
from .scram import ALGORITHMS, make_keys, read_keys

__all__ = ["EXTRA", "LONGEST", "MOST_WORK", "WEAK", "Stored", "Unreadable", "is_locked", "read"]

EXTRA: Final = "mailstack[auth]"
LONGEST: Final = 1024  # octets of a password: some hashes take longer for longer ones
BCRYPT: Final = 72  # octets that bcrypt looks at
MOST_WORK: Final = 5.0  # seconds for one comparison; more is a slip, or keeps the server busy with nothing else
MOST_MEMORY: Final = 1 << 20  # KiB, of argon2

WEAK: Final = frozenset(("DES-CRYPT", "SHA", "SHA256", "SHA512", "SMD5", "PLAIN-MD5", "LDAP-MD5"))

Matches = Callable[[bytes], bool]


class Unreadable(ValueError):
    """What is stored cannot be used. remedy -- what to write instead."""

    def __init__(self, problem: str, remedy: str = "make a new one with `mailstack password`") -> None:
        super().__init__(problem)
        self.remedy = remedy


@dataclass(frozen=True, slots=True)
class Stored:
    """One stored password. scheme -- as Dovecot calls it. work -- about how many seconds a comparison takes.

    secret -- clear text or keys, which judge a `Challenge` too; None for a hash.
    """

    scheme: str
    work: float
    check: Matches = field(repr=False, compare=False)
    secret: Secret | None = field(default=None, repr=False)

    def matches(self, password: str) -> bool:
        """Whether this is the password. Takes `work` seconds whatever the answer."""
        compared = forms(password)
        found = [self.check(form) for form in compared or (b"nobody's",)]
        return bool(compared) and any(found)


def forms(password: str) -> tuple[bytes, ...]:
    """What to compare; nothing for what cannot be a password. Who has two costs twice, whoever he is."""
    try:
        octets = password.encode()
    except UnicodeEncodeError:
        return ()
    if not octets or b"\0" in octets or len(octets) > LONGEST:
        return ()
    if password.isascii():
        return (octets,)
    try:
        prepared = prepare(password).encode()
    except ValueError:
        return (octets,)
    return (octets, prepared) if prepared and prepared != octets else (octets,)


def is_locked(text: str) -> bool:
    """Whether it stands for no password at all, as in shadow(5): nobody logs in with it."""
    return text.strip() in ("", "x", "*LK*") or text.strip().startswith(("!", "*"))


def read(text: str, *, weak: bool = False) -> Stored:
    """What the text stands for. weak -- whether `WEAK` ones are taken."""
    text = text.strip()
    scheme, encoding, rest = _parts(text)
    if scheme in WEAK and not weak:
        raise Unreadable(f"{scheme} is no protection for a password", "make a new one, or write weak=True")
    stored = _SCHEMES[scheme](_decoded(scheme, encoding, rest))
    if stored.work > MOST_WORK:
        raise Unreadable(f"a comparison would take about {stored.work:.0f} s")
    return stored


_PREFIX: Final = re.compile(r"\{([A-Za-z0-9-]+)(?:\.([A-Za-z0-9]+))?\}")
_DES: Final = re.compile(r"[./0-9A-Za-z]{13}")


def _parts(text: str) -> tuple[str, str, str]:
    """The scheme, the encoding ("" for the usual one) and the rest."""
    prefix = _PREFIX.match(text)
    if prefix is not None:
        name, encoding, rest = prefix[1].upper(), (prefix[2] or "").upper(), text[prefix.end() :]
        name = _ALIASES.get(name, name)
        if name == "CRYPT":
            return _crypt(_text(_decoded(name, encoding, rest), name))
        if name not in _SCHEMES:
            raise Unreadable(f"the scheme {name[:40]} is not known")
        return name, encoding, rest
    return _crypt(text)


def _crypt(text: str) -> tuple[str, str, str]:
    """crypt(3) and its kin tell by their beginning what they are."""
    for beginning, scheme in _BEGINNINGS.items():
        if text.startswith(beginning):
            return scheme, "", text.removeprefix(beginning) if scheme.startswith("SCRAM-") else text
    if _DES.fullmatch(text):
        return "DES-CRYPT", "", text
    raise Unreadable("it is no hash that is known here", "write {PLAIN} before a password in clear text")


def _decoded(scheme: str, encoding: str, text: str) -> bytes:
    """The octets behind the scheme. Dovecot tells base64 from hexadecimal digits by the length."""
    try:
        if encoding == "HEX" or (not encoding and len(text) == 2 * _SIZES.get(scheme, -1)):
            return bytes.fromhex(text)
        if encoding in ("B64", "BASE64") or (not encoding and scheme in _SIZES):
            return b64decode(text, validate=True)
        if not encoding:
            return text.encode()
    except (binascii.Error, ValueError):
        raise Unreadable(f"what stands behind {scheme} is neither base64 nor hexadecimal") from None
    raise Unreadable(f"the encoding {encoding[:40]} is not known", "write .B64 or .HEX")


def _text(octets: bytes, scheme: str) -> str:
    try:
        return octets.decode("ascii")
    except UnicodeDecodeError:
        raise Unreadable(f"what stands behind {scheme} is not ASCII") from None


# Clear text, and digests of one round.


def _clear(octets: bytes) -> Stored:
    try:
        text = octets.decode()
    except UnicodeDecodeError:
        raise Unreadable("the password is not UTF-8") from None
    if not text or "\0" in text:
        raise Unreadable("the password is empty, or has a NUL in it")
    known = forms(text)
    return Stored("PLAIN", 0.0, partial(_is_one_of, known), text)


def _is_one_of(known: tuple[bytes, ...], password: bytes) -> bool:
    return any(hmac.compare_digest(each, password) for each in known)


_SALTED: Final[Mapping[str, str]] = {"SSHA": "sha1", "SSHA256": "sha256", "SSHA512": "sha512", "SMD5": "md5"}
_UNSALTED: Final[Mapping[str, str]] = {
    "SHA": "sha1",
    "SHA256": "sha256",
    "SHA512": "sha512",
    "PLAIN-MD5": "md5",
    "LDAP-MD5": "md5",
}
# Octets of what is encoded; -2 is no length that a text could have half of.
_SIZES: Final[Mapping[str, int]] = {
    **dict.fromkeys(_SALTED, -2),
    **{scheme: hashlib.new(name, usedforsecurity=False).digest_size for scheme, name in _UNSALTED.items()},
}


def _digest(scheme: str, octets: bytes) -> Stored:
    """The digest of the password, and then the salt."""
    algorithm = _SALTED.get(scheme) or _UNSALTED[scheme]
    size = hashlib.new(algorithm, usedforsecurity=False).digest_size
    digest, salt = octets[:size], octets[size:]
    if len(digest) < size or bool(salt) != (scheme in _SALTED):
        raise Unreadable(f"what stands behind {scheme} has a wrong length")

    def matches(password: bytes) -> bool:
        return hmac.compare_digest(hashlib.new(algorithm, password + salt, usedforsecurity=False).digest(), digest)

    return Stored(scheme, 2e-6, matches)


# Hashes that take their time. The figures are those of a machine of 2024; what counts is who is slower.

_BCRYPT: Final = re.compile(r"\$2([aby])\$([0-9]{2})\$[./0-9A-Za-z]{53}")


def _bcrypt(octets: bytes) -> Stored:
    found = _BCRYPT.fullmatch(_text(octets, "BLF-CRYPT"))
    if found is None or not 4 <= int(found[2]) <= 31:
        raise Unreadable("it is no hash of bcrypt")
    checkpw = extra.require("bcrypt", EXTRA).checkpw

    def matches(password: bytes) -> bool:
        same: bool = checkpw(password[:BCRYPT], octets)
        return same and len(password) <= BCRYPT

    return Stored("BLF-CRYPT", 5e-5 * 2 ** int(found[2]), matches)


def _argon2(scheme: str, octets: bytes) -> Stored:
    argon2 = extra.require("argon2", EXTRA)
    kinds = {"ARGON2I": argon2.Type.I, "ARGON2ID": argon2.Type.ID}
    try:
        made = argon2.extract_parameters(_text(octets, scheme))
    except (argon2.exceptions.InvalidHashError, ValueError):
        raise Unreadable("it is no hash of argon2") from None
    if made.type != kinds[scheme]:
        raise Unreadable(f"it is no hash of {scheme}")
    if made.memory_cost > MOST_MEMORY:
        raise Unreadable(f"a comparison would take {made.memory_cost >> 10} MiB of memory")
    verify = extra.require("argon2.low_level", EXTRA).verify_secret

    def matches(password: bytes) -> bool:
        try:
            return bool(verify(octets, password, made.type))
        except argon2.exceptions.VerificationError:
            return False

    return Stored(scheme, 4.3e-7 * made.memory_cost * made.time_cost, matches)


# libpass's name, seconds for all, seconds for each round.
_LIBPASS: Final[Mapping[str, tuple[str, float, float]]] = {
    "MD5-CRYPT": ("md5_crypt", 1e-3, 0),
    "APR1": ("apr_md5_crypt", 1e-3, 0),
    "DES-CRYPT": ("des_crypt", 4e-4, 0),
    "SHA256-CRYPT": ("sha256_crypt", 0, 4.4e-7),
    "SHA512-CRYPT": ("sha512_crypt", 0, 6.4e-7),
    "PBKDF2-SHA1": ("pbkdf2_sha1", 0, 3e-7),
    "PBKDF2-SHA256": ("pbkdf2_sha256", 0, 3e-7),
    "PBKDF2-SHA512": ("pbkdf2_sha512", 0, 5e-7),
}


def _libpass(scheme: str, octets: bytes) -> Stored:
    name, once, each = _LIBPASS[scheme]
    handler: Any = getattr(extra.require("passlib.hash", EXTRA), name)
    text = _text(octets, scheme)
    try:
        made = handler.from_string(text)
    except (ValueError, TypeError):
        raise Unreadable(f"it is no hash of {scheme}") from None
    if made.checksum is None:
        raise Unreadable(f"it is a salt of {scheme}, and no hash")

    def matches(password: bytes) -> bool:
        return bool(handler.verify(password, text))

    return Stored(scheme, once + each * (made.rounds if each else 0), matches)


_DIGITS: Final = "./0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz"
_YESCRYPT: Final = re.compile(r"\$g?y\$j([./0-9A-Za-z])([./0-9A-Za-z])\$[./0-9A-Za-z]{1,86}\$[./0-9A-Za-z]{43}")


def _yescrypt(octets: bytes) -> Stored:
    """With the usual flags: 2**n blocks of r times 128 octets."""
    found = _YESCRYPT.fullmatch(_text(octets, "YESCRYPT"))
    if found is None:
        raise Unreadable("it is no hash of yescrypt")
    blocks = 2 ** (_DIGITS.index(found[1]) + 1) * (_DIGITS.index(found[2]) + 1)
    if blocks >> 3 > MOST_MEMORY:
        raise Unreadable(f"a comparison would take {blocks >> 13} MiB of memory")
    try:
        compare = libcrypt.load()
    except ImportError:
        raise Unreadable("yescrypt needs libxcrypt, which this machine does not have") from None
    return Stored("YESCRYPT", 2.3e-7 * blocks, lambda password: compare(password, octets))


_PBKDF2: Final = re.compile(r"\$1\$([!-#%-~]{1,64})\$([0-9]{1,9})\$([0-9a-f]{40})")


def _pbkdf2(octets: bytes) -> Stored:
    """Dovecot's: SHA-1, the salt as it is written."""
    found = _PBKDF2.fullmatch(_text(octets, "PBKDF2"))
    if found is None or int(found[2]) < 1:
        raise Unreadable("it is no hash of PBKDF2")
    salt, rounds, digest = found[1].encode(), int(found[2]), bytes.fromhex(found[3])
    return Stored(
        "PBKDF2",
        3e-7 * rounds,
        lambda password: hmac.compare_digest(hashlib.pbkdf2_hmac("sha1", password, salt, rounds), digest),
    )


def _scram(hash: str, octets: bytes) -> Stored:
    try:
        keys = read_keys(hash, _text(octets, f"SCRAM-{hash}"))
    except Unreadable:
        raise
    except ValueError as error:
        raise Unreadable(f"no keys for SCRAM-{hash}: {error}") from None
    return of_keys(keys)


def of_keys(keys: ScramKeys) -> Stored:
    """Keys, as something stored."""

    def matches(password: bytes) -> bool:
        made = make_keys(keys.hash, password.decode(), keys.salt, keys.iterations)
        return hmac.compare_digest(made.stored_key, keys.stored_key)

    return Stored(f"SCRAM-{keys.hash}", 3e-7 * keys.iterations, matches, keys)


def of_clear(text: str) -> Stored:
    """Clear text, as something stored. Unreadable when it is empty."""
    return _clear(text.encode())


_ALIASES: Final[Mapping[str, str]] = {
    "CLEAR": "PLAIN",
    "CLEARTEXT": "PLAIN",
    "SHA1": "SHA",
    "MD5": "MD5-CRYPT",
    "BCRYPT": "BLF-CRYPT",
}

_BEGINNINGS: Final[Mapping[str, str]] = {
    "$2": "BLF-CRYPT",
    "$argon2i$": "ARGON2I",
    "$argon2id$": "ARGON2ID",
    "$apr1$": "APR1",
    "$1$": "MD5-CRYPT",
    "$5$": "SHA256-CRYPT",
    "$6$": "SHA512-CRYPT",
    "$y$": "YESCRYPT",
    "$gy$": "YESCRYPT",
    "$pbkdf2$": "PBKDF2-SHA1",
    "$pbkdf2-sha256$": "PBKDF2-SHA256",
    "$pbkdf2-sha512$": "PBKDF2-SHA512",
    **{f"SCRAM-{hash}$": f"SCRAM-{hash}" for hash in ALGORITHMS},
}

_SCHEMES: Final[Mapping[str, Callable[[bytes], Stored]]] = {
    "PLAIN": _clear,
    **{scheme: partial(_digest, scheme) for scheme in _SIZES},
    "BLF-CRYPT": _bcrypt,
    **{scheme: partial(_argon2, scheme) for scheme in ("ARGON2I", "ARGON2ID")},
    **{scheme: partial(_libpass, scheme) for scheme in _LIBPASS},
    "YESCRYPT": _yescrypt,
    "PBKDF2": _pbkdf2,
    **{f"SCRAM-{hash}": partial(_scram, hash) for hash in ALGORITHMS},
}
