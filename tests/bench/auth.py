"""Whether time tells who exists: wrong passwords of a user, and of nobody, beside each other.

    python -m tests.bench.auth                      # about a minute
    python -m tests.bench.auth --rounds 1000

Each round asks for both, in either order by chance, through the whole server in memory: what a client sees. Printed are
the medians in milliseconds, their ratio, and AUC: how often the slower one of a pair is the user's. 0.5 is what tossing
a coin would say; a tenth beside it is what somebody near, with many tries, might use. No figure gates anything.
"""

from __future__ import annotations

import argparse
import random
import tempfile
import time
from base64 import b64decode, b64encode
from collections.abc import Awaitable, Callable
from pathlib import Path
from statistics import median

import anyio

from mailstack import Limits, Stack
from mailstack.middleware import auth, authfile
from mailstack.services import passwords
from mailstack.testing import Conversation, Dialog

SCHEMES = ("ARGON2ID", "BLF-CRYPT", "SHA512-CRYPT", "SSHA512")
Ask = Callable[[Conversation, str], Awaitable[None]]


async def plain(smtp: Conversation, user: str) -> None:
    assert await smtp.say("AUTH PLAIN " + b64encode(f"\0{user}\0wrong".encode()).decode()) == 535


async def scram(smtp: Conversation, user: str) -> None:
    first = b64encode(f"n,,n={user},r=abcdefghij".encode()).decode()
    answer = await smtp.say(f"AUTH SCRAM-SHA-256 {first}")
    nonce = b64decode(answer.text).decode().split(",")[0]
    assert await smtp.say(b64encode(f"c=biws,{nonce},p={b64encode(bytes(32)).decode()}".encode()).decode()) == 535


async def measure(line: str, ask: Ask, rounds: int) -> tuple[list[float], list[float]]:
    """Seconds for the user, and for nobody."""
    seconds: dict[str, list[float]] = {"ann": [], "bob": []}
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "users"
        file.write_text(f"ann:{line}\n")
        file.chmod(0o600)
        entry = auth.Auth(insecure=True, delay=0, failures=10**9)
        async with Dialog(Stack(entry, authfile.File(file)), limits=Limits(errors=10**9)) as smtp:
            await smtp.say("EHLO bench")
            for number in range(rounds + 5):
                pair = ["ann", "bob"]
                random.shuffle(pair)
                for user in pair:
                    began = time.perf_counter()
                    await ask(smtp, user)
                    if number >= 5:  # the first ones warm up
                        seconds[user].append(time.perf_counter() - began)
    return seconds["ann"], seconds["bob"]


def auc(left: list[float], right: list[float]) -> float:
    """How often one of the left is greater than one of the right."""
    return sum((one > other) + 0.5 * (one == other) for one in left for other in right) / (len(left) * len(right))


async def main(rounds: int) -> None:
    print(f"{'scheme':<16}{'mechanism':<16}{'known ms':>10}{'unknown ms':>12}{'ratio':>8}{'AUC':>7}")
    cases = [(scheme, "PLAIN", plain) for scheme in SCHEMES]
    cases += [(scheme, "SCRAM-SHA-256", scram) for scheme in ("SCRAM-SHA-256", "PLAIN.B64")]
    for scheme, mechanism, ask in cases:
        known, unknown = await measure(passwords.make(scheme, "right"), ask, rounds)
        one, other = median(known) * 1000, median(unknown) * 1000
        figures = f"{one:>10.3f}{other:>12.3f}{one / other:>8.3f}{auc(known, unknown):>7.2f}"
        print(f"{scheme:<16}{mechanism:<16}{figures}", flush=True)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(prog="python -m tests.bench.auth", description="does time tell who exists?")
    parser.add_argument("--rounds", type=int, default=100)
    anyio.run(main, parser.parse_args().rounds)
