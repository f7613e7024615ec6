"""The client's side of the SASL mechanisms, without I/O: challenges in, responses out.

    talk = start("SCRAM-SHA-256", "ann", "secret")
    talk.send(None)                 # the initial response, or None where the server speaks first
    talk.send(challenge)            # the response to it
    talk.send(None)                 # the server has said yes

Each is a generator. StopIteration from a challenge: it has nothing more to say, the server asks too much. `Nonsense`
from a challenge: the server does not keep to the mechanism; from the last `send(None)`: it has said yes without having
shown that it knows the password, as SCRAM demands. The texts of `Nonsense` hold nothing secret, and nothing
unprintable.

Sources: RFC 4616 (PLAIN), draft-murchison-sasl-login (LOGIN), RFC 2195 (CRAM-MD5), RFC 5802 and 7677 (SCRAM), RFC 7628
(OAUTHBEARER), Google's documentation (XOAUTH2).
"""

from __future__ import annotations

import hashlib
import hmac
import secrets
from base64 import b64decode, b64encode
from collections.abc import Callable, Generator, Mapping
from typing import Final, TypeAlias

__all__ = ["CLEAR", "COSTLY", "PASSWORDS", "TOKENS", "Nonsense", "Talk", "start"]

Talk: TypeAlias = Generator[bytes | None, bytes | None, None]

# The strongest first.
PASSWORDS: Final = ("SCRAM-SHA-256", "SCRAM-SHA-1", "CRAM-MD5", "PLAIN", "LOGIN")
TOKENS: Final = ("OAUTHBEARER", "XOAUTH2")

CLEAR: Final = frozenset(("PLAIN", "LOGIN", *TOKENS))  # what they say lets whoever hears it in
COSTLY: Final = frozenset(("SCRAM-SHA-256", "SCRAM-SHA-1"))  # they hash for a while

ITERATIONS: Final = range(4096, 1_000_001)  # RFC 7677 §4; fewer help who guesses, more would keep us busy


class Nonsense(Exception):
    """The server does not keep to the mechanism."""


def start(mechanism: str, user: str, secret: str) -> Talk:
    """A talk that has not begun. secret -- the password, or the token."""
    return _MECHANISMS[mechanism](user, secret)


def _plain(user: str, password: str) -> Talk:
    yield b"\0%s\0%s" % (user.encode(), password.encode())


def _login(user: str, password: str) -> Talk:
    yield None
    yield user.encode()  # whatever it is called: "Username:", "User Name", nothing
    yield password.encode()


def _cram_md5(user: str, password: str) -> Talk:
    challenge = yield None
    digest = hmac.new(password.encode(), challenge or b"", hashlib.md5).hexdigest()
    yield f"{user} {digest}".encode()


def _bearer(user: str, token: str) -> Talk:
    said = user.replace("=", "=3D").replace(",", "=2C")
    yield f"n,a={said},\1auth=Bearer {token}\1\1".encode()
    yield b"\1"  # to its error; the refusal follows (RFC 7628 §3.2.3)


def _xoauth2(user: str, token: str) -> Talk:
    yield f"user={user}\1auth=Bearer {token}\1\1".encode()
    yield b""


# SCRAM.


def _scram(algorithm: str) -> Callable[[str, str], Talk]:
    def talk(user: str, password: str) -> Talk:
        name = _prepared(user).replace("=", "=3D").replace(",", "=2C")
        nonce = secrets.token_urlsafe(18)
        first = f"n={name},r={nonce}".encode()
        challenge = yield b"n,," + first
        if challenge is None:
            raise Nonsense(_UNPROVEN)
        said, salt, iterations = _server_first(challenge, nonce.encode())
        salted = hashlib.pbkdf2_hmac(algorithm, _prepared(password).encode(), salt, iterations)
        client_key = hmac.digest(salted, b"Client Key", algorithm)
        without_proof = b"c=biws,r=" + said
        signed = b",".join((first, challenge, without_proof))
        signature = hmac.digest(hashlib.new(algorithm, client_key).digest(), signed, algorithm)
        proof = bytes(one ^ other for one, other in zip(client_key, signature, strict=True))
        challenge = yield b"%s,p=%s" % (without_proof, b64encode(proof))
        server_key = hmac.digest(salted, b"Server Key", algorithm)
        _check_server(challenge, hmac.digest(server_key, signed, algorithm))
        yield b""

    return talk


_UNPROVEN: Final = "the server has not shown that it knows the password"


def _server_first(message: bytes, nonce: bytes) -> tuple[bytes, bytes, int]:
    """The whole nonce, the salt, the iterations (RFC 5802 §7). "m=" in front is an extension that nobody knows."""
    try:
        whole, salt, iterations, *_ = message.split(b",")
        if not (whole.startswith(b"r=" + nonce) and salt.startswith(b"s=") and iterations.startswith(b"i=")):
            raise ValueError
        found = whole[2:], b64decode(salt[2:], validate=True), int(iterations[2:])
    except ValueError:
        raise Nonsense("the server's first message is not that of SCRAM") from None
    if len(found[0]) == len(nonce):
        raise Nonsense("the server has added nothing to the nonce")
    if found[2] not in ITERATIONS:
        raise Nonsense(f"{found[2]} iterations, {ITERATIONS[0]} to {ITERATIONS[-1]} are possible")
    return found


def _check_server(message: bytes | None, signature: bytes) -> None:
    if message is None:
        raise Nonsense(_UNPROVEN)
    final = message.partition(b",")[0]
    if final.startswith(b"e="):
        raise Nonsense(f"the server says {final[2:50].decode('utf-8', 'replace')!a}")
    if not hmac.compare_digest(final, b"v=" + b64encode(signature)):
        raise Nonsense(_UNPROVEN)


def _prepared(text: str) -> str:
    """By SASLprep; what that prohibits is left to the server."""
    from ..passwords.saslprep import prepare

    try:
        return prepare(text)
    except ValueError:
        return text


_MECHANISMS: Final[Mapping[str, Callable[[str, str], Talk]]] = {
    "PLAIN": _plain,
    "LOGIN": _login,
    "CRAM-MD5": _cram_md5,
    "SCRAM-SHA-1": _scram("sha1"),
    "SCRAM-SHA-256": _scram("sha256"),
    "OAUTHBEARER": _bearer,
    "XOAUTH2": _xoauth2,
}
