"""authdeny: logins that are refused, whatever others say.

    authdeny.Deny()                                   # at the end of the providers: who got here is nobody
    authdeny.Deny(users=["guest", "scanner@example.org"])      # above the providers: these do not log in
    authdeny.Deny(users=lookup.File("/etc/mailstack/closed"))

Each refusal is a line in the log with the user, the client's address and the mechanism. The client hears what all wrong
credentials hear, after the same work: those below are asked first, and their "good" is not taken. So nobody learns that
a login is closed, nor by it that it exists, and the log says whether the password was right: somebody else may know it.

`Deny()` lets nobody pass below itself, and says nothing of those who logged in above. Without it the end of the chain
refuses in just the same way; this names who.

A name is compared as the client gave it and as the provider knows it (the identity), letter case apart. A lookup that
cannot say is 454. Trouble of the providers below stays trouble.
"""

from __future__ import annotations

from collections.abc import Iterable
from contextlib import nullcontext
from typing import Final

from mailstack import log
from mailstack.contract.hookspec import CallNext, LiveOn, hookimpl
from mailstack.option import ConfigError
from mailstack.services.lookup import Source
from mailstack.session.credentials import Credentials
from mailstack.session.session import Session
from mailstack.wire.reply import Reply

__all__ = ["Deny"]

_WRONG: Final = Reply(535)


class Deny:
    """users -- names, or a lookup in which they are found; None: everybody. ConfigError for one name alone."""

    name = "authdeny"
    rehearsable = True

    def __init__(self, users: Iterable[str] | Source | None = None) -> None:
        self._source = users if isinstance(users, Source) else None
        self._names: frozenset[str] | None = None
        if isinstance(users, str):
            raise ConfigError(f"Deny(users): {users!r} is one name", remedy=f"write users=[{users!r}]")
        if users is not None and not isinstance(users, Source):
            self._names = frozenset(name.lower() for name in users)

    @hookimpl
    async def lifespan(self, call_next: LiveOn) -> None:
        async with nullcontext() if self._source is None else self._source.opened():
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
        if self._names is None and self._source is None:
            return True
        names = {name.lower() for name in (credentials.user, credentials.identity) if name}
        if self._source is None:
            return bool(names & (self._names or frozenset()))
        for name in sorted(names):
            if await self._source.find(name) is not None:
                return True
        return False
