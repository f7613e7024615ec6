"""The measuring: contestants in turn (A B C, A B C), so that a busy neighbour meets all alike."""

import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass

from tests.tls import pem

from . import workload
from .generator import Outcome, Refused, converse
from .process import GENERATOR_CPU, Process
from .servers import Contestant
from .workload import Step, Workload

SETTLE = 0.1
CROWD_SETTLE = 0.5


@dataclass(frozen=True, slots=True)
class Plan:
    """rounds: counted ones. seconds: server CPU that one counted run should take. crowd: idle connections."""

    rounds: int = 5
    seconds: float = 1.2
    crowd: int = workload.CROWD
    log: bool = False


@dataclass(frozen=True, slots=True)
class Run:
    """One counted run: CPU seconds of the server per message, or KiB per idle connection. busy: CPU / elapsed time."""

    value: float
    messages: int = 0
    busy: float = 0.0


Tell = Callable[[str], None]
Results = dict[str, list[Run]]


@contextmanager
def running(
    contestants: Sequence[Contestant], log: bool, forward: bool = False, encrypted: bool = False
) -> Iterator[list[tuple[Contestant, Process]]]:
    """Fresh processes for each workload: what one workload does to a heap must not colour the next."""
    with ExitStack() as stack:
        started = []
        to = None
        if forward:  # on the generator's CPU, so that it costs the servers nothing
            sink = Process("sink", ["tests.bench.sink"], {}, GENERATOR_CPU)
            stack.callback(sink.stop)
            to = sink.port
        for contestant in contestants:
            process = contestant.start(log, to, pem() if encrypted else None)
            stack.callback(process.stop)
            started.append((contestant, process))
        yield started


def talk(process: Process, steps: Sequence[Step], conversations: int, parallel: int, hold: bool = False) -> Outcome:
    """converse(), with the server's name and its standard error in a refusal."""
    try:
        return converse(process.port, steps, conversations, parallel, hold)
    except Refused as error:
        raise Refused(f"{process.name}: {error}\n{process.complaint()}") from error


def shoot(process: Process, load: Workload, messages: int) -> Run:
    conversations = max(1, round(messages / load.messages))
    before, begin = process.cpu_seconds(), time.monotonic()
    accepted = talk(process, load.steps, conversations, load.parallel).accepted
    elapsed = time.monotonic() - begin
    time.sleep(SETTLE)
    spent = process.cpu_seconds() - before
    if accepted != conversations * load.messages:
        raise Refused(f"{process.name} took {accepted} of {conversations * load.messages} messages")
    return Run(spent / accepted, accepted, spent / elapsed)


def measure_timed(load: Workload, contestants: Sequence[Contestant], plan: Plan, tell: Tell) -> Results:
    """One uncounted warm-up, which also sets each contestant's number of messages, then the counted rounds."""
    results: Results = {contestant.name: [] for contestant in contestants}
    with running(contestants, plan.log, load.forward, load.tls) as started:
        counts = {}
        for contestant, process in started:
            tell(f"{load.name}: warm-up, {contestant.name}")
            counts[contestant.name] = round(plan.seconds / shoot(process, load, load.trial).value)
        for number in range(plan.rounds):
            for contestant, process in started:
                tell(f"{load.name}: round {number + 1} of {plan.rounds}, {contestant.name}")
                results[contestant.name].append(shoot(process, load, counts[contestant.name]))
    return results


def gather(process: Process, crowd: int) -> Run:
    """Memory growth per connection that said EHLO and then nothing. A few came and went before, so that first-use costs
    are not counted."""
    talk(process, [*workload.opening(), workload.GOODBYE], 20, 20)
    time.sleep(CROWD_SETTLE)
    before = process.rss_kib()
    held = talk(process, workload.opening(), crowd, 20, hold=True).held
    time.sleep(CROWD_SETTLE)
    after = process.rss_kib()
    for connection in held:
        connection.close()
    return Run((after - before) / crowd)


def measure_idle(contestants: Sequence[Contestant], plan: Plan, tell: Tell) -> Results:
    """A fresh process for each round: a heap that once was large stays large."""
    results: Results = {contestant.name: [] for contestant in contestants}
    for number in range(plan.rounds):
        for contestant in contestants:
            tell(f"idle: round {number + 1} of {plan.rounds}, {contestant.name}")
            with running([contestant], plan.log) as [(_, process)]:
                results[contestant.name].append(gather(process, plan.crowd))
    return results
