"""LOGIN (draft-murchison-sasl-login): the name, then the password. Not a standard, but what some programs know.

Some send the name as initial response, which the draft does not have.
"""

from __future__ import annotations

from mailstack.session.credentials import Password
from mailstack.wire.reply import Reply

from . import names
from .exchange import Exchange, malformed


async def run(exchange: Exchange) -> Reply:
    user = await exchange.first(b"Username:")  # Outlook knows these words alone
    password = await exchange.ask(b"Password:")
    try:
        return await exchange.judge(parse(user, password))
    except ValueError:
        raise malformed() from None


def parse(user: bytes, password: bytes) -> Password:
    """ValueError."""
    if b"\0" in password:
        raise ValueError("a password has no NUL")
    return Password(names.user(user.decode()), password.decode())
