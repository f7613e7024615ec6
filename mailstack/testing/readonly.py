"""While a rehearsal runs, nothing outside of the spool may be written: files are refused, and who tried is remembered.

    with read_only() as written:
        ...
    assert not written

The interpreter itself says what is about to be opened, made, renamed or removed (audit events, PEP 578), whoever does
it, in whatever thread: a write outside of a server's spool, of /dev and of Python's own caches is an OSError (EROFS) in
the hands of who tried, and a line in `written`. An SQLite database must be opened read-only ("file:…?mode=ro") or in
memory. What goes over the network, or is done by another program, is not seen.
"""

from __future__ import annotations

import errno
import os
import sys
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

__all__ = ["read_only"]

_WRITES = os.O_WRONLY | os.O_RDWR | os.O_CREAT | os.O_TRUNC | os.O_APPEND

# Audit events that write, and how many of their arguments are paths. The last argument is the open folder that a
# relative name is below, or -1: `shutil.rmtree` takes a spool away by such names, and they are let pass.
_CHANGES: dict[str, int] = {
    "os.mkdir": 1,
    "os.remove": 1,
    "os.rmdir": 1,
    "os.rename": 2,
    "os.link": 2,
    "os.chmod": 1,
    "os.chown": 1,
    "os.utime": 1,
}

_written: list[str] | None = None  # of the one that runs
_watching = False


@contextmanager
def read_only() -> Iterator[list[str]]:
    """Refuse writes in this process; gives the list of those that were tried."""
    global _written, _watching
    if not _watching:
        sys.addaudithook(_look)  # for good: a hook cannot be taken away, but it can be idle
        _watching = True
    before, _written = _written, []
    try:
        yield _written
    finally:
        _written = before


def _look(event: str, arguments: tuple[Any, ...]) -> None:
    if _written is None:
        return
    find = _FINDERS.get(event)
    for path in find(arguments) if find is not None else ():
        if not _allowed(path):
            _written.append(f"{event} {path}")
            raise OSError(errno.EROFS, "a rehearsal writes nothing outside of the spool", path)


def _opened(arguments: tuple[Any, ...]) -> list[str]:
    path, _, flags = arguments
    return _paths(path) if isinstance(flags, int) and flags & _WRITES else []


def _truncated(arguments: tuple[Any, ...]) -> list[str]:
    return _paths(arguments[0])


def _linked(arguments: tuple[Any, ...]) -> list[str]:
    return _paths(arguments[1])  # what a symbolic link says is no path that is touched


def _connected(arguments: tuple[Any, ...]) -> list[str]:
    name = os.fsdecode(arguments[0])
    return [] if name in ("", ":memory:") or "mode=ro" in name or "mode=memory" in name else [name]


def _changed(count: int) -> Callable[[tuple[Any, ...]], list[str]]:
    def find(arguments: tuple[Any, ...]) -> list[str]:
        paths = _paths(*arguments[:count])
        return [] if arguments[-1] >= 0 else paths

    return find


def _paths(*given: object) -> list[str]:
    """Those that are paths, absolute; a file's number is none."""
    return [os.path.abspath(os.fsdecode(each)) for each in given if isinstance(each, (str, bytes, os.PathLike))]


_FINDERS: dict[str, Callable[[tuple[Any, ...]], list[str]]] = {
    "open": _opened,
    "os.truncate": _truncated,
    "os.symlink": _linked,
    "sqlite3.connect": _connected,
    **{event: _changed(count) for event, count in _CHANGES.items()},
}


def _allowed(path: str) -> bool:
    spools = os.path.join(tempfile.gettempdir(), "mailstack-")  # `session.spool` makes its private folders there
    return path.startswith((spools, "/dev/")) or "__pycache__" in path
