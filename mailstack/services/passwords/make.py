"""New stored passwords: text that `read` reads.

    make("ARGON2ID", "secret")             # "{ARGON2ID}$argon2id$v=19$…"
    make("SCRAM-SHA-256", "secret")        # "{SCRAM-SHA-256}20000,…"

Fails: `Unreadable` for a password that could never match: an empty one, NUL, more than 1024 octets, more than 72 for
bcrypt; ConfigError for a scheme that is not made here, and where a library is missing.
"""

from __future__ import annotations

import hashlib
import secrets
from base64 import b64encode
from collections.abc import Callable, Mapping
from typing import Final

from mailstack import extra, option

from .saslprep import prepare
from .scram import make_keys, write_keys
from .stored import BCRYPT, EXTRA, Unreadable, forms

__all__ = ["MAKES", "make"]

ITERATIONS: Final = 20_000  # of SCRAM: the client pays for them at each login
COST: Final = 12  # of bcrypt: 2**12 rounds, 0.2 s


def make(scheme: str, password: str) -> str:
    """Something stored for the password, with a salt of its own. scheme -- one of `MAKES`."""
    scheme = option.choice(scheme, *MAKES, name="scheme")
    try:
        prepared = prepare(password)
    except ValueError:
        raise Unreadable("the password has a character that nobody can type", "take another one") from None
    if not forms(prepared):
        raise Unreadable("the password is empty or too long", "take another one")
    return f"{{{scheme}}}{MAKES[scheme](prepared)}"


def _argon2id(password: str) -> str:
    return str(extra.require("argon2", EXTRA).PasswordHasher().hash(password))


def _bcrypt(password: str) -> str:
    octets = password.encode()
    if len(octets) > BCRYPT:
        raise Unreadable(f"bcrypt sees the first {BCRYPT} octets of a password only", "take ARGON2ID, or a shorter one")
    bcrypt = extra.require("bcrypt", EXTRA)
    return str(bcrypt.hashpw(octets, bcrypt.gensalt(COST, prefix=b"2b")).decode())


def _sha512_crypt(password: str) -> str:
    return str(extra.require("passlib.hash", EXTRA).sha512_crypt.using(rounds=100_000).hash(password))


def _ssha512(password: str) -> str:
    salt = secrets.token_bytes(16)
    return b64encode(hashlib.sha512(password.encode() + salt).digest() + salt).decode()


def _scram(hash: str) -> Callable[[str], str]:
    def made(password: str) -> str:
        return write_keys(make_keys(hash, password, secrets.token_bytes(16), ITERATIONS)).partition("}")[2]

    return made


MAKES: Final[Mapping[str, Callable[[str], str]]] = {
    "ARGON2ID": _argon2id,
    "BLF-CRYPT": _bcrypt,
    "SHA512-CRYPT": _sha512_crypt,
    "SSHA512": _ssha512,
    "SCRAM-SHA-256": _scram("SHA-256"),
    "SCRAM-SHA-1": _scram("SHA-1"),
    "PLAIN.B64": lambda password: b64encode(password.encode()).decode(),
}
