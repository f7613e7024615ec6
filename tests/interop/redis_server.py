"""A Redis server of our own, on a free port, that keeps what it knows in a folder of the test's."""

from __future__ import annotations

import shutil
import signal
import socket
import subprocess
import time
from dataclasses import dataclass
from pathlib import Path


@dataclass
class RedisServer:
    folder: Path
    port: int
    process: subprocess.Popen[bytes]

    @property
    def url(self) -> str:
        return f"redis://127.0.0.1:{self.port}/0"

    def kill(self) -> None:
        """At once; what it knew is lost."""
        self.process.kill()
        self.process.wait(30)

    def start(self) -> None:
        """Again, on the same port, knowing nothing."""
        self.process = _run(self.folder, self.port)

    def freeze(self) -> None:
        self.process.send_signal(signal.SIGSTOP)

    def thaw(self) -> None:
        self.process.send_signal(signal.SIGCONT)


def start(folder: Path) -> RedisServer:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
    return RedisServer(folder, port, _run(folder, port))


def _run(folder: Path, port: int) -> subprocess.Popen[bytes]:
    path = shutil.which("redis-server")
    assert path is not None
    command = [path, "--port", str(port), "--bind", "127.0.0.1", "--save", "", "--dir", str(folder)]
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    deadline = time.monotonic() + 30
    while time.monotonic() < deadline:
        assert process.poll() is None, "redis-server ended before it listened"
        try:
            socket.create_connection(("127.0.0.1", port), 1).close()
            return process
        except ConnectionRefusedError:
            time.sleep(0.02)
    raise AssertionError("redis-server did not listen within 30 s")
