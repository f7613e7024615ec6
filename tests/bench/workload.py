"""What is sent: each workload is a conversation, written once as bytes to send and the reply codes that must come back.

A conversation is a list of steps. The generator sends a step's octets in one write, waits for all of its replies, and
goes on. `accepts` counts the messages whose acceptance is among a step's replies.
"""

import base64
import random
from dataclasses import dataclass

KIB = 1024
MIB = 1024 * KIB

HELLO_LINE = b"EHLO client.example\r\n"
MAIL_LINE = b"MAIL FROM:<sender@client.example>\r\n"
RCPT_LINE = b"RCPT TO:<recipient@bench.example>\r\n"
ENVELOPE = MAIL_LINE + RCPT_LINE + b"DATA\r\n"


@dataclass(frozen=True, slots=True)
class Step:
    """Octets that leave in one write, and the final reply code of each reply that they must bring.

    encrypts: a TLS handshake follows the replies.
    """

    send: bytes
    expect: tuple[bytes, ...]
    accepts: int = 0
    encrypts: bool = False


@dataclass(frozen=True, slots=True)
class Workload:
    """One kind of load. messages: how many one conversation carries. trial: how many the warm-up sends. forward: the
    servers pass the messages on to `sink`, instead of keeping none. tls: they have a certificate."""

    name: str
    title: str
    steps: list[Step]
    messages: int
    parallel: int
    trial: int
    octets: int
    forward: bool = False
    tls: bool = False


GOODBYE = Step(b"QUIT\r\n", (b"221",))


def content(size: int) -> bytes:
    """A message of exactly `size` octets: a plain header section, then base64 lines, so none starts with a dot."""
    header = (
        b"From: Sender <sender@client.example>\r\n"
        b"To: Recipient <recipient@bench.example>\r\n"
        b"Subject: bench\r\n"
        b"Date: Mon, 01 Jan 2024 00:00:00 +0000\r\n"
        b"Message-ID: <bench@client.example>\r\n"
        b"\r\n"
    )
    text = base64.b64encode(random.Random(5321).randbytes(size))
    lines = b"".join(text[start : start + 76] + b"\r\n" for start in range(0, len(text), 76))
    body = lines[: size - len(header) - 2]
    return header + (body[:-1] + b"=" if body.endswith(b"\r") else body) + b"\r\n"


def opening() -> list[Step]:
    return [Step(b"", (b"220",)), Step(HELLO_LINE, (b"250",))]


def one_by_one(body: bytes, messages: int, recipients: int = 1) -> list[Step]:
    """Every command waits for its reply."""
    transaction = [
        Step(MAIL_LINE, (b"250",)),
        *(Step(RCPT_LINE.replace(b"recipient", b"recipient%d" % number), (b"250",)) for number in range(recipients)),
        Step(b"DATA\r\n", (b"354",)),
        Step(body + b".\r\n", (b"250",), accepts=1),
    ]
    return [*opening(), *transaction * messages, GOODBYE]


def pipelined(body: bytes, messages: int) -> list[Step]:
    """DATA ends a group, the body begins the next one: body, MAIL, RCPT and DATA leave in one write (RFC 2920 3.1)."""
    ended = body + b".\r\n"
    return [
        *opening(),
        Step(ENVELOPE, (b"250", b"250", b"354")),
        *[Step(ended + ENVELOPE, (b"250", b"250", b"250", b"354"), accepts=1)] * (messages - 1),
        Step(ended, (b"250",), accepts=1),
        GOODBYE,
    ]


def encrypted(body: bytes) -> list[Step]:
    """STARTTLS first, and all that matters after it (RFC 3207)."""
    return [*opening(), Step(b"STARTTLS\r\n", (b"220",), encrypts=True), *one_by_one(body, 1)[1:]]


SMALL, BIG = content(KIB), content(10 * MIB)

TIMED = (
    Workload("new", "1 KiB, a new connection each", one_by_one(SMALL, 1), 1, 20, 400, KIB),
    Workload("keep", "1 KiB, 50 per connection", one_by_one(SMALL, 50), 50, 20, 1000, KIB),
    Workload("pipe", "1 KiB, 50 per connection, pipelined", pipelined(SMALL, 50), 50, 20, 1000, KIB),
    Workload("big", "10 MiB by DATA", one_by_one(BIG, 1), 1, 4, 4, 10 * MIB),
    Workload("rcpt100", "1 KiB to 100 recipients", one_by_one(SMALL, 1, recipients=100), 1, 20, 40, KIB),
    Workload("starttls", "1 KiB, a new connection with STARTTLS each", encrypted(SMALL), 1, 20, 100, KIB, tls=True),
    Workload("forward", "1 KiB, 50 per connection, forwarded", one_by_one(SMALL, 50), 50, 20, 200, KIB, True),
    Workload("forwardbig", "10 MiB by DATA, forwarded", one_by_one(BIG, 1), 1, 4, 4, 10 * MIB, True),
)
IDLE = "idle"
CROWD = 2000
NAMES = (*(workload.name for workload in TIMED), IDLE)
