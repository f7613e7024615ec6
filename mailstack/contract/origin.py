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
    lines = _argument_lines("".join(linecache.getlines(file))).get(line, ())[skip : skip + count]
    if len(lines) != count:
        lines = (line,) * count
    return tuple(Origin(file, each) for each in lines)


def caller() -> Origin:
    """Where the function that asks was called."""
    frame = sys._getframe(2)
    return Origin(frame.f_code.co_filename, frame.f_lineno)


@lru_cache(maxsize=16)
def _argument_lines(source: str) -> dict[int, tuple[int, ...]]:
    """For each line with one composing call: the lines of its positional arguments, if each stands for one entry."""
    try:
        tree = ast.parse(source)
    except SyntaxError:
        return {}
    found: dict[int, tuple[int, ...]] = {}
    for node in ast.walk(tree):
        if isinstance(node, ast.Call) and _composes(node):
            clear = node.lineno not in found and not any(isinstance(each, ast.Starred) for each in node.args)
            found[node.lineno] = tuple(each.lineno for each in node.args) if clear else ()
    return found


def _composes(call: ast.Call) -> bool:
    name = call.func.attr if isinstance(call.func, ast.Attribute) else getattr(call.func, "id", "")
    return name in ("Stack", "When", "Unless", "Limit", "Observe", "Postpone", "Score")
