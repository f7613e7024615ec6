"""OAUTHBEARER (RFC 7628) and XOAUTH2 (Google's): a token that somebody else has issued.

A refusal has a challenge of its own that says why; the client answers it with a word that means nothing, and hears 535.
"""

from __future__ import annotations

import json
import re
from collections.abc import Awaitable, Callable
from typing import Final

from mailstack.option import ConfigError
from mailstack.session.credentials import Token
from mailstack.wire.reply import Reply

from . import names
from .exchange import Exchange, malformed

# Google's words, and those of Microsoft.
XOAUTH2_ERROR: Final = b'{"status":"401","schemes":"Bearer"}'
LONGEST_URL: Final = 256

_BEARER: Final = re.compile(rb"(?i:bearer) +([A-Za-z0-9._~+/-]+=*)")  # RFC 6750 §2.1

Parse = Callable[[bytes], Token]


def mechanism(parse: Parse, error: bytes) -> Callable[[Exchange], Awaitable[Reply]]:
    """The mechanism that speaks so. error -- what is said before 535."""

    async def run(exchange: Exchange) -> Reply:
        message = await exchange.first()
        try:
            token = parse(message)
        except ValueError:
            raise malformed() from None
        reply = await exchange.judge(token)
        if reply.permanent:
            await exchange.ask(error)
        return reply

    return run


def parse_bearer(message: bytes) -> Token:
    """n,a=user,^Ahost=…^Aport=…^Aauth=Bearer token^A^A (RFC 7628 §3.1). ValueError."""
    flag, authority, rest = message.split(b",", 2)
    if flag not in (b"n", b"y") or authority[:2] not in (b"a=", b"") or rest[:1] != b"\1":
        raise ValueError("no GS2 header")
    return Token(names.escaped(authority[2:]) if authority else "", _token(_pairs(rest[1:])))


def parse_xoauth2(message: bytes) -> Token:
    """user=name^Aauth=Bearer token^A^A. ValueError."""
    pairs = _pairs(message)
    return Token(names.user(pairs[b"user"].decode()) if pairs.get(b"user") else "", _token(pairs))


def _pairs(text: bytes) -> dict[bytes, bytes]:
    """key=value^A key=value^A ^A."""
    if not text.endswith(b"\1\1"):
        raise ValueError("no end")
    pairs: dict[bytes, bytes] = {}
    for pair in text[:-2].split(b"\1"):
        name, equals, value = pair.partition(b"=")
        if not equals or name in pairs:
            raise ValueError("no pair, or one that is there already")
        pairs[name] = value
    return pairs


def _token(pairs: dict[bytes, bytes]) -> str:
    found = _BEARER.fullmatch(pairs.get(b"auth", b""))
    if found is None:
        raise ValueError("no bearer token")
    return found[1].decode()


def check(discovery: str) -> str:
    """The URL as it may stand in a challenge. ConfigError."""
    if discovery and not (discovery.startswith("https://") and discovery.isascii() and len(discovery) <= LONGEST_URL):
        raise ConfigError(
            f"Auth(discovery): {discovery!r} is no such URL",
            remedy='write discovery="https://login.example.org/.well-known/openid-configuration"',
        )
    return discovery


def bearer_error(discovery: str) -> bytes:
    """RFC 7628 §3.2.2."""
    words = {"status": "invalid_token", **({"openid-configuration": discovery} if discovery else {})}
    return json.dumps(words, separators=(",", ":")).encode()
