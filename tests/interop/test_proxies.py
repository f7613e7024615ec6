"""What stands in front: HAProxy, which writes PROXY headers, and swaks, which says XCLIENT as a filter would."""

from __future__ import annotations

import smtplib
import socket
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.programs import free_port, wait_until_open

from .conftest import Served

pytestmark = pytest.mark.interop

Serve = Callable[..., Served]
Program = Callable[[str], str]

STACK = """
from mailstack import Listener, Server, Stack, hookimpl
from mailstack.handlers import maildir
from mailstack.middleware import proxy, recipients, xclient

server = Server(
    Stack(
        proxy.Proxy(),
        xclient.XClient("127.0.0.1"),
        recipients.Domains("example.org"),
        maildir.Maildir({mail!r}, eol={eol!r}),
    ),
    listeners=[Listener("127.0.0.1:{port}"{listener})],
    hostname="mx.example.org",
)
"""

BALANCER = """
global
    log stderr local0
defaults
    mode tcp
    timeout connect 5s
    timeout client 30s
    timeout server 30s
frontend smtp
    bind 127.0.0.1:{port}
    default_backend servers
backend servers
    server mx 127.0.0.1:{server} {send}
"""


@pytest.fixture
def balance(program: Program, tmp_path: Path) -> Iterator[Callable[[int, str], int]]:
    """HAProxy in front of a port, in the foreground, ended by its PID; returns the port where it listens."""
    running: list[subprocess.Popen[bytes]] = []

    def start(server: int, send: str) -> int:
        port = free_port()
        file = tmp_path / "haproxy.cfg"
        file.write_text(BALANCER.format(port=port, server=server, send=send))
        process = subprocess.Popen([program("haproxy"), "-db", "-f", str(file)], stderr=subprocess.DEVNULL)
        running.append(process)
        wait_until_open(process, port)
        return port

    yield start
    for process in running:
        process.terminate()
        process.wait(30)


def swaks(program: Program, port: int, *more: str) -> subprocess.CompletedProcess[bytes]:
    command = [program("swaks"), "--server", f"127.0.0.1:{port}", "--from", "a@example.net", "--to", "b@example.org"]
    return subprocess.run([*command, *more], capture_output=True, timeout=60)


@pytest.mark.parametrize(
    "send", ["send-proxy", "send-proxy-v2", "send-proxy-v2 proxy-v2-options crc32c,unique-id,authority,ssl,cert-cn"]
)
def test_haproxy_names_the_client(
    serve: Serve, balance: Callable[[int, str], int], program: Program, send: str
) -> None:
    served = serve(configuration=STACK, listener=', proxy="127.0.0.1"')
    port = balance(served.port, send)
    result = swaks(program, port, "--local-interface", "127.0.0.77")
    assert result.returncode == 0, result.stdout
    [stored] = served.messages()
    assert b"[127.0.0.77]" in stored


@pytest.mark.parametrize("send", ["send-proxy", "send-proxy-v2"])
def test_its_health_checks_are_let_through(
    serve: Serve, balance: Callable[[int, str], int], program: Program, send: str
) -> None:
    served = serve(configuration=STACK, listener=', proxy="127.0.0.1"')
    port = balance(served.port, f"{send} check check-send-proxy inter 100ms")
    assert swaks(program, port).returncode == 0
    assert len(served.messages()) == 1


def test_without_its_header_nobody_is_served(serve: Serve, balance: Callable[[int, str], int]) -> None:
    served = serve(configuration=STACK, listener=', proxy="127.0.0.1"')
    for port in (served.port, balance(served.port, "")):
        with socket.create_connection(("127.0.0.1", port), 30) as client:
            client.sendall(b"EHLO client.example\r\n")
            assert client.recv(100) == b""


def test_swaks_speaks_for_another_client(serve: Serve, program: Program) -> None:
    served = serve(configuration=STACK, listener="")
    told = ["--xclient-addr", "IPV6:2001:db8::7", "--xclient-name", "mx.example.net", "--xclient-port", "4711"]
    more = [
        "--xclient-proto",
        "ESMTP",
        "--xclient-delim",
        "--xclient-login",
        "anna@example.org",
        "--xclient-helo",
        "mx",
    ]
    result = swaks(program, served.port, *told, *more)
    assert result.returncode == 0, result.stdout
    [stored] = served.messages()
    assert b"[IPv6:2001:db8::7]" in stored
    assert b"with ESMTPA id" in stored


def test_swaks_is_refused_where_nobody_trusts_it(serve: Serve, program: Program) -> None:
    served = serve(configuration=STACK.replace('XClient("127.0.0.1")', 'XClient("192.0.2.1")'), listener="")
    result = swaks(program, served.port, "--xclient-addr", "198.51.100.7")
    assert result.returncode != 0
    assert b"did not advertise XCLIENT" in result.stderr
    with smtplib.SMTP("127.0.0.1", served.port) as client:
        assert client.docmd("XCLIENT", "ADDR=198.51.100.7") == (550, b"5.7.0 you may not speak for others")
