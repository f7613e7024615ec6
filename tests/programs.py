"""Programs of others that tests start: a free port for them, and waiting until they listen."""

from __future__ import annotations

import socket
import subprocess
import time
from collections.abc import Callable
from pathlib import Path

PATIENCE = 60  # seconds


def free_port() -> int:
    """A port of 127.0.0.1 that nobody has now, for TCP."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


def is_open(port: int) -> bool:
    try:
        socket.create_connection(("127.0.0.1", port), 1).close()
    except ConnectionRefusedError:
        return False
    return True


def wait_until(ready: Callable[[], bool], *running: subprocess.Popen[bytes], log: Path | None = None) -> None:
    """Until it is so; AssertionError when one of them has ended or time is up, with what stands in its log."""
    deadline = time.monotonic() + PATIENCE
    while not ready():
        said = log.read_text("utf-8", "replace") if log is not None else ""
        for process in running:
            assert process.poll() is None, f"{process.args!r} ended before it listened\n{said}"
        assert time.monotonic() < deadline, f"nobody listens after {PATIENCE} s\n{said}"
        time.sleep(0.02)


def wait_until_open(process: subprocess.Popen[bytes], *ports: int, log: Path | None = None) -> None:
    wait_until(lambda: all(map(is_open, ports)), process, log=log)
