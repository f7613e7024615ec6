"""Clients that ask for more than is good: floods, crowds, and the memory that they may take."""

from collections import Counter
from typing import Any, cast

import anyio
import pytest

from mailstack import Limits, Message
from mailstack.services.transport import RawStream
from mailstack.testing.dialog import Collect, Vouch

from .kit import BY_HAND, Client, client, later, only_connection, serving, sessions_over, until

COMMANDS = 100_000
OK = b"250 2.0.0 ok\r\n"


async def test_a_flood_of_pipelined_commands_is_answered_one_by_one() -> None:
    async with serving(Collect()) as server, client(server) as smtp:
        await smtp.hello()
        received = 0

        async def listen() -> None:
            nonlocal received
            while received < COMMANDS * len(OK):
                data = await smtp.stream.receive()
                assert data
                received += len(data)

        async with anyio.create_task_group() as group:
            group.start_soon(listen)
            await smtp.send(b"NOOP\r\n" * COMMANDS)
        assert received == COMMANDS * len(OK)
        assert only_connection(server).session.command_count == COMMANDS + 1


class Weighed:
    """A stream that remembers the most octets it was given to send at once."""

    def __init__(self, stream: Any) -> None:
        self._stream = stream
        self.most = 0

    async def send(self, data: bytes) -> None:
        self.most = max(self.most, len(data))
        await self._stream.send(data)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._stream, name)


@pytest.mark.slow
@pytest.mark.parametrize("line", [b"NOOP\r\n", b"HELP\r\n", b"EHLO a\r\n"])
async def test_the_replies_to_a_client_that_never_reads_do_not_pile_up(line: bytes) -> None:
    chosen = Limits(idle=100, sweep=BY_HAND)
    async with serving(Collect(), limits=chosen) as server, client(server) as smtp:
        await smtp.hello()
        connection = only_connection(server)
        weighed = Weighed(connection.stream)
        connection.stream = cast("RawStream", weighed)

        async def flood() -> None:
            try:
                await smtp.send(line * (16_000_000 // len(line)))
            except OSError:
                pass  # the server has had enough

        async with anyio.create_task_group() as group:
            group.start_soon(flood)
            await until(lambda: connection.waiting and not connection.reads)
            assert len(connection.protocol._buffer) < 300_000
            later(server, 101)
            await sessions_over(server)
        assert connection.why == "idle"
        assert weighed.most < 100_000


async def test_a_command_line_without_end_is_one_error_and_no_memory() -> None:
    async with serving(Collect()) as server, client(server) as smtp:
        await smtp.hello()
        connection = only_connection(server)
        most = 0
        for _ in range(64):
            await smtp.send(b"x" * 16384)
            await anyio.lowlevel.checkpoint()
            most = max(most, len(connection.protocol._buffer))
        await smtp.send(b"\r\nNOOP\r\n")
        assert (await smtp.reply()).startswith("500 ")
        assert await smtp.reply() == "250 2.0.0 ok"
        assert connection.session.error_count == 1
        assert most < 200_000


@pytest.mark.slow
async def test_five_hundred_sessions_at_once_deliver_each_message_once() -> None:
    number = 500
    got: list[bytes] = []
    everybody = anyio.Event()
    there = 0

    async def receive(message: Message) -> None:
        got.append((await message.read()).rpartition(b"\r\n\r\n")[2])

    async def deliver(each: int) -> None:
        nonlocal there
        async with client(server) as smtp:
            await smtp.hello()
            there += 1
            if there == number:
                everybody.set()
            await everybody.wait()
            answer = await smtp.message(b"Subject: crowd\r\n\r\n%d\r\n" % each)
            assert answer.startswith("250 "), answer
            assert (await smtp.say("QUIT")).startswith("221 ")

    async with serving(Vouch(), receive) as server:
        async with anyio.create_task_group() as group:
            for each in range(number):
                group.start_soon(deliver, each)
    assert Counter(got) == Counter(b"%d\r\n" % each for each in range(number))


@pytest.mark.slow
async def test_a_flood_does_not_keep_others_waiting() -> None:
    """While one client pipelines without end, another one's conversation goes on."""
    async with serving(Vouch(), Collect()) as server, client(server) as loud, client(server) as calm:
        await loud.hello()
        await calm.hello()

        async def drain(smtp: Client) -> None:
            while await smtp.stream.receive():
                pass

        async def flood() -> None:
            while True:
                await loud.send(b"NOOP\r\n" * 10_000)

        async with anyio.create_task_group() as group:
            group.start_soon(flood)
            group.start_soon(drain, loud)
            for _ in range(5):
                assert (await calm.message()).startswith("250 ")
            group.cancel_scope.cancel()
