"""The contract's checks: what keeps it passes all of them, what breaks it is caught by the one that says so."""

import os
import sqlite3
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

import pytest
from anyio import Event, create_task_group, sleep_forever
from anyio.lowlevel import checkpoint

from mailstack import CallNext, ConfigError, Key, Limits, Message, Recipient, Reply, Session, Stack, hookimpl
from mailstack.contract.hookspec import LiveOn
from mailstack.testing import Dialog, Vouch, contract
from mailstack.testing.contract import CONTRACT_CHECKS, Check, check_contract
from mailstack.testing.message import make_sender, make_session
from mailstack.testing.witness import Grip, Witness


class Busy:
    """Implements every hook, in every way there is, and keeps the contract."""

    def __init__(self) -> None:
        self.seen: Key[int] = Key("busy.seen")

    @hookimpl
    async def lifespan(self, call_next: LiveOn) -> None:
        async with create_task_group() as group:
            group.start_soon(sleep_forever)
            await call_next()
            group.cancel_scope.cancel()

    @hookimpl
    async def session(self, session: Session, call_next: LiveOn) -> None:
        async with create_task_group() as group:
            group.start_soon(sleep_forever)
            await call_next()
            group.cancel_scope.cancel()

    @hookimpl
    async def connect(self, session: Session) -> None:
        session.stash[self.seen] = 0
        await checkpoint()

    @hookimpl
    async def ehlo(self, session: Session, call_next: CallNext) -> Reply:
        session.start(sleep_forever)
        return await call_next()

    @hookimpl
    async def mail(self, session: Session) -> None:
        session.stash[self.seen] += 1
        await session.input_waits(0)

    @hookimpl
    async def rcpt(self, recipient: Recipient, call_next: CallNext) -> Reply:
        await checkpoint()
        reply = await call_next()
        await checkpoint()
        return reply

    @hookimpl
    def data(self) -> None:
        pass

    @hookimpl
    def headers(self, message: Message) -> None:
        message.add_header("X-Busy", "yes")

    @hookimpl
    async def message(self, session: Session, message: Message) -> None:
        assert session.transaction is not None
        session.transaction.temp_file()
        await message.read()

    @hookimpl
    async def queue(self, call_next: CallNext) -> Reply:
        return await call_next()

    @hookimpl
    def command(self) -> None:
        pass

    @hookimpl
    def reset(self, session: Session) -> None:
        session.stash[self.seen] -= 1
        assert session.stash[self.seen] == 0

    @hookimpl
    async def queued(self, message: Message) -> None:
        await message.read()

    @hookimpl
    async def disconnect(self, session: Session) -> None:
        await checkpoint()


class Refuser:
    @hookimpl
    def rcpt(self) -> Reply:
        return Reply(550, "nobody is here")


class Closer:
    @hookimpl
    async def connect(self) -> Reply:
        await checkpoint()
        return Reply(554, "go away", close=True)


class NoData:
    @hookimpl
    def data(self) -> Reply:
        return Reply(451, "not now")


def receive(message: Message) -> None:
    """The shortest handler."""


@pytest.mark.parametrize("make", [Busy, Refuser, Closer, NoData, Vouch, lambda: receive])
@pytest.mark.parametrize("check", CONTRACT_CHECKS, ids=lambda check: check.__name__)
async def test_what_keeps_the_contract_passes(check: Check, make: Callable[[], object]) -> None:
    await check(make)


async def test_all_checks_run_one_after_the_other_with_the_stack_and_options_given() -> None:
    stacks: list[Stack] = []

    def around(*plugins: object) -> Stack:
        stacks.append(Stack(Busy(), *plugins, Vouch()))
        return stacks[-1]

    await check_contract(Refuser, around, client="2001:db8::1", limits=Limits(errors=50, sweep=0.05))
    assert len(stacks) > len(CONTRACT_CHECKS)


# What breaks it.


class Misspelt:
    @hookimpl
    def mail(self, sendr: object) -> None: ...


class Raises:
    @hookimpl
    def command(self) -> None:
        raise ZeroDivisionError


class RaisesInRehearsal:
    rehearsable = True

    @hookimpl
    def command(self, session: Session) -> None:
        assert not session.rehearsal


class Scribbles:
    """Promises to write nothing in a rehearsal, and does; the failure is its own to hide."""

    rehearsable = True

    @hookimpl
    def message(self) -> None:
        with suppress(OSError):
            Path("counter").write_text("1")


class MakesItsDatabase:
    rehearsable = True

    @hookimpl
    async def lifespan(self, call_next: LiveOn) -> None:
        with suppress(OSError):
            sqlite3.connect("seen.db").close()
        await call_next()


class FailsAtReset:
    @hookimpl
    def reset(self) -> None:
        raise ZeroDivisionError


class WantsSubject:
    @hookimpl
    def message(self, message: Message) -> None:
        assert message.header.get("Subject"), "no subject"


class WantsSmall:
    @hookimpl
    async def message(self, message: Message) -> None:
        assert len(await message.read()) < 100_000


class WantsColons:
    @hookimpl
    def headers(self, message: Message) -> None:
        message.header.raw.decode("ascii")


class BlamesTheClient:
    """Takes the client's leaving for a failure of its own."""

    @hookimpl
    async def ehlo(self, session: Session) -> None:
        try:
            await session.input_waits(0.1)
        except BaseException:
            raise RuntimeError("no answer") from None


class BlamesTheServer:
    @hookimpl
    async def rcpt(self) -> None:
        try:
            await checkpoint()
        except BaseException:
            raise RuntimeError("cancelled?") from None


class HidesFaults:
    """An onion above, that makes a failure below look like success."""

    @hookimpl
    async def rcpt(self, recipient: Recipient, call_next: CallNext) -> Reply:
        await call_next()
        recipient.accept()
        return Reply(250)


class Alone:
    """Keeps one thing for all sessions."""

    def __init__(self) -> None:
        self.at_work: str | None = None

    @hookimpl
    def mail(self, session: Session) -> None:
        assert self.at_work is None
        self.at_work = session.id

    @hookimpl
    def reset(self) -> None:
        self.at_work = None


class Forgets:
    @hookimpl
    def reset(self, session: Session) -> None:
        session.helo = None


class SharedPlace:
    """Two instances write to one place of the session."""

    @hookimpl
    def connect(self, session: Session) -> None:
        assert not session.listener
        session.listener = "taken"


BROKEN: list[tuple[Callable[[], object], Check]] = [
    (Misspelt, contract.loads),
    (Raises, contract.survives_a_plain_session),
    (FailsAtReset, contract.survives_a_plain_session),
    (RaisesInRehearsal, contract.survives_a_rehearsal),
    (Scribbles, contract.survives_a_rehearsal),
    (MakesItsDatabase, contract.survives_a_rehearsal),
    (WantsSubject, contract.survives_an_empty_message),
    (WantsSmall, contract.survives_the_largest_message),
    (WantsColons, contract.survives_strange_octets),
    (BlamesTheClient, contract.lets_the_client_leave),
    (BlamesTheServer, contract.lets_itself_be_cancelled),
    (Alone, contract.serves_two_sessions_at_once),
    (SharedPlace, contract.stands_twice_in_a_stack),
    (Forgets, contract.leaves_the_facts_alone),
]


@pytest.mark.every_backend
@pytest.mark.parametrize(("make", "check"), BROKEN, ids=lambda each: each.__name__)
async def test_what_breaks_the_contract_is_caught(
    make: Callable[[], object], check: Check, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises((AssertionError, ConfigError)):
        await check(make)
    assert not os.listdir(tmp_path)


class RaisesLater:
    @hookimpl
    async def rcpt(self) -> None:
        await checkpoint()


@pytest.mark.parametrize("check", [contract.is_blamed_when_it_raises, contract.is_blamed_when_it_hangs])
async def test_a_stack_that_passes_over_failures_is_caught(check: Check) -> None:
    with pytest.raises(AssertionError, match="passed over"):
        await check(RaisesLater, lambda *plugins: Stack(HidesFaults(), *plugins, Vouch()))


async def test_an_unbalanced_notice_is_caught() -> None:
    witness = Witness()
    async with Dialog(witness, Vouch()) as smtp:
        await smtp.message("a@example.org", "b@example.org")
        assert smtp.session.id in witness._connected
        witness.mail(make_session(sender="a@example.org"), make_sender())
        witness._connected.add("nobody")
        await witness.disconnect(smtp.session)
    assert witness.problems == [
        "a session had two disconnects",
        "a session had no disconnect",
        "a transaction had no reset",
    ]


async def test_a_grip_leaves_the_rest_of_the_plugin_as_it_is() -> None:
    held = Event()
    grip = Grip(Busy(), "mail", held.set)
    assert isinstance(grip.seen, Key)
    assert grip.name == "test_contract"
    async with Dialog(grip, Vouch()) as smtp:
        assert await smtp.message("a@example.org", "b@example.org") == 250
        assert b"X-Busy: yes" in smtp.messages[0].content
    assert held.is_set()
    assert grip.gripped == 1
