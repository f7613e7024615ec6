"""Who has not written before waits; who comes again is known."""

from __future__ import annotations

import sqlite3
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner

from mailstack.cli import main
from mailstack.middleware import greylist
from mailstack.middleware.greylist.record import Record, normal_sender
from mailstack.option import ConfigError
from mailstack.services import lookup
from mailstack.services.store import Memory, SQLite, Store, StoreError
from mailstack.testing import Conversation, Dialog, Vouch


class Clock:
    """The time, which passes when told."""

    def __init__(self) -> None:
        self.now = 1_000_000.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture(params=["memory", "sqlite"])
def store(request: pytest.FixtureRequest, clock: Clock, tmp_path: Path) -> Store:
    return Memory(clock=clock) if request.param == "memory" else SQLite(tmp_path / "grey.db", clock=clock)


async def tried(smtp: Conversation, sender: str = "ann@example.org", recipient: str = "bob@example.net") -> str:
    """The reply to RCPT."""
    assert await smtp.say("RSET") == 250
    assert await smtp.say(f"MAIL FROM:<{sender}>") == 250
    return str(await smtp.say(f"RCPT TO:<{recipient}>"))


async def greeted(smtp: Conversation) -> None:
    await smtp.banner()
    await smtp.say("EHLO client.example")


async def test_a_triplet_waits_and_is_known_from_then_on(store: Store, clock: Clock) -> None:
    async with Dialog(greylist.Greylist(delay="5m", store=store, clock=clock), Vouch()) as smtp:
        await greeted(smtp)
        assert await tried(smtp) == "451 4.7.1 greylisted, try again in 300 seconds"
        clock.now += 100
        assert await tried(smtp) == "451 4.7.1 greylisted, try again in 200 seconds"
        clock.now += 200
        assert (await tried(smtp)).startswith("250")
        for _ in range(4):
            clock.now += 35 * 86400
            assert (await tried(smtp)).startswith("250")
        clock.now += 37 * 86400
        assert (await tried(smtp)).startswith("451")


async def test_who_comes_again_too_late_begins_anew(store: Store, clock: Clock) -> None:
    async with Dialog(greylist.Greylist(delay="5m", window="2h", store=store, clock=clock), Vouch()) as smtp:
        await greeted(smtp)
        assert (await tried(smtp)).startswith("451")
        clock.now += 7201
        assert await tried(smtp) == "451 4.7.1 greylisted, try again in 300 seconds"
        clock.now += 301
        assert (await tried(smtp)).startswith("250")


async def test_the_store_remembers_across_servers(clock: Clock, tmp_path: Path) -> None:
    for expected in ("451", "250"):
        entry = greylist.Greylist(store=SQLite(tmp_path / "grey.db", clock=clock), clock=clock)
        async with Dialog(entry, Vouch()) as smtp:
            await greeted(smtp)
            assert (await tried(smtp)).startswith(expected)
        clock.now += 301


@pytest.mark.parametrize(
    ("changed", "code"),
    [
        ({"client": "192.0.2.77"}, "250"),
        ({"client": "192.0.3.1"}, "451"),
        ({"sender": "other@example.org"}, "451"),
        ({"sender": "ANN+detail@Example.org"}, "250"),
        ({"recipient": "other@example.net"}, "451"),
        ({"recipient": "BOB@example.net"}, "250"),
    ],
)
async def test_what_counts_as_the_same(clock: Clock, changed: dict[str, str], code: str) -> None:
    shared = Memory(clock=clock)
    async with shared.opened():
        for given, expected in (({}, "451"), (changed, code)):
            client = given.get("client", "192.0.2.1")
            words = {name: value for name, value in given.items() if name != "client"}
            async with Dialog(greylist.Greylist(store=shared, clock=clock), Vouch(), client=client) as smtp:
                await greeted(smtp)
                assert (await tried(smtp, **words)).startswith(expected)
            clock.now += 400


async def test_parts_of_the_triplet_may_stay_out(clock: Clock) -> None:
    async with Dialog(
        greylist.Greylist(by=("client", "recipient"), store=Memory(clock=clock), clock=clock), Vouch()
    ) as smtp:
        await greeted(smtp)
        assert (await tried(smtp)).startswith("451")
        clock.now += 301
        assert (await tried(smtp, "other@example.org")).startswith("250")


async def test_a_client_that_was_let_in_often_is_a_mail_server(store: Store, clock: Clock) -> None:
    async with Dialog(greylist.Greylist(trust=3, store=store, clock=clock), Vouch()) as smtp:
        await greeted(smtp)
        for name in "abc":
            assert (await tried(smtp, f"{name}@example.org")).startswith("451")
        clock.now += 301
        for name in "abc":
            assert (await tried(smtp, f"{name}@example.org")).startswith("250")
        assert (await tried(smtp, "new@example.org")).startswith("250")


async def test_bounces_wait_at_data_and_postmaster_never(clock: Clock) -> None:
    async with Dialog(greylist.Greylist(store=Memory(clock=clock), clock=clock), Vouch()) as smtp:
        await greeted(smtp)
        assert (await tried(smtp, "")).startswith("250")
        assert str(await smtp.say("DATA")) == "451 4.7.1 greylisted, try again in 300 seconds"
        assert (await tried(smtp, recipient="postmaster")).startswith("250")
        assert await smtp.say("DATA") == 354


async def test_late_puts_the_whole_message_off(clock: Clock) -> None:
    async with Dialog(
        greylist.Greylist(late=True, store=Memory(clock=clock), tell=False, clock=clock), Vouch()
    ) as smtp:
        await greeted(smtp)
        assert (await tried(smtp)).startswith("250")
        clock.now += 301
        assert (await tried(smtp)).startswith("250")
        assert await smtp.say("RCPT TO:<new@example.net>") == 250
        assert str(await smtp.say("DATA")) == "451 4.7.1 greylisted, try again later"
        assert (await tried(smtp)).startswith("250")
        assert await smtp.say("DATA") == 354


@pytest.mark.parametrize(
    ("options", "recipient", "code"),
    [
        ({"optin": ["bob@example.net"]}, "bob@example.net", "451"),
        ({"optin": ["bob@example.net"]}, "carl@example.net", "250"),
        ({"optin": []}, "bob@example.net", "250"),
        ({"optout": "example.net"}, "bob@example.net", "250"),
        ({"optin": "example.net", "optout": lookup.Function({"bob@example.net": ""}.get)}, "bob@example.net", "250"),
        ({"optin": "example.net", "optout": lookup.Function({"bob@example.net": ""}.get)}, "carl@example.net", "451"),
    ],
)
async def test_recipients_decide_for_themselves(
    clock: Clock, options: dict[str, Any], recipient: str, code: str
) -> None:
    async with Dialog(greylist.Greylist(**options, store=Memory(clock=clock), clock=clock), Vouch()) as smtp:
        await greeted(smtp)
        assert (await tried(smtp, recipient=recipient)).startswith(code)


async def test_a_lookup_that_cannot_say_is_as_a_dead_store(clock: Clock) -> None:
    def down(key: str) -> str | None:
        raise lookup.Unavailable("the database is down")

    for on_fault, code in (("defer", "451 4.3.0"), ("pass", "250")):
        entry = greylist.Greylist(optin=lookup.Function(down), store=Memory(clock=clock), on_fault=on_fault)  # type: ignore[arg-type]
        async with Dialog(entry, Vouch()) as smtp:
            await greeted(smtp)
            assert (await tried(smtp)).startswith(code)


class Dead(Memory):
    async def get(self, key: str) -> bytes | None:
        raise StoreError("out of order")


async def test_a_dead_store_puts_off_or_lets_pass(clock: Clock) -> None:
    for on_fault, code in (("defer", "451 4.3.0"), ("pass", "250")):
        entry = greylist.Greylist(store=Dead(), on_fault=on_fault, clock=clock)  # type: ignore[arg-type]
        async with Dialog(entry, Vouch()) as smtp:
            await greeted(smtp)
            assert (await tried(smtp)).startswith(code)


async def test_a_store_that_takes_nothing_any_more_is_as_a_dead_one(tmp_path: Path) -> None:
    for on_fault, code in (("defer", "451 4.3.0"), ("pass", "250")):
        store = SQLite(tmp_path / on_fault, timeout=0)
        async with Dialog(greylist.Greylist(store=store, on_fault=on_fault), Vouch()) as smtp:  # type: ignore[arg-type]
            await greeted(smtp)
            with closing(sqlite3.connect(tmp_path / on_fault, isolation_level=None)) as busy:
                busy.execute("BEGIN IMMEDIATE")
                assert (await tried(smtp)).startswith("451 4.7.1")
                await store.flush()
                assert (await tried(smtp, "new@example.org")).startswith(code)
                busy.execute("ROLLBACK")


async def test_a_rehearsal_remembers_nothing(clock: Clock) -> None:
    shared = Memory(clock=clock)
    async with Dialog(greylist.Greylist(store=shared, clock=clock), Vouch(), rehearsal=True) as smtp:
        await greeted(smtp)
        assert (await tried(smtp)).startswith("451")
        assert shared.kept == 0


@pytest.mark.parametrize(
    ("address", "expected"),
    [
        ("Ann@Example.ORG", "ann@example.org"),
        ("prvs=12ab34cd=ann@example.org", "ann@example.org"),
        ("btv1==123==ann@example.org", "ann@example.org"),
        ("SRS0=xyz=12=example.org=ann@forwarder.example", "srs0@forwarder.example"),
        ("bounce-4711-bob=example.net@list.example", "bounce-#-bob=example.net@list.example"),
        ("0100018f-3b2c-4c1e@eu.example", "#-#-#@eu.example"),
        ("User1@example.org", "user1@example.org"),
        ("", ""),
        ("+x@example.org", "@example.org"),
    ],
)
def test_senders_without_what_changes(address: str, expected: str) -> None:
    assert normal_sender(address) == expected


def test_a_record_is_bounded_and_what_is_none_is_none() -> None:
    record = Record(1.0, 2.0, 3, "x" * 5000)
    assert len(record.pack()) < 1000
    assert Record.unpack(record.pack()) == record._replace(words="x" * 800)
    assert Record.unpack(None) is None
    assert Record.unpack(b"short") is None


@pytest.mark.parametrize(
    "options",
    [
        {"delay": "2d", "window": "1d"},
        {"by": ()},
        {"by": "weather"},
        {"prefix": 24},
        {"prefix": (0, 64)},
        {"trust": -1},
    ],
)
def test_what_makes_no_sense_is_an_error(options: dict[str, Any]) -> None:
    with pytest.raises(ConfigError, match="Greylist"):
        greylist.Greylist(**options)


# mailstack greylist.

CONFIGURATION = """
from mailstack import Listener, Server, Stack
from mailstack.handlers import discard
from mailstack.middleware import greylist
from mailstack.services.store import SQLite

server = Server(Stack(greylist.Greylist(store=SQLite({path!r})), discard.Discard()), [Listener("127.0.0.1:0")])
"""

Run = Callable[..., str]


@pytest.fixture
def run(tmp_path: Path) -> Run:
    """`mailstack greylist …`: what it prints."""
    source = tmp_path / "mx.py"
    source.write_text(CONFIGURATION.format(path=str(tmp_path / "grey.db")))

    def invoke(*words: str, status: int = 0) -> str:
        result = CliRunner().invoke(main, ["greylist", *words, "-c", str(source)])
        assert result.exit_code == status, result.output
        return result.output

    return invoke


@pytest.mark.parametrize("anyio_backend", ["asyncio"])
async def test_records_are_listed_allowed_and_forgotten(run: Run, tmp_path: Path, anyio_backend: object) -> None:
    from anyio import to_thread

    async with Dialog(greylist.Greylist(store=SQLite(tmp_path / "grey.db")), Vouch()) as smtp:
        await greeted(smtp)
        await tried(smtp)
        await tried(smtp, "eve@example.org", "carl@example.net")

    def commands() -> None:
        listed = run("list").splitlines()
        assert [line.split()[-3:] for line in listed] == [
            ["192.0.2.0/24", "ann@example.org", "bob@example.net"],
            ["192.0.2.0/24", "eve@example.org", "carl@example.net"],
        ]
        assert all(line.startswith("new ") for line in listed)
        assert run("allow", "192.0.2.55") == "192.0.2.0/24 is let in\n"
        assert run("list").splitlines()[-1].startswith("client      5 ")
        assert run("expire", "eve@example.org") == "1 forgotten\n"
        assert run("expire", "--all") == "2 forgotten\n"
        assert run("list") == ""
        assert "no address" in run("allow", "nonsense", status=2)
        assert "10.0.0.0/8 has several networks of /24" in run("allow", "10.0.0.0/8", status=2)
        assert "say what" in run("expire", status=2)

    await to_thread.run_sync(commands)


def test_a_configuration_without_a_greylist_is_told(tmp_path: Path) -> None:
    source = tmp_path / "mx.py"
    source.write_text("from mailstack import Server, Stack\nserver = Server(Stack())\n")
    result = CliRunner().invoke(main, ["greylist", "list", "-c", str(source)])
    assert result.exit_code == 2
    assert "has no Greylist in its stack" in result.output
