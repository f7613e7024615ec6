"""What a configuration composes: `Stack`, and the wrappers that are policy about policy.

    Stack(
        Unless(trusted, DNSBL("zen.spamhaus.org")),
        Limit(SpamAssassin(), timeout="10s", on_fault="pass"),
        Domains("example.org"),
        Maildir("/var/mail"),
    )

These objects only remember; `contract.pipeline` loads, checks and compiles them once, at start. `Observe`,
`Postpone` and `Score` have files of their own.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

from ..option import choice, duration
from .entry import Entry, Origin
from .fault import OnFault
from .hookspec import PHASES
from .origin import origins
from .predicate import Predicate, as_predicate


class Stack:
    """Entries in order, the outermost first. A Stack inside a Stack is as if its entries stood there."""

    __slots__ = ("entries", "origins")

    def __init__(self, *entries: object) -> None:
        self.entries = entries
        self.origins: tuple[Origin, ...] = origins(len(entries))


class When:
    """These entries, where the predicate says yes."""

    __slots__ = ("entries", "negated", "origins", "predicate")

    def __init__(self, predicate: Predicate | Callable[..., bool], *entries: object) -> None:
        self.predicate = as_predicate(predicate)
        self.negated = False
        self.entries = entries
        self.origins: tuple[Origin, ...] = origins(len(entries), skip=1)


class Unless(When):
    """These entries, where the predicate says no."""

    __slots__ = ()

    def __init__(self, predicate: Predicate | Callable[..., bool], *entries: object) -> None:
        self.predicate = as_predicate(predicate)
        self.negated = True
        self.entries = entries
        self.origins = origins(len(entries), skip=1)


class Limit:
    """One entry with a time limit of its own, and what its failure means.

    timeout -- how long each of its calls may take ("10s"); default: the phase's limit. Of a Limit around a Limit the
        shorter counts. A call that hangs is cancelled;
        one that was late all the same (a thread cannot be cancelled) counts as failed too. The clock stands still while
        an onion waits in `call_next()` and while a check waits for the client.
    on_fault -- when it raises or is late: "defer" (451, the default), "pass" (as if it had no opinion; an onion is
        stepped over) or "reject" (554). Of a Limit around a Limit the inner one decides, if it says.
    """

    __slots__ = ("entry", "on_fault", "origins", "timeout")
    idle = ""

    def __init__(self, entry: object, *, timeout: Any = None, on_fault: OnFault | None = None) -> None:
        self.entry = entry
        self.timeout = None if timeout is None else duration(timeout, name="Limit(timeout)")
        self.on_fault: OnFault | None = None
        if on_fault is not None:
            chosen: OnFault = choice(on_fault, "defer", "pass", "reject", name="Limit(on_fault)")
            self.on_fault = chosen
        self.origins: tuple[Origin, ...] = origins(1)

    def wrap(self, entry: Entry) -> None:
        """Limits are data on the implementations; the compiler owns scopes and guards."""
        for hook, impl in entry.impls.items():
            if hook in PHASES:
                timeouts = [each for each in (impl.timeout, self.timeout) if each is not None]
                on_fault = impl.on_fault if entry.decided or self.on_fault is None else self.on_fault
                entry.impls[hook] = replace(impl, timeout=min(timeouts, default=None), on_fault=on_fault)
        entry.decided = entry.decided or self.on_fault is not None
