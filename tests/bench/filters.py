"""What filters cost: a decision of the greylist, and a message through all of them when the DNS has nothing to tell.

    python -m tests.bench.filters                      # two minutes
    python -m tests.bench.filters --backends uvloop --rounds 9

First the greylist alone, over an SQLite file: CPU of the process for one decision, in microseconds, the median and the
nine-tenths, and the mean with what the writing thread takes a second later. Beside it the machine's own yardstick, one
SELECT by key in an SQLite file through Python's module: a decision does one or two of them. The aim is 50 µs at the
median.

Then the servers: `empty` has a PROXY header and one entry that vouches; `filters` the stack of `tests/filtering.py`,
with all it asks the DNS answered from the resolver's cache, and greylist and karma in SQLite files. The client is not
listed, has a name and was let in before; the message of 1 KiB has two links. `new` is a connection for each message,
`keep` fifty on each. No figure gates anything.
"""

from __future__ import annotations

import argparse
import sqlite3
import sys
import tempfile
import time
from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path
from statistics import mean, median, quantiles

import anyio
import anyio.lowlevel

from mailstack.middleware import greylist
from mailstack.services.store import SQLite
from mailstack.testing.message import make_recipient, make_session
from tests import filtering

from .generator import Refused
from .measure import Run, shoot
from .process import GENERATOR_CPU, Died, Process, pinned
from .servers import Contestant
from .workload import GOODBYE, KIB, Step, Workload, content

DECISIONS = 20_000
US = 1e6


# The greylist alone.


async def decisions(entry: greylist.Greylist, kind: str, count: int) -> tuple[list[float], float]:
    """CPU seconds of each decision, and of all together with the writing. kind -- what is known of the triplet."""
    store = entry.store
    spent: list[float] = []
    async with store.opened():
        begin = time.process_time()
        for number in range(count):
            sender = f"{_letters(number)}@example.org" if kind == "new" else "ann@example.org"
            session = make_session(sender=sender)
            recipient = make_recipient("bob@example.net", session)
            before = time.process_time()
            await entry.rcpt(session, recipient)
            spent.append(time.process_time() - before)
            if number % 500 == 0:
                await anyio.lowlevel.checkpoint()
        made = sum(spent)
    whole = time.process_time() - begin
    return spent, max(0.0, whole - made)


def _letters(number: int) -> str:
    """A word without digits: those of senders do not count."""
    return "".join(chr(ord("a") + int(digit)) for digit in str(number))


def yardstick(folder: Path, count: int) -> list[float]:
    """CPU seconds of one SELECT by key."""
    with sqlite3.connect(folder / "yard.db") as database:
        database.execute("CREATE TABLE entry (key TEXT PRIMARY KEY, value) WITHOUT ROWID")
        database.executemany("INSERT INTO entry VALUES (?, ?)", [(str(number), b"x" * 60) for number in range(1000)])
    spent = []
    for number in range(count):
        before = time.process_time()
        database.execute("SELECT value FROM entry WHERE key = ?", (str(number % 1000),)).fetchone()
        spent.append(time.process_time() - before)
    database.close()
    return spent


async def show_greylist(folder: Path) -> None:
    print(f"greylist, CPU µs for each of {DECISIONS} decisions    median   90 %   mean with writing")
    kinds: dict[str, tuple[str | float, int]] = {
        "new": ("5m", 0),
        "waiting": ("5m", 0),
        "known": (0, 0),
        "known client": (0, 1),
    }
    for kind, (delay, trust) in kinds.items():
        entry = greylist.Greylist(delay=delay, trust=trust, store=SQLite(folder / f"{kind}.db"))
        spent, rest = await decisions(entry, kind, DECISIONS)
        show(kind, spent, mean(spent) + rest / DECISIONS - harness())
    show("yardstick: one SELECT", yardstick(folder, DECISIONS))


def harness() -> float:
    """CPU seconds that the making of one session takes, which is nobody's decision."""
    before = time.process_time()
    for _ in range(1000):
        session = make_session(sender="ann@example.org")
        make_recipient("bob@example.net", session)
    return (time.process_time() - before) / 1000


def show(name: str, spent: Sequence[float], whole: float | None = None) -> None:
    more = "" if whole is None else f"{whole * US:10.1f}"
    print(f"  {name:44}{median(spent) * US:10.1f}{quantiles(spent, n=10)[-1] * US:7.1f}{more}", flush=True)


# The servers.

LINKS = b"\r\nhttp://www.bare.mail.test/a http://c20.mail.test/b\r\n"


def steps(messages: int) -> list[Step]:
    body = content(KIB - len(LINKS)) + LINKS
    header = b"PROXY TCP4 %s 192.0.2.1 4711 25\r\n" % filtering.CLEAN.encode()
    transaction = [
        Step(b"MAIL FROM:<ann@mail.test>\r\n", (b"250",)),
        Step(b"RCPT TO:<bob@example.test>\r\n", (b"250",)),
        Step(b"DATA\r\n", (b"354",)),
        Step(body + b".\r\n", (b"250",), accepts=1),
    ]
    return [Step(header, (b"220",)), Step(b"EHLO c20.mail.test\r\n", (b"250",)), *transaction * messages, GOODBYE]


LOADS = (
    Workload("new", "1 KiB, a new connection each", steps(1), 1, 20, 100, KIB),
    Workload("keep", "1 KiB, 50 per connection", steps(50), 50, 20, 400, KIB),
)


def contestants(backend: str) -> tuple[Contestant, Contestant]:
    arguments = "tests.bench.server_mailstack", backend, "--proxied"
    empty = Contestant(f"empty-{backend}", arguments, backend, 0)
    return empty, replace(empty, name=f"filters-{backend}", arguments=(*arguments, "--filters"))


def show_servers(backends: Sequence[str], rounds: int, seconds: float) -> None:
    print("a message, CPU µs of the server                    empty   filters     times")
    for load in LOADS:
        for backend in backends:
            runs = measured(load, contestants(backend), rounds, seconds)
            empty, full = (median(run.value for run in each) * US for each in runs)
            print(f"  {load.name + ', ' + backend:44}{empty:10.1f}{full:10.1f}{full / empty:10.1f}", flush=True)


def measured(load: Workload, who: Sequence[Contestant], rounds: int, seconds: float) -> list[list[Run]]:
    """By turns, after a warm-up that fills the cache and sets each one's number of messages."""
    with ExitStack() as stack:
        started: list[Process] = []
        for contestant in who:
            started.append(contestant.start())
            stack.callback(started[-1].stop)
        counts = [round(seconds / shoot(process, load, load.trial).value) for process in started]
        runs: list[list[Run]] = [[] for _ in started]
        for _ in range(rounds):
            for place, process in enumerate(started):
                runs[place].append(shoot(process, load, counts[place]))
        return runs


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m tests.bench.filters", description=__doc__.partition("\n")[0])
    parser.add_argument("--backends", default="asyncio,uvloop,trio")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--seconds", type=float, default=1.2, help="server CPU seconds of one counted run")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder, pinned(GENERATOR_CPU):
        try:
            anyio.run(show_greylist, Path(folder))
            show_servers(options.backends.split(","), options.rounds, options.seconds)
        except (Refused, Died) as error:
            sys.exit(f"bench: {error}")


if __name__ == "__main__":
    main()
