"""Runs a fuzz target: guided by coverage where atheris is installed, else on composed and damaged conversations.

A target is a module of this folder with `check(data: bytes)`, which raises when something does not hold. What broke it
is written to .hypothesis/fuzz/, and becomes an example of the target's test before it is mended:

    python -m tests.fuzz.wire .hypothesis/fuzz/wire-0123abcd    # once more, that input alone
"""

import argparse
import hashlib
import time
from collections.abc import Callable
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path
from random import Random

from click import echo

from .octets import FRAGMENTS, compose

FINDINGS = Path(".hypothesis/fuzz")

Check = Callable[[bytes], None]


def run(name: str, target: str) -> None:
    """The command line of one fuzzer."""
    options = argparse.ArgumentParser(prog=f"python -m tests.fuzz.{name}")
    options.add_argument("--seconds", type=float, default=60)
    options.add_argument("--seed", type=int, default=None, help="without atheris: the same inputs again")
    options.add_argument("finding", type=Path, nargs="*", help="try these files and nothing else")
    chosen = options.parse_args()
    FINDINGS.mkdir(parents=True, exist_ok=True)
    if chosen.finding:
        check = _load(target)
        for path in chosen.finding:
            check(path.read_bytes())
    elif find_spec("atheris"):
        _guided(name, target, chosen.seconds)
    else:
        _random(name, _load(target), chosen.seconds, time.time_ns() if chosen.seed is None else chosen.seed)


def _load(target: str) -> Check:
    check: Check = import_module(f"{__package__}.{target}").check
    return check


def _random(name: str, check: Check, seconds: float, seed: int) -> None:
    echo(f"{name}: random conversations, --seed {seed}")
    random = Random(seed)
    end = time.monotonic() + seconds
    count = 0
    while time.monotonic() < end:
        data = compose(random)
        try:
            check(data)
        except BaseException:
            path = FINDINGS / f"{name}-{hashlib.sha1(data, usedforsecurity=False).hexdigest()[:8]}"
            path.write_bytes(data)
            echo(f"{name}: {data!r}\nwritten to {path}")
            raise
        count += 1
    echo(f"{name}: {count} inputs, nothing found")


def _guided(name: str, target: str, seconds: float) -> None:
    """By atheris (libFuzzer). The fragments are its dictionary; what reached new code is kept for the next run."""
    atheris = import_module("atheris")
    with atheris.instrument_imports(include=["mailstack"]):
        check = _load(target)
    corpus = FINDINGS / f"{name}-corpus"
    corpus.mkdir(exist_ok=True)
    random = Random(0)
    for number in range(100):
        (corpus / f"composed-{number}").write_bytes(compose(random))
    words = FINDINGS / "words"
    words.write_text("".join(f'"{_escaped(fragment)}"\n' for fragment in FRAGMENTS))
    limits = [f"-max_total_time={int(seconds)}", "-max_len=16384", f"-dict={words}"]
    atheris.Setup([name, *limits, f"-artifact_prefix={FINDINGS / name}-", str(corpus)], check)
    atheris.Fuzz()


def _escaped(octets: bytes) -> str:
    return "".join(f"\\x{octet:02x}" for octet in octets)
