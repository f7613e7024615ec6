"""Which event loop a server of its own runs on; the one place that picks."""

from __future__ import annotations

import importlib.util
from collections.abc import Awaitable, Callable
from typing import Any

import anyio

from ..option import ConfigError

BACKENDS = ("auto", "asyncio", "uvloop", "trio")


def run(main: Callable[[], Awaitable[Any]], backend: str = "auto") -> None:
    """Run `main()` to its end. "auto" is uvloop where it is installed, else asyncio."""
    if backend not in BACKENDS:
        raise ConfigError(f"there is no backend {backend!r}", remedy=f"one of {', '.join(BACKENDS)}")
    if backend == "auto":
        backend = "uvloop" if importlib.util.find_spec("uvloop") else "asyncio"
    elif backend != "asyncio" and not importlib.util.find_spec(backend):
        raise ConfigError(f"{backend} is not installed", remedy=f'pip install "mailstack[{backend}]"')
    if backend == "trio":
        anyio.run(main, backend="trio")
    else:
        anyio.run(main, backend="asyncio", backend_options={"use_uvloop": backend == "uvloop"})
