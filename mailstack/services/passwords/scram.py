"""Keys for SCRAM: made of a password, and as text in files and databases.

    keys = make_keys("SHA-256", "secret", salt, 4096)
    write_keys(keys)      # "{SCRAM-SHA-256}4096,salt,stored key,server key", in base64: as Dovecot writes it
    read_keys("SHA-256", "4096,…")
    read_keys("SHA-256", "4096:salt$stored key:server key")     # as PostgreSQL writes it behind "SCRAM-SHA-256$"

Who has the keys cannot log in with them, but can guess passwords, and can play the server (RFC 5802 §9).
"""

from __future__ import annotations

import binascii
import hashlib
import hmac
import re
from base64 import b64decode, b64encode
from collections.abc import Mapping
from typing import Final

from mailstack.session.credentials import ScramKeys

from .saslprep import prepare

__all__ = ["ALGORITHMS", "MOST_ITERATIONS", "make_keys", "read_keys", "write_keys"]

ALGORITHMS: Final[Mapping[str, str]] = {"SHA-1": "sha1", "SHA-256": "sha256"}
MOST_ITERATIONS: Final = 5_000_000
LONGEST_SALT: Final = 64

_FIELDS: Final = re.compile(r"([0-9]{1,9})[,:]([^,:$]+)[,$]([^,:$]+)[,:]([^,:$]+)")


def make_keys(hash: str, password: str, salt: bytes, iterations: int) -> ScramKeys:
    """What a server has to keep of a password (RFC 5802 §3). One that SASLprep prohibits is taken as it is."""
    algorithm = ALGORITHMS[hash]
    try:
        password = prepare(password)
    except ValueError:
        pass
    salted = hashlib.pbkdf2_hmac(algorithm, password.encode(), salt, iterations)
    client_key = hmac.digest(salted, b"Client Key", algorithm)
    stored_key = hashlib.new(algorithm, client_key).digest()
    return ScramKeys(hash, salt, iterations, stored_key, hmac.digest(salted, b"Server Key", algorithm))


def read_keys(hash: str, text: str) -> ScramKeys:
    """The keys that the text stands for. ValueError for what makes no sense."""
    found = _FIELDS.fullmatch(text)
    if found is None:
        raise ValueError("it is not iterations, salt, stored key and server key")
    iterations = int(found[1])
    try:
        salt, stored_key, server_key = (b64decode(part, validate=True) for part in found.groups()[1:])
    except binascii.Error:
        raise ValueError("a part of it is not base64") from None
    size = hashlib.new(ALGORITHMS[hash]).digest_size
    if not 0 < len(salt) <= LONGEST_SALT or len(stored_key) != size or len(server_key) != size:
        raise ValueError("the salt or a key has a wrong length")
    if not 1 <= iterations <= MOST_ITERATIONS:
        raise ValueError(f"{iterations} iterations, 1 to {MOST_ITERATIONS} are possible")
    return ScramKeys(hash, salt, iterations, stored_key, server_key)


def write_keys(keys: ScramKeys) -> str:
    """Text that `read` and Dovecot read."""
    parts = (b64encode(part).decode() for part in (keys.salt, keys.stored_key, keys.server_key))
    return f"{{SCRAM-{keys.hash}}}{keys.iterations},{','.join(parts)}"
