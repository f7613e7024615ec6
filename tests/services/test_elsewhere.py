"""The frame around questions to backends of logins: who is asked about, for how long, and what trouble means."""

from __future__ import annotations

from typing import Any

import anyio
import pytest

from mailstack.services.elsewhere import GOOD, WRONG, Elsewhere, Trouble
from mailstack.services.lookup.source import Unavailable
from mailstack.session.credentials import Password, Token
from mailstack.session.session import Session
from mailstack.testing import Dialog
from mailstack.wire.reply import Reply
from tests.middleware.providers.logins import logged


async def judged(elsewhere: Elsewhere, ask: Any, credentials: Any) -> Reply | None:
    async with Dialog() as smtp:
        await smtp.banner()
        return await elsewhere.judge(smtp.session, credentials, ask)


def frame(**options: Any) -> Elsewhere:
    return Elsewhere("Frame", "frame", **{"at_once": 1, "timeout": "30s", **options})


@pytest.mark.parametrize("reply", [GOOD, WRONG, None])
async def test_the_answer_is_passed_on(reply: Reply | None) -> None:
    async def ask(session: Session, login: Password) -> Reply | None:
        return reply

    assert await judged(frame(), ask, Password("ann", "right")) is reply


@pytest.mark.parametrize(
    "credentials",
    [
        Token("ann", "right"),
        Password("", "right"),
        Password("ann", ""),
        Password("a\nb", "right"),
        Password("a\0b", "right"),
        Password("x" * 513, "right"),
        Password("ann", "a\0b"),
        Password("ann", "x" * 1025),
        Password("ann", "ü" * 513),
        Password("ann", "\ud800"),
        Password("\ud800", "right"),
    ],
    ids=repr,
)
async def test_nobody_is_asked_about_what_can_be_no_login(credentials: Any) -> None:
    async def ask(session: Session, login: Password) -> Reply | None:
        raise AssertionError("it was asked")

    assert await judged(frame(), ask, credentials) is None


@pytest.mark.parametrize("error", [Trouble("out of order"), Unavailable("down"), ConnectionRefusedError("nobody")])
async def test_trouble_is_454_and_a_line_in_the_log(error: Exception) -> None:
    async def ask(session: Session, login: Password) -> Reply | None:
        raise error

    with logged() as stream:
        reply = await judged(frame(), ask, Password("ann", "se-cret"))
    assert reply is not None
    assert reply.code == 454
    assert str(error) in stream.getvalue()
    assert "who=frame" in stream.getvalue()
    assert "se-cret" not in stream.getvalue()


async def test_other_exceptions_are_faults_and_not_hidden() -> None:
    async def ask(session: Session, login: Password) -> Reply | None:
        raise KeyError("a mistake")

    with pytest.raises(KeyError):
        await judged(frame(), ask, Password("ann", "right"))


async def test_who_waits_for_a_place_too_long_hears_454() -> None:
    elsewhere, asked, bob_has_heard = frame(timeout=0.2), [], anyio.Event()

    async def ask(session: Session, login: Password) -> Reply | None:
        asked.append(login.user)
        with anyio.CancelScope(shield=True):  # so that ann's place is not free a moment before bob's time is up
            await bob_has_heard.wait()
        return None

    async with anyio.create_task_group() as group:
        group.start_soon(judged, elsewhere, ask, Password("ann", "right"))
        await anyio.wait_all_tasks_blocked()
        reply = await judged(elsewhere, ask, Password("bob", "right"))
        bob_has_heard.set()
    assert reply is not None
    assert reply.code == 454
    assert asked == ["ann"]
