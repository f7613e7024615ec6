"""What every plugin must survive, as ready-made tests for its author.

    @pytest.mark.parametrize("check", CONTRACT_CHECKS, ids=lambda check: check.__name__)
    async def test_it_keeps_the_contract(check):
        await check(lambda: Greylist(store=MemoryStore()))

or, in one test, `await check_contract(lambda: Greylist(…))`.

Each check makes fresh instances by calling `make()`, puts them into a stack by `around(*plugins)` (default: below them
stands one who vouches for every recipient), and talks to it. A plugin may refuse whatever it likes; it may not fail,
hang, tell the client what went wrong inside, or keep a session from ending. Further keywords go to `Dialog`.
AssertionError says which promise was broken.
"""

from __future__ import annotations

import inspect
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager, suppress
from dataclasses import replace
from typing import Any, Protocol

from anyio import sleep_forever

from ..contract.compose import Limit, Stack
from ..contract.hookspec import PHASES
from ..contract.pipeline import build
from ..server.limits import Limits
from .answer import Answer
from .conversation import Conversation, ConversationEnded
from .dialog import SWEEP, Dialog, Vouch
from .readonly import read_only
from .witness import FAULTS, Grip, Witness, hooks_of

__all__ = ["CONTRACT_CHECKS", "Check", "Make", "StackAround", "check_contract", "vouched"]

Make = Callable[[], object]
StackAround = Callable[..., Stack]

LARGEST = 200_000  # octets: more than stays in memory here
SECRET = "the-text-of-an-exception"


class Check(Protocol):
    """One of `CONTRACT_CHECKS`."""

    __name__: str

    def __call__(self, make: Make, around: StackAround = ..., **options: Any) -> Awaitable[None]: ...


def vouched(*plugins: object) -> Stack:
    """The plugins, and below them one who takes every recipient."""
    return Stack(*plugins, Vouch())


# One conversation, in steps: what is sent, and how many replies are due.

HELLO = b"EHLO client.example.org\r\n"
STEPS: tuple[tuple[bytes, int], ...] = (
    (b"", 1),
    (HELLO, 1),
    (b"NOOP\r\n", 1),
    (b"MAIL FROM:<a@example.org>\r\n", 1),
    (b"RCPT TO:<b@example.org>\r\n", 1),
    (b"DATA\r\n", 1),
    (b"Subject: contract\r\nMessage-ID: <1@example.org>\r\n\r\nhe", 0),
    (b"llo\r\n.\r\n", 1),
)


async def _walk(smtp: Conversation, steps: tuple[tuple[bytes, int], ...] = STEPS) -> list[Answer]:
    """Take the steps; a server that refuses DATA is not sent the message, and one that closes ends the walk."""
    answers: list[Answer] = []
    try:
        for octets, replies in steps:
            if octets:
                await smtp.send(octets)
            answers += await smtp.replies(replies)
            if octets == b"DATA\r\n" and answers[-1] != 354:
                break
    except ConversationEnded:
        pass
    return answers


async def _message(smtp: Conversation, octets: bytes, *, chunked: bool = False) -> list[Answer]:
    """A transaction with these octets as they are."""
    if not chunked:
        return await _walk(smtp, (*STEPS[:2], *STEPS[3:6], (octets + b".\r\n", 1)))
    answers = await _walk(smtp, (*STEPS[:2], *STEPS[3:5]))
    if not answers or answers[-1] != 250:
        return answers
    return answers + await _walk(smtp, ((b"BDAT %d LAST\r\n" % len(octets) + octets, 1),))


@asynccontextmanager
async def _served(stack: Stack, options: dict[str, Any], *, faults: bool = False) -> AsyncIterator[tuple[Any, Witness]]:
    """A conversation with a stack under a witness; afterwards nothing may have failed (unless `faults` were made)."""
    witness = Witness()
    async with Dialog(witness, stack, **options) as smtp:
        yield smtp, witness
    assert not witness.problems, f"notices out of balance: {witness.problems}"
    assert faults or not witness.faults, f"it failed: {witness.faults}"


# The checks.


async def loads(make: Make, around: StackAround = vouched, **options: Any) -> None:
    """The stack compiles, and no hook is misspelt."""
    assert build(around(make())).entries


async def survives_a_plain_session(make: Make, around: StackAround = vouched, **options: Any) -> None:
    """Several transactions, a bounce, and the other commands."""
    await _plain_session(around(make()), options)


async def _plain_session(stack: Stack, options: dict[str, Any]) -> None:
    async with _served(stack, options) as (smtp, _):
        await _walk(smtp)
        for line in (b"HELO me", b"VRFY you", b"HELP", b"nonsense", b"MAIL FROM:<>", b"RCPT TO:<postmaster>", b"RSET"):
            await _walk(smtp, ((line + b"\r\n", 1),))
        await _walk(smtp, (*STEPS[3:], (b"QUIT\r\n", 1)))


async def survives_a_rehearsal(make: Make, around: StackAround = vouched, **options: Any) -> None:
    """The same when it is only played, where nothing may be written outside of the spool."""
    stack = around(make())
    with read_only() as written:
        await _plain_session(stack, {**options, "rehearsal": True})
    assert not written, f"in a rehearsal it wrote: {', '.join(written)}"


async def survives_an_empty_message(make: Make, around: StackAround = vouched, **options: Any) -> None:
    """0 octets, by DATA and by BDAT."""
    for chunked in (False, True):
        async with _served(around(make()), options) as (smtp, _):
            await _message(smtp, b"", chunked=chunked)


async def survives_the_largest_message(make: Make, around: StackAround = vouched, **options: Any) -> None:
    """As large as the server takes, in a file of the spool: with a body, without one, and without a header section."""
    limits = replace(options.pop("limits", Limits(sweep=SWEEP)), message_size=LARGEST, memory_each=0)
    header = b"Subject: large\r\n"
    field = b"X-Large: " + b"x" * 60 + b"\r\n"
    for opening in (header + b"\r\n", header + field * 1000, b"\r\n"):
        filler = b"x" * 70 + b"\r\n"
        octets = opening if opening.endswith(field) else opening + filler * ((LARGEST - len(opening)) // len(filler))
        for chunked in (False, True):
            async with _served(around(make()), {**options, "limits": limits}) as (smtp, _):
                await _message(smtp, octets, chunked=chunked)


async def survives_strange_octets(make: Make, around: StackAround = vouched, **options: Any) -> None:
    """Header sections that no library likes, and names that no zone has."""
    strange = [
        b"Subject: =?utf-8?q?=ff?=\r\nFrom: \xff\xfe\r\nTo: <<>>\r\nDate: never\r\n\r\n\x80\x81\r\n",
        b": no name\r\nno colon\r\n\r\n",
        b"Content-Type: multipart/mixed; boundary=\r\n\r\n--\r\n\r\n----\r\n",
        b"Received: \r\n\t\r\n \r\nDKIM-Signature: ;;;\r\nAuthentication-Results: ;\r\nARC-Seal: i=0\r\n\r\n",
    ]
    for octets in strange:
        async with _served(around(make()), options) as (smtp, _):
            await _message(smtp, octets)
    async with _served(around(make()), options) as (smtp, _):
        await _walk(smtp, ((b"", 1), (b"EHLO [IPv6:::1]\r\n", 1), (b"EHLO -.%{h}..\r\n", 1)))
        await _walk(smtp, ((b'MAIL FROM:<"\\" $(id) \'@;"@xn--bcher-kva.example> SMTPUTF8\r\n', 1),))
        await _walk(smtp, (("RCPT TO:<用户@bücher.example>\r\n".encode(), 1), (b"DATA\r\n", 1), (b".\r\n", 1)))


async def lets_the_client_leave(make: Make, around: StackAround = vouched, **options: Any) -> None:
    """The client hangs up, or half closes, after each step: nobody has failed, and the notices balance."""
    for count in range(len(STEPS) + 1):
        async with _served(around(make()), options) as (smtp, _):
            await _walk(smtp, STEPS[:count])
            await smtp.hang_up()
            await smtp.finished()
            [hasty] = await smtp.several(1)
            await _walk(hasty, _in_one_piece(count))
            await hasty.hang_up()
            await hasty.finished()
            [deaf] = await smtp.several(1)
            with suppress(ConversationEnded):
                await _walk(deaf, _in_one_piece(count))
                await deaf.half_close()
            await deaf.finished()


def _in_one_piece(count: int) -> tuple[tuple[bytes, int], ...]:
    return ((b"".join(octets for octets, _ in STEPS[:count]), 0),)


async def lets_itself_be_cancelled(make: Make, around: StackAround = vouched, **options: Any) -> None:
    """The server ends the session while the plugin is at work, in each of its phases."""
    for hook in _phases(make):
        witness = Witness()
        grip = Grip(make(), hook, witness.cut)
        async with Dialog(witness, around(grip), **options) as smtp:
            await _walk(smtp)
            if grip.gripped:
                await smtp.hang_up()  # the server waits a little for its client to read the 421 and close
                await smtp.finished()
        assert not witness.problems, f"cancelled in {hook}, notices out of balance: {witness.problems}"
        assert not witness.faults, f"cancelled in {hook}, it failed: {witness.faults}"


async def is_blamed_when_it_raises(make: Make, around: StackAround = vouched, **options: Any) -> None:
    """A failure in each of its phases: 451, on its name, and not a word of the exception to the client."""

    def fail() -> None:
        raise RuntimeError(SECRET)

    for hook in _phases(make):
        grip = Grip(make(), hook, fail)
        await _faulty(grip, hook, around(grip), options)


async def is_blamed_when_it_hangs(make: Make, around: StackAround = vouched, **options: Any) -> None:
    """The same when it takes longer than its limit; a plain `def` cannot hang here."""
    for hook in _phases(make):
        grip = Grip(make(), hook, sleep_forever)
        if _waits(grip, hook):
            await _faulty(grip, hook, around(Limit(grip, timeout=0.05)), options)


async def _faulty(grip: Grip, hook: str, stack: Stack, options: dict[str, Any]) -> None:
    [name] = [entry.name for entry in build(stack).entries if entry.plugin is grip]
    async with _served(stack, options, faults=True) as (smtp, _):
        answers = await _walk(smtp)
        if not grip.gripped:  # it refused before it came to that, or waits for a verb of its own
            return
        blamed = [each.who for each in smtp.evidence if each.outcome in FAULTS and each.phase == hook]
        assert blamed, f"its failure in {hook} is not in the evidence"
        assert set(blamed) == {name}, f"its failure in {hook} is blamed on {blamed}"
        assert any(answer.code in (421, 451) for answer in answers), f"its failure in {hook} was passed over: {answers}"
        assert SECRET not in "".join(map(str, answers)), f"its failure in {hook} was told to the client"


async def stands_twice_in_a_stack(make: Make, around: StackAround = vouched, **options: Any) -> None:
    """Two instances do not collide."""
    stack = around(make(), make())
    names = [entry.name for entry in build(stack).entries]
    assert len(set(names)) == len(names)
    async with _served(stack, options) as (smtp, _):
        await _walk(smtp)
        await _walk(smtp, STEPS[3:])


async def serves_two_sessions_at_once(make: Make, around: StackAround = vouched, **options: Any) -> None:
    """One instance, two clients in step; neither fails."""
    async with _served(around(make()), options) as (smtp, _):
        [other] = await smtp.several(1)
        talking = [smtp, other]
        for step in STEPS:
            for each in tuple(talking):
                answers = await _walk(each, (step,))
                if len(answers) < step[1] or (step[0] == b"DATA\r\n" and answers[-1] != 354):
                    talking.remove(each)


async def leaves_the_facts_alone(make: Make, around: StackAround = vouched, **options: Any) -> None:
    """What is known of the client is the same after a transaction, RSET and a refusal."""
    async with _served(around(make()), options) as (smtp, _):
        greeted = await _walk(smtp, STEPS[:3])
        before = _facts(smtp)
        await _walk(smtp, (*STEPS[3:5], (b"RSET\r\n", 1)))
        assert _facts(smtp) == before, f"RSET changed {before} to {_facts(smtp)}"
        assert smtp.session.transaction is None or len(greeted) < 3, "RSET left the transaction"
        await _walk(smtp, STEPS[3:])
        await _walk(smtp, ((b"RSET\r\n", 1),))
        assert _facts(smtp) == before, f"a transaction changed {before} to {_facts(smtp)}"


def _facts(smtp: Conversation) -> tuple[object, ...]:
    session = smtp.session
    return (
        str(session.client),
        session.helo,
        session.esmtp,
        dict(session.keywords),
        session.user,
        session.secure,
        session.hostname,
        session.listener,
    )


def _phases(make: Make) -> list[str]:
    """The phases that the plugin implements; those inside a Stack or a wrapper are not gripped."""
    return [hook for hook in hooks_of(make()) if hook in PHASES]


def _waits(grip: Grip, hook: str) -> bool:
    return inspect.iscoroutinefunction(getattr(grip, hook))


CONTRACT_CHECKS: tuple[Check, ...] = (
    loads,
    survives_a_plain_session,
    survives_a_rehearsal,
    survives_an_empty_message,
    survives_the_largest_message,
    survives_strange_octets,
    lets_the_client_leave,
    lets_itself_be_cancelled,
    is_blamed_when_it_raises,
    is_blamed_when_it_hangs,
    stands_twice_in_a_stack,
    serves_two_sessions_at_once,
    leaves_the_facts_alone,
)


async def check_contract(make: Make, around: StackAround = vouched, **options: Any) -> None:
    """All checks, one after the other. make -- returns a fresh instance each time."""
    for check in CONTRACT_CHECKS:
        await check(make, around, **options)
