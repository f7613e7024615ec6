"""A daemon that hangs."""

from __future__ import annotations

import os
import signal


def freeze(pid: int) -> None:
    """Stop a child of ours; returns when it has stopped, for until then it may still answer."""
    os.kill(pid, signal.SIGSTOP)
    os.waitid(os.P_PID, pid, os.WSTOPPED | os.WNOWAIT)
