"""What a client says of itself when it authenticates, for providers to judge (the hook `auth`).

    class Provider:
        mechanisms = PASSWORD                                  # what it can judge; offered in EHLO

        @hookimpl
        async def auth(self, credentials):
            if not isinstance(credentials, Password):
                return None
            known = self._users.get(credentials.user)
            if known is None:
                credentials.pretend(lambda: self._compare(NOBODY, credentials.password))
                return None
            right = await self._compare(known, credentials.password)
            return Reply(235 if right else 535)

There are three kinds, by what a provider has to hold for them: `Password` (anything that a password can be compared
with), `Challenge` (the password itself, or keys made of it), `Token` (who issued it).

Who asks must not learn whether a user exists. A provider that does not know the user says what judging would have cost
(`pretend`), and the core spends that once, when nobody knew the user.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from typing import Final

__all__ = ["PASSWORD", "SECRET", "TOKEN", "Challenge", "Credentials", "Password", "ScramKeys", "Secret", "Token"]

# The mechanisms that a provider can judge: who can compare passwords, who holds them in clear, who knows tokens.
PASSWORD: Final = ("PLAIN", "LOGIN")
SECRET: Final = (*PASSWORD, "CRAM-MD5", "SCRAM-SHA-1", "SCRAM-SHA-256")
TOKEN: Final = ("OAUTHBEARER", "XOAUTH2")

Work = Callable[[], Awaitable[object]]


@dataclass(frozen=True, slots=True)
class ScramKeys:
    """What a server keeps of a password for SCRAM (RFC 5803): it proves a client, and logs in nowhere.

    hash -- "SHA-1" or "SHA-256". salt, stored_key, server_key -- octets. iterations -- how often it was hashed.
    """

    hash: str
    salt: bytes = field(repr=False)
    iterations: int
    stored_key: bytes = field(repr=False)
    server_key: bytes = field(repr=False)


Secret = str | ScramKeys


class _Said:
    """A name, and what the client says for it: all at once, so that judging it is some work of the provider's alone."""

    __slots__ = ("_work", "identity", "user")

    def __init__(self, user: str) -> None:
        self.user = user
        self.identity: str | None = None
        self._work: Work | None = None

    def pretend(self, work: Work) -> None:
        """I do not know the user; judging him would have cost this. The first one counts."""
        self._work = self._work or work

    async def decoy(self) -> None:
        """The core's own: spend what judging would have cost."""
        if self._work is not None:
            await self._work()

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self.user!r})"


class Password(_Said):
    """A name and a password (PLAIN, LOGIN). identity -- who it turned out to be, if that is another name."""

    __slots__ = ("password",)

    def __init__(self, user: str, password: str) -> None:
        super().__init__(user)
        self.password = password


class Token(_Said):
    """A bearer token (OAUTHBEARER, XOAUTH2). user -- as the client says, "" if it leaves that to the token.

    identity -- who the token is of: a provider sets it, at least where `user` is empty.
    """

    __slots__ = ("token",)

    def __init__(self, user: str, token: str) -> None:
        super().__init__(user)
        self.token = token


class Challenge(ABC):
    """A name, and a client that proves that it knows a secret without saying it (CRAM-MD5, SCRAM).

    identity -- as in `Password`.
    """

    __slots__ = ("_iterations", "identity", "user")

    def __init__(self, user: str) -> None:
        self.user = user
        self.identity: str | None = None
        self._iterations = 0

    @abstractmethod
    def takes(self, secret: Secret) -> bool:
        """Whether this mechanism can be judged by such a secret: a password always, keys if they are of its hash."""

    @abstractmethod
    async def matches(self, secret: Secret) -> bool:
        """Whether the client knows it. It may talk with the client. ValueError for a secret that it does not take."""

    def pretend(self, iterations: int) -> None:
        """I do not know the user; mine have keys of so many iterations, which the client gets to see."""
        self._iterations = self._iterations or iterations

    @abstractmethod
    async def decoy(self) -> None:
        """The core's own: the same talk with the client, which cannot succeed."""

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self.user!r})"


Credentials = Password | Challenge | Token
