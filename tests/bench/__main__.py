"""The command line of the bench."""

import argparse
import json
import sys
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path

from rich.console import Console

from .generator import Refused
from .measure import Plan, Results, Tell, measure_idle, measure_timed
from .process import GENERATOR_CPU, SERVER_CPU, Died, allow_many_files, pinned
from .report import Summary, as_json, machine, summary, table
from .servers import BASELINE, Contestant, chosen
from .workload import CROWD, IDLE, NAMES, TIMED


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="python -m tests.bench", description="mailstack beside aiosmtpd; never a gate"
    )
    parser.add_argument("--workloads", type=words, default=list(NAMES), metavar="A,B", help=f"of {', '.join(NAMES)}")
    parser.add_argument("--servers", type=words, default=[], metavar="A,B", help="parts of names, such as full or trio")
    parser.add_argument("--rounds", type=int, help="counted rounds (5; 1 with --quick)")
    parser.add_argument("--seconds", type=float, help="server CPU seconds of one counted run (1.2; 0.2 with --quick)")
    parser.add_argument("--quick", action="store_true", help="one short round: does it work at all?")
    parser.add_argument("--log", action="store_true", help="our servers write their log line per session")
    parser.add_argument("--json", type=Path, metavar="FILE", help="also write every run there")
    return parser.parse_args()


def words(text: str) -> list[str]:
    return [word for word in text.split(",") if word]


def plan(options: argparse.Namespace) -> Plan:
    rounds, seconds, crowd = (1, 0.2, 500) if options.quick else (5, 1.2, CROWD)
    return Plan(options.rounds or rounds, options.seconds or seconds, crowd, options.log)


def measure(name: str, contestants: Sequence[Contestant], how: Plan, tell: Tell) -> Results:
    if name == IDLE:
        return measure_idle(contestants, how, tell)
    [load] = [load for load in TIMED if load.name == name]
    return measure_timed(load, contestants, how, tell)


def preface(console: Console, how: Plan) -> None:
    apart = f"servers on CPU {SERVER_CPU}, generator on CPU {GENERATOR_CPU}" if SERVER_CPU is not None else "not pinned"
    logging = "our servers log each session" if how.log else "nobody logs per message"
    console.print(", ".join(f"{name} {value}" for name, value in machine().items()))
    console.print(f"{apart}; {logging}; median of {how.rounds}; ratio to {BASELINE.name}, more is better")


def run(options: argparse.Namespace, contestants: Sequence[Contestant], console: Console) -> dict[str, list[Summary]]:
    done: dict[str, list[Summary]] = {}
    for name in options.workloads:
        with Console(stderr=True).status(name) as status:
            results = measure(name, contestants, plan(options), status.update)
        done[name] = [summary(name, contestant, results) for contestant in contestants]
        console.print(table(name, done[name]))
    return done


def main() -> None:
    options = arguments()
    console = Console()
    unknown = set(options.workloads) - set(NAMES)
    if unknown:
        sys.exit(f"no workload is called {', '.join(sorted(unknown))}; there are {', '.join(NAMES)}")
    try:
        contestants = chosen(options.servers)
        allow_many_files()
        preface(console, plan(options))
        with pinned(GENERATOR_CPU):
            done = run(options, contestants, console)
    except (ValueError, Refused, Died) as error:
        sys.exit(f"bench: {error}")
    if options.json:
        options.json.write_text(json.dumps(as_json(done, asdict(plan(options))), indent=1) + "\n")


if __name__ == "__main__":
    main()
