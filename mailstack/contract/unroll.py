"""A stretch of checks written out as one function, a statement for each.

A loop calls each check through one and the same call, which the interpreter cannot specialise; a call of its own for
each, with just the arguments that it takes, costs half. The functions are made once, when a stack is compiled:

    def ask(session, subject):
        began, impl = now(), impl0
        try:
            reply = check0(session)
            if reply is not None: return settled(session, impl, reply, began)
            impl = impl1
            reply = check1(session, subject)
            …
"""

from __future__ import annotations

import linecache
import math
import time
from collections.abc import Awaitable, Callable, Sequence
from functools import lru_cache
from types import CodeType
from typing import Any

from ..session.session import Session
from ..session.watch import Watch
from ..wire.reply import Reply
from .entry import Impl
from .step import Step

Settled = Callable[[Session, Impl, object, float], Reply | None]
Fault = Callable[[Session, Impl, Exception, float], Reply | None]


def plain(
    impls: Sequence[Impl], subjects: tuple[str, ...], settled: Settled, fault: Fault
) -> Callable[[Session, Any], Reply | None]:
    """Checks that await nothing: their answer, or None. What raises is judged; after a "pass" the rest is asked."""
    rests: dict[int, Callable[[Session, Any], Reply | None]] = {}

    def go_on(session: Session, subject: Any, impl: Impl) -> Reply | None:
        start = next(index for index, each in enumerate(impls) if each is impl) + 1
        if start == len(impls):
            return None
        if start not in rests:
            rests[start] = plain(impls[start:], subjects, settled, fault)
        return rests[start](session, subject)

    lines = ["def ask(session, subject):", " began, impl = now(), impl0", " try:"]
    for index, impl in enumerate(impls):
        lines += [f"  impl = impl{index}"] if index else []
        lines += [f"  reply = {_call(index, impl, subjects)}"]
        lines += ["  if reply is not None: return settled(session, impl, reply, began)"]
    lines += [" except Exception as error:", "  reply = fault(session, impl, error, began)"]
    lines += ["  return go_on(session, subject, impl) if reply is None else reply"]
    made: Callable[[Session, Any], Reply | None] = _make(impls, lines, settled=settled, fault=fault, go_on=go_on)
    return made


def timed(
    impls: Sequence[Impl], subjects: tuple[str, ...], settled: Settled, overdue: Callable[[Watch, Impl, object], None]
) -> Callable[[Session, Any, Watch], Awaitable[Reply | None]]:
    """Checks of which some wait, under a watch: their answer, or None. What one raises is the caller's to judge.

    overdue -- is called when an answer came too late, and raises unless it counts all the same.
    """
    lines = ["async def ask(session, subject, watch):"]
    for index, impl in enumerate(impls):
        call = _call(index, impl, subjects)
        lines += [f" watch.who = impl{index}"]
        lines += [" watch.began = now()"] if impl.is_async else []
        lines += [f" reply = await {call}" if impl.is_async else f" reply = {call}"]
        if impl.is_async or impl.timeout is not None:
            lines += [f" if now() > watch.deadline: overdue(watch, impl{index}, reply)"]
        lines += [f" if reply is not None: return settled(session, impl{index}, reply, watch.began)"]
    made: Callable[[Session, Any, Watch], Awaitable[Reply | None]] = _make(
        impls, lines, settled=settled, overdue=overdue
    )
    return made


def shared(
    impls: Sequence[Impl],
    subjects: tuple[str, ...],
    after: Step,
    deadline: str,
    apart: Callable[[Session, Any], Awaitable[Reply]],
    failed: Callable[[Session, Watch, Impl, BaseException, float], Reply],
    **scope: Any,
) -> Callable[[Session, Any], Awaitable[Reply]]:
    """Checks of which some wait, and what follows them, under the conversation's own watch: the phase's answer.

    One coroutine for all of it: most of what a check that waits for nothing costs is the calls around it.

    deadline -- of the stretch that waits, as an expression over `began`. apart -- answers when another watch runs.
    failed -- judges what one raised; it answers or raises. scope -- `settled`, `overdue`, and names in `deadline`.
    """
    waits = [index for index, impl in enumerate(impls) if impl.is_async]
    lines = ["async def ask(session, subject):", " watch = session.watch"]
    lines += [" if watch is None or not watch.shared: return await apart(session, subject)"]
    lines += [" began, impl = now(), impl0", " try:"]
    for index, impl in enumerate(impls):
        lines += [f"  impl = impl{index}"] if index else []
        lines += ["  began = now()"] if index and index == waits[0] else []
        lines += [f"  watch.deadline = {deadline}"] if index == waits[0] else []
        lines += [f"  reply = {'await ' if impl.is_async else ''}{_call(index, impl, subjects)}"]
        if impl.is_async:
            lines += ["  ended = now()", "  if ended > watch.deadline: overdue(watch, impl, reply)"]
        lines += ["  if reply is not None: return settled(session, impl, reply, began)"]
        lines += ["  began = ended"] if impl.is_async else []
    lines += [" except BaseException as error:", "  return failed(session, watch, impl, error, began)"]
    lines += [" finally:", "  watch.deadline = never"]
    lines += [f" return {'await ' if after.is_async else ''}follow(session, subject)"]
    made: Callable[[Session, Any], Awaitable[Reply]] = _make(
        impls, lines, apart=apart, failed=failed, follow=after.call, never=math.inf, **scope
    )
    return made


def _call(index: int, impl: Impl, subjects: tuple[str, ...]) -> str:
    """The call of one check, with what it takes. A phase with one subject passes it as it is, others by its fields."""
    values = {"session": "session"}
    values |= {name: "subject" if len(subjects) == 1 else f"subject.{name}" for name in subjects}
    return f"check{index}({', '.join(values[name] for name in impl.arguments)})"


def _make(impls: Sequence[Impl], lines: list[str], **scope: Any) -> Any:
    """The function that the lines define; tracebacks show them."""
    scope["now"] = time.monotonic
    for index, impl in enumerate(impls):
        scope[f"check{index}"], scope[f"impl{index}"] = impl.function, impl
    source = "\n".join(lines) + "\n"
    file = f"<checks of {impls[0].hook}: {', '.join(impl.who for impl in impls)}>"
    linecache.cache[file] = (len(source), None, source.splitlines(keepends=True), file)
    exec(_compiled(source, file), scope)  # made of our own words alone: nothing of anybody's text is in it
    return scope["ask"]


@lru_cache(maxsize=64)  # tests make the same stack for each conversation
def _compiled(source: str, file: str) -> CodeType:
    return compile(source, file, "exec")
