"""SpamAssassin's own daemon judges, dies and comes back; mailstack answers as configured each time."""

from __future__ import annotations

import socket
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from mailstack.middleware.spamassassin import SpamAssassin
from mailstack.testing import Dialog, Vouch
from tests.programs import free_port, wait_until

pytestmark = [pytest.mark.interop, pytest.mark.slow]

GTUBE = "XJS*C4JDBQADN1.NSBN3*2IDNEN*GTUBE-STANDARD-ANTI-UBE-TEST-EMAIL*C.34X"
HEADER = (
    "From: Ann <ann@example.org>\r\nTo: bob@example.net\r\nSubject: lunch\r\nMessage-ID: <1.2.3@example.org>\r\n"
    "Date: Mon, 23 Nov 2026 10:00:00 +0000\r\n\r\n"
)
SPAM = f"{HEADER}{GTUBE}\r\n".encode()
HAM = f"{HEADER}Shall we meet at noon, as we did last week?\r\n".encode()


class Daemon:
    """spamd without network tests, at a UNIX socket or a port of the loopback; stopped and started by its PID."""

    def __init__(self, spamd: str, folder: Path, port: int = 0) -> None:
        self._port = port
        self._socket = folder / "spamd.sock"
        self.address = f"127.0.0.1:{port}" if port else f"unix:{self._socket}"
        where = ["--port", str(port), "-i", "127.0.0.1"] if port else [f"--socketpath={self._socket}"]
        self._command = [spamd, "-L", "-x", "--nouser-config", "--max-children=1", "-s", "null", *where]
        self._process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        self._process = subprocess.Popen(self._command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        wait_until(self._answers, self._process)

    def _answers(self) -> bool:
        with socket.socket(socket.AF_INET if self._port else socket.AF_UNIX) as probe:
            return not probe.connect_ex(("127.0.0.1", self._port) if self._port else str(self._socket))

    def kill(self) -> None:
        """spamd's children follow when their pipe to it breaks."""
        assert self._process is not None
        self._process.terminate()
        self._process.wait(30)
        self._socket.unlink(missing_ok=True)


@pytest.fixture
def spamd(program: Callable[[str], str], tmp_path: Path) -> Iterator[Callable[..., Daemon]]:
    """Makes running spamds."""
    running: list[Daemon] = []

    def start(port: int = 0) -> Daemon:
        daemon = Daemon(program("spamd"), tmp_path, port)
        daemon.start()
        running.append(daemon)
        return daemon

    yield start
    for daemon in running:
        daemon.kill()


async def test_gtube_is_refused_and_ham_passes_by_both_kinds_of_socket(spamd: Callable[..., Daemon]) -> None:
    for port in (0, free_port()):
        daemon = spamd(port)
        async with Dialog(Vouch(), SpamAssassin(daemon.address, reject_at=100, subject="[SPAM]")) as smtp:
            assert await smtp.message("ann@example.org", "bob@example.net", SPAM) == 550
            assert await smtp.message("ann@example.org", "bob@example.net", HAM) == 250
            content = smtp.messages[0].content
            assert b"\r\nX-Spam-Status: " in b"\r\n" + content
            assert content.count(b"\r") == content.count(b"\n") == content.count(b"\r\n")
            assert content.endswith(HAM.partition(b"\r\n\r\n")[2])
            [(first, _), *_] = [(each.detail, each) for each in smtp.evidence if each.outcome == "noted"]
            assert "GTUBE" in first


async def test_a_spamd_that_dies_and_comes_back_costs_the_configured_outcome_alone(
    spamd: Callable[..., Daemon],
) -> None:
    daemon = spamd()
    defer, let_pass = SpamAssassin(daemon.address, reject_at=100), SpamAssassin(daemon.address, on_fault="pass")
    async with Dialog(Vouch(), defer) as deferring, Dialog(Vouch(), let_pass) as passing:
        for smtp in (deferring, passing):
            assert await smtp.message("ann@example.org", "bob@example.net", HAM) == 250
            await smtp.say("MAIL FROM:<ann@example.org>")
            await smtp.say("RCPT TO:<bob@example.net>")
            assert await smtp.say("DATA") == 354
            await smtp.send(HAM[:100])
        daemon.kill()  # in the middle of both messages
        await deferring.send(HAM[100:] + b".\r\n")
        assert str(await deferring.reply()) == "451 4.7.1 the message cannot be scanned now, try again later"
        await passing.send(HAM[100:] + b".\r\n")
        assert await passing.reply() == 250
        daemon.start()
        assert await deferring.message("ann@example.org", "bob@example.net", SPAM) == 550
        assert await passing.message("ann@example.org", "bob@example.net", HAM) == 250
        assert b"X-Spam-Status: " in passing.messages[-1].content
