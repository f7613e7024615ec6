"""Where message bodies lie while a session has them: in memory first, then in a file.

One `SpoolFolder` serves a server. A body stays in memory up to `memory_each` octets, and all bodies together up to
`memory_total`; past either, it goes to a file of its own (mode 0600, in a folder of mode 0700) in pieces of 512 KiB
that a worker thread writes, so that a message of any size takes the same memory. The file goes with the transaction.

The folder of a server that was killed is swept by the next one to start on the same path: each server holds a lock on
its own subfolder, and a subfolder that can be locked is nobody's.

Fails with OSError (disk full, folder gone): the session answers 452 or 451 and drops the message.
"""

from __future__ import annotations

import fcntl
import os
import shutil
import stat
import tempfile
from collections.abc import AsyncGenerator, Generator, Iterator
from contextlib import contextmanager
from pathlib import Path

from anyio import CapacityLimiter, to_thread

from ..option import ConfigError

PIECE = 512 * 1024
MEMORY_EACH = 64 * 1024
MEMORY_TOTAL = 256 * 1024 * 1024
# Small segments are joined now and then, or their objects would weigh more than their octets.
_MOST_PARTS = 128


class SpoolFolder:
    """The spool of one running server; a context manager that makes the folder and takes it away.

    path -- the folder, made if missing (0700); None: a new private folder below the system's temporary one.
    memory_each, memory_total -- octets that may stay in memory, one body and all together.
    """

    def __init__(
        self,
        path: str | os.PathLike[str] | None = None,
        *,
        memory_each: int = MEMORY_EACH,
        memory_total: int = MEMORY_TOTAL,
    ) -> None:
        self.base = None if path is None else Path(path)
        self.memory_each = memory_each
        self.memory_total = memory_total
        self.in_memory = 0
        self.files = 0
        self._own: Path | None = None
        self._lock = -1
        self._serial = 0
        self._limiter: CapacityLimiter | None = None

    def __enter__(self) -> SpoolFolder:
        try:
            if self.base is None:
                self._claim()
            else:
                _make_private(self.base)
                with _locked(self.base):  # or another server that starts would sweep ours before we lock it
                    _sweep(self.base)
                    self._claim()
        except OSError as error:
            place = self.base or tempfile.gettempdir()
            remedy = "name a folder that this user may write"
            raise ConfigError(f"no spool in {place}: {error.strerror}", remedy=remedy) from error
        return self

    def _claim(self) -> None:
        self._own = Path(tempfile.mkdtemp(prefix="mailstack-", dir=self.base))
        self._lock = os.open(self._own, os.O_RDONLY | os.O_DIRECTORY)
        fcntl.flock(self._lock, fcntl.LOCK_EX | fcntl.LOCK_NB)

    def __exit__(self, *exc: object) -> None:
        if self._own is not None:
            shutil.rmtree(self._own, ignore_errors=True)
            os.close(self._lock)
            self._own = None

    @property
    def path(self) -> Path:
        """The subfolder that this server owns while it runs."""
        if self._own is None:
            raise RuntimeError("the spool folder is not open")
        return self._own

    @property
    def limiter(self) -> CapacityLimiter:
        """The threads that may write spool files at once."""
        if self._limiter is None:
            self._limiter = CapacityLimiter(8)
        return self._limiter

    def spool(self) -> Spool:
        """A new, empty body."""
        return Spool(self)

    def new_name(self) -> Path:
        """An unused path in the folder."""
        self._serial += 1
        return self.path / f"{self._serial:x}"


def _make_private(path: Path) -> None:
    path.mkdir(mode=0o700, parents=True, exist_ok=True)
    facts = path.stat()
    if facts.st_uid != os.geteuid():
        raise ConfigError(
            f"spool folder {path} belongs to user {facts.st_uid}", remedy="give the server its own folder"
        )
    check_private(path)


def check_private(path: Path) -> None:
    """ConfigError when the folder is there and others may look into it."""
    if path.exists() and stat.S_IMODE(path.stat().st_mode) & 0o077:
        raise ConfigError(f"spool folder {path} can be read by others", remedy=f"chmod 700 {path}")


@contextmanager
def _locked(folder: Path) -> Iterator[None]:
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX)
        yield
    finally:
        os.close(descriptor)


def _sweep(base: Path) -> None:
    """Remove what servers that were killed left behind."""
    for folder in base.glob("mailstack-*"):
        try:
            descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW)
        except OSError:
            continue  # no folder of ours, or its server has just taken it away
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            shutil.rmtree(folder, ignore_errors=True)
        except BlockingIOError:
            pass  # its server lives
        finally:
            os.close(descriptor)


class Spool:
    """The octets of one body, appended once and read as often as one likes.

    Not for two writers. Reading starts when writing is over (`finish()`).
    """

    __slots__ = ("_closed", "_file", "_folder", "_held", "_parts", "_path", "size")

    def __init__(self, folder: SpoolFolder) -> None:
        self._folder = folder
        self._parts: list[bytes] = []
        self._held = 0
        self._file = -1
        self._path: Path | None = None
        self._closed = False
        self.size = 0

    @property
    def on_disk(self) -> bool:
        """Whether it has a file."""
        return self._file >= 0

    def write(self, data: bytes) -> bool:
        """Append. True means that `flush()` is due before more comes."""
        self._parts.append(data)
        if len(self._parts) > _MOST_PARTS:
            self._parts = [b"".join(self._parts)]
        length = len(data)
        self._held += length
        self.size += length
        folder = self._folder
        folder.in_memory += length
        return self._held >= PIECE or folder.in_memory > folder.memory_total

    async def flush(self) -> None:
        """Move what is held in memory to the file."""
        if self._parts:
            await to_thread.run_sync(self._write_out, limiter=self._folder.limiter)

    @property
    def unfinished(self) -> bool:
        """Whether `finish()` has something to do."""
        return self._held > self._folder.memory_each or (self._file >= 0 and self._held > 0)

    async def finish(self) -> None:
        """All octets are here: a body that is larger than may stay in memory goes to its file."""
        if self.unfinished:
            await self.flush()

    def _write_out(self) -> None:
        if self._file < 0:
            self._path = self._folder.new_name()
            self._file = os.open(self._path, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
            self._folder.files += 1
        view = memoryview(b"".join(self._parts))
        while view:
            view = view[os.write(self._file, view) :]
        self._release()

    def _release(self) -> None:
        self._folder.in_memory -= self._held
        self._held = 0
        self._parts = []

    def blocks(self, size: int = PIECE) -> Generator[bytes, None, None]:
        """The octets in pieces of `size` or less; blocks on the disk, so call it in a worker thread.

        Several readers may be at work at once, and one that has begun may go on after `close()`. ValueError for one
        that begins then.
        """
        if self._closed:
            raise ValueError("the message is over, and its body is gone")
        held = b"".join(self._parts)
        if self._file >= 0:
            yield from _blocks(os.dup(self._file), size)
        for start in range(0, len(held), size):
            yield held[start : start + size]

    async def chunks(self, size: int = PIECE) -> AsyncGenerator[bytes, None]:
        """The octets in pieces, read in a worker thread where there is a file."""
        blocks = self.blocks(size)
        try:
            while block := await self._next(blocks):
                yield block
        finally:
            blocks.close()

    async def _next(self, blocks: Generator[bytes, None, None]) -> bytes:
        if not self.on_disk:
            return next(blocks, b"")
        return await to_thread.run_sync(next, blocks, b"", limiter=self._folder.limiter)

    def close(self) -> None:
        """Forget the body; idempotent."""
        self._closed = True
        self._release()
        if self._file >= 0:
            os.close(self._file)
            self._file = -1
            self._folder.files -= 1
        if self._path is not None:
            self._path.unlink(missing_ok=True)
            self._path = None


def _blocks(file: int, size: int) -> Iterator[bytes]:
    """What is in the file. It is the reader's own number and closed at the end: the spool's own is free again after
    `close()`, and another message's file may get it."""
    try:
        at = 0
        while block := os.pread(file, size, at):
            at += len(block)
            yield block
    finally:
        os.close(file)
