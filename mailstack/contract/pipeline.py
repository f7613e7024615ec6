"""A stack made ready: loaded, checked, flattened and compiled once, at start.

    pipeline = build(Stack(…))
    rcpt = pipeline.chain("rcpt", end=deny, limit=30.0)

Everything that can be wrong with a stack is a ConfigError here, with file and line, and never a surprise in a session.
"""

from __future__ import annotations

import time
from collections.abc import Awaitable, Callable, Coroutine, Iterator, Sequence
from dataclasses import replace
from typing import Any

from anyio import get_cancelled_exc_class, move_on_after

from ..option import ConfigError
from ..session.evidence import Finding
from ..session.hangup import Hangup, hangup_in
from ..session.message import Message
from ..session.session import Session
from ..session.transaction import Transaction
from ..wire.reply import Reply
from .chain import Branch, Call, Node, Step, compile_chain
from .compose import Limit, Stack, When
from .entry import Entry, Impl, Origin
from .extension import known_parameters, known_verbs
from .fault import ContractError, Late, counted, failure_in, judge, no_answer
from .hookspec import NOTICES, PHASES
from .load import HOOKS, Loader
from .predicate import ORDER
from .rehearsal import rehearse

# A notice has no reply to hold up, and nobody waits for it long.
NOTICE_LIMIT = 30.0

Life = Callable[[Any], Awaitable[None]]


class Pipeline:
    """The loaded entries of a stack, in its order, and what they bring.

    entries -- all of them, outermost first. warnings -- what `check` should tell the postmaster.
    not_asked -- in a rehearsal: the entries that are not asked, each with the hooks that are left out.
    parameters, verbs -- what the parser and HELP know beyond the core's own (see `extension`).
    """

    def __init__(
        self, tree: tuple[_Loaded, ...], entries: list[Entry], warnings: list[str], not_asked: Sequence[Entry] = ()
    ) -> None:
        self.entries = entries
        self.warnings = warnings
        self.not_asked = not_asked
        self.parameters = known_parameters(entries)
        self.verbs = known_verbs(entries)
        self._nodes = {hook: _nodes_of(tree, hook) for hook in HOOKS}
        self._replied = self._told("replied")
        self._reset = self._told("reset")
        self._queued = self._told("queued")
        self._disconnect = self._told("disconnect")

    def nodes(self, hook: str) -> tuple[Node, ...]:
        """What implements a hook, with the conditions around it."""
        return self._nodes[hook]

    def chain(self, hook: str, end: Call, limit: float) -> Step:
        """The compiled chain of one phase."""
        return compile_chain(self._nodes[hook], end, limit)

    def life(self, hook: str, end: Life) -> Life:
        """The onions of one life, folded around `end`."""
        life = end
        for node in reversed(self._nodes[hook]):
            life = _around(node, life)
        return life

    # Notices.

    def _told(self, hook: str) -> tuple[tuple[Callable[..., Any], Impl], ...]:
        return tuple((_by_name(node), node) for node in _flat(self._nodes[hook]))

    def tell_replied(self, session: Session, phase: str, by: str, reply: Reply) -> None:
        """Everybody hears of a reply."""
        for call, impl in self._replied:
            _tell(call, impl, session, session=session, phase=phase, by=by, reply=reply)

    def tell_reset(self, session: Session, transaction: Transaction, why: str) -> None:
        """Everybody hears that a transaction is over."""
        for call, impl in self._reset:
            _tell(call, impl, session, session=session, transaction=transaction, why=why)

    async def tell_queued(self, session: Session, message: Message, reply: Reply) -> None:
        """Everybody hears that a message was taken."""
        await _tell_async(self._queued, session, session=session, message=message, reply=reply)

    async def tell_disconnect(self, session: Session) -> None:
        """Everybody hears that the connection is over."""
        await _tell_async(self._disconnect, session, session=session)


class _Loaded:
    """A node of the composed tree: an entry, or a condition around nodes.

    decided -- whether a Limit has said what the entry's failure means.
    """

    __slots__ = ("decided", "entry", "inside", "origin", "when")

    def __init__(self, entry: Entry | None, when: When | None, inside: tuple[_Loaded, ...], origin: Origin) -> None:
        self.entry = entry
        self.when = when
        self.inside = inside
        self.origin = origin
        self.decided = False


def build(stack: Stack, *, rehearsal: bool = False) -> Pipeline:
    """Load and check a stack. ConfigError tells what is wrong, where, and the remedy.

    rehearsal -- whether it is for sessions that did not happen (see `rehearsal`).
    """
    if not isinstance(stack, Stack):
        raise ConfigError(f"{stack!r} is not a stack", remedy="write Stack(…) around the entries")
    loader, entries, warnings = Loader(), [], []  # type: Loader, list[Entry], list[str]
    tree = tuple(_load(stack.entries, stack.origins, loader, entries))
    for hook in HOOKS:
        _check_conditions(tree, hook, warnings)
    return Pipeline(tree, entries, warnings, rehearse(entries) if rehearsal else ())


def _load(
    items: tuple[object, ...], origins: tuple[Origin, ...], loader: Loader, entries: list[Entry]
) -> Iterator[_Loaded]:
    for item, origin in zip(items, origins, strict=True):
        if isinstance(item, Stack):
            yield from _load(item.entries, item.origins, loader, entries)
        elif isinstance(item, When):
            yield _Loaded(None, item, tuple(_load(item.entries, item.origins, loader, entries)), origin)
        elif isinstance(item, Limit):
            inside = tuple(_load((item.entry,), item.origins, loader, entries))
            _limit(inside, item)
            yield from inside
        else:
            entry = loader.load(item, origin)
            entries.append(entry)
            yield _Loaded(entry, None, (), origin)


def _limit(nodes: tuple[_Loaded, ...], limit: Limit) -> None:
    """Limits are data on the implementations; the compiler owns scopes and guards. The inner ones come first."""
    for node in nodes:
        _limit(node.inside, limit)
        if node.entry is not None:
            for hook, impl in node.entry.impls.items():
                if hook in PHASES:
                    timeouts = [each for each in (impl.timeout, limit.timeout) if each is not None]
                    on_fault = impl.on_fault if node.decided or limit.on_fault is None else limit.on_fault
                    node.entry.impls[hook] = replace(impl, timeout=min(timeouts, default=None), on_fault=on_fault)
            node.decided = node.decided or limit.on_fault is not None


def _nodes_of(tree: tuple[_Loaded, ...], hook: str) -> tuple[Node, ...]:
    """What implements `hook`. Notices and the server's life are never conditional, or clean-up would be lost."""
    nodes: list[Node] = []
    for loaded in tree:
        if loaded.entry is not None and hook in loaded.entry.impls:
            nodes.append(loaded.entry.impls[hook])
        inside = _nodes_of(loaded.inside, hook)
        if loaded.when is None or hook in NOTICES or hook == "lifespan":
            nodes.extend(inside)
        elif inside:
            nodes.append(Branch(loaded.when.predicate, loaded.when.negated, inside, loaded.origin))
    return tuple(nodes)


def _check_conditions(tree: tuple[_Loaded, ...], hook: str, warnings: list[str]) -> None:
    """An entry that listens before its condition is known would miss its own beginning."""
    for loaded in tree:
        if loaded.when is None:
            continue
        _check_conditions(loaded.inside, hook, warnings)
        if hook in NOTICES or hook == "lifespan" or not _nodes_of(loaded.inside, hook):
            continue
        predicate = loaded.when.predicate
        names = ", ".join(dict.fromkeys(impl.who for impl in _flat(_nodes_of(loaded.inside, hook))))
        if predicate.only is not None and hook != predicate.only:
            raise _at(
                loaded.origin,
                f"{predicate} can be asked only in {predicate.only}, but {names} listens in {hook}",
                "take a predicate that does not need the recipient",
            )
        if (
            hook in ORDER
            and ORDER.index(hook) < ORDER.index(predicate.known)
            and not (hook == "session" and predicate.known == "connect")
        ):
            problem = f"{names} listens in {hook}, but {predicate} is known only from {predicate.known} on"
            if not loaded.when.negated:
                raise _at(loaded.origin, problem, "use Unless with the opposite, or an entry that listens later")
            warnings.append(f"{loaded.origin}: {problem}: until then it runs for everybody")


def _at(origin: Origin, message: str, remedy: str) -> ConfigError:
    error = ConfigError(message, remedy=remedy)
    error.file, error.line = origin.file or None, origin.line or None
    return error


def _flat(nodes: tuple[Node, ...]) -> Iterator[Impl]:
    for node in nodes:
        if isinstance(node, Branch):
            yield from _flat(node.nodes)
        else:
            yield node


def _around(node: Node, inner: Life) -> Life:
    """One onion of a life around the rest; a condition is asked once, when its turn comes."""
    if isinstance(node, Branch):
        inside = inner
        for child in reversed(node.nodes):
            inside = _around(child, inside)

        async def choose(subject: Any) -> None:
            chosen = inside if node.predicate(subject) is not node.negated else inner
            await chosen(subject)

        return choose
    call = _by_name(node)
    if node.hook == "lifespan":
        return lambda server: call({"server": server, "call_next": lambda: inner(server)})

    async def live(session: Session) -> None:
        try:
            await call({"session": session, "call_next": lambda: inner(session)})
        except Hangup:
            return  # the client left before the conversation began
        except Exception as error:
            _blame(session, node, error)
            raise
        except BaseExceptionGroup as group:
            if hangup_in(group, get_cancelled_exc_class()) is not None:
                return
            failure = failure_in(group)
            _blame(session, node, failure)
            raise failure from group

    return live


def _blame(session: Session, impl: Impl, error: Exception) -> None:
    """Who let the whole conversation fail; the connection logs it and ends. Onions further out only hand it on."""
    if any((each.phase, each.outcome) == ("session", "fault") for each in session.evidence):
        return
    counted[impl.who, impl.hook] += 1
    session.evidence.add(Finding(impl.who, impl.hook, "fault", detail=f"{type(error).__name__}: {error}"))
    session.answered_by = impl.who


def _by_name(impl: Impl) -> Callable[[dict[str, Any]], Any]:
    """The implementation as a function of everything it might take."""
    function, arguments = impl.function, impl.arguments
    return lambda known: function(*[known[name] for name in arguments])


def _tell(call: Callable[..., Any], impl: Impl, subject: Session, **known: Any) -> None:
    began = time.perf_counter()
    try:
        _nothing(call(known))
    except Exception as error:
        judge(subject, impl.who, impl.hook, error, "pass", time.perf_counter() - began)


async def _tell_async(listeners: tuple[tuple[Callable[..., Any], Impl], ...], subject: Session, **known: Any) -> None:
    """Shielded, each in its own guard. Who uses up the time is named, and the others hear with a new clock."""
    remaining = iter(listeners)
    for call, impl in remaining:
        began = time.perf_counter()
        with move_on_after(NOTICE_LIMIT, shield=True):
            while True:
                began = time.perf_counter()
                await _tell_one(call, impl, subject, known)
                following = next(remaining, None)
                if following is None:
                    return
                call, impl = following
        late = Late(f"cancelled after {NOTICE_LIMIT:g} s")
        judge(subject, impl.who, impl.hook, late, "pass", time.perf_counter() - began)


async def _tell_one(call: Callable[..., Any], impl: Impl, subject: Session, known: dict[str, Any]) -> None:
    began = time.perf_counter()
    try:
        answer = call(known)
        _nothing(await answer if impl.is_async else answer)
        return
    except Hangup:
        return  # nobody's fault; who reads next finds the same
    except Exception as error:
        failure = error
    except BaseExceptionGroup as group:
        if hangup_in(group, get_cancelled_exc_class()) is not None:
            return
        failure = failure_in(group)
    judge(subject, impl.who, impl.hook, failure, "pass", time.perf_counter() - began)


def _nothing(answer: object) -> None:
    """A notice decides nothing; a coroutine that nobody awaits was meant to do something."""
    if answer is not None and isinstance(answer, Coroutine):
        raise ContractError(no_answer(answer) + ": make it async def")
