"""`run()`: a server that is a process of its own, and its signals."""

import signal
import socket

import pytest

from mailstack import ConfigError, Listener, Server, Stack
from mailstack.testing.dialog import Collect

from .process import Process, process

pytestmark = pytest.mark.slow

SIGNALS = [signal.SIGTERM, signal.SIGINT]


@pytest.fixture(params=["asyncio", "uvloop", "trio"])
def backend(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.mark.parametrize("number", SIGNALS)
def test_a_signal_tells_who_is_idle_and_lets_finish_what_runs(backend: str, number: signal.Signals) -> None:
    with process(backend, "held") as server, server.connect() as idle, server.connect() as busy:
        idle.hello()
        busy.hello()
        busy.send(b"HOLD\r\nNOOP\r\n")
        assert server.told() == "holding"
        server.signal(number)
        assert idle.reply().startswith("421 4.3.2 ")
        assert idle.reply() == ""
        server.tell()
        assert busy.reply() == "250 2.0.0 held"
        assert busy.reply() == "250 2.0.0 ok"
        assert busy.reply().startswith("421 4.3.2 ")
        assert busy.reply() == ""
        assert server.ended() == 0
        assert "Traceback" not in "".join(server.log)


def test_nobody_is_accepted_while_the_server_stops(backend: str) -> None:
    with process(backend, "held") as server, server.connect() as idle, server.connect() as busy:
        idle.hello()
        busy.hello()
        busy.send(b"HOLD\r\n")
        assert server.told() == "holding"
        server.signal(signal.SIGTERM)
        assert idle.reply().startswith("421 ")
        assert server.address is not None
        with pytest.raises(ConnectionRefusedError):
            socket.create_connection(server.address)
        server.tell()
        assert server.ended() == 0


def stop_twice(server: Process) -> None:
    """Two signals, the second once the first is known to be heard."""
    with server.connect() as idle, server.connect() as hanging:
        idle.hello()
        hanging.hello()
        hanging.send(b"NOOP\r\n")
        assert hanging.reply() == "250 2.0.0 ok"
        hanging.send(b"HANG\r\n")
        server.signal(signal.SIGTERM)
        assert idle.reply().startswith("421 ")
        server.signal(signal.SIGTERM)
        assert hanging.reply() == ""


def test_a_second_signal_does_not_wait_for_what_runs(backend: str) -> None:
    with process(backend, "held") as server:
        stop_twice(server)
        assert server.ended() == 0
        assert "Traceback" not in "".join(server.log)


def test_a_server_that_cannot_start_says_why_and_nothing_else(backend: str) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        server = Server(Stack(Collect()), [Listener(f"127.0.0.1:{taken.getsockname()[1]}")])
        with pytest.raises(ConfigError, match="cannot listen"):
            server.run(backend)


def test_a_backend_that_does_not_exist_is_told_with_those_that_do() -> None:
    with pytest.raises(ConfigError, match="quantum") as caught:
        Server(Stack(Collect()), [Listener("127.0.0.1:0")]).run("quantum")
    assert "asyncio" in caught.value.remedy
