"""The in-memory connection keeps the promises of the socket's."""

import anyio
import pytest

from mailstack.services.memory import LIMIT, MemoryStream, memory_stream_pair
from mailstack.services.transport import BrokenStream, RawStream


async def read_all(stream: RawStream) -> bytes:
    chunks = []
    while data := await stream.receive():
        chunks.append(data)
    return b"".join(chunks)


async def test_the_two_ends_know_each_other() -> None:
    server, client = memory_stream_pair(peer=("192.0.2.9", 4711))
    assert server.peer == client.local == ("192.0.2.9", 4711)
    assert server.local == client.peer == ("192.0.2.2", 25)


async def test_octets_arrive_in_order_and_then_the_end() -> None:
    server, client = memory_stream_pair()
    await client.send(b"EHLO x\r\n")
    await client.send(b"QUIT\r\n")
    await client.close()
    before = server.gone
    assert await read_all(server) == b"EHLO x\r\nQUIT\r\n"
    assert (before, server.gone) == (False, True)
    assert await server.receive() == b""


async def test_a_receiver_waits_until_something_comes() -> None:
    server, client = memory_stream_pair()
    async with anyio.create_task_group() as group:
        received: list[bytes] = []

        async def receive() -> None:
            received.append(await server.receive())

        group.start_soon(receive)
        await anyio.wait_all_tasks_blocked()
        await client.send(b"x")
        await anyio.wait_all_tasks_blocked()
        await client.send(b"y")
    assert received == [b"x"]


async def test_a_sender_waits_while_nobody_reads() -> None:
    server, client = memory_stream_pair()
    async with anyio.create_task_group() as group:
        group.start_soon(client.send, bytes(10 * LIMIT))
        await anyio.wait_all_tasks_blocked()
        total = 0
        while total < 10 * LIMIT:
            data = await server.receive()
            assert len(data) <= LIMIT
            total += len(data)


async def test_a_cancelled_send_that_had_to_wait_resets() -> None:
    server, client = memory_stream_pair()
    async with anyio.create_task_group() as group:
        group.start_soon(client.send, bytes(10 * LIMIT))
        await anyio.wait_all_tasks_blocked()
        group.cancel_scope.cancel()
    assert await read_all(server) == b""
    with pytest.raises(BrokenStream):
        await client.send(b"x")


async def test_a_cancelled_receive_loses_no_octet() -> None:
    server, client = memory_stream_pair()
    async with anyio.create_task_group() as group:
        group.start_soon(server.receive)
        await anyio.wait_all_tasks_blocked()
        group.cancel_scope.cancel()
    await client.send(b"NOOP\r\n")
    assert await server.receive() == b"NOOP\r\n"


async def test_a_half_closed_connection_still_hears_the_reply() -> None:
    server, client = memory_stream_pair()
    await client.send(b"QUIT\r\n")
    await client.send_eof()
    assert await read_all(server) == b"QUIT\r\n"
    await server.send(b"221 bye\r\n")
    await server.close()
    assert await read_all(client) == b"221 bye\r\n"
    with pytest.raises(BrokenStream):
        await client.send_eof()


@pytest.mark.parametrize("blocked", [False, True])
async def test_nothing_can_be_sent_to_a_peer_that_left(blocked: bool) -> None:
    server, client = memory_stream_pair()

    async def send() -> None:
        with pytest.raises(BrokenStream):
            await server.send(bytes(2 * LIMIT))

    async with anyio.create_task_group() as group:
        if blocked:
            group.start_soon(send)
            await anyio.wait_all_tasks_blocked()
        await client.close()
        group.start_soon(send)


async def test_an_abort_takes_back_what_was_not_read() -> None:
    server, client = memory_stream_pair()
    await client.send(b"DATA\r\n")
    client.abort()
    client.abort()
    assert server.gone
    assert await server.receive() == b""


async def test_closing_frees_a_receiver_of_another_task() -> None:
    server, _ = memory_stream_pair()
    async with anyio.create_task_group() as group:
        group.start_soon(read_all, server)
        await anyio.wait_all_tasks_blocked()
        await server.close()
        await server.close()
    assert server.gone


async def test_what_was_not_received_can_be_discarded() -> None:
    server, client = memory_stream_pair()
    await client.send(b"STARTTLS\r\nRSET\r\n")
    server.discard()
    await client.send(b"hello")
    assert await server.receive() == b"hello"


def test_it_has_all_that_a_socket_stream_has() -> None:
    stream: RawStream = memory_stream_pair()[0]
    assert isinstance(stream, MemoryStream)
