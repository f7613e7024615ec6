"""Whatever wrapper stands around it, an entry may be cut, left and repeated as ever."""

from collections.abc import Callable
from typing import Any

import pytest
from anyio.lowlevel import checkpoint

from mailstack import Limit, Observe, Postpone, Recipient, Reply, Score, Session, Stack, Threshold, Unless, hookimpl
from mailstack.contract.hookspec import CallNext
from mailstack.testing import Dialog, Vouch
from mailstack.testing.contract import (
    is_blamed_when_it_raises,
    lets_itself_be_cancelled,
    lets_the_client_leave,
    serves_two_sessions_at_once,
    stands_twice_in_a_stack,
    survives_a_plain_session,
    survives_a_rehearsal,
    survives_strange_octets,
)

NO = Reply(550, "no", status="5.7.1")


class Checks:
    """Refuses, waiting, in all phases but queue."""

    rehearsable = True

    @hookimpl
    async def connect(self) -> Reply | None:
        await checkpoint()
        return NO

    @hookimpl
    async def ehlo(self) -> Reply | None:
        await checkpoint()
        return NO

    @hookimpl
    async def mail(self) -> Reply | None:
        await checkpoint()
        return NO


class LaterChecks:
    rehearsable = True

    @hookimpl
    async def rcpt(self) -> Reply | None:
        await checkpoint()
        return NO

    @hookimpl
    async def data(self) -> Reply | None:
        await checkpoint()
        return NO

    @hookimpl
    async def message(self) -> Reply | None:
        await checkpoint()
        return NO


class Onions:
    """Around all phases but queue."""

    rehearsable = True

    @hookimpl
    async def connect(self, call_next: CallNext) -> Reply:
        await call_next()
        return NO

    @hookimpl
    async def mail(self, session: Session, call_next: CallNext) -> Reply:
        await checkpoint()
        return NO

    @hookimpl
    async def rcpt(self, recipient: Recipient, call_next: CallNext) -> Reply:
        recipient.accept()
        reply = await call_next()
        await checkpoint()
        return reply

    @hookimpl
    async def message(self, call_next: CallNext) -> Reply:
        await call_next()
        await checkpoint()
        return NO


def around(*wraps: Callable[[Any], object]) -> Callable[..., Stack]:
    def stack(*plugins: object) -> Stack:
        for wrap in wraps:
            plugins = tuple(wrap(plugin) for plugin in plugins)
        return Stack(*plugins, Vouch())

    return stack


def scored(plugin: object) -> object:
    return Score(plugin, 1)


CASES = [
    pytest.param(Checks, around(Observe), id="observe"),
    pytest.param(LaterChecks, around(Observe), id="observe-later"),
    pytest.param(Onions, around(Observe), id="observe-onions"),
    pytest.param(Onions, around(Observe, lambda x: Limit(x, timeout=5)), id="limit-observe-onions"),
    pytest.param(Checks, around(Postpone), id="postpone"),
    pytest.param(Checks, around(scored), id="score"),
    pytest.param(LaterChecks, around(scored), id="score-later"),
    pytest.param(Checks, around(Postpone, scored, Observe), id="observe-score-postpone"),
]
CHECKS = (
    lets_itself_be_cancelled,
    lets_the_client_leave,
    serves_two_sessions_at_once,
    stands_twice_in_a_stack,
    survives_a_plain_session,
    survives_a_rehearsal,
    survives_strange_octets,
)


@pytest.mark.parametrize(("make", "wrapped"), CASES)
@pytest.mark.parametrize("check", CHECKS, ids=lambda check: check.__name__)
async def test_a_wrapped_entry_keeps_the_contract(check: Any, make: Any, wrapped: Any) -> None:
    await check(make, wrapped)


@pytest.mark.parametrize("wrapped", [around(Postpone), around(scored)])
async def test_a_wrapped_entry_is_blamed_as_ever(wrapped: Any) -> None:
    await is_blamed_when_it_raises(LaterChecks, wrapped)


@pytest.mark.parametrize("rehearsal", [True, False])
async def test_nested_stacks_and_wrappers_are_one_stack(rehearsal: bool) -> None:
    policy = Stack(
        Stack(Unless(lambda session: False, Postpone(Stack(Checks())))),
        Stack(Score(Stack(LaterChecks(), Stack(LaterChecks())), 3), Stack()),
    )
    stack = Stack(policy, Observe(Stack(Onions())), Stack(Threshold(reject_at=6, phase="message"), Stack(Vouch())))
    async with Dialog(stack, rehearsal=rehearsal) as smtp:
        assert await smtp.message("a@example.org", ["b@example.net", "postmaster"]) == 250
        assert smtp.messages[0].recipients == ["postmaster"]
        names = {"test_wrappers", *(f"test_wrappers#{number}" for number in (2, 3, 4))}
        assert names <= {each.who for each in smtp.evidence}
