"""The frame around scanners: who is asked, for how long, and what a failure means."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
from anyio import create_task_group, create_unix_listener, sleep_forever
from anyio.abc import SocketStream

from mailstack.option import ConfigError
from mailstack.services.scan import Sample, Scanner, Thresholds
from mailstack.services.scan.scanner import ScanError, everything
from mailstack.services.transport import Stream
from mailstack.testing.message import make_message, make_session

Serve = Callable[[SocketStream], Awaitable[None]]


@asynccontextmanager
async def daemon(path: Path, serve: Serve) -> AsyncIterator[str]:
    """A scanner at a UNIX socket."""

    async def answer(stream: SocketStream) -> None:
        async with stream:
            await serve(stream)

    async with await create_unix_listener(path) as listener, create_task_group() as group:
        group.start_soon(listener.serve, answer)
        yield f"unix:{path}"
        group.cancel_scope.cancel()


async def count(stream: SocketStream) -> None:
    """Say how many octets came."""
    octets = 0
    async for chunk in stream:
        octets += len(chunk)
        if chunk.endswith(b"\0"):
            break
    await stream.send(str(octets - 1).encode())


async def hang(stream: SocketStream) -> None:
    await sleep_forever()


async def drop(stream: SocketStream) -> None:
    await stream.receive()


async def talk(stream: Stream, sample: Sample) -> int:
    async for chunk in sample.chunks():
        await stream.send(chunk)
    await stream.send(b"\0")
    said = await everything(stream, 64, lambda _: False)
    if not said:
        raise ScanError("it says nothing")
    return int(said)


def scanner(*servers: str, **options: Any) -> Scanner:
    return Scanner("Counter", "counter", servers, port=1, **options)


BODY = b"Subject: hi\r\n\r\n" + b"x" * 100000 + b"\r\n"


async def test_a_daemon_sees_the_whole_message(tmp_path: Path) -> None:
    message = make_message(BODY)
    async with daemon(tmp_path / "s", count) as server:
        found = await scanner(server).scan(make_session(), message, talk)
        assert (found.value, found.reply, found.server) == (len(BODY), None, server)
        assert found.seconds > 0


@pytest.mark.parametrize(
    ("too_large", "value", "code"), [("skip", None, None), ("head", 1024, None), ("defer", None, 451)]
)
async def test_a_message_over_the_size_is_treated_as_said(
    tmp_path: Path, too_large: str, value: int | None, code: int | None
) -> None:
    async with daemon(tmp_path / "s", count) as server:
        counting = scanner(server, max_size=1024, too_large=too_large)
        found = await counting.scan(make_session(), make_message(BODY), talk)
        assert (found.value, found.reply and found.reply.code) == (value, code)
        small = await counting.scan(make_session(), make_message(BODY[:1024]), talk)
        assert small.value == 1024


async def test_the_next_one_is_asked_and_the_one_that_failed_comes_last_from_then_on(tmp_path: Path) -> None:
    asked: list[str] = []

    async def noted(stream: SocketStream) -> None:
        asked.append("first")
        await drop(stream)

    async with daemon(tmp_path / "a", noted) as first, daemon(tmp_path / "b", count) as second:
        counting = scanner(first, second)
        for _ in range(2):
            found = await counting.scan(make_session(), make_message(BODY), talk)
            assert (found.value, found.server) == (len(BODY), second)
        assert asked == ["first"]


@pytest.mark.parametrize(("on_fault", "code"), [("defer", 451), ("pass", None)])
@pytest.mark.parametrize("serve", [drop, hang, None])
async def test_when_nobody_answers_it_is_as_configured(
    tmp_path: Path, serve: Serve | None, on_fault: str, code: int | None
) -> None:
    session = make_session()
    async with daemon(tmp_path / "s", serve or drop) as server:
        asked = server if serve else f"unix:{tmp_path}/nobody"
        counting = scanner(asked, timeout="50ms" if serve is hang else "30s", on_fault=on_fault)
        found = await counting.scan(session, make_message(BODY), talk)
        assert (found.value, found.reply and found.reply.code) == (None, code)
        assert "not scanned" in next(iter(session.evidence)).detail


async def test_no_more_than_so_many_are_scanned_at_a_time_and_all_are_in_the_end(tmp_path: Path) -> None:
    at_once = most = 0

    async def busy(stream: SocketStream) -> None:
        nonlocal at_once, most
        at_once += 1
        most = max(most, at_once)
        await count(stream)
        at_once -= 1

    results = []

    async with daemon(tmp_path / "s", busy) as server:
        counting = scanner(server, connections=2)

        async def one() -> None:
            results.append((await counting.scan(make_session(), make_message(BODY), talk)).value)

        async with create_task_group() as group:
            for _ in range(10):
                group.start_soon(one)
    assert results == [len(BODY)] * 10
    assert most <= 2


async def test_an_answer_without_end_is_a_failure(tmp_path: Path) -> None:
    async def endless(stream: SocketStream) -> None:
        while True:
            await stream.send(b"1" * 64)

    async with daemon(tmp_path / "s", endless) as server:
        found = await scanner(server).scan(make_session(), make_message(BODY), talk)
        assert found.reply is not None


def test_the_severest_threshold_counts() -> None:
    thresholds = Thresholds(tag=5, defer=8, reject=12)
    assert [thresholds.action(score) for score in (4.9, 5, 7.9, 8, 12, 100)] == [
        "pass",
        "tag",
        "tag",
        "defer",
        "reject",
        "reject",
    ]
    assert Thresholds().action(1e9) == "pass"


@pytest.mark.parametrize("servers", [(), ("127.0.0.1:0",), ("nonsense:x",)])
def test_servers_that_cannot_be_are_an_error(servers: tuple[str, ...]) -> None:
    with pytest.raises(ConfigError):
        scanner(*servers)
