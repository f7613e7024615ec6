"""A stack made ready: loaded, checked, flattened and compiled once, at start.

    pipeline = build(Stack(…))
    rcpt = pipeline.chain("rcpt", end=deny, limit=30.0)

Everything that can be wrong with a stack is a ConfigError here, with file and line, and never a surprise in a session.
"""

from __future__ import annotations

import time
from collections.abc import Awaitable, Callable, Coroutine, Iterable, Iterator, Sequence
from dataclasses import replace
from functools import partial
from itertools import compress, product
from typing import Any

from anyio import get_cancelled_exc_class, move_on_after

from ..option import ConfigError
from ..session.evidence import Finding
from ..session.hangup import Hangup, hangup_in
from ..session.message import Message
from ..session.session import Session
from ..session.transaction import Transaction
from ..wire.reply import Reply
from .chain import Branch, Call, Node, compile_chain
from .compose import Limit, Stack, When
from .entry import Entry, Impl, Origin
from .extension import OPENINGS, fulfilled, known_parameters, known_verbs
from .fault import ContractError, Late, counted, failure_in, judge, no_answer
from .hookspec import NOTICES
from .load import HOOKS, Loader
from .observe import Observe, observed_notice
from .postpone import Postpone, Postponed
from .predicate import ORDER, Predicate
from .reach import unjudged, unreached
from .rehearsal import rehearse
from .score import Score
from .step import Step

# A notice has no reply to hold up, and nobody waits for it long.
NOTICE_LIMIT = 30.0

Life = Callable[[Any], Awaitable[None]]


class Pipeline:
    """The loaded entries of a stack, in its order, and what they bring.

    entries -- all of them, outermost first. warnings -- what `check` should tell the postmaster.
    not_asked -- in a rehearsal: the entries that are not asked, each with the hooks that are left out.
    parameters, verbs -- what the parser and HELP know beyond the core's own (see `extension`).
    fulfils -- what entries see to before the banner: "tls", "proxy".
    """

    def __init__(
        self, tree: tuple[_Loaded, ...], entries: list[Entry], warnings: list[str], not_asked: Sequence[Entry] = ()
    ) -> None:
        self.entries = entries
        self.warnings = warnings
        self.not_asked = not_asked
        self.parameters = known_parameters(entries)
        self.verbs = known_verbs(entries)
        self.fulfils = fulfilled(entries)
        self._nodes = {hook: _nodes_of(tree, hook) for hook in HOOKS}
        self._onions = {
            wants: tuple(_wanted(self._nodes["session"], set(compress(OPENINGS, wants))))
            for wants in product((False, True), repeat=len(OPENINGS))
        }
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

    def onions(self, session: Session) -> tuple[Node, ...]:
        """What implements `session`, without who sees to what this listener does not want."""
        return self._onions[session.implicit_tls, bool(session.proxies)]  # in the order of OPENINGS

    def mechanisms(self, session: Session) -> tuple[str, ...]:
        """What the providers that this session may use can judge."""
        return tuple(sorted(set(_mechanisms(self._nodes["auth"], session))))

    # Notices.

    def _told(self, hook: str) -> tuple[tuple[Callable[..., Any], Impl], ...]:
        impls = tuple(_flat(self._nodes[hook]))
        return tuple((observed_notice(_by_name(i), i) if i.observed else _by_name(i), i) for i in impls)

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
    """A node of the composed tree: an entry, or a condition around nodes. observed -- whether it is only tried."""

    __slots__ = ("entry", "inside", "observed", "origin", "when")

    def __init__(self, entry: Entry | None, when: When | None, inside: tuple[_Loaded, ...], origin: Origin) -> None:
        self.entry = entry
        self.when = when
        self.inside = inside
        self.origin = origin
        self.observed = False


def build(stack: Stack, *, rehearsal: bool = False) -> Pipeline:
    """Load and check a stack. ConfigError tells what is wrong, where, and the remedy.

    rehearsal -- whether it is for sessions that did not happen (see `rehearsal`).
    """
    if not isinstance(stack, Stack):
        raise ConfigError(f"{stack!r} is not a stack", remedy="write Stack(…) around the entries")
    loader, entries, warnings = Loader(), [], []  # type: Loader, list[Entry], list[str]
    tree = tuple(_load(stack.entries, stack.origins, loader, entries, warnings))
    for hook in HOOKS:
        _check_conditions(tree, hook, warnings)
    warnings += unjudged(entries) + unreached(entries, partial(_nodes_of, tree))
    return Pipeline(tree, entries, warnings, rehearse(_entries(tree)) if rehearsal else ())


def _load(
    items: tuple[object, ...],
    origins: tuple[Origin, ...],
    loader: Loader,
    entries: list[Entry],
    warnings: list[str],
) -> Iterator[_Loaded]:
    for item, origin in zip(items, origins, strict=True):
        if isinstance(item, Stack):
            yield from _load(item.entries, item.origins, loader, entries, warnings)
        elif isinstance(item, When):
            yield _Loaded(None, item, tuple(_load(item.entries, item.origins, loader, entries, warnings)), origin)
        elif isinstance(item, _WRAPPERS):
            yield from _wrap(
                item, tuple(_load((item.entry,), item.origins, loader, entries, warnings)), origin, warnings
            )
        else:
            entry = loader.load(item, origin)
            entries.append(entry)
            yield _Loaded(entry, None, (), origin)


# What changes the entries inside, each in its own way: `wrap(entry)`.
_Wrapper = Limit | Observe | Postpone | Score
_WRAPPERS = (Limit, Observe, Postpone, Score)


def _wrap(wrapper: _Wrapper, inside: tuple[_Loaded, ...], origin: Origin, warnings: list[str]) -> tuple[_Loaded, ...]:
    """The nodes inside a wrapper, changed. What it adds stands before them, under none of their conditions."""
    before: list[_Loaded] = []
    idle = bool(wrapper.idle)
    for node in _each(inside):
        node.observed = node.observed or isinstance(wrapper, Observe)
        if node.entry is None:
            continue
        impls = dict(node.entry.impls)
        try:
            added = wrapper.wrap(node.entry)
        except ConfigError as error:
            error.file, error.line = node.entry.origin.file or None, node.entry.origin.line or None
            raise
        idle = idle and impls == node.entry.impls
        if added is not None:
            before.append(_Loaded(added, None, (), added.origin))
    if idle:
        warnings.append(f"{origin}: {type(wrapper).__name__}: {wrapper.idle}")
    return (*before, *inside)


def _mechanisms(nodes: tuple[Node, ...], session: Session) -> Iterator[str]:
    for node in nodes:
        if isinstance(node, Impl):
            yield from node.mechanisms()
        elif node.predicate(session) is not node.negated:
            yield from _mechanisms(node.nodes, session)


def _each(nodes: tuple[_Loaded, ...]) -> Iterator[_Loaded]:
    for node in nodes:
        yield node
        yield from _each(node.inside)


def _entries(tree: tuple[_Loaded, ...]) -> Iterator[Entry]:
    """Those of the stack, and those that wrappers have added."""
    return (node.entry for node in _each(tree) if node.entry is not None)


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
            when = loaded.when
            nodes.append(Branch(when.predicate, when.negated, inside, loaded.origin, loaded.observed))
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
        impls = tuple(_flat(_nodes_of(loaded.inside, hook)))
        names = ", ".join(dict.fromkeys(impl.who for impl in impls))
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
            inside = loaded.inside
            if not all(_begins(impl, inside, predicate) or _is_asked_again(impl, inside, predicate) for impl in impls):
                warnings.append(f"{loaded.origin}: {problem}: until then it runs for everybody")


def _begins(impl: Impl, inside: tuple[_Loaded, ...], predicate: Predicate) -> bool:
    """Whether it answers nothing, and its entry judges later, when the condition's answer is known."""
    later = ORDER[ORDER.index(predicate.known) :]
    judges = (each for hook in later for each in _flat(_nodes_of(inside, hook)))
    return impl.answers == "never" and any(each.who == impl.who and each.answers != "never" for each in judges)


def _is_asked_again(impl: Impl, inside: tuple[_Loaded, ...], predicate: Predicate) -> bool:
    """Whether what it refuses is given under the same condition, at a time when the answer is known."""
    return any(
        ORDER.index(outlet.until) >= ORDER.index(predicate.known)
        and any(outlet.gives(each) for each in _flat(_nodes_of(inside, outlet.until)))
        for outlet in impl.outlets
        if isinstance(outlet, Postponed)
    )


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


def _wanted(nodes: Iterable[Node], wants: set[str]) -> Iterator[Node]:
    for node in nodes:
        if isinstance(node, Branch):
            inside = tuple(_wanted(node.nodes, wants))
            if inside:
                yield replace(node, nodes=inside)
        elif not node.fulfils or not wants.isdisjoint(node.fulfils):
            yield node


def wrapped(nodes: Sequence[Node], end: Life) -> Life:
    """The onions of one life, folded around `end`."""
    life = end
    for node in reversed(nodes):
        life = _around(node, life)
    return life


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
    began = time.monotonic()
    try:
        _nothing(call(known))
    except Exception as error:
        judge(subject, impl.who, impl.hook, error, "pass", time.monotonic() - began)


async def _tell_async(listeners: tuple[tuple[Callable[..., Any], Impl], ...], subject: Session, **known: Any) -> None:
    """Shielded, each in its own guard. Who uses up the time is named, and the others hear with a new clock."""
    remaining = iter(listeners)
    for call, impl in remaining:
        began = time.monotonic()
        with move_on_after(NOTICE_LIMIT, shield=True):
            while True:
                began = time.monotonic()
                await _tell_one(call, impl, subject, known)
                following = next(remaining, None)
                if following is None:
                    return
                call, impl = following
        late = Late(f"cancelled after {NOTICE_LIMIT:g} s")
        judge(subject, impl.who, impl.hook, late, "pass", time.monotonic() - began)


async def _tell_one(call: Callable[..., Any], impl: Impl, subject: Session, known: dict[str, Any]) -> None:
    began = time.monotonic()
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
    judge(subject, impl.who, impl.hook, failure, "pass", time.monotonic() - began)


def _nothing(answer: object) -> None:
    """A notice decides nothing; a coroutine that nobody awaits was meant to do something."""
    if answer is not None and isinstance(answer, Coroutine):
        raise ContractError(no_answer(answer) + ": make it async def")
