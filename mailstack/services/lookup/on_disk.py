"""A database that is one file, read in a thread of its own: opened once, and again when it has been replaced.

    file = OnDisk(path, timeout, open=reader, name="CDB")      # SQLite, DBM and CDB are made of one
    async with file.opened(): ...
    values = await file.find(b"key")

Before each question the file is looked at: another inode, size or time means that it was replaced, and it is opened
anew. When the new one cannot be read, or there is none, the last good one stays and the log says so, once: a database
is replaced with `rename`. Who writes over the file itself destroys what is being read: then, until it is whole again,
nobody can say.

Fails: ConfigError when it cannot be opened at the start, Unavailable when it cannot be read later or the disk does not
answer in time.
"""

from __future__ import annotations

import os
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager, suppress
from typing import Protocol

from anyio import CancelScope, Lock

from mailstack import log, option
from mailstack.option import ConfigError

from ..workers import Workers
from .source import Unavailable

__all__ = ["OnDisk", "Reader", "by_content", "by_inode"]

Identity = tuple[int, ...]

_PROBLEMS = (OSError, ValueError, Unavailable, ConfigError)  # a TimeoutError is an OSError


class Reader(Protocol):
    """An open database. What goes wrong in it is OSError, ValueError or Unavailable."""

    def find(self, key: bytes) -> Sequence[object]:
        """The values of this key; none of them: it is not there."""

    def close(self) -> None: ...


def by_content(path: str) -> Identity:
    """For files that are replaced, or written anew; their rights are part of it, for those may be what was mended."""
    status = os.stat(path)
    return status.st_dev, status.st_ino, status.st_size, status.st_mtime_ns, status.st_ctime_ns


def by_inode(path: str) -> Identity:
    """For databases that are changed while they are read."""
    status = os.stat(path)
    return status.st_dev, status.st_ino, status.st_mode, status.st_uid, status.st_gid


class OnDisk:
    """open -- makes a reader of the path. name -- what errors call the source. identity -- what tells of a change.

    remedy -- for a file that is there and cannot be opened.
    """

    __slots__ = (
        "_identity",
        "_open",
        "_opened",
        "_opening",
        "_problem",
        "_reader",
        "_reading",
        "_remedy",
        "_seen",
        "_workers",
        "name",
        "path",
        "timeout",
    )

    def __init__(
        self,
        path: str | os.PathLike[str],
        timeout: float | str,
        *,
        open: Callable[[str], Reader],
        name: str,
        remedy: str = "",
        identity: Callable[[str], Identity] = by_content,
    ) -> None:
        self.path = os.path.abspath(os.path.expanduser(path))
        self.timeout = option.duration(timeout, name=f"{name}(timeout)", minimum=0.001)
        self.name = name
        self._remedy = remedy or f"make it anew: it must be what {name} reads"
        self._open = open
        self._identity = identity
        self._reader: Reader | None = None
        self._reading: Identity | None = None  # what the reader was made of
        self._seen: Identity | None = None  # what was there last, and was opened or could not be
        self._problem = ""  # why it could not be, and what is read is not the old file either
        self._workers: Workers | None = None
        self._opened = 0
        self._opening = Lock()

    @asynccontextmanager
    async def opened(self) -> AsyncIterator[None]:
        async with self._opening:
            if not self._opened:
                await self._first()
            self._opened += 1
        try:
            yield
        finally:
            self._opened -= 1
            if not self._opened:
                await self._close()

    async def find(self, key: bytes) -> Sequence[object]:
        if self._workers is None:
            raise RuntimeError("the lookup is not open: write `async with source.opened()` in `lifespan`")
        try:
            return await self._workers.run(lambda: self._find(key))
        except _PROBLEMS as error:
            raise Unavailable(f"{self.name}({self.path!r}): {_words(error)}") from error

    # In the thread.

    def _find(self, key: bytes) -> Sequence[object]:
        try:
            identity = self._identity(self.path)
        except OSError as error:
            identity = ()
            if self._seen:
                self._keep_last(identity, error)
        if identity and identity != self._seen:
            try:
                self._open_anew(identity)
            except _PROBLEMS as error:
                self._keep_last(identity, error)
        if self._problem:
            raise Unavailable(self._problem)
        assert self._reader is not None
        return self._reader.find(key)

    def _open_anew(self, identity: Identity) -> None:
        reader = self._open(self.path)
        last, self._reader = self._reader, reader
        self._seen = self._reading = identity
        self._problem = ""
        if last is not None:
            last.close()

    def _keep_last(self, identity: Identity, error: Exception) -> None:
        """Go on with the file that is open, unless that is the very one that was written over."""
        self._seen = identity
        self._problem = _words(error) if self._reading and identity[:2] == self._reading[:2] else ""
        log.warning("lookup", path=self.path, problem=_words(error), kept=not self._problem)

    # In the event loop.

    async def _first(self) -> None:
        self._workers = workers = Workers(1, timeout=self.timeout)
        try:
            await workers.run(lambda: self._open_anew(self._identity(self.path)))
        except BaseException as error:
            workers.close()
            self._workers = None
            if isinstance(error, (OSError, ValueError, Unavailable)):
                raise self._refused(error) from error
            raise

    def _refused(self, error: Exception) -> ConfigError:
        remedy = self._remedy
        if isinstance(error, OSError):
            remedy = "name a file that is there and that this user may read"
        return ConfigError(f"{self.name}({self.path!r}) cannot be opened: {_words(error)}", remedy=remedy)

    async def _close(self) -> None:
        workers, self._workers = self._workers, None
        reader, self._reader = self._reader, None
        assert workers is not None
        assert reader is not None
        with CancelScope(shield=True), suppress(TimeoutError):
            await workers.run(reader.close)
        workers.close()


def _words(error: Exception) -> str:
    if isinstance(error, OSError) and error.strerror:
        return error.strerror
    return str(error) or ("it does not answer in time" if isinstance(error, TimeoutError) else type(error).__name__)
