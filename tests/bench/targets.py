"""What 20 cheap middlewares should reach: at least this ratio to aiosmtpd on asyncio; idle: at most these KiB."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Target:
    must: float
    aim: float


def row(musts: tuple[float, float, float], aims: tuple[float, float, float]) -> dict[str, Target]:
    backends = ("asyncio", "uvloop", "trio")
    return {backend: Target(must, aim) for backend, must, aim in zip(backends, musts, aims, strict=True)}


TARGETS = {
    "new": row((1.8, 2.7, 1.7), (2.5, 4, 2.5)),
    "keep": row((2, 3, 2), (3, 5, 3)),
    "pipe": row((3, 4.2, 3), (4, 8, 4)),
    "big": row((7, 7, 7), (10, 10, 10)),
    "rcpt100": row((3, 3, 3), (6, 6, 6)),
    "starttls": row((1.6, 1.6, 1.6), (2, 2, 2)),
    "idle": row((12, 8, 12), (8, 5, 8)),
}


def verdict(workload: str, target: Target, value: float) -> str:
    """aim, must or below."""
    sign = -1 if workload == "idle" else 1
    if sign * value >= sign * target.aim:
        return "aim"
    return "must" if sign * value >= sign * target.must else "below"
