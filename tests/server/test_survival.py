"""A server that is killed loses no message that it has acknowledged, and what comes in takes no memory."""

import os
import random
import re
import threading
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import pytest

from .process import Line, Process, process

pytestmark = pytest.mark.slow

CLIENTS = 6
MiB = 1024 * 1024


@pytest.fixture(params=["asyncio", "uvloop", "trio"])
def backend(request: pytest.FixtureRequest) -> str:
    return str(request.param)


class Sender(threading.Thread):
    """Sends numbered messages, one after the other, until the server is gone.

    sent -- messages of which the last octet was written. acknowledged -- message to queue id, as the 250 said.
    """

    def __init__(self, server: Process, name: str, count: "Countdown") -> None:
        super().__init__()
        self.sender = name
        self.acknowledged: dict[str, str] = {}
        self.sent: set[str] = set()
        self.failure: BaseException | None = None
        self._count = count
        self._line = server.connect()

    def run(self) -> None:
        try:
            with self._line as line, suppress(ConnectionError):
                line.hello()
                for number in range(100_000):
                    if not self._send(line, f"{self.sender}-{number}", filler=3000 * (number % 2)):
                        return
        except BaseException as error:
            self.failure = error

    def _send(self, line: Line, token: str, filler: int) -> bool:
        for command in ("MAIL FROM:<a@client.test>", "RCPT TO:<b@mx.test>", "DATA"):
            answer = line.say(command)
            if not answer:
                return False
            assert answer[0] in "23", answer
        line.send(f"Subject: {token}\r\n\r\n{'x' * filler}\r\n.\r\n".encode())
        self.sent.add(token)
        answer = line.reply()
        found = re.fullmatch(r"250 2\.0\.0 queued as (\S+)", answer)
        if found:
            self.acknowledged[token] = found[1]
            self._count.down()
        else:
            assert answer == "", answer
        return bool(found)


class Countdown:
    """Tells when so many messages were acknowledged."""

    def __init__(self, number: int) -> None:
        self._left = number
        self._lock = threading.Lock()
        self.over = threading.Event()

    def down(self) -> None:
        with self._lock:
            self._left -= 1
            if self._left <= 0:
                self.over.set()


def delivered(folder: Path) -> Iterator[tuple[str, str]]:
    """Subject and queue id of each file that a reader of the Maildir sees."""
    for path in (folder / "new").iterdir():
        text = path.read_text()
        assert text.endswith("\n")
        token = re.search(r"^Subject: (\S+)$", text, re.MULTILINE)
        queue_id = re.search(r"\bid (\S+?)(?:;|\s)", text)
        assert token, text
        assert queue_id, text
        body = text.partition("\n\n")[2]
        assert body == "x" * (3000 * (int(token[1].rpartition("-")[2]) % 2)) + "\n"
        yield token[1], queue_id[1]


def load_and_kill(server: Process, moment: int) -> list[Sender]:
    """Clients at work until `moment` messages were acknowledged; then SIGKILL."""
    count = Countdown(moment)
    senders = [Sender(server, f"{server.popen.pid}-{number}", count) for number in range(CLIENTS)]
    for sender in senders:
        sender.start()
    assert count.over.wait(40)
    server.popen.kill()
    for sender in senders:
        sender.join(40)
        if sender.failure is not None:
            raise sender.failure
    return senders


def test_a_server_that_is_killed_under_load_keeps_what_it_has_acknowledged(backend: str, tmp_path: Path) -> None:
    senders: list[Sender] = []
    for _ in range(3):
        with process(backend, "maildir", str(tmp_path)) as server:
            senders += load_and_kill(server, random.randrange(20, 120))
            server.ended()
        left = os.listdir(tmp_path / "spool")
        assert len(left) == 1
    with process(backend, "maildir", str(tmp_path)) as server, server.connect() as line:
        line.hello()
        assert len(os.listdir(tmp_path / "spool")) == 1
        assert os.listdir(tmp_path / "spool") != left
    acknowledged = {token: queue_id for each in senders for token, queue_id in each.acknowledged.items()}
    sent = {token for each in senders for token in each.sent}
    found = Counter(delivered(tmp_path / "mail"))
    assert acknowledged
    assert all(found[token, queue_id] == 1 for token, queue_id in acknowledged.items())
    assert set(found.values()) == {1}
    assert {token for token, _ in found} <= sent


def tries(line: Line, seconds: float) -> dict[str, float]:
    """New senders, one after the other: when each has heard that it must wait."""
    heard: dict[str, float] = {}
    end = time.monotonic() + seconds
    line.hello()
    while time.monotonic() < end:
        sender = f"{'abcdefghij'[len(heard) % 10]}@d{len(heard)}.test"
        assert line.say(f"MAIL FROM:<{sender}>").startswith("250")
        assert line.say("RCPT TO:<b@mx.test>").startswith("451 4.7.1 greylisted")
        heard[sender] = time.monotonic()
        time.sleep(0.01)  # so that there are not thousands
        assert line.say("RSET").startswith("250")
    return heard


def test_a_greylist_that_is_killed_forgets_a_second_at_most(backend: str, tmp_path: Path) -> None:
    with process(backend, "greylist", str(tmp_path)) as server:
        with server.connect() as line:
            heard = tries(line, 3.0)
        killed = time.monotonic()
        server.popen.kill()
        server.ended()
    forgotten = []
    with process(backend, "greylist", str(tmp_path)) as server, server.connect() as line:
        line.hello()
        time.sleep(max(0.0, killed + 1.5 - time.monotonic()))  # whoever is remembered has waited long enough
        for sender in heard:
            line.say(f"MAIL FROM:<{sender}>")
            if line.say("RCPT TO:<b@mx.test>").startswith("451"):
                forgotten.append(sender)
            line.say("RSET")
    assert len(heard) > len(forgotten)
    # A second until they are written, and as long again for a machine that has much else to do.
    assert all(killed - heard[sender] < 2.0 for sender in forgotten)


def send_large(line: Line, octets: int) -> str:
    """One message of about so many octets."""
    piece = (b"x" * 76 + b"\r\n") * (MiB // 78)
    line.hello().opened()
    line.send(b"Subject: large\r\n\r\n")
    for _ in range(octets // len(piece)):
        line.send(piece)
    return line.say(".")


def growth(backend: str, octets: int) -> int:
    """KiB that the server's peak rises by for a message of this size."""
    with process(backend, "reader") as server:
        with server.connect() as line:
            assert send_large(line, 2 * MiB).startswith("250 ")
        before = server.peak()
        with server.connect() as line:
            assert send_large(line, octets).startswith("250 ")
        return server.peak() - before


def test_a_message_of_200_mib_takes_no_memory_to_speak_of(backend: str) -> None:
    assert growth(backend, 200 * MiB) < 40 * 1024


@pytest.mark.timeout(300)
def test_a_message_of_1_gib_takes_no_memory_to_speak_of() -> None:
    assert growth("uvloop", 1024 * MiB) < 40 * 1024
