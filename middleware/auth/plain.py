"""PLAIN (RFC 4616): all in one message, [authzid] NUL authcid NUL passwd."""

from __future__ import annotations

from mailstack.session.credentials import Password
from mailstack.wire.reply import Reply

from . import names
from .exchange import Exchange, for_others, malformed


async def run(exchange: Exchange) -> Reply:
    message = await exchange.first()
    try:
        authority, user, password = parse(message)
    except ValueError:
        raise malformed() from None
    if authority not in ("", user):
        raise for_others()
    return await exchange.judge(Password(user, password))


def parse(message: bytes) -> tuple[str, str, str]:
    """Whom the client wants to be ("": himself), who he is, and his password. ValueError."""
    authority, user, password = message.decode().split("\0")
    return names.user(authority) if authority else "", names.user(user), password
