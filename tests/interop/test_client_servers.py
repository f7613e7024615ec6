"""Our client against servers that others wrote: Postfix's smtp-sink and aiosmtpd."""

import os
import re
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from mailstack.services.client import Content, Disconnected, Envelope, Outcome, open_client
from tests.programs import free_port, wait_until_open

pytestmark = pytest.mark.interop

Program = Callable[[str], str]
Start = Callable[..., tuple[str, int]]

ENVELOPE = Envelope.of("a@example.org", ["b@example.net", "c@example.net"])
AWKWARD = b"Subject: dots\r\n\r\n.\r\n..\r\n.a\n.\nb\r.\r\n" + b"x" * 900 + b"\r\n"
LARGE = b"Subject: large\r\n\r\n" + b".0123456789\r\n" * 400_000


@pytest.fixture
def start() -> Iterator[Start]:
    """Start a server, its command made from a free port; stopped by its PID."""
    running: list[subprocess.Popen[bytes]] = []

    def run(command: Callable[[int], list[str]]) -> tuple[str, int]:
        port = free_port()
        process = subprocess.Popen(command(port), stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        running.append(process)
        wait_until_open(process, port)
        return "127.0.0.1", port

    yield run
    for process in running:
        process.terminate()
        process.wait(30)


@pytest.fixture
def sink(start: Start, program: Program) -> Start:
    user = ["-u", "root"] if os.geteuid() == 0 else []  # it wants to be told
    return lambda *options: start(lambda port: [program("smtp-sink"), *user, *options, f"127.0.0.1:{port}", "10"])


def files(folder: Path) -> list[bytes]:
    return [path.read_bytes() for path in folder.iterdir()]


async def transact(address: tuple[str, int], octets: bytes, *, lmtp: bool = False, times: int = 1) -> Outcome:
    async with await open_client(address, hostname="client.example.org", lmtp=lmtp) as client:
        for _ in range(times):
            outcome = await client.transact(ENVELOPE, Content.of(octets))
        return outcome


@pytest.mark.every_backend
@pytest.mark.parametrize("options", [(), ("-p",), ("-e",), ("-8", "-E")])
async def test_smtp_sink_takes_every_message(sink: Start, options: tuple[str, ...]) -> None:
    address = sink(*options)
    for octets in (AWKWARD, LARGE):
        assert (await transact(address, octets, times=3)).complete


async def test_smtp_sink_gets_the_octets_that_were_meant(sink: Start, tmp_path: Path) -> None:
    address = sink("-d", f"{tmp_path}/%M.")
    await transact(address, AWKWARD)
    [dumped] = files(tmp_path)
    assert dumped.replace(b"\r\n", b"\n").rstrip(b"\n").endswith(re.sub(rb"\r\n|\r|\n", b"\n", AWKWARD).rstrip(b"\n"))


async def test_smtp_sink_speaks_lmtp(sink: Start) -> None:
    outcome = await transact(sink("-L"), AWKWARD, lmtp=True, times=2)
    assert [verdict.code for verdict in outcome.verdicts] == [250, 250]


@pytest.mark.parametrize("when", ["MAIL", "RCPT", "DATA", "."])
@pytest.mark.parametrize(("option", "code"), [("-f", 500), ("-r", 450), ("-Q", 421)])
async def test_smtp_sink_refuses_and_is_heard(sink: Start, option: str, code: int, when: str) -> None:
    outcome = await transact(sink(option, when), AWKWARD)
    assert [verdict.code // 100 for verdict in outcome.verdicts] == [code // 100] * 2


@pytest.mark.every_backend
@pytest.mark.parametrize("when", ["MAIL", "RCPT", "DATA", "."])
async def test_smtp_sink_cuts_and_it_is_known_where(sink: Start, when: str) -> None:
    address = sink("-q", when)
    with pytest.raises(Disconnected) as caught:
        await transact(address, AWKWARD)
    assert caught.value.unknown is (when == ".")


async def test_aiosmtpd_stores_what_was_meant(start: Start, tmp_path: Path) -> None:
    box = tmp_path / "box"

    def command(port: int) -> list[str]:
        handler = ["-c", "aiosmtpd.handlers.Mailbox", str(box)]
        return [sys.executable, "-W", "ignore", "-m", "aiosmtpd", "-n", "-l", f"127.0.0.1:{port}", *handler]

    outcome = await transact(start(command), AWKWARD, times=2)
    assert outcome.complete
    stored = files(box / "new")
    assert len(stored) == 2  # a lenient reader finds no third message in the two
    for octets in stored:
        assert octets.partition(b"\n\n")[2].rstrip(b"\n") == b".\n..\n.a\n.\nb\n.\n" + b"x" * 900
