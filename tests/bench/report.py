"""What comes out: a table per workload, and the same figures with every single run as JSON."""

import os
import platform
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from importlib.metadata import PackageNotFoundError, version
from statistics import median

from rich.table import Table

from .measure import Results, Run
from .servers import BASELINE, Contestant
from .targets import TARGETS, Target, verdict
from .workload import IDLE, MIB, TIMED

TITLES = {load.name: load.title for load in TIMED} | {IDLE: "connections idle after EHLO"}
OCTETS = {load.name: load.octets for load in TIMED}
MICROSECONDS = ("µs", "µs of CPU per message")
BIG = ("MiB/s", "MiB per second of CPU")
UNITS = {"big": BIG, "forwardbig": BIG, IDLE: ("KiB", "KiB per connection")}
COLOURS = {"aim": "green", "must": "yellow", "below": "red"}


@dataclass(frozen=True, slots=True)
class Summary:
    """One contestant in one workload. figure: median, in the workload's unit. ratio: median of the rounds' ratios to
    the baseline in the same round, with the least and the greatest (spread); None for the idle crowd."""

    server: str
    figure: float
    ratio: float | None
    spread: tuple[float, float] | None
    busy: float | None
    target: Target | None
    verdict: str | None
    runs: list[Run]


def unit(workload: str) -> tuple[str, str]:
    """(short, long)"""
    return UNITS.get(workload, MICROSECONDS)


def figure(workload: str, value: float) -> float:
    """A run's value in the unit that is shown."""
    if workload == IDLE:
        return value
    return OCTETS[workload] / MIB / value if UNITS.get(workload) == BIG else value * 1e6


def summary(workload: str, contestant: Contestant, results: Results) -> Summary:
    runs, base = results[contestant.name], results[BASELINE.name]
    value = figure(workload, median(run.value for run in runs))
    ratios = [] if workload == IDLE else [theirs.value / ours.value for theirs, ours in zip(base, runs, strict=True)]
    ratio = median(ratios) if ratios else None
    target = TARGETS[workload][contestant.backend] if contestant.entries and workload in TARGETS else None
    judged = value if ratio is None else ratio
    return Summary(
        contestant.name,
        value,
        ratio,
        (min(ratios), max(ratios)) if ratios else None,
        median(run.busy for run in runs) if ratios else None,
        target,
        verdict(workload, target, judged) if target else None,
        runs,
    )


def table(workload: str, summaries: Sequence[Summary]) -> Table:
    short, long = unit(workload)
    shown = Table(title=f"{workload}: {TITLES[workload]} ({long})", title_justify="left")
    for heading in ("server", short, "ratio", "spread", "busy", "must", "aim", ""):
        shown.add_column(heading, justify="left" if heading in ("server", "") else "right", no_wrap=True)
    for each in summaries:
        shown.add_row(*cells(each))
    return shown


def cells(each: Summary) -> list[str]:
    return [
        each.server,
        f"{each.figure:.1f}",
        f"{each.ratio:.2f}" if each.ratio else "",
        f"{each.spread[0]:.2f}-{each.spread[1]:.2f}" if each.spread else "",
        f"{each.busy:.0%}" if each.busy else "",
        f"{each.target.must:g}" if each.target else "",
        f"{each.target.aim:g}" if each.target else "",
        f"[{COLOURS[each.verdict]}]{each.verdict}[/]" if each.verdict else "",
    ]


def machine() -> dict[str, str]:
    """Where and with what the figures were made."""
    return {
        "python": f"{platform.python_implementation()} {platform.python_version()}",
        "system": f"{platform.system()} {platform.release()} {platform.machine()}",
        "cpus": str(os.cpu_count()),
        "load": f"{os.getloadavg()[0]:.1f}",
        **{name: installed(name) for name in ("mailstack", "aiosmtpd", "anyio", "trio", "uvloop")},
    }


def installed(name: str) -> str:
    try:
        return version(name)
    except PackageNotFoundError:
        return "absent"


def as_json(summaries: dict[str, list[Summary]], settings: dict[str, object]) -> dict[str, object]:
    return {
        "machine": machine(),
        "settings": settings,
        "workloads": {
            name: {"unit": unit(name)[1], "servers": [asdict(each) for each in rows]}
            for name, rows in summaries.items()
        },
    }
