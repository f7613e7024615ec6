"""authdeny: logins that are refused, whatever others say.

    authdeny.Deny()                                   # at the end of the providers: who got here is nobody
    authdeny.Deny(users=["guest", "scanner@example.org"])      # above the providers: these do not log in
    authdeny.Deny(users=lookup.File("/etc/mailstack/closed"))

Each refusal is a line in the log with the user, the client's address and the mechanism. The client hears what all wrong
credentials hear, after the same work: those below are asked first, and their "good" is not taken. So nobody learns that
a login is closed, nor by it that it exists, and the log says whether the password was right: somebody else may know it.

`Deny()` lets nobody pass below itself, and says nothing of those who logged in above. Without it the end of the chain
refuses in just the same way; this names who.

A name is compared as the client gave it and as the provider knows it (the identity), letter case apart. `users` is a
list, or any lookup. One that cannot say is 454. Trouble of the providers below stays trouble.
"""

from __future__ import annotations

from contextlib import nullcontext
from typing import Final

from mailstack import log
from mailstack.contract.hookspec import CallNext, LiveOn, hookimpl
from mailstack.services import lookup
from mailstack.services.lookup.given import Given
from mailstack.session.credentials import Credentials
from mailstack.session.session import Session
from mailstack.wire.reply import Reply

__all__ = ["Deny"]

_WRONG: Final = Reply(535)


class Deny:
    """users -- names, or a lookup in which they are found; None: everybody. ConfigError for what is no list."""

    name = "authdeny"
    rehearsable = True

    def __init__(self, users: Given | None = None) -> None:
        self._users = None if users is None else lookup.words(users, name="Deny(users)", remedy='write users=["guest"]')

    @hookimpl
    async def lifespan(self, call_next: LiveOn) -> None:
        async with nullcontext() if self._users is None else self._users.opened():
            await call_next()

    @hookimpl
    async def auth(self, session: Session, mechanism: str, credentials: Credentials, call_next: CallNext) -> Reply:
        reply = await call_next()
        if reply.temporary or not await self._is_denied(credentials):
            return reply
        log.warning(
            "login denied",
            session=session.id,
            client=str(session.client),
            user=credentials.identity or credentials.user,
            mechanism=mechanism,
            right=reply.code == 235,
        )
        return _WRONG if reply.code == 235 else reply

    async def _is_denied(self, credentials: Credentials) -> bool:
        if self._users is None:
            return True
        for name in dict.fromkeys((credentials.user, credentials.identity)):
            if name and await self._users.find(name) is not None:
                return True
        return False
