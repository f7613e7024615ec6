"""Who takes part: the rival on two event loops, and mailstack empty and with 20 cheap middlewares on three backends."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from .process import Process
from .workload import MIB


@dataclass(frozen=True, slots=True)
class Contestant:
    """A server to measure. `arguments` follow `python -m`; `ours` takes --log. `environment` is added to ours."""

    name: str
    arguments: tuple[str, ...]
    backend: str
    entries: int | None = None
    environment: Mapping[str, str] = field(default_factory=dict)

    @property
    def ours(self) -> bool:
        return self.entries is not None

    def start(self, log: bool = False, to: int | None = None, certificate: Path | None = None) -> Process:
        """to -- the port to which messages are passed on. certificate -- for STARTTLS."""
        options = ["--log"] if log and self.ours else []
        options += ["--to", str(to)] if to is not None else []
        options += ["--certificate", str(certificate)] if certificate is not None else []
        return Process(self.name, [*self.arguments, *options], self.environment)


def rival(backend: str, state: str = "", **environment: str) -> Contestant:
    name = f"aiosmtpd-{backend}{state}"
    return Contestant(name, ("tests.bench.server_aiosmtpd", backend), backend, environment=environment)


def ours(backend: str, entries: int) -> Contestant:
    name = f"{'full' if entries else 'empty'}-{backend}"
    return Contestant(name, ("tests.bench.server_mailstack", backend, "--entries", str(entries)), backend, entries)


BASELINE = rival("asyncio")
CONTESTANTS = (
    BASELINE,
    rival("asyncio", "-tuned", MALLOC_MMAP_THRESHOLD_=str(4 * MIB), MALLOC_TRIM_THRESHOLD_=str(8 * MIB)),
    rival("uvloop"),
    *(ours(backend, entries) for backend in ("asyncio", "uvloop", "trio") for entries in (0, 20)),
)


def chosen(words: Sequence[str]) -> list[Contestant]:
    """Those whose name contains one of the words, and always the baseline; ValueError if a word matches none."""
    for word in words:
        if not any(word in contestant.name for contestant in CONTESTANTS):
            raise ValueError(f"no server is called {word!r}; there are {', '.join(each.name for each in CONTESTANTS)}")
    return [each for each in CONTESTANTS if not words or each is BASELINE or any(word in each.name for word in words)]
