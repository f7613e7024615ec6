"""Threads that a hanging backend cannot keep: deadlines, those that are left behind, and how many there are at most."""

from __future__ import annotations

import subprocess
import sys
import threading

import anyio
import pytest

from mailstack.services.workers import Workers


async def ended(workers: Workers) -> None:
    """Until nothing hangs any more; the threads say so by themselves."""
    while workers.hanging:  # noqa: ASYNC110
        await anyio.sleep(0.001)


async def test_work_is_done_in_another_thread_and_its_errors_come_back() -> None:
    workers = Workers(2, timeout=10)
    assert await workers.run(threading.get_ident) != threading.get_ident()
    with pytest.raises(ZeroDivisionError):
        await workers.run(lambda: 1 // 0)
    with pytest.raises(SystemExit):
        await workers.run(lambda: sys.exit(1))
    assert await workers.run(lambda: 5) == 5
    workers.close()


async def test_no_more_run_at_once_than_there_are_threads() -> None:
    workers = Workers(3, timeout=10)
    running: list[int] = []
    most = [0]

    def work() -> None:
        running.append(1)
        most[0] = max(most[0], len(running))
        threading.Event().wait(0.005)
        running.pop()

    async with anyio.create_task_group() as group:
        for _ in range(20):
            group.start_soon(workers.run, work)
    assert 1 <= most[0] <= 3
    workers.close()


async def test_late_calls_are_left_behind_until_there_are_too_many() -> None:
    workers, go = Workers(2, timeout=0.05), threading.Event()
    threads = threading.active_count()
    for hanging in (1, 2):
        with pytest.raises(TimeoutError):
            await workers.run(go.wait)
        assert workers.hanging == hanging
    with pytest.raises(TimeoutError, match="2 earlier calls have not come back"):
        await workers.run(lambda: 5)
    assert threading.active_count() <= threads + 2
    go.set()
    await ended(workers)
    assert await workers.run(lambda: 5) == 5
    workers.close()


async def test_a_cancelled_call_is_left_behind_too() -> None:
    workers, go = Workers(1, timeout=10), threading.Event()
    with anyio.move_on_after(0.02):
        await workers.run(go.wait)
    assert workers.hanging == 1
    go.set()
    await ended(workers)
    assert await workers.run(lambda: 5) == 5
    workers.close()


HANGS = """
import anyio, threading
from mailstack.services.workers import Workers

async def main():
    try:
        await Workers(1, timeout=0.05).run(threading.Event().wait)
    except TimeoutError:
        print("late")

anyio.run(main, backend="{backend}")
"""


@pytest.mark.parametrize("backend", ["asyncio", "trio"])
def test_a_thread_that_hangs_does_not_keep_the_process(backend: str) -> None:
    done = subprocess.run(
        [sys.executable, "-c", HANGS.format(backend=backend)], capture_output=True, timeout=60, check=True
    )
    assert done.stdout == b"late\n"
    assert done.stderr == b""
