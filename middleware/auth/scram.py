"""SCRAM-SHA-1 and SCRAM-SHA-256 (RFC 5802, RFC 7677): both sides prove that they know, and nobody says it.

The server's side, by hand: a few lines on hmac and hashlib. A library would want to know the keys before the client
hears a salt, and takes no authorization identity.

Who exists is not told. Every user has a salt that stays the same: that of his keys, or else one made of his name and
the server's secret, whether he has a password or is nobody. Every exchange hashes once, though only a password needs
that.

Channel binding (-PLUS) is not offered, so the flag "y" of a client that has it is true, and "p" is refused.
"""

from __future__ import annotations

import hashlib
import hmac
import secrets
from base64 import b64decode, b64encode
from collections.abc import Awaitable, Callable, Mapping
from pathlib import Path
from typing import Final, NamedTuple

from mailstack.services.passwords.scram import ALGORITHMS, LONGEST_SALT, make_keys
from mailstack.session.credentials import Challenge, ScramKeys, Secret
from mailstack.wire.reply import Reply

from . import names
from .exchange import Exchange, for_others, malformed

HASHES: Final[Mapping[str, str]] = {"SCRAM-SHA-256": "SHA-256", "SCRAM-SHA-1": "SHA-1"}
ITERATIONS: Final = 4096  # RFC 7677 §4: of passwords that are kept as such, hashed at each login
LONGEST_NONCE: Final = 128  # what the server says must fit into one line of a reply

_MACHINE: Final = Path("/etc/machine-id")

Salt = Callable[[str, str], bytes]  # of a hash and a user


def mechanism(hash: str, salt: Salt) -> Callable[[Exchange], Awaitable[Reply]]:
    """The mechanism of this hash. salt -- of who has no keys."""

    async def run(exchange: Exchange) -> Reply:
        message = await exchange.first()
        try:
            first = parse_first(message)
        except ValueError:
            raise malformed() from None
        if first.authority not in ("", first.user):
            raise for_others()
        return await exchange.judge(Proof(exchange, hash, first, salt(hash, first.user)))

    return run


def salter(secret: str | bytes | None) -> Salt:
    """Salts for who has none: always the same, and known to nobody who does not know the secret."""
    given = _of_this_machine() if secret is None else secret.encode() if isinstance(secret, str) else secret
    key = hmac.digest(given, b"mailstack: salts of nobody", "sha256")
    return lambda hash, user: hmac.digest(key, f"{hash}\0{user}".encode(), "sha256")[:16]


def _of_this_machine() -> bytes:
    """The same after a restart; where the machine has no name of its own, new each time."""
    try:
        return _MACHINE.read_bytes().strip() or secrets.token_bytes(32)
    except OSError:
        return secrets.token_bytes(32)


# The messages.


class First(NamedTuple):
    """client-first-message. header -- the GS2 header, which comes back in the last message."""

    header: bytes
    authority: str
    user: str
    nonce: bytes
    bare: bytes


class Last(NamedTuple):
    """client-final-message. binding -- decoded. without_proof -- what is signed."""

    binding: bytes
    nonce: bytes
    proof: bytes
    without_proof: bytes


def parse_first(message: bytes) -> First:
    """RFC 5802 §7. ValueError."""
    flag, authority, bare = message.split(b",", 2)
    if flag not in (b"n", b"y"):
        raise ValueError("no channel binding here")
    user, nonce, *extensions = bare.split(b",")
    if not (user.startswith(b"n=") and nonce.startswith(b"r=")):
        raise ValueError("no name, or no nonce")
    if authority and not authority.startswith(b"a="):
        raise ValueError("no authorization identity")
    _check_extensions(extensions)
    header = message[: len(message) - len(bare)]
    wanted = names.escaped(authority[2:]) if authority else ""
    return First(header, wanted, names.escaped(user[2:]), _nonce(nonce[2:]), bare)


def parse_last(message: bytes) -> Last:
    """RFC 5802 §7. ValueError."""
    without_proof, comma, proof = message.rpartition(b",p=")
    binding, nonce, *extensions = without_proof.split(b",")
    if not (comma and binding.startswith(b"c=") and nonce.startswith(b"r=")):
        raise ValueError("no client-final-message")
    _check_extensions(extensions)
    return Last(b64decode(binding[2:], validate=True), nonce[2:], b64decode(proof, validate=True), without_proof)


def _nonce(text: bytes) -> bytes:
    if not 0 < len(text) <= LONGEST_NONCE or not all(0x21 <= octet <= 0x7E for octet in text):
        raise ValueError("no nonce")
    return text


def _check_extensions(extensions: list[bytes]) -> None:
    """Those that are not known are passed over; "m" is mandatory, and none is known."""
    for extension in extensions:
        if not extension[:1].isalpha() or extension[1:2] != b"=" or extension[:1] == b"m":
            raise ValueError("no extension that could be passed over")


# The proof.


class Proof(Challenge):
    """The rest of the exchange: the server's first message, the client's proof, the server's signature."""

    __slots__ = ("_exchange", "_first", "_hash", "_heard", "_salt", "_told")

    def __init__(self, exchange: Exchange, hash: str, first: First, salt: bytes) -> None:
        super().__init__(first.user)
        self._exchange = exchange
        self._hash = hash
        self._first = first
        self._salt = salt
        self._told = b"", 0  # salt and iterations, as the client has heard them
        self._heard: tuple[Last, bytes] | None = None  # the client's last message, and what both sides sign

    def takes(self, secret: Secret) -> bool:
        return isinstance(secret, str) or secret.hash == self._hash

    async def matches(self, secret: Secret) -> bool:
        if not self.takes(secret):
            raise ValueError(f"keys of another hash than {self._hash}")
        keys = None if isinstance(secret, str) else secret
        salt, iterations = (self._salt, ITERATIONS) if keys is None else (keys.salt, keys.iterations)
        last, signed = await self._talk(salt, iterations)
        made = make_keys(self._hash, secret if isinstance(secret, str) else "", self._salt, ITERATIONS)
        keys = keys or made
        if self._told != (salt, iterations) or not is_proof(keys, last.proof, signed):
            return False
        await self._exchange.ask(b"v=" + b64encode(sign(keys, signed)))
        return True

    async def decoy(self) -> None:
        last, signed = await self._talk(self._salt, self._iterations or ITERATIONS)
        is_proof(make_keys(self._hash, "", self._salt, ITERATIONS), last.proof, signed)

    async def _talk(self, salt: bytes, iterations: int) -> tuple[Last, bytes]:
        """The client's last message, and what is signed; it is asked once, however many secrets are tried."""
        if self._heard is None:
            if not 0 < len(salt) <= LONGEST_SALT or iterations < 1:
                raise ValueError("no salt that a client could be told")
            self._told = salt, iterations
            nonce = self._first.nonce + secrets.token_urlsafe(18).encode()
            said = b"r=%s,s=%s,i=%d" % (nonce, b64encode(salt), iterations)
            answer = await self._exchange.ask(said)
            try:
                last = parse_last(answer)
            except ValueError:
                raise malformed() from None
            if last.nonce != nonce or last.binding != self._first.header:
                raise malformed()
            self._heard = last, b",".join((self._first.bare, said, last.without_proof))
        return self._heard


def is_proof(keys: ScramKeys, proof: bytes, signed: bytes) -> bool:
    """Whether it comes from who knows the password of these keys."""
    algorithm = ALGORITHMS[keys.hash]
    signature = hmac.digest(keys.stored_key, signed, algorithm)
    if len(proof) != len(signature):
        return False
    client_key = bytes(one ^ other for one, other in zip(proof, signature, strict=True))
    return hmac.compare_digest(hashlib.new(algorithm, client_key).digest(), keys.stored_key)


def sign(keys: ScramKeys, signed: bytes) -> bytes:
    """The server's own proof."""
    return hmac.digest(keys.server_key, signed, ALGORITHMS[keys.hash])
