"""Which line of a configuration file an entry was written on, for errors and `mailstack check`.

The frame of `Stack(…)` tells file and line of the call; the file's syntax tree tells the line of each argument.
"""

from __future__ import annotations

import ast
import linecache
import sys
from functools import lru_cache

from .entry import Origin


def origins(count: int, *, skip: int = 0) -> tuple[Origin, ...]:
    """The origin of each of the `count` arguments of the call two frames up; `skip` arguments stand before them."""
    frame = sys._getframe(2)
    file, line = frame.f_code.co_filename, frame.f_lineno
    lines = _argument_lines(file, line)[skip : skip + count]
    if len(lines) != count:
        lines = (line,) * count
    return tuple(Origin(file, each) for each in lines)


def caller() -> Origin:
    """Where the function that asks was called."""
    frame = sys._getframe(2)
    return Origin(frame.f_code.co_filename, frame.f_lineno)


@lru_cache(maxsize=64)
def _argument_lines(file: str, line: int) -> tuple[int, ...]:
    """The lines of the positional arguments of the one composing call that begins on `line`; empty when in doubt."""
    try:
        tree = ast.parse("".join(linecache.getlines(file)))
    except SyntaxError:
        return ()
    calls = [node for node in ast.walk(tree) if isinstance(node, ast.Call) and node.lineno == line and _composes(node)]
    if len(calls) != 1 or any(isinstance(argument, ast.Starred) for argument in calls[0].args):
        return ()
    return tuple(argument.lineno for argument in calls[0].args)


def _composes(call: ast.Call) -> bool:
    name = call.func.attr if isinstance(call.func, ast.Attribute) else getattr(call.func, "id", "")
    return name in ("Stack", "When", "Unless", "Limit", "Observe", "Postpone", "Score")
