"""CRAM-MD5 (RFC 2195): the client hashes what the server says with its password. Only for who has no better.

The server must hold the password itself, and whoever listens can try passwords at leisure.
"""

from __future__ import annotations

import hmac
import re
import secrets
import time
from typing import Final

from mailstack.session.credentials import Challenge, ScramKeys, Secret
from mailstack.wire.reply import Reply

from . import names
from .exchange import Exchange, malformed

_DIGEST: Final = re.compile(r"[0-9a-f]{32}")


async def run(exchange: Exchange) -> Reply:
    exchange.begin()
    challenge = f"<{secrets.token_hex(16)}.{int(time.time())}@{exchange.session.hostname}>".encode()
    answer = await exchange.ask(challenge)
    try:
        user, digest = parse(answer)
    except ValueError:
        raise malformed() from None
    return await exchange.judge(Proof(user, challenge, digest))


def parse(answer: bytes) -> tuple[str, str]:
    """The user, who may have blanks in his name, and the digest. ValueError."""
    user, _, digest = answer.decode().rpartition(" ")
    if not _DIGEST.fullmatch(digest):
        raise ValueError("no digest")
    return names.user(user), digest


class Proof(Challenge):
    """Something hashed with the password."""

    __slots__ = ("_challenge", "_digest")

    def __init__(self, user: str, challenge: bytes, digest: str) -> None:
        super().__init__(user)
        self._challenge = challenge
        self._digest = digest

    def takes(self, secret: Secret) -> bool:
        return isinstance(secret, str)

    async def matches(self, secret: Secret) -> bool:
        if isinstance(secret, ScramKeys):
            raise ValueError("CRAM-MD5 needs the password itself")
        return hmac.compare_digest(digest(secret, self._challenge), self._digest)

    async def decoy(self) -> None:
        digest("", self._challenge)


def digest(password: str, challenge: bytes) -> str:
    """What a client with this password answers."""
    return hmac.new(password.encode(), challenge, "md5").hexdigest()
