"""p0f's own daemon tells what this machine runs, as far as it can."""

from __future__ import annotations

import ipaddress
import os
import socket
import subprocess
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from mailstack.middleware.p0f import P0f

pytestmark = pytest.mark.interop

HERE = ipaddress.ip_address("127.0.0.1")


@pytest.fixture
def daemon(program: Callable[[str], str], tmp_path: Path) -> Iterator[Path]:
    """p0f on the loopback; it needs root to listen there."""
    path = program("p0f")
    if os.geteuid():
        pytest.skip("p0f listens on the wire, as root")
    at = tmp_path / "p0f.sock"
    process = subprocess.Popen(
        [path, "-i", "lo", "-s", str(at), "-o", str(tmp_path / "log")], stdout=subprocess.DEVNULL
    )
    deadline = time.monotonic() + 30
    while not at.exists():
        assert process.poll() is None, "p0f ended before it listened"
        assert time.monotonic() < deadline
        time.sleep(0.05)
    yield at
    process.terminate()
    process.wait(30)


async def test_a_real_p0f_answers_and_knows_who_has_connected(daemon: Path) -> None:
    entry = P0f(str(daemon))
    assert str(await entry.look(ipaddress.ip_address("192.0.2.1"))) == "unknown"
    deadline = time.monotonic() + 30
    found = await entry.look(HERE)
    while found.distance < 0 and time.monotonic() < deadline:  # it reads what went by a moment later
        with socket.create_server(("127.0.0.1", 0)) as server:
            with socket.create_connection(server.getsockname()):
                server.accept()[0].close()
        found = await entry.look(HERE)
    assert found.distance == 0
