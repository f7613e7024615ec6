"""Where a server listens: addresses of all kinds, and what happens when one cannot be had."""

import os
import socket
import stat
from pathlib import Path

import pytest

from mailstack import ConfigError, Listener, Server, Session, Stack
from mailstack.testing.dialog import Collect, Vouch

from .kit import client, on, serving


def port_of(address: object) -> int:
    assert isinstance(address, tuple)
    port = address[1]
    assert isinstance(port, int)
    return port


async def refusal(*listeners: Listener) -> ConfigError:
    """The error of a server that cannot have its addresses."""
    server = Server(Stack(Vouch(), Collect()), listeners)
    with pytest.raises(ConfigError) as caught:
        async with server:
            raise AssertionError("the server started")
    assert server.addresses == []
    return caught.value


async def test_every_listener_has_its_address_in_order_and_takes_mail(tmp_path: Path) -> None:
    path = str(tmp_path / "mail.sock")
    end = Collect()
    async with serving(Vouch(), end, listeners=["127.0.0.1:0", "[::1]:0", f"unix:{path}"]) as server:
        assert [type(each) for each in server.addresses] == [tuple, tuple, str]
        assert [each[0] for each in server.addresses] == ["127.0.0.1", "::1", path[0]]
        for address in server.addresses:
            async with client(address) as smtp:
                assert (await (await smtp.hello()).message()).startswith("250 ")
    assert len(end.messages) == 3


async def test_the_ipv6_wildcard_takes_ipv4_too_and_shows_it_as_ipv4() -> None:
    seen: list[tuple[str, str]] = []

    def connect(session: Session) -> None:
        seen.append((session.client.literal, session.server.host))

    async with serving(on(connect=connect), Collect(), listeners=["[::]:0"]) as server:
        port = port_of(server.addresses[0])
        for host in ("127.0.0.1", "::1"):
            async with client((host, port)) as smtp:
                await smtp.hello()
    assert seen == [("[127.0.0.1]", "127.0.0.1"), ("[IPv6:::1]", "::1")]


async def test_the_listeners_name_reaches_the_session_and_else_its_address() -> None:
    seen: list[str] = []

    def connect(session: Session) -> None:
        seen.append(session.listener)

    listeners = [Listener("127.0.0.1:0", name="inside"), Listener("127.0.0.1:0")]
    async with Server(Stack(on(connect=connect), Collect()), listeners) as server:
        for address in server.addresses:
            async with client(address) as smtp:
                await smtp.hello()
    assert seen == ["inside", "127.0.0.1:0"]


async def test_a_unix_client_has_no_address_and_is_local_in_received(tmp_path: Path) -> None:
    end = Collect()
    async with serving(Vouch(), end, listeners=[f"unix:{tmp_path / 's'}"]) as server:
        async with client(server) as smtp:
            await (await smtp.hello()).message()
    assert b"from client.test (local)\r\n" in end.messages[0].content


async def test_a_stale_unix_socket_is_replaced(tmp_path: Path) -> None:
    path = str(tmp_path / "mail.sock")
    with socket.socket(socket.AF_UNIX) as dead:
        dead.bind(path)
    async with serving(Collect(), listeners=[f"unix:{path}"]) as server, client(server) as smtp:
        await smtp.hello()


async def test_the_unix_socket_of_a_living_server_is_not_taken_away(tmp_path: Path) -> None:
    path = str(tmp_path / "mail.sock")
    async with serving(Collect(), listeners=[f"unix:{path}"]) as server:
        error = await refusal(Listener(f"unix:{path}"))
        assert path in error.message
        assert error.remedy
        async with client(server) as smtp:
            await smtp.hello()


async def test_the_unix_socket_of_a_server_with_a_full_backlog_is_not_waited_for(tmp_path: Path) -> None:
    path = str(tmp_path / "mail.sock")
    with socket.socket(socket.AF_UNIX) as busy, socket.socket(socket.AF_UNIX) as waiting:
        busy.bind(path)
        busy.listen(0)
        waiting.connect(path)
        await refusal(Listener(f"unix:{path}"))


@pytest.mark.parametrize("kind", ["file", "folder", "link"])
async def test_what_is_no_socket_stays_where_it_is(tmp_path: Path, kind: str) -> None:
    path = tmp_path / "precious"
    match kind:
        case "file":
            path.write_text("keep me")
        case "folder":
            path.mkdir()
        case "link":
            path.symlink_to("nowhere")
    before = os.lstat(path)
    error = await refusal(Listener(f"unix:{path}"))
    assert str(path) in error.message
    assert stat.S_IFMT(os.lstat(path).st_mode) == stat.S_IFMT(before.st_mode)
    assert os.lstat(path).st_ino == before.st_ino


async def test_a_port_in_use_is_told_with_a_remedy_and_frees_the_ports_before_it() -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken, socket.create_server(("127.0.0.1", 0)) as probe:
        address = f"127.0.0.1:{taken.getsockname()[1]}"
        free = probe.getsockname()[1]
        probe.close()
        error = await refusal(Listener(f"127.0.0.1:{free}"), Listener(address))
        assert address in error.message
        assert "another server" in error.remedy
        socket.create_server(("127.0.0.1", free)).close()


async def test_an_address_of_another_machine_is_told_with_a_remedy() -> None:
    error = await refusal(Listener("192.0.2.1:0"))
    assert "192.0.2.1:0" in error.message
    assert error.remedy


async def test_addresses_are_there_while_the_server_runs_and_not_after() -> None:
    server = Server(Stack(Collect()), [Listener("127.0.0.1:0")])
    assert server.addresses == []
    async with server:
        assert port_of(server.addresses[0]) > 0
    assert server.addresses == []
