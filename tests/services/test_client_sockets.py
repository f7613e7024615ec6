"""The client over real sockets: against our own server, and against servers that leave as rudely as they can."""

import socket
import struct
import threading
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path

import anyio
import anyio.to_thread
import pytest

from mailstack import Limits, Listener, Recipient, Reply, Server, Stack, hookimpl
from mailstack.services.client import Client, Content, Disconnected, Envelope, Timeouts, open_client
from mailstack.services.client.content import LEAST
from mailstack.testing import Collect, Vouch

MESSAGE = b"Subject: test\r\n\r\n.test\r\n"
LARGE = b"Subject: large\r\n\r\n" + b".0123456789\r\n" * 200_000

ENVELOPE = Envelope.of("a@example.org", ["b@example.net"])


class Picky:
    name = "picky"

    @hookimpl
    def rcpt(self, recipient: Recipient) -> Reply | None:
        return Reply(550, "no such user", status="5.1.1") if str(recipient).startswith("no") else None


@pytest.mark.parametrize("pipelining", [True, False])
@pytest.mark.parametrize("chunking", [True, False])
async def test_our_own_server_gets_what_was_sent(pipelining: bool, chunking: bool) -> None:
    box = Collect()
    stack = Stack(Picky(), Vouch(), box)
    async with Server(stack, [Listener("127.0.0.1:0")], hostname="mx.test") as server:
        client = await open_client(server.addresses[0], hostname="me.test", pipelining=pipelining, chunking=chunking)
        async with client:
            for octets in (MESSAGE, LARGE, MESSAGE):
                outcome = await client.transact(
                    Envelope.of("a@example.org", ["no@example.net", "b@example.net"]), Content.of(octets)
                )
                assert [verdict.code for verdict in outcome.verdicts] == [550, 250]
                assert outcome.verdicts[0] == Reply(550, "no such user", status="5.1.1")
            assert client.usable
    assert [each.content.partition(b"Subject")[2] for each in box.messages] == [
        octets.partition(b"Subject")[2] for octets in (MESSAGE, LARGE, MESSAGE)
    ]


async def test_a_message_over_the_servers_limit_is_refused_and_the_next_one_taken() -> None:
    stack = Stack(Vouch(), Collect())
    limits = Limits(message_size=1024 * 1024)
    async with Server(stack, [Listener("127.0.0.1:0")], hostname="mx.test", limits=limits) as server:
        for chunking in (True, False):
            async with await open_client(server.addresses[0], hostname="me.test", chunking=chunking) as client:
                told = await client.transact(ENVELOPE, Content.of(LARGE))
                assert (told.mail.code, told.mail.status) == (552, "5.3.4")
                untold = Content(Content.of(LARGE).chunks, 10, False)
                outcome = await client.transact(ENVELOPE, untold)
                assert (outcome.mail.code, outcome.final.code, outcome.final.status) == (250, 552, "5.3.4")
                assert (await client.transact(ENVELOPE, Content.of(MESSAGE))).complete


async def test_it_connects_to_a_unix_socket_too(tmp_path: Path) -> None:
    path = str(tmp_path / "smtp.sock")
    async with Server(Stack(Vouch(), Collect()), [Listener(f"unix:{path}")], hostname="mx.test"):
        async with await open_client(path, hostname="me.test") as client:
            assert (await client.transact(ENVELOPE, Content.of(MESSAGE))).complete


async def test_where_nobody_listens_it_says_so() -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]
    with pytest.raises(ConnectionRefusedError):
        await open_client(("127.0.0.1", port), hostname="me.test")


async def test_connecting_takes_no_longer_than_it_is_told() -> None:
    with socket.create_server(("127.0.0.1", 0), backlog=0) as listener:
        address = listener.getsockname()
        with socket.create_connection(address):  # who comes next finds the queue full
            with socket.socket() as second:
                second.setblocking(False)
                second.connect_ex(address)
                with pytest.raises(TimeoutError, match="no connection within"):
                    for _ in range(3):
                        await open_client(address, hostname="me.test", timeouts=Timeouts(connect=0.2, greeting=0.01))


# Rude servers, in a thread of their own -----------------------------------------------------------------------------


@asynccontextmanager
async def rude(conversation: Callable[[socket.socket], None]) -> AsyncIterator[tuple[str, int]]:
    """A server for one connection, which it resets at the end."""
    listener = socket.create_server(("127.0.0.1", 0))

    def run() -> None:
        connection, _ = listener.accept()
        connection.settimeout(30)
        conversation(connection)
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        connection.close()

    thread = threading.Thread(target=run)
    thread.start()
    try:
        yield listener.getsockname()
    finally:
        await anyio.to_thread.run_sync(thread.join, 30)  # the loop must run meanwhile: it closes the connection
        listener.close()
        assert not thread.is_alive()


def until_data(connection: socket.socket) -> None:
    connection.sendall(b"220 mx\r\n")
    connection.recv(1000)
    connection.sendall(b"250-mx\r\n250 PIPELINING\r\n")
    while not connection.recv(1000).endswith(b"DATA\r\n"):
        pass
    connection.sendall(b"250 ok\r\n250 ok\r\n354 go\r\n")


async def outcome_of(address: tuple[str, int], content: Content) -> object:
    """The final code, or the Disconnected."""
    with anyio.fail_after(30):
        client: Client = await open_client(address, hostname="me.test")
        try:
            return (await client.transact(ENVELOPE, content)).final.code
        except Disconnected as error:
            assert not client.usable
            return error
        finally:
            client.abort()


async def test_a_reset_in_the_middle_of_the_data_is_certainly_no_delivery() -> None:
    def conversation(connection: socket.socket) -> None:
        until_data(connection)
        connection.recv(LEAST)

    async with rude(conversation) as address:
        error = await outcome_of(address, Content.of(b"x" * 32 * 1024 * 1024))
    assert isinstance(error, Disconnected)
    assert (error.stage, error.unknown) == ("body", False)


async def test_a_refusal_before_a_slow_reset_is_heard() -> None:
    def conversation(connection: socket.socket) -> None:
        until_data(connection)
        connection.recv(LEAST)
        connection.sendall(b"552 5.3.4 too big\r\n")
        while connection.recv(LEAST):  # the client stops and leaves
            pass

    def tolerant(connection: socket.socket) -> None:
        try:
            conversation(connection)
        except ConnectionResetError:
            pass

    async with rude(tolerant) as address:
        assert await outcome_of(address, Content.of(b"x" * 32 * 1024 * 1024)) == 552


async def test_a_reset_after_the_end_of_the_data_leaves_it_unknown() -> None:
    def conversation(connection: socket.socket) -> None:
        until_data(connection)
        while not connection.recv(1000).endswith(b"\r\n.\r\n"):
            pass

    async with rude(conversation) as address:
        error = await outcome_of(address, Content.of(MESSAGE))
    assert isinstance(error, Disconnected)
    assert (error.stage, error.unknown, error.verdicts) == ("end of data", True, (None,))
