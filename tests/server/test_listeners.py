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


async def test_lmtp_is_spoken_where_the_listener_says_so_over_tcp_and_unix(tmp_path: Path) -> None:
    seen: list[bool] = []

    def connect(session: Session) -> None:
        seen.append(session.lmtp)

    listeners = [
        Listener("127.0.0.1:0", lmtp=True),
        Listener(f"unix:{tmp_path / 's'}", lmtp=True),
        Listener("127.0.0.1:0"),
    ]
    async with Server(Stack(Vouch(), on(connect=connect), Collect()), listeners, hostname="mx.test") as server:
        for address, verb, other in zip(
            server.addresses, ("LHLO", "LHLO", "EHLO"), ("EHLO", "EHLO", "LHLO"), strict=True
        ):
            async with client(address) as smtp:
                assert (await smtp.reply()).startswith(f"220 mx.test {'LMTP' if verb == 'LHLO' else 'ESMTP'} ")
                assert (await smtp.say(f"{other} client.test")).startswith("500 5.5.1 ")
                assert (await smtp.say(f"{verb} client.test")).startswith("250-mx.test")
                await smtp.envelope(recipients=2)
                assert (await smtp.say("DATA")).startswith("354 ")
                await smtp.send(b"Subject: x\r\n\r\n.\r\nQUIT\r\n")
                *taken, bye = await smtp.replies(3 if verb == "LHLO" else 2)
                assert all(reply.startswith("250 2.0.0 collected as ") for reply in taken)
                assert bye.startswith("221 ")
    assert seen == [True, True, False]


@pytest.mark.parametrize("address", ["127.0.0.1:25", "[::]:25", "localhost:25"])
def test_lmtp_is_never_spoken_on_port_25(address: str) -> None:
    with pytest.raises(ConfigError, match="port 25") as caught:
        Listener(address, lmtp=True)
    assert "UNIX socket" in caught.value.remedy
    assert Listener(address).lmtp is False
    assert Listener("127.0.0.1:24", lmtp=True).lmtp
    assert Listener("unix:/run/25", lmtp=True).lmtp


@pytest.mark.parametrize(("written", "lmtp"), [("yes", True), ("no", False)])
def test_lmtp_may_be_written_as_a_word(written: str, lmtp: bool) -> None:
    assert Listener("127.0.0.1:24", lmtp=written).lmtp is lmtp  # type: ignore[arg-type]
    with pytest.raises(ConfigError, match="neither true nor false"):
        Listener("127.0.0.1:24", lmtp="maybe")  # type: ignore[arg-type]


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


async def test_a_unix_socket_goes_with_its_server_and_that_of_another_stays(tmp_path: Path) -> None:
    path = tmp_path / "mail.sock"
    async with serving(Collect(), listeners=[f"unix:{path}"]):
        assert path.is_socket()
    assert not path.exists()
    with socket.socket(socket.AF_UNIX) as other:
        async with serving(Collect(), listeners=[f"unix:{path}"]):
            path.unlink()
            other.bind(str(path))
            other.listen()
        assert path.is_socket()


@pytest.mark.parametrize(
    ("address", "remedy"),
    [
        ("192.0.2.1:0", "an address of this machine"),
        ("nowhere.invalid:0", "an address of this machine"),
        ("unix:{tmp_path}/none/mail.sock", "make the folder"),
        ("unix:{tmp_path}/file/mail.sock", "a path in a folder"),
    ],
)
async def test_the_remedy_is_for_what_is_wrong(tmp_path: Path, address: str, remedy: str) -> None:
    (tmp_path / "file").touch()
    error = await refusal(Listener(address.format(tmp_path=tmp_path)))
    assert remedy in error.remedy


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
