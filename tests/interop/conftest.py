"""A served quickstart stack in a process of its own, for counterparts that are programs."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.programs import free_port, wait_until_open

CONFIGURATION = """
from mailstack import Listener, Server, Stack
from mailstack.handlers import maildir
from mailstack.middleware import recipients

server = Server(
    Stack(recipients.Domains("localhost", "example.org"), maildir.Maildir({mail!r}, eol={eol!r})),
    listeners=[Listener("127.0.0.1:{port}")],
    hostname="mx.example.org",
)
"""

# The same by LMTP, over TCP and a UNIX socket, with a Maildir for each recipient; one of them is full.
LMTP = """
from mailstack import Listener, Reply, Server, Stack, hookimpl
from mailstack.handlers import maildir
from mailstack.middleware import recipients

class Full:
    @hookimpl
    def queue(self, session):
        for recipient in session.transaction.recipients:
            if str(recipient) == "full@example.org":
                recipient.answer(Reply(452, "mailbox full", status="4.2.2"))

server = Server(
    Stack(
        recipients.Domains("localhost", "example.org"),
        Full(),
        maildir.Maildir({each!r} + "/{{address}}", eol={eol!r}),
    ),
    listeners=[Listener("unix:{socket}", lmtp=True), Listener("127.0.0.1:{port}", lmtp=True)],
    hostname="mx.example.org",
)
"""


@dataclass
class Served:
    """A running server: its port, what lies in its Maildir, and the UNIX socket of one that speaks LMTP."""

    port: int
    mail: Path
    socket: Path
    process: subprocess.Popen[bytes]

    def messages(self) -> list[bytes]:
        """The octets of every delivered file, in the order of delivery."""
        files = sorted((self.mail / "new").iterdir(), key=lambda path: path.stat().st_mtime_ns)
        return [path.read_bytes() for path in files]


@pytest.fixture(params=["asyncio", "uvloop", "trio"])
def serve(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Callable[..., Served]]:
    """Start `mailstack serve` on one backend; stopped by its PID at the end, and it must end well."""
    running: list[Served] = []

    def start(eol: str = "lf", *, lmtp: bool = False, configuration: str | None = None, **more: str) -> Served:
        port = free_port()
        mail = tmp_path / "mail"
        file = tmp_path / "mx.py"
        socket, each = tmp_path / "lmtp", str(tmp_path / "each")
        given = {"mail": str(mail), "each": each, "eol": eol, "port": port, "socket": socket, **more}
        file.write_text((configuration or (LMTP if lmtp else CONFIGURATION)).format(**given))
        command = [sys.executable, "-m", "mailstack", "serve", str(file), "--backend", request.param]
        served = Served(port, mail, socket, subprocess.Popen(command, stderr=subprocess.DEVNULL))
        running.append(served)
        wait_until_open(served.process, port)
        return served

    yield start
    for served in running:
        served.process.send_signal(signal.SIGTERM)
        assert served.process.wait(30) == 0


@pytest.fixture
def program() -> Callable[[str], str]:
    """The path of a counterpart; the test says *skipped* without it, and fails where CI must have it."""

    def find(name: str) -> str:
        path = shutil.which(name, path=os.environ.get("PATH", "") + ":/usr/sbin:/sbin")
        if path is None:
            reason = f"{name} is not installed"
            if os.environ.get("MAILSTACK_REQUIRE_INTEROP"):
                pytest.fail(reason)
            pytest.skip(reason)
        return path

    return find
