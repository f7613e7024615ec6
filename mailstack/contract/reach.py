"""What in a stack can never come to anything: entries that nobody asks, points that nobody judges.

Only what is certain is told. A check whose return is annotated `Reply`, and not `Reply | None`, always answers; what
stands behind it in that phase, under the same condition, is never asked.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence

from .chain import Branch, Node
from .entry import Entry, Impl
from .hookspec import PHASES
from .predicate import ORDER
from .score import Scored, Threshold

Nodes = Callable[[str], Sequence[Node]]


def unreached(entries: Sequence[Entry], nodes: Nodes) -> list[str]:
    """Who is never asked, in words. nodes -- what implements a hook."""
    origins = {entry.name: entry.origin for entry in entries}
    return [
        f"{origins[impl.who]}: {impl.who} is never asked in {hook}: {by.who} ({origins[by.who]}) always answers there"
        for hook in PHASES
        for impl, by in _behind(nodes(hook), None)
    ]


def _behind(nodes: Sequence[Node], by: Impl | None) -> Iterator[tuple[Impl, Impl]]:
    """Each implementation that stands behind one that always answers, and that one."""
    for node in nodes:
        if isinstance(node, Branch):
            yield from _behind(node.nodes, by)
        elif by is not None:
            yield node, by
        elif node.answers == "always" and not node.onion and node.plain and node.on_fault != "pass":
            by = node


def unjudged(entries: Sequence[Entry]) -> list[str]:
    """Whose points come too late for every Threshold, or meet none, in words."""
    judges = [
        (ORDER.index(entry.plugin.phase), place)
        for place, entry in enumerate(entries)
        if isinstance(entry.plugin, Threshold)
    ]
    last = max(judges, default=(-1, -1))
    return [
        f"{entry.origin}: {entry.name} scores in {hook}, but no Threshold judges after it"
        for place, entry in enumerate(entries)
        for hook, impl in entry.impls.items()
        if _scores(impl) and (ORDER.index(hook), place) > last
    ]


def _scores(impl: Impl) -> bool:
    return any(isinstance(outlet, Scored) for outlet in impl.outlets)
