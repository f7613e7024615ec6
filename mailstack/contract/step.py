"""A part of a compiled chain."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

from ..session.session import Session


class Step(NamedTuple):
    """call -- takes the session and the phase's subject, returns the Reply, or its coroutine when is_async."""

    call: Callable[[Session, Any], Any]
    is_async: bool
