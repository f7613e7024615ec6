"""Servers as processes of their own, and a client that blocks."""

import json
import signal
import socket
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

ROOT = Path(__file__).parents[2]
PATIENCE = 40.0


class Process:
    """A running `program`. Its log is read by a thread, so that it never blocks on it."""

    def __init__(self, *arguments: str) -> None:
        self.log: list[str] = []
        self.address: tuple[str, int] | None = None
        self._known = threading.Event()
        self.popen = subprocess.Popen(
            [sys.executable, "-m", "tests.server.program", *arguments],
            cwd=ROOT,
            text=True,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
        )
        self._reader = threading.Thread(target=self._read_log)
        self._reader.start()

    def _read_log(self) -> None:
        assert self.popen.stderr is not None
        for line in self.popen.stderr:
            self.log.append(line)
            if self.address is None and '"listening"' in line:
                host, _, port = json.loads(line)["addresses"].rpartition(":")
                self.address = (host, int(port))
                self._known.set()
        self._known.set()

    def connect(self) -> "Line":
        assert self._known.wait(PATIENCE), "the server does not start"
        assert self.address is not None, "".join(self.log)
        return Line(socket.create_connection(self.address, PATIENCE))

    def signal(self, number: signal.Signals) -> None:
        self.popen.send_signal(number)

    def tell(self) -> None:
        """A line on its standard input."""
        assert self.popen.stdin is not None
        self.popen.stdin.write("\n")
        self.popen.stdin.flush()

    def told(self) -> str:
        """A line from its standard output."""
        assert self.popen.stdout is not None
        return self.popen.stdout.readline().strip()

    def ended(self) -> int:
        """Its exit code, when it has ended."""
        code = self.popen.wait(PATIENCE)
        self._reader.join()
        return code

    def peak(self) -> int:
        """The most memory that it ever had, KiB."""
        for line in Path(f"/proc/{self.popen.pid}/status").read_text().splitlines():
            if line.startswith("VmHWM:"):
                return int(line.split()[1])
        raise AssertionError("no memory figures")


@contextmanager
def process(*arguments: str) -> Iterator[Process]:
    """A server that is gone at the end, whatever happens."""
    running = Process(*arguments)
    try:
        yield running
    finally:
        running.popen.kill()
        running.ended()
        for pipe in (running.popen.stdin, running.popen.stdout, running.popen.stderr):
            assert pipe is not None
            pipe.close()


class Line:
    """A client of few words; a context manager."""

    def __init__(self, connection: socket.socket) -> None:
        self.socket = connection
        self._file = connection.makefile("rb")

    def __enter__(self) -> "Line":
        return self

    def __exit__(self, *exc: object) -> None:
        self._file.close()
        self.socket.close()

    def reply(self) -> str:
        """The last line of the next reply; "" when the connection has ended."""
        while True:
            try:
                line = self._file.readline().decode()
            except ConnectionResetError:
                return ""
            if line[3:4] != "-":
                return line.rstrip("\r\n")

    def send(self, octets: bytes) -> None:
        self.socket.sendall(octets)

    def say(self, line: str) -> str:
        self.send(line.encode() + b"\r\n")
        return self.reply()

    def hello(self) -> "Line":
        assert self.reply().startswith("220 ")
        assert self.say("EHLO client.test").startswith("250 ")
        return self

    def opened(self) -> "Line":
        """All up to the 354."""
        for line in ("MAIL FROM:<a@client.test>", "RCPT TO:<b@mx.test>", "DATA"):
            answer = self.say(line)
            assert answer[0] in "23", answer
        return self
