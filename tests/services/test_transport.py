"""Streams over real sockets on loopback: the same promises on asyncio, uvloop and trio."""

import errno
import os
import resource
import socket
import struct
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import asynccontextmanager, suppress
from pathlib import Path

import anyio
import pytest

from mailstack.services.transport import Acceptor, Address, BrokenStream, RawStream, accept, connect, on_asyncio, serve
from mailstack.services.transport.stream import address_of

MiB = 1024 * 1024
Handler = Callable[[RawStream, int], Awaitable[None]]


def listener(host: str = "127.0.0.1") -> socket.socket:
    return socket.create_server((host, 0), family=socket.AF_INET6 if ":" in host else socket.AF_INET, backlog=512)


@asynccontextmanager
async def serving(handler: Handler, *sockets: socket.socket) -> AsyncIterator[tuple[Acceptor, Address]]:
    """A server, and where its first socket listens."""
    sockets = sockets or (listener(),)
    name = sockets[0].getsockname()
    address = name if isinstance(name, str) else (name[0], name[1])
    with anyio.fail_after(30):
        async with anyio.create_task_group() as group:
            acceptor = await serve(sockets, handler, group)
            yield acceptor, address
            await acceptor.close()


@asynccontextmanager
async def pair(*sockets: socket.socket) -> AsyncIterator[tuple[RawStream, RawStream]]:
    """(server's end, client's end); both are closed afterwards."""
    accepted: list[RawStream] = []
    arrived, over = anyio.Event(), anyio.Event()

    async def handler(stream: RawStream, index: int) -> None:
        accepted.append(stream)
        arrived.set()
        await over.wait()

    async with serving(handler, *sockets) as (_, address):
        client = await connect(address)
        try:
            await arrived.wait()
            yield accepted[0], client
        finally:
            over.set()
            await client.close()


async def echo(stream: RawStream, index: int) -> None:
    while data := await stream.receive():
        await stream.send(data)


async def read_all(stream: RawStream) -> bytes:
    chunks = []
    while data := await stream.receive():
        chunks.append(data)
    return b"".join(chunks)


async def read_exactly(stream: RawStream, size: int) -> bytes:
    data = b""
    while len(data) < size:
        data += await stream.receive()
    return data


async def until(condition: Callable[[], bool]) -> None:
    while not condition():  # noqa: ASYNC110 (the kernel tells nobody)
        await anyio.sleep(0.001)


async def fill(stream: RawStream) -> None:
    """Send until the peer's buffers and ours are full."""
    while True:
        await stream.send(bytes(64 * 1024))


def open_sockets() -> int:
    links = []
    for number in os.listdir("/proc/self/fd"):
        with suppress(FileNotFoundError):
            links.append(os.readlink(f"/proc/self/fd/{number}"))
    return sum(link.startswith("socket:") for link in links)


@pytest.fixture(autouse=True)
def no_socket_is_left(anyio_backend: object) -> Iterator[None]:
    before = open_sockets()
    yield
    assert open_sockets() <= before


async def test_what_is_sent_comes_back() -> None:
    async with serving(echo) as (_, address):
        client = await connect(address)
        for text in (b"EHLO x\r\n", b"y" * 5000):
            await client.send(text)
            assert await read_exactly(client, len(text)) == text
        await client.close()


async def test_twenty_mebibytes_each_way_arrive_whole_and_in_order() -> None:
    block = os.urandom(MiB)
    async with pair() as (server, client):
        received: dict[str, bytes] = {}

        async def send_all(stream: RawStream) -> None:
            for _ in range(20):
                await stream.send(block)
            await stream.send_eof()

        async def receive_all(name: str, stream: RawStream) -> None:
            received[name] = await read_all(stream)

        async with anyio.create_task_group() as group:
            group.start_soon(send_all, server)
            group.start_soon(send_all, client)
            group.start_soon(receive_all, "server", server)
            group.start_soon(receive_all, "client", client)
        assert received == {"server": block * 20, "client": block * 20}


async def test_a_sender_waits_while_nobody_reads_and_what_is_queued_stays_bounded() -> None:
    async with pair() as (server, client):
        sent = 0

        async def send_much() -> None:
            nonlocal sent
            for _ in range(320):
                await client.send(bytes(64 * 1024))
                sent += 64 * 1024
            await client.send_eof()

        async with anyio.create_task_group() as group:
            group.start_soon(send_much)
            with anyio.move_on_after(0.3):
                await anyio.sleep_forever()
            assert sent < 20 * MiB
            largest = total = 0
            while data := await server.receive():
                largest, total = max(largest, len(data)), total + len(data)
        assert total == 20 * MiB
        assert largest <= 256 * 1024


async def test_many_single_octets_do_not_fill_the_memory() -> None:
    async with pair() as (server, client):
        for _ in range(5000):
            await client.send(b"x")
            await anyio.lowlevel.checkpoint()
        pieces = getattr(server, "_chunks", [])  # trio leaves them to the kernel, which joins them
        assert len(pieces) < 2500
        assert await read_exactly(server, 5000) == b"x" * 5000


async def test_the_end_of_file_is_empty_and_stays_empty() -> None:
    async with pair() as (server, client):
        await client.send(b"QUIT\r\n")
        await client.close()
        assert await read_all(server) == b"QUIT\r\n"
        assert await server.receive() == b""
        assert server.gone


async def test_a_half_closed_connection_still_hears_the_reply() -> None:
    async with pair() as (server, client):
        await client.send(b"QUIT\r\n")
        await client.send_eof()
        assert await read_all(server) == b"QUIT\r\n"
        await server.send(b"221 bye\r\n")
        await server.close()
        assert await read_all(client) == b"221 bye\r\n"


async def test_nothing_can_be_sent_after_ones_own_end_of_file() -> None:
    async with pair() as (server, client):
        await server.close()
        for act in (server.send(b"x"), server.send_eof()):
            with pytest.raises(BrokenStream):
                await act
        assert server.gone
        assert await server.receive() == b""
        assert await client.receive() == b""


async def test_a_reset_ends_receiving_and_breaks_sending() -> None:
    async with pair() as (server, client):
        await client.send(b"MAIL")
        assert await server.receive() == b"MAIL"
        client.abort()
        assert await server.receive() == b""
        assert server.gone
        with pytest.raises(BrokenStream):
            await server.send(b"250 ok\r\n")


async def test_a_reset_is_noticed_without_reading() -> None:
    async with pair() as (server, client):
        assert not server.gone
        await client.send(b"DATA\r\n")
        client.abort()
        await until(lambda: server.gone)


async def test_a_client_that_left_is_gone_but_not_before_its_octets_are_read() -> None:
    async with pair() as (server, client):
        await client.send(b"QUIT\r\n")
        await client.send_eof()
        with anyio.move_on_after(0.05):
            await until(lambda: server.gone)
        assert not server.gone
        assert await server.receive() == b"QUIT\r\n"
        await until(lambda: server.gone)


async def test_sending_to_a_peer_that_never_reads_can_be_cancelled_and_aborts() -> None:
    async with pair() as (server, client):
        with anyio.move_on_after(0.1) as scope:
            await fill(server)
        assert scope.cancelled_caught
        with pytest.raises(BrokenStream):
            await server.send(b"421 too slow\r\n")
        await read_all(client)  # the reset ends it


async def test_a_peer_that_leaves_frees_a_blocked_sender() -> None:
    async with pair() as (server, client):
        async with anyio.create_task_group() as group:

            async def blocked() -> None:
                with pytest.raises(BrokenStream):
                    await fill(server)

            group.start_soon(blocked)
            await read_exactly(client, 100_000)
            client.abort()


async def test_closing_frees_the_senders_and_receivers_of_other_tasks() -> None:
    async with pair() as (server, _):
        async with anyio.create_task_group() as group:

            async def sending() -> None:
                with pytest.raises(BrokenStream):
                    await fill(server)

            async def receiving() -> None:
                assert await server.receive() == b""

            group.start_soon(sending)
            group.start_soon(receiving)
            await anyio.wait_all_tasks_blocked()
            await server.close()


async def test_closing_towards_a_peer_that_never_reads_comes_to_an_end(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(on_asyncio, "LINGER", 0.05)
    monkeypatch.setattr(on_asyncio, "WRITE_LIMIT", 64 * MiB)
    async with pair() as (server, client):
        with anyio.move_on_after(0.1):
            await server.send(bytes(32 * MiB))  # more than the kernel takes
        await server.close()
        assert len(await read_all(client)) < 32 * MiB


async def test_a_cancelled_receive_loses_no_octet() -> None:
    size = 2000
    async with pair() as (server, client):

        async def send_slowly() -> None:
            for number in range(size):
                await client.send(struct.pack(">H", number))
                await anyio.lowlevel.checkpoint()

        received = b""
        async with anyio.create_task_group() as group:
            group.start_soon(send_slowly)
            while len(received) < 2 * size:
                with anyio.CancelScope() as scope:
                    group.start_soon(_cancel, scope)
                    received += await server.receive()
        assert received == b"".join(struct.pack(">H", number) for number in range(size))


async def _cancel(scope: anyio.CancelScope) -> None:
    scope.cancel()


async def test_two_receivers_at_once_are_refused() -> None:
    async with pair() as (server, client):
        async with anyio.create_task_group() as group:
            group.start_soon(server.receive)
            await anyio.wait_all_tasks_blocked()
            with pytest.raises(anyio.BusyResourceError):
                await server.receive()
            await client.send(b"x")


async def test_what_was_not_received_can_be_discarded() -> None:
    async with pair() as (server, client):
        await client.send(b"STARTTLS\r\nRSET\r\n")
        with anyio.move_on_after(0.05):
            await until(lambda: server.gone)  # let it arrive
        server.discard()
        await client.send(b"hello")
        assert await server.receive() == b"hello"


async def test_the_last_reply_is_heard_even_if_the_session_is_cancelled_while_closing() -> None:
    async def handler(stream: RawStream, index: int) -> None:
        with anyio.CancelScope() as scope:
            try:
                scope.cancel()
                await anyio.sleep_forever()
            finally:
                await stream.send(b"421 going\r\n")
                await stream.close()

    async with serving(handler) as (_, address):
        client = await connect(address)
        assert await read_all(client) == b"421 going\r\n"
        await client.close()


async def test_ipv4_and_ipv6_and_unix_addresses_are_reported(tmp_path: Path) -> None:
    async with pair() as (server, client):
        assert server.peer == client.local
        assert server.local == client.peer
        assert isinstance(server.peer, tuple)
        assert server.peer[0] == "127.0.0.1"
    path = str(tmp_path / "socket")
    unix = socket.socket(socket.AF_UNIX)
    unix.bind(path)
    unix.listen()
    async with pair(unix) as (server, client):
        assert (server.peer, server.local, client.peer, client.local) == ("", path, path, "")
        await client.send(b"LHLO x\r\n")
        assert await server.receive() == b"LHLO x\r\n"
        await client.close()
        assert await server.receive() == b""
        assert server.gone


async def test_ipv6_addresses_have_no_tail() -> None:
    try:
        six = listener("::1")
    except OSError:
        pytest.skip("no IPv6 loopback here")
    async with pair(six) as (server, client):
        assert server.peer == client.local
        assert server.local == client.peer == ("::1", client.peer[1])


async def test_ipv4_on_an_ipv6_socket_is_reported_as_ipv4() -> None:
    try:
        both = socket.create_server(("::", 0), family=socket.AF_INET6, dualstack_ipv6=True)
    except (OSError, ValueError):
        pytest.skip("no dual-stack sockets here")
    port = both.getsockname()[1]
    seen: list[tuple[Address, Address]] = []

    async def handler(stream: RawStream, index: int) -> None:
        seen.append((stream.peer, stream.local))

    async with serving(handler, both):
        client = await connect(("127.0.0.1", port))
        assert await client.receive() == b""
        await client.close()
    assert seen == [(client.local, ("127.0.0.1", port))]


@pytest.mark.parametrize(
    ("raw", "told"),
    [
        (("192.0.2.1", 25), ("192.0.2.1", 25)),
        (("2001:db8::1", 25, 0, 0), ("2001:db8::1", 25)),
        (("::ffff:192.0.2.1", 25, 0, 0), ("192.0.2.1", 25)),
        (("::ffff:0:1", 25, 0, 0), ("::ffff:0:1", 25)),
        (("fe80::1%eth0", 25, 0, 2), ("fe80::1", 25)),
        ("/run/x", "/run/x"),
        ("", ""),
        (None, ""),
        (b"\0name", "@name"),
    ],
)
def test_addresses_are_told_in_one_form(raw: object, told: Address) -> None:
    assert address_of(raw) == told


async def test_an_abstract_unix_socket_can_be_reached() -> None:
    unix = socket.socket(socket.AF_UNIX)
    unix.bind("\0mailstack-test")
    unix.listen()
    unix.setblocking(False)
    async with serving(echo, unix):
        client = await connect("@mailstack-test")
        assert client.peer == "@mailstack-test"
        await client.close()


async def test_small_segments_leave_at_once_on_both_sides() -> None:
    async with pair() as (server, client):
        for stream in (server, client):
            connection = stream._connection  # type: ignore[attr-defined]
            assert connection.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY) == 1


async def test_the_handler_is_told_which_socket_it_was() -> None:
    first, second = listener(), listener()
    port = second.getsockname()[1]

    async def handler(stream: RawStream, index: int) -> None:
        await stream.send(str(index).encode())

    async with serving(handler, first, second) as (_, address):
        for where, answer in ((address, b"0"), (("127.0.0.1", port), b"1")):
            client = await connect(where)
            assert await read_all(client) == answer
            await client.close()


async def test_closing_the_acceptor_leaves_the_sessions_alive() -> None:
    async with serving(echo) as (acceptor, address):
        client = await connect(address)
        await client.send(b"one")
        assert await client.receive() == b"one"
        await acceptor.close()
        await acceptor.close()
        await client.send(b"two")
        assert await client.receive() == b"two"
        with pytest.raises(ConnectionRefusedError):
            await connect(address)
        await client.close()


async def test_cancelling_the_group_closes_the_listening_sockets() -> None:
    sock = listener()
    async with anyio.create_task_group() as group:
        await serve([sock], echo, group)
        await anyio.wait_all_tasks_blocked()
        group.cancel_scope.cancel()
    assert sock.fileno() == -1


async def test_a_stream_is_reset_when_its_handler_raises() -> None:
    async def handler(stream: RawStream, index: int) -> None:
        raise ArithmeticError

    with pytest.raises(BaseExceptionGroup):
        async with serving(handler) as (_, address):
            client = await connect(address)
            try:
                assert await client.receive() == b""
            finally:
                client.abort()
            await anyio.sleep_forever()


async def test_five_hundred_connections_at_once_are_served() -> None:
    answered = 0
    all_answered = anyio.Event()

    async def one(address: Address) -> None:
        nonlocal answered
        client = await connect(address)
        await client.send(b"x")
        assert await client.receive() == b"x"
        answered += 1
        if answered == 500:
            all_answered.set()
        await all_answered.wait()
        await client.close()

    async with serving(echo) as (_, address):
        async with anyio.create_task_group() as group:
            for _ in range(500):
                group.start_soon(one, address)
    assert answered == 500


class Failing(socket.socket):
    """A listening socket whose accept() fails as told, then works."""

    failures: tuple[int, ...] = ()
    calls = 0

    def accept(self) -> tuple[socket.socket, object]:
        self.calls += 1
        if self.calls <= len(self.failures):
            code = self.failures[self.calls - 1]
            raise OSError(code, os.strerror(code))
        return super().accept()


def failing(*failures: int) -> Failing:
    sock = Failing(socket.AF_INET, socket.SOCK_STREAM)
    sock.bind(("127.0.0.1", 0))
    sock.listen()
    sock.failures = failures
    return sock


@pytest.mark.parametrize("code", [errno.EMFILE, errno.ENFILE, errno.ENOBUFS, errno.ENOMEM])
async def test_want_of_descriptors_pauses_the_listener_and_is_told(code: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(accept, "PAUSE", 0.05)
    sock = failing(code, code)
    told: list[int | None] = []
    async with anyio.create_task_group() as group:
        acceptor = await serve([sock], echo, group, on_error=lambda error: told.append(error.errno))
        client = await connect(sock.getsockname())
        await client.send(b"x")
        assert await client.receive() == b"x"
        await client.close()
        await acceptor.close()
    assert told == [code, code]


async def test_a_process_without_descriptors_serves_again_when_it_has_some(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(accept, "PAUSE", 0.05)
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    told = anyio.Event()
    sock = listener()
    async with anyio.create_task_group() as group:
        acceptor = await serve([sock], echo, group, on_error=lambda error: told.set())
        with socket.create_connection(sock.getsockname()) as client:
            resource.setrlimit(resource.RLIMIT_NOFILE, (3, hard))  # the kernel refuses numbers from 3 on
            try:
                await told.wait()
            finally:
                resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
            client.sendall(b"x")
            client.setblocking(False)
            await anyio.wait_readable(client)
            assert client.recv(10) == b"x"
        await acceptor.close()


async def test_a_flood_leaves_time_for_others() -> None:
    turns = 0

    async def other() -> None:
        nonlocal turns
        while True:
            turns += 1
            await anyio.lowlevel.checkpoint()

    def flood() -> None:
        with socket.create_connection(sock.getsockname()) as client:
            client.sendall(bytes(32 * MiB))

    sock = listener()
    received = 0
    over = anyio.Event()

    async def handler(stream: RawStream, index: int) -> None:
        nonlocal received
        while data := await stream.receive():
            received += len(data)
        over.set()

    async with serving(handler, sock):
        async with anyio.create_task_group() as group:
            group.start_soon(other)
            await anyio.to_thread.run_sync(flood)
            await over.wait()
            group.cancel_scope.cancel()
    assert received == 32 * MiB
    assert turns > 16


async def test_closing_ends_a_pause() -> None:
    sock = failing(*[errno.EMFILE] * 100)
    told = anyio.Event()
    with anyio.fail_after(0.9):
        async with anyio.create_task_group() as group:
            acceptor = await serve([sock], echo, group, on_error=lambda error: told.set())
            with socket.create_connection(sock.getsockname()):
                await told.wait()
                await acceptor.close()


async def test_a_connection_lost_before_it_was_accepted_is_ignored() -> None:
    sock = failing(errno.ECONNABORTED, errno.EPROTO)
    told: list[OSError] = []
    async with anyio.create_task_group() as group:
        acceptor = await serve([sock], echo, group, on_error=told.append)
        client = await connect(sock.getsockname())
        await client.send(b"x")
        assert await client.receive() == b"x"
        await client.close()
        await acceptor.close()
    assert told == []


async def test_nobody_listening_is_an_error_that_leaves_nothing_open(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError):
        await connect(str(tmp_path / "nothing"))
    closed = listener()
    address = closed.getsockname()
    closed.close()
    with pytest.raises(ConnectionRefusedError):
        await connect(address)


async def test_every_address_of_a_name_is_tried() -> None:
    async with serving(echo) as (_, address):
        client = await connect(("localhost", address[1]))  # type: ignore[arg-type]
        await client.send(b"x")
        assert await client.receive() == b"x"
        await client.close()
