"""auth: wrong credentials cost time, whoever and wherever else is not slowed, and many connections do not help."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from anyio import Event, create_task_group
from anyio.lowlevel import checkpoint

from mailstack import Limits, Reply, Stack, hookimpl
from mailstack.middleware.auth import pace
from mailstack.services.store import Memory, SQLite, Store, StoreError
from mailstack.session.credentials import PASSWORD, Credentials, Password
from mailstack.testing import Conversation, Dialog
from tests.middleware.auth.users import Users, b64, begin, open_auth, plain


@pytest.fixture
def slept(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """The delays that nobody waits for."""
    seconds: list[float] = []

    async def sleep(time: float) -> None:
        await checkpoint()
        if time:
            seconds.append(time)

    monkeypatch.setattr(pace, "sleep", sleep)
    return seconds


def stack(store: Store | None = None, provider: object | None = None, **options: Any) -> Stack:
    given = {"delay": "1s", "failures": 1000, "store": store, **options}
    return Stack(open_auth(**given), provider or Users({f"u{n}": "right" for n in range(30)}, ann="right"))


async def attempt(smtp: Conversation, user: str = "ann", password: str = "wrong") -> int:
    if smtp.session.helo is None:
        await begin(smtp)
    return (await smtp.say(f"AUTH PLAIN {plain(user, password)}")).code


async def test_each_failure_doubles_the_delay_up_to_the_longest(slept: list[float]) -> None:
    async with Dialog(stack(), limits=Limits(errors=100)) as smtp:
        for _ in range(7):
            assert await attempt(smtp) == 535
        assert slept == [1, 2, 4, 8, 10, 10]


async def test_a_right_password_waits_as_long_and_then_all_is_forgotten(slept: list[float]) -> None:
    dialog = Dialog(stack())
    async with dialog as smtp:
        for _ in range(2):
            await attempt(smtp)
        assert await attempt(smtp, password="right") == 235
        assert slept == [1, 2]
        other = await dialog.connect()
        assert await attempt(other) == 535
        assert slept == [1, 2]


async def test_a_login_is_one_in_either_case_and_unknown_ones_count_too(slept: list[float]) -> None:
    async with Dialog(stack()) as smtp:
        for user in ("nobody", "NOBODY", "Nobody"):
            await attempt(smtp, user)
        assert slept == [1, 2]


@pytest.mark.parametrize(
    ("first", "second", "same"),
    [
        ("192.0.2.1", "192.0.2.1", True),
        ("192.0.2.1", "192.0.2.2", False),
        ("2001:db8::1", "2001:db8::ffff:1", True),
        ("2001:db8::1", "2001:db8:0:1::1", False),
        ("", "", True),
    ],
)
async def test_only_the_network_that_failed_is_slowed(first: str, second: str, same: bool, slept: list[float]) -> None:
    dialog = Dialog(stack())
    async with dialog:
        await attempt(await dialog.connect(first))
        await attempt(await dialog.connect(second))
        assert slept == ([1] if same else [])


async def test_who_tries_many_logins_is_slowed_but_not_who_is_known_there(slept: list[float]) -> None:
    dialog = Dialog(stack(), limits=Limits(errors=100))
    async with dialog as smtp:
        assert await attempt(smtp, "ann", "right") == 235
        bad = await dialog.connect()
        for n in range(pace.SPARE):
            await attempt(bad, f"u{n}")
        assert slept == []
        await attempt(bad, "u20")
        await attempt(bad, "u21")
        assert slept == [1]
        slept.clear()
        assert await attempt(await dialog.connect(), "u22", "right") == 235
        assert slept == [2]
        slept.clear()
        assert await attempt(await dialog.connect(), "ann", "right") == 235
        assert slept == []


class Gate:
    """A provider that judges when it is let, and counts whom it judges at the same time."""

    mechanisms = PASSWORD

    def __init__(self, opens: Event | None = None) -> None:
        self.opens = opens
        self.now = self.most = self.asked = 0

    @hookimpl
    async def auth(self, credentials: Credentials) -> Reply:
        assert isinstance(credentials, Password)
        self.now += 1
        self.asked += 1
        self.most = max(self.most, self.now)
        try:
            for _ in range(5):
                await checkpoint()
            if self.opens is not None:
                await self.opens.wait()
        finally:
            self.now -= 1
        return Reply(235 if credentials.password == "right" else 535)


async def test_many_connections_guess_no_quicker_than_one(slept: list[float]) -> None:
    gate = Gate()
    dialog = Dialog(stack(provider=gate))
    async with dialog as smtp:
        await attempt(smtp)
        guessers = await dialog.several(30)
        async with create_task_group() as group:
            for each in guessers:
                group.start_soon(attempt, each)
        assert gate.most == 1
        assert sum(each for each in slept if each >= 1) >= 1 + 2 + 4 + 8 + 10 * (gate.asked - 6)


async def test_nor_do_they_all_get_in_before_the_first_has_failed(slept: list[float]) -> None:
    gate = Gate()
    dialog = Dialog(stack(provider=gate))
    async with dialog:
        guessers = await dialog.several(40)
        async with create_task_group() as group:
            for each in guessers:
                group.start_soon(attempt, each)
        assert gate.most <= 20


async def test_who_relays_with_many_connections_and_the_right_password_does_not_wait(slept: list[float]) -> None:
    dialog = Dialog(stack(provider=Gate()))
    async with dialog as smtp:
        assert await attempt(smtp, password="right") == 235
        senders = await dialog.several(20)
        codes: list[int] = []

        async def send(one: Conversation) -> None:
            codes.append(await attempt(one, password="right"))

        async with create_task_group() as group:
            for each in senders:
                group.start_soon(send, each)
        assert codes == [235] * 20
        assert slept == []


async def test_who_finds_no_place_in_time_is_sent_away_and_not_judged(slept: list[float]) -> None:
    opens = Event()
    gate = Gate()
    store = Memory()
    dialog = Dialog(stack(store, gate))
    async with dialog as smtp:
        await attempt(smtp)
        gate.opens = opens
        first, second = await dialog.several(2)
        await begin(first)
        await first.send(f"AUTH PLAIN {plain(password='wrong')}\r\n".encode())
        while gate.asked < 2:
            await checkpoint()
        assert await attempt(second, password="right") == 421
        assert gate.asked == 2
        opens.set()
        assert await first.reply() == 535
        assert store.held == 0


async def test_of_one_network_only_some_may_wait_and_others_do_not_notice(slept: list[float]) -> None:
    opens = Event()
    gate = Gate()
    dialog = Dialog(stack(provider=gate))
    async with dialog as smtp:
        await attempt(smtp)
        gate.opens = opens
        codes: list[int] = []

        async def guess(one: Conversation) -> None:
            codes.append(await attempt(one))

        async with create_task_group() as group:
            for each in await dialog.several(pace.WAITING + 10):
                group.start_soon(guess, each)
            while len(codes) < 9:
                await checkpoint()
            opens.set()
            gate.opens = None
            assert await attempt(await dialog.connect("198.51.100.1"), password="right") == 235
        assert codes.count(421) >= 9


class Failing(Memory):
    """A store that breaks."""

    broken = ""

    async def add(self, key: str, amount: int, ttl: float) -> int:
        if self.broken == "all" or (self.broken == "writing" and amount):
            raise StoreError("the disk is full")
        return await super().add(key, amount, ttl)

    async def put(self, key: str, value: bytes, ttl: float, *, soon: bool = False) -> None:
        if self.broken:
            raise StoreError("the disk is full")
        await super().put(key, value, ttl, soon=soon)


async def test_without_its_store_nobody_is_judged_and_what_was_judged_stays(slept: list[float]) -> None:
    store = Failing()
    users = Users(ann="right")
    async with Dialog(stack(store, users)) as smtp:
        store.broken = "all"
        assert await attempt(smtp, password="right") == 454
        assert users.asked == []
        store.broken = "writing"
        assert await attempt(smtp) == 535
        assert await attempt(smtp, password="right") == 235
        assert store.held == 0


@pytest.mark.parametrize("end", ["*", "hang up"])
async def test_an_exchange_that_is_not_finished_gives_its_place_back(end: str, slept: list[float]) -> None:
    store = Memory()
    async with Dialog(stack(store)) as smtp:
        await begin(smtp)
        assert await smtp.say(f"AUTH SCRAM-SHA-256 {b64('n,,n=ann,r=abcdef')}") == 334
        assert store.held == 2
        if end == "*":
            assert await smtp.say("*") == 501
        else:
            await smtp.hang_up()
            await smtp.finished()
        assert store.held == 0


async def test_an_exchange_without_a_judgement_is_no_failure(slept: list[float]) -> None:
    async with Dialog(stack(provider=Users(ann="right"))) as smtp:
        await begin(smtp)
        for _ in range(3):
            await smtp.say(f"AUTH SCRAM-SHA-256 {b64('n,,n=ann,r=abcdef')}")
            assert await smtp.say("*") == 501
        assert await attempt(smtp) == 535
        assert slept == []


@pytest.mark.parametrize("kind", ["memory", "file"])
async def test_servers_that_share_a_store_share_what_they_know(kind: str, tmp_path: Path, slept: list[float]) -> None:
    store = Memory() if kind == "memory" else SQLite(tmp_path / "auth.db")
    for _ in range(3):
        async with Dialog(stack(store)) as smtp:
            await attempt(smtp)
    assert slept == [1, 2]
    async with Dialog(stack(store)) as smtp:
        assert await attempt(smtp, password="right") == 235
        assert slept == [1, 2, 4]
    async with Dialog(stack(store)) as smtp:
        assert await attempt(smtp) == 535
        assert slept == [1, 2, 4]
