"""The frame around every question to a backend that judges passwords itself: which, how many at once, how long.

    self._elsewhere = Elsewhere("IMAP", "authimap", at_once=10, timeout="20s")

    @hookimpl
    async def auth(self, session, credentials):
        return await self._elsewhere.judge(session, credentials, self._ask)

    async def _ask(self, session, login) -> Reply | None: ...       # GOOD, WRONG or None; raises Trouble

One rule for all whose passwords lie elsewhere:

| they say | a provider answers | and then |
|---|---|---|
| yes | `GOOD` | the client has logged in |
| no, and leave open whether they know the user | None | the next provider is asked; 535 when there is none |
| no to one whom they know | `WRONG` | 535, nobody else is asked |
| nothing in time, or what makes no sense | 454 | the log says what; nobody else is asked |

Nobody is asked about a login that can be none: a name or a password that is empty or too long, a name that cannot be
printed, a password with a NUL. So a line end never gets anywhere in a name, and an empty password never to a directory.
"""

from __future__ import annotations

import time
from collections.abc import Awaitable, Callable
from typing import Final

from anyio import Semaphore, move_on_after

from .. import log, option
from ..session.credentials import Credentials, Password
from ..session.session import Session
from ..wire.reply import Reply
from .lookup.source import Unavailable

__all__ = ["GOOD", "WRONG", "Ask", "Elsewhere", "Trouble"]

MOST: Final = 512  # characters of a name, as the core has it
LONGEST: Final = 1024  # octets of a password

GOOD: Final = Reply(235)
WRONG: Final = Reply(535)

_TROUBLE: Final = Reply(454)

Ask = Callable[[Session, Password], Awaitable[Reply | None]]


class Trouble(Exception):
    """It cannot be said now whether a password is right. The text says why, for the log, and has no secret in it."""


class Elsewhere:
    """Asks about logins.

    name -- what it is called in ConfigError; who -- in the log. at_once -- questions at a time; further ones wait.
    timeout -- for one question, waiting included.
    """

    __slots__ = ("_places", "timeout", "who")

    def __init__(self, name: str, who: str, *, at_once: int, timeout: str | float) -> None:
        self.who = who
        self._places = Semaphore(option.integer(at_once, name=f"{name}(at_once)", minimum=1))
        self.timeout = option.duration(timeout, name=f"{name}(timeout)", minimum=0.01)

    async def judge(self, session: Session, credentials: Credentials, ask: Ask) -> Reply | None:
        """What `ask` answers, which may raise Trouble, Unavailable or OSError; 454 for these, and when it is late."""
        if not isinstance(credentials, Password) or not _can_be(credentials):
            return None
        began = time.monotonic()
        problem = f"no answer within {self.timeout:g} s"
        with move_on_after(self.timeout):
            try:
                async with self._places:
                    return await ask(session, credentials)
            except (OSError, Trouble, Unavailable) as error:
                problem = str(error) or type(error).__name__
        log.error(
            "login not judged",
            session=session.id,
            who=self.who,
            problem=problem,
            seconds=round(time.monotonic() - began, 3),
        )
        return _TROUBLE


def _can_be(login: Password) -> bool:
    user, password = login.user, login.password
    if not 0 < len(user) <= MOST or not user.isprintable() or "\0" in password:
        return False
    try:
        return 0 < len(password.encode()) <= LONGEST
    except UnicodeEncodeError:  # a lone surrogate, which nobody can type
        return False
