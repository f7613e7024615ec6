"""A login at a provider: what the client hears, who it is then, and what was logged."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from io import StringIO
from typing import Any

from anyio import create_task_group

from mailstack import log
from mailstack.session.credentials import Password
from mailstack.testing import Conversation, Dialog
from tests.middleware.auth.users import open_auth, plain

# Names and passwords that end a word, a line, a string or a list somewhere.
AWKWARD = (
    'a"b\\c',
    "a\r\nA9 LOGOUT",
    "tab\there",
    "{3}\r\nabc",
    "(uid=*)",
    "uid=ann,ou=people",
    "*",
    "$(id)",
    "'; id #",
    "-x",
    "\1t\1",
    "näme-用户",
    " a ",
)


def dialog(*providers: object, **options: Any) -> Dialog:
    """A server at which clients may log in, however often."""
    return Dialog(open_auth(failures=1000, mechanisms=("PLAIN", "LOGIN")), *providers, **options)


async def begin(smtp: Conversation) -> None:
    await smtp.banner()
    await smtp.say("EHLO client.example")


async def login(smtp: Conversation, user: str, password: str) -> int:
    return (await smtp.say(f"AUTH PLAIN {plain(user, password)}")).code


async def judged(provider: object, user: str, password: str, **options: Any) -> tuple[int, str | None]:
    """The code, and the identity."""
    async with dialog(provider, **options) as smtp:
        await begin(smtp)
        code = await login(smtp, user, password)
        return code, smtp.session.user


async def answers(provider: Any, *logins: tuple[str, str]) -> list[int | None]:
    """What the provider itself answers to each, asked all at once, before the core makes one 535 of all."""
    codes: list[int | None] = [0] * len(logins)

    async def ask(number: int) -> None:
        reply = await provider.auth(session=smtp.session, credentials=Password(*logins[number]))
        codes[number] = None if reply is None else reply.code

    async with dialog(provider) as smtp:
        await begin(smtp)
        async with create_task_group() as group:
            for number in range(len(logins)):
                group.start_soon(ask, number)
    return codes


async def asked(provider: Any, user: str, password: str) -> int | None:
    """The same for one."""
    return (await answers(provider, (user, password)))[0]


@contextmanager
def logged() -> Iterator[StringIO]:
    """All that is logged, "debug" included."""
    stream = StringIO()
    log.configure("debug", "logfmt", stream)
    try:
        yield stream
    finally:
        log.reset()
