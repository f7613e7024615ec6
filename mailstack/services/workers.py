"""Threads for libraries that wait: so many at once, each call with a deadline, and one that hangs is left behind.

    workers = Workers(5, timeout=5.0)                 # one for each backend, made where it is opened
    rows = await workers.run(lambda: connection.execute(query).fetchall())
    workers.close()

A cancelled or late call goes on in its thread and nobody hears of it: use this for work that only asks. As many calls
as there are threads may hang; after that, and until one of them has ended, further ones fail at once. A backend that
hangs costs each caller its deadline a few times, and never more threads.

Not `anyio.to_thread`: on asyncio its threads keep a process from ending, so that a database that hangs would keep a
mail server from being restarted. These do not.

Fails: TimeoutError when a call is late, or may not begin in time; whatever the work raises.
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress
from queue import SimpleQueue
from threading import Thread
from typing import Any, Generic, TypeVar

from anyio import CapacityLimiter, Event, RunFinishedError, fail_after, from_thread
from anyio.lowlevel import EventLoopToken, current_token

__all__ = ["Workers"]

T = TypeVar("T")


class _Job(Generic[T]):
    """A call: what to do, and then how it ended."""

    __slots__ = ("done", "error", "result", "token", "work")

    def __init__(self, work: Callable[[], T]) -> None:
        self.work = work
        self.done = Event()
        self.token: EventLoopToken = current_token()
        self.result: T | None = None
        self.error: BaseException | None = None

    def run(self) -> None:
        try:
            self.result = self.work()
        except BaseException as error:
            self.error = error


class Workers:
    """count -- threads at once. timeout -- seconds that a call may take, waiting for a thread included.

    Belongs to the event loop that made it, and all that it counts is counted there.
    """

    __slots__ = ("_free", "_hanging", "_idle", "_jobs", "count", "timeout")

    def __init__(self, count: int, *, timeout: float) -> None:
        self.count = count
        self.timeout = timeout
        self._free = CapacityLimiter(count)
        self._jobs: SimpleQueue[_Job[Any] | None] = SimpleQueue()
        self._idle = 0
        self._hanging: set[_Job[Any]] = set()

    @property
    def hanging(self) -> int:
        """Calls that nobody waits for any more and that have not ended."""
        return len(self._hanging)

    async def run(self, work: Callable[[], T]) -> T:
        """What the work returns or raises."""
        with fail_after(self.timeout):
            async with self._free:
                if len(self._hanging) >= self.count:
                    raise TimeoutError(f"{self.count} earlier calls have not come back")
                job = _Job(work)
                self._begin(job)
                try:
                    await job.done.wait()
                except BaseException:
                    if not job.done.is_set():
                        self._hanging.add(job)
                    raise
        if job.error is not None:
            raise job.error
        return job.result  # type: ignore[return-value]

    def close(self) -> None:
        """Let the threads end: those that have nothing to do now, and the others when they are done."""
        for _ in range(self._idle):
            self._jobs.put(None)
        self._idle = 0

    def _begin(self, job: _Job[Any]) -> None:
        self._jobs.put(job)
        if self._idle:
            self._idle -= 1
        else:
            Thread(target=self._serve, name="mailstack worker", daemon=True).start()

    def _serve(self) -> None:
        """In the thread."""
        with suppress(RunFinishedError):
            while (job := self._jobs.get()) is not None:
                job.run()
                if not from_thread.run_sync(self._ended, job, token=job.token):
                    return

    def _ended(self, job: _Job[Any]) -> bool:
        """In the event loop: whether the thread may go on. The place of one that hung may have been taken."""
        job.done.set()
        if job in self._hanging:
            self._hanging.discard(job)
            return False
        self._idle += 1
        return True
