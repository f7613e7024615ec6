"""A provider's judgement, once it knows what is stored of a user.

    self._judge = passwords.Judge()
    …
    account = …                                              # None: there is no such user
    return await self._judge.judge(credentials, account)     # a Reply, or None for "not my user"

A password is compared with all hashes of the user, and his clear text; with his keys only where there is nothing else,
for they are made of the same password. A challenge is put to his clear text and keys. Who is locked is never right,
and hears and waits as all others do.

For an unknown user the work is that of the slowest password that has been seen: the same scheme and cost, by comparing
with it and forgetting what came of it. Users whose schemes or costs differ can be told apart by who measures, so keep
one scheme for all.
"""

from __future__ import annotations

import hashlib
import secrets
from collections.abc import Iterable
from typing import Final

from mailstack.session.credentials import Challenge, Credentials, Password, ScramKeys, Secret
from mailstack.wire.reply import Reply

from . import threads
from .account import Account
from .stored import Stored

__all__ = ["Judge"]

RIGHT: Final = Reply(235)
WRONG: Final = Reply(535)
TROUBLE: Final = Reply(454, "too busy, try again later", status="4.7.0")


class Judge:
    """accounts -- users that are known beforehand."""

    __slots__ = ("_iterations", "_typical")

    def __init__(self, accounts: Iterable[Account] = ()) -> None:
        self._typical: tuple[Stored, ...] = ()
        self._iterations = 0
        for account in accounts:
            self._learn(account)

    async def judge(self, credentials: Credentials, account: Account | None) -> Reply | None:
        """What becomes of it. identity is set when it is right."""
        if threads.is_full():
            return TROUBLE
        try:
            right = None if account is None else await self._is_right(credentials, account)
        except threads.Busy:
            return TROUBLE
        if account is None or right is None:
            self._pretend(credentials)
            return None
        if right:
            credentials.identity = account.identity
        return RIGHT if right else WRONG

    async def _is_right(self, credentials: Credentials, account: Account) -> bool | None:
        """None when nothing can be said."""
        self._learn(account)
        if isinstance(credentials, Password):
            if account.locked or not account.stored:
                await threads.matches(self._usual, credentials.password)
                return False
            return await threads.matches(account.compared, credentials.password)
        if isinstance(credentials, Challenge):
            known = (secrets.token_urlsafe(),) if account.locked else account.secrets
            taken = [secret for secret in known if credentials.takes(secret)]
            return await self._is_proved(credentials, taken) if taken else None
        return None

    async def _is_proved(self, challenge: Challenge, known: list[Secret]) -> bool:
        for secret in known:
            if await challenge.matches(secret):
                return True
        return False

    def _pretend(self, credentials: Credentials) -> None:
        if isinstance(credentials, Password):
            password = credentials.password
            credentials.pretend(lambda: self._waste(password))
        elif isinstance(credentials, Challenge) and self._iterations:
            credentials.pretend(self._iterations)

    async def _waste(self, password: str) -> None:
        """As much as a wrong password costs. Nobody looks at what came of it."""
        try:
            await threads.matches(self._usual, password)
        except threads.Busy:
            pass

    @property
    def _usual(self) -> tuple[Stored, ...]:
        return self._typical or (_NOBODY,)

    def _learn(self, account: Account) -> None:
        if not account.locked and _work(account.compared) > _work(self._typical):
            self._typical = account.compared
        for secret in account.secrets:
            if isinstance(secret, ScramKeys):
                self._iterations = max(self._iterations, secret.iterations)


def _work(stored: Iterable[Stored]) -> float:
    return sum(each.work for each in stored)


def _hash_for_nothing(password: bytes) -> bool:
    hashlib.pbkdf2_hmac("sha256", password, b"nobody's", 200_000)
    return False


# Before any password has been seen: about what bcrypt takes.
_NOBODY: Final = Stored("PBKDF2", 0.05, _hash_for_nothing)
