"""A provider for tests, and what clients say to it."""

from __future__ import annotations

from base64 import b64decode, b64encode
from collections.abc import Mapping
from typing import Any

from scramp import ScramClient  # type: ignore[import-untyped]

from mailstack import Reply, hookimpl
from mailstack.middleware.auth import Auth
from mailstack.session.credentials import (
    SECRET,
    TOKEN,
    Challenge,
    Credentials,
    Password,
    ScramKeys,
    Secret,
)
from mailstack.testing import Conversation

EVERY = (*SECRET, *TOKEN)


class Users:
    """Knows users by password or SCRAM keys, and the tokens of tok-NAME."""

    name = "users"
    mechanisms = EVERY

    def __init__(self, users: Mapping[str, Any] | None = None, **more: Secret) -> None:
        self.users = {**(users or {}), **more}
        self.asked: list[str] = []
        self.decoys = 0

    @hookimpl
    async def auth(self, credentials: Credentials) -> Reply | None:
        user = credentials.user
        self.asked.append(user)
        if not isinstance(credentials, (Password, Challenge)):
            name = credentials.token.removeprefix("tok-")
            if name not in self.users or user not in ("", name):
                return Reply(535)
            credentials.identity = name
            return Reply(235)
        secret = self.users.get(user)
        if secret is None or (isinstance(credentials, Challenge) and not credentials.takes(secret)):
            if isinstance(credentials, Challenge):
                credentials.pretend(4096)
            else:
                credentials.pretend(self._decoy)
            return None
        if isinstance(credentials, Challenge):
            return Reply(235 if await credentials.matches(secret) else 535)
        return Reply(235 if not isinstance(secret, ScramKeys) and credentials.password == secret else 535)

    async def _decoy(self) -> None:
        self.decoys += 1


def open_auth(**options: Any) -> Auth:
    """AUTH in clear, and without delays."""
    return Auth(**{"insecure": True, "delay": 0, "mechanisms": EVERY, **options})


def b64(text: str | bytes) -> str:
    return b64encode(text.encode() if isinstance(text, str) else text).decode()


def plain(user: str = "ann", password: str = "right", authority: str = "") -> str:
    return b64(f"{authority}\0{user}\0{password}")


async def begin(smtp: Conversation) -> None:
    await smtp.say("EHLO client.example")


async def scram(smtp: Conversation, mechanism: str, user: str, password: str, *, initial: bool = True) -> int:
    """The whole dialog with scramp's client, which checks the server's signature; the last code."""
    client = ScramClient([mechanism], user, password)
    first = b64(client.get_client_first())
    if initial:
        said = await smtp.say(f"AUTH {mechanism} {first}")
    else:
        assert str(await smtp.say(f"AUTH {mechanism}")) == "334 "
        said = await smtp.say(first)
    if said != 334:
        return said.code
    client.set_server_first(unb64(said.text))
    said = await smtp.say(b64(client.get_client_final()))
    if said != 334:
        return said.code
    client.set_server_final(unb64(said.text))
    return (await smtp.say("")).code


def unb64(text: str) -> str:
    return b64decode(text).decode()
