"""Which tests run on which backend: all on all three, but for tables and counterparts, which are dealt out by turns.

An async test runs on asyncio, uvloop and trio. Two kinds do not, for the backend is not what they are about:

* a table (a test of `TABLE` cases or more): its first case runs on all three, every other one on one of them. Cases of
  several parameters are dealt like a Latin square, so that each value of each parameter meets every backend;
* whatever is marked `interop` or `one_backend`: each test, or case of one, runs on one of them, the next on the next.

`@pytest.mark.every_backend` says that each case may fail on each backend in a way of its own: nothing is dealt.
MAILSTACK_EVERY_BACKEND=1 in the environment deals nothing anywhere. A backend is known by the parameter that names it
(`NAMES`). What is dealt depends on the order in which tests and cases are written, and on nothing else.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator
from itertools import groupby
from typing import Any

import pytest

NAMES = {"anyio_backend", "backend", "serve"}
TABLE = 4  # cases

Row = tuple[int, ...]  # the identities of its values
Case = tuple[int, ...]


def dealt(items: Iterable[pytest.Item]) -> Iterator[pytest.Item]:
    """What is left of the collected items, in their order."""
    if os.environ.get("MAILSTACK_EVERY_BACKEND"):
        yield from items
        return
    for _, of_module in groupby(items, lambda item: item.path):
        for place, (_, group) in enumerate(groupby(of_module, _function)):
            yield from _of_one_test(list(group), place)


def _of_one_test(items: list[pytest.Item], place: int) -> list[pytest.Item]:
    """The items of one test function, which is the place-th of its module."""
    first = items[0]
    if _backend(first) is None or first.get_closest_marker("every_backend"):
        return items
    single = first.get_closest_marker("interop") or first.get_closest_marker("one_backend")
    cases = _cases(items)
    if not single and len(set(cases)) < TABLE:
        return items
    backends = list(
        {str(each): each for each in map(_backend, items)}.values()
    )  # one alone, where the command line names a case
    start = place if single else 0
    return [
        item
        for item, case in zip(items, cases, strict=True)
        if _backend(item) is backends[(start + sum(case)) % len(backends)] or (not single and case == cases[0])
    ]


def _cases(items: list[pytest.Item]) -> list[Case]:
    """Of each item, which row it has of each table that parametrizes it, as in `itertools.product`."""
    tables = [names for names in _tables(items[0]) if not NAMES.intersection(names)]
    seen: list[dict[Row, int]] = [{} for _ in tables]
    cases: list[Case] = []
    for item in items:
        rows = [tuple(id(_parameters(item)[name]) for name in names) for names in tables]
        cases.append(tuple(known.setdefault(row, len(known)) for known, row in zip(seen, rows, strict=True)))
    return cases


def _tables(item: pytest.Item) -> list[tuple[str, ...]]:
    """Its parameters; those of one `parametrize` are together, and those of a fixture are alone."""
    together = [
        tuple(name.strip() for name in names.split(",")) if isinstance(names, str) else tuple(names)
        for names in (mark.args[0] for mark in item.iter_markers("parametrize"))
    ]
    named = {name for names in together for name in names}
    return together + [(name,) for name in _parameters(item) if name not in named]


def _function(item: pytest.Item) -> object:
    return getattr(item, "function", item)


def _parameters(item: pytest.Item) -> dict[str, Any]:
    return item.callspec.params if hasattr(item, "callspec") else {}


def _backend(item: pytest.Item) -> Any:
    return next((value for name, value in _parameters(item).items() if name in NAMES), None)
