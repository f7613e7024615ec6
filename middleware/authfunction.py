"""authfunction: a function says whether a password is right, or what is stored of it.

    async def check(user: str, password: str) -> bool | None:
        return await accounts.check(user, password)

    authfunction.Function(check)
    authfunction.Function(crm.login, threads=4)               # a plain function that waits: in threads

    def stored(user: str) -> str | None:
        return table.get(user)                                # "$2y$…", "{SCRAM-SHA-256}…", a list of them

    authfunction.Stored(stored, offer="SCRAM-SHA-256")

`Function` hears every password, and answers True, False, None for a user whom it does not know (the next provider is
asked), or text: who the user is, and then the password was right. It works with PLAIN and LOGIN.

`Stored` gives what is kept of a user, in any form of services/passwords/stored.py ("{PLAIN}secret" for clear text), or
`ScramKeys`, or several of both, or None. Comparing is done here, in threads, at the same cost for unknown users, and
SCRAM and CRAM-MD5 work where all users have what they need: name them in `offer`.

What a function raises, and an answer of another type, is 454, and an error in the log. A plain function runs in the
event loop and must not wait; `threads` runs it beside, so many at once, and what takes longer than `timeout` is 454.

Who measures time must not learn which users there are: a function that hashes only for those that it knows tells. Let
it return False for unknown users after the same work; or None at once, with a stored password of the usual scheme and
cost as `like`: then comparing with that is what an unknown user costs.
"""

from __future__ import annotations

import inspect
from collections.abc import Awaitable, Callable, Iterable
from typing import Any

from mailstack import option
from mailstack.contract.hookspec import LiveOn, hookimpl
from mailstack.option import ConfigError
from mailstack.services import passwords
from mailstack.services.workers import Workers
from mailstack.session.credentials import PASSWORD, Challenge, Credentials, Password, ScramKeys
from mailstack.wire.reply import Reply

__all__ = ["Function", "Stored"]

Answer = bool | str | None
Kept = str | ScramKeys
Check = Callable[[str, str], Answer | Awaitable[Answer]]
Found = Kept | Iterable[Kept] | None
Find = Callable[[str], Found | Awaitable[Found]]


class _Called:
    """A function of the user's: plain, async, or plain in threads."""

    __slots__ = ("_function", "_threads", "_timeout", "_workers")

    def __init__(self, function: Callable[..., Any], threads: int, timeout: float | str, name: str) -> None:
        if not callable(function):
            raise ConfigError(f"{name}: {function!r} is no function", remedy=f"write {name}(check)")
        self._function = function
        self._threads = option.integer(threads, name=f"{name}(threads)", minimum=0)
        self._timeout = option.duration(timeout, name=f"{name}(timeout)", minimum=0.001)
        self._workers: Workers | None = None
        if self._threads and inspect.iscoroutinefunction(function):
            raise ConfigError(f"{name}(threads): the function is async", remedy="leave threads out")

    async def live(self, call_next: LiveOn) -> None:
        if not self._threads:
            await call_next()
            return
        self._workers = Workers(self._threads, timeout=self._timeout)
        try:
            await call_next()
        finally:
            self._workers.close()
            self._workers = None

    async def __call__(self, *arguments: str) -> Any:
        if not self._threads:
            answer = self._function(*arguments)
        elif self._workers is None:
            raise RuntimeError("there are no threads outside of `lifespan`")
        else:
            answer = await self._workers.run(lambda: self._function(*arguments))
        return await answer if inspect.isawaitable(answer) else answer


class Function:
    """check -- a plain or async function of user and password, as above.

    threads -- run a plain one in so many threads; 0: in the event loop. timeout -- how long a call there may take.
    like -- a stored password: an unknown user costs comparing with it. "": nothing.

    ConfigError for what makes no sense.
    """

    name = "authfunction"
    mechanisms = PASSWORD

    def __init__(self, check: Check, *, threads: int = 0, timeout: float | str = "10s", like: str = "") -> None:
        self._check = _Called(check, threads, timeout, "Function")
        self._judge = passwords.Judge([_like(like)] if like else [])
        self._pretends = bool(like)

    @hookimpl
    async def lifespan(self, call_next: LiveOn) -> None:
        await self._check.live(call_next)

    @hookimpl
    async def auth(self, credentials: Credentials) -> Reply | None:
        if not isinstance(credentials, Password):
            return None
        answer = await self._check(credentials.user, credentials.password)
        if answer is None:
            return await self._judge.judge(credentials, None) if self._pretends else None
        if isinstance(answer, str) and answer:
            credentials.identity = answer
        elif not isinstance(answer, bool):
            raise TypeError(f"the function returned {type(answer).__name__}, and not True, False, None or a name")
        return Reply(235 if answer is not False else 535)


class Stored:
    """find -- a plain or async function of the user: what is stored of his passwords, as above.

    offer -- mechanisms beside PLAIN and LOGIN. weak -- whether hashes that are no protection are taken.
    threads, timeout -- as in `Function`.

    ConfigError for what makes no sense.
    """

    name = "authfunction"

    def __init__(
        self,
        find: Find,
        *,
        offer: str | Iterable[str] = (),
        weak: bool = False,
        threads: int = 0,
        timeout: float | str = "10s",
    ) -> None:
        self._find = _Called(find, threads, timeout, "Stored")
        self.mechanisms = passwords.offered(offer, name="Stored(offer)")
        self._weak = option.boolean(weak, name="Stored(weak)")
        self._judge = passwords.Judge()

    @hookimpl
    async def lifespan(self, call_next: LiveOn) -> None:
        await self._find.live(call_next)

    @hookimpl
    async def auth(self, credentials: Credentials) -> Reply | None:
        if not isinstance(credentials, Password | Challenge):
            return None
        found = await self._find(credentials.user)
        account = None if found is None else self._account(credentials.user, found)
        return await self._judge.judge(credentials, account)

    def _account(self, user: str, found: Kept | Iterable[Kept]) -> passwords.Account:
        several = [found] if isinstance(found, str | ScramKeys) else list(found)
        if not all(isinstance(each, str | ScramKeys) for each in several):
            raise TypeError("the function returned what is neither text nor ScramKeys")
        texts = [passwords.write_keys(each) if isinstance(each, ScramKeys) else each for each in several]
        return passwords.account(user, texts, weak=self._weak)


def _like(text: str) -> passwords.Account:
    try:
        return passwords.account("nobody", [text], weak=True)
    except passwords.Unreadable as error:
        raise ConfigError(f"Function(like): {error}", remedy=error.remedy) from error
