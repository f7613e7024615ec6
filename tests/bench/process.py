"""A server as a process of its own: on a CPU of its own, asked for CPU time and memory, stopped by its id. Linux only.

A server program prints its port as the first line of its standard output and serves until SIGTERM. What it writes to
standard error is kept and shown when it dies before its time.
"""

import os
import resource
import select
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import IO

START = 30.0
STOP = 10.0
READ = 4096
ROOT = Path(__file__).parents[2]


class Died(Exception):
    """A server did not start; the text is what it wrote to standard error."""


def cpus() -> tuple[int | None, int | None]:
    """(server's CPU, generator's CPU); (None, None) where there are not two, or pinning is not possible."""
    if not hasattr(os, "sched_getaffinity"):
        return None, None
    allowed = sorted(os.sched_getaffinity(0))
    return (allowed[0], allowed[-1]) if len(allowed) > 1 else (None, None)


SERVER_CPU, GENERATOR_CPU = cpus()


@contextmanager
def pinned(cpu: int | None) -> Iterator[None]:
    """Pin this process, and with it every process that it starts meanwhile."""
    if cpu is None:
        yield
        return
    before = os.sched_getaffinity(0)
    os.sched_setaffinity(0, {cpu})
    try:
        yield
    finally:
        os.sched_setaffinity(0, before)


def allow_many_files() -> None:
    """Raise the limit of open files as far as it goes; servers inherit it."""
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))


class Process:
    """One running server."""

    __slots__ = ("errors", "name", "popen", "port")

    def __init__(
        self,
        name: str,
        arguments: Sequence[str],
        environment: Mapping[str, str],
        cpu: int | None = SERVER_CPU,
    ) -> None:
        self.name = name
        self.errors: IO[bytes] = tempfile.TemporaryFile()  # noqa: SIM115 -- closed by stop()
        command = [sys.executable, "-m", *arguments]
        with pinned(cpu):
            self.popen = subprocess.Popen(
                command,
                cwd=ROOT,
                env={**os.environ, **environment},
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=self.errors,
            )
        try:
            self.port = self.read_port()
            self.wait_until_open()
        except BaseException:
            self.stop()
            raise

    def read_port(self) -> int:
        assert self.popen.stdout is not None
        ready, _, _ = select.select([self.popen.stdout], [], [], START)
        line = self.popen.stdout.readline() if ready else b""
        if not line.strip().isdigit():
            raise Died(f"{self.name} did not start: {line!r}\n{self.complaint()}")
        return int(line)

    def wait_until_open(self) -> None:
        """The port is printed as soon as it is known; the server may need a moment more to listen.

        The first client is as polite as those that are counted: README.md, "What the figures mean", tells why.
        """
        end = time.monotonic() + START
        while time.monotonic() < end and self.popen.poll() is None:
            try:
                with socket.create_connection(("127.0.0.1", self.port), START) as client:
                    client.sendall(b"QUIT\r\n")
                    while client.recv(READ):
                        pass
            except ConnectionRefusedError:
                time.sleep(0.05)
            else:
                return
        raise Died(f"{self.name} does not listen on port {self.port}\n{self.complaint()}")

    def complaint(self) -> str:
        """The end of what it wrote to standard error."""
        self.errors.seek(0)
        return self.errors.read()[-4000:].decode(errors="replace")

    def cpu_seconds(self) -> float:
        """User and system time of all its threads, ended ones too, to the nanosecond (clock_getcpuclockid(3))."""
        return time.clock_gettime((~self.popen.pid << 3) | 2)

    def rss_kib(self) -> int:
        """Resident memory. From smaps_rollup, which counts pages; VmRSS is an estimate on recent kernels."""
        for line in Path(f"/proc/{self.popen.pid}/smaps_rollup").read_text().splitlines():
            if line.startswith("Rss:"):
                return int(line.split()[1])
        raise Died(f"{self.name} has no memory figures")

    def stop(self) -> None:
        self.popen.terminate()
        try:
            self.popen.wait(STOP)
        except subprocess.TimeoutExpired:
            self.popen.kill()
            self.popen.wait()
        if self.popen.stdout is not None:
            self.popen.stdout.close()
        self.errors.close()
