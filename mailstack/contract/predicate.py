"""Conditions for `When` and `Unless`: sync, cheap, combined with & | ~.

    from mailstack import predicate
    trusted = predicate.client_in("192.0.2.0/24") | predicate.authenticated

Each says from which phase on its answer is known; a `When` around an entry that listens earlier would never let that
entry see its beginning, and is a load error. A plain function `session -> bool` may stand wherever a predicate may:
its answer counts as known at `connect` and is asked once per session. `@known("mail")` declares a later one, asked anew
each time.
A predicate that takes `recipient` can only be asked in `rcpt`.

Those that take lists (client_in, sender_in, …) are made in mailstack/predicate.py, which is what `from mailstack import
predicate` gives: a floor higher, where lookups are known.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable
from functools import lru_cache
from typing import Any

from ..option import ConfigError, number
from ..session.session import Session
from ..session.stash import Key
from .score import score

# The order in which a session meets the phases; `command` comes at any time.
ORDER = ("session", "connect", "ehlo", "auth", "mail", "rcpt", "data", "headers", "message", "queue")

Ask = Callable[[Session, Any], bool]


class Predicate:
    """A question about a session. known -- the first phase in which it can be answered.

    only -- the one phase in which it can be asked, or None. named -- whether it may look at the client's name, which is
        then waited for at EHLO if an entry below it listens before RCPT. listeners -- those that it speaks of.
    """

    __slots__ = ("_ask", "known", "listeners", "named", "only", "words")

    def __init__(
        self,
        ask: Ask,
        words: str,
        known: str,
        only: str | None = None,
        *,
        named: bool = False,
        listeners: frozenset[str] = frozenset(),
    ) -> None:
        self._ask = ask
        self.words = words
        self.known = known
        self.only = only
        self.named = named
        self.listeners = listeners

    def __call__(self, session: Session, subject: Any = None) -> bool:
        return self._ask(session, subject)

    def __and__(self, other: Predicate | Callable[..., bool]) -> Predicate:
        right = as_predicate(other)
        return _both(self, right, lambda s, x: self(s, x) and right(s, x), f"({self} & {right})")

    def __or__(self, other: Predicate | Callable[..., bool]) -> Predicate:
        right = as_predicate(other)
        return _both(self, right, lambda s, x: self(s, x) or right(s, x), f"({self} | {right})")

    def __invert__(self) -> Predicate:
        return Predicate(
            lambda s, x: not self(s, x),
            f"~{self}",
            self.known,
            self.only,
            named=self.named,
            listeners=self.listeners,
        )

    def __bool__(self) -> bool:
        raise ConfigError(
            f"{self} has no truth of its own", remedy="combine predicates with & | ~, not with and, or, not"
        )

    def __str__(self) -> str:
        return self.words

    __repr__ = __str__


def _both(left: Predicate, right: Predicate, ask: Ask, words: str) -> Predicate:
    later = max(left.known, right.known, key=ORDER.index)
    return Predicate(ask, words, later, left.only or right.only, named=left.named or right.named)


def known(phase: str) -> Callable[[Callable[..., bool]], Predicate]:
    """Declare from which phase on a function's answer is known; it is asked anew each time."""
    if phase not in ORDER:
        raise ConfigError(f"known({phase!r}): there is no such phase", remedy=f"one of {', '.join(ORDER)}")

    def declare(function: Callable[..., bool]) -> Predicate:
        return _declared(function, phase)

    return declare


def _declared(function: Callable[..., bool], phase: str) -> Predicate:
    names = tuple(inspect.signature(function).parameters)
    words = getattr(function, "__name__", type(function).__name__)
    if names == ("session",):
        named = ORDER.index(phase) >= ORDER.index("ehlo")
        return Predicate(lambda session, _: bool(function(session)), words, phase, named=named)
    if set(names) <= {"session", "recipient"} and names:
        return Predicate(
            lambda session, recipient: bool(function(**{n: session if n == "session" else recipient for n in names})),
            words,
            "rcpt",
            only="rcpt",
        )
    raise ConfigError(f"predicate {words}({', '.join(names)})", remedy="it takes session, and recipient if it likes")


def as_predicate(given: Predicate | Callable[..., bool]) -> Predicate:
    """A predicate as it is; a plain function asked once per session, at `connect`."""
    if isinstance(given, Predicate):
        return given
    if not callable(given):
        raise ConfigError(
            f"{given!r} is not a predicate", remedy="take one of mailstack.predicate, or a function of session"
        )
    hashable = type(given).__hash__ is not None
    return _latched(given) if hashable else _latched.__wrapped__(given)


@lru_cache(maxsize=1024)
def _latched(function: Callable[..., bool]) -> Predicate:
    """Asked once per session, however often the same function stands in the stack."""
    plain = _declared(function, "connect")
    if plain.only:
        return plain
    latch: Key[bool] = Key(plain.words)

    def ask(session: Session, subject: Any) -> bool:
        answer = session.stash.get(latch)
        if answer is None:
            answer = session.stash[latch] = plain(session, subject)
        return answer

    return Predicate(ask, plain.words, "connect")


def listener(*names: str) -> Predicate:
    """The connection came in by a listener of one of these names."""
    words = f"listener({', '.join(names)})"
    return Predicate(lambda session, _: session.listener in names, words, "session", listeners=frozenset(names))


def score_at_least(points: float) -> Predicate:
    """The points that `Score` has counted so far are at least so many."""
    least = number(points, name="score_at_least")
    return Predicate(lambda session, _: score(session) >= least, f"score_at_least({least:g})", "connect")


authenticated = Predicate(lambda session, _: session.user is not None, "authenticated", "auth")
secure = Predicate(lambda session, _: session.secure, "secure", "connect")
client_certificate = Predicate(
    lambda session, _: session.encryption is not None and session.encryption.certificate is not None,
    "client_certificate",
    "connect",
)
