"""Faults on demand: a middleware that goes wrong when, where and as often as it was told to.

    faults = Faults()
    faults.add("rcpt", refusing("550 5.1.1 no such user"), wanted=named("bob@example.net"), times=1)
    Stack(faults, …)

A fault belongs to one phase. Those of a phase are asked in the order in which they were added: each may let time pass,
answer, or cut the connection, and the first answer ends the phase. What is added while a session runs, from whatever
thread, holds for the commands that follow.
"""

from __future__ import annotations

import re
from collections.abc import Awaitable, Callable, Iterable
from fnmatch import fnmatchcase

from anyio import sleep

from ..contract.hookspec import CallNext, hookimpl
from ..session.hangup import Hangup
from ..session.session import Session
from ..session.transaction import Recipient, Sender
from ..wire.reply import Reply

__all__ = ["PHASES", "Fault", "Faults", "cutting", "first_time", "named", "refusing", "waiting"]

# Where a fault can be: what is answered there, and what `named` looks at.
PHASES = {
    "connect": "the banner; the client's address",
    "ehlo": "EHLO and HELO; the name that the client gives",
    "mail": "MAIL; the sender",
    "rcpt": "RCPT; the recipient",
    "data": "DATA; each recipient",
    "message": "the end of the data; each recipient",
    "kept": "the end of the data, when the message is in the mailbox; each recipient",
}

Act = Callable[[], Awaitable[Reply | None]]
Wanted = Callable[[Session, Iterable[str]], bool]

_REPLY = re.compile(r"([45][0-9]{2})(?: ([45]\.[0-9]{1,3}\.[0-9]{1,3}))?(?: (.+))?")


class Fault:
    """One fault that was ordered.

    struck -- how often it has happened so far.
    """

    __slots__ = ("_act", "_left", "_skip", "_wanted", "at", "struck")

    def __init__(self, at: str, act: Act, wanted: Wanted, nth: int, times: int | None) -> None:
        if at not in PHASES:
            raise ValueError(f"there is no phase {at!r}: one of {', '.join(PHASES)}")
        if nth < 1 or (times is not None and times < 1):
            raise ValueError("nth and times count from 1")
        self.at = at
        self.struck = 0
        self._act = act
        self._wanted = wanted
        self._skip = nth - 1
        self._left = times

    def due(self, session: Session, names: Iterable[str]) -> bool:
        """Whether its turn has come; counts."""
        if self._left == 0 or not self._wanted(session, names):
            return False
        if self._skip:
            self._skip -= 1
            return False
        if self._left is not None:
            self._left -= 1
        self.struck += 1
        return True

    async def act(self) -> Reply | None:
        """Do it: the answer, or None to go on."""
        return await self._act()


class Faults:
    """The middleware. It stands at the top of its stack."""

    name = "faults"

    def __init__(self) -> None:
        self._faults: tuple[Fault, ...] = ()

    def add(self, at: str, act: Act, *, wanted: Wanted | None = None, nth: int = 1, times: int | None = None) -> Fault:
        """From the `nth` time on that `wanted` holds in phase `at`, counted from now: `act`, `times` times.

        times -- None: each time. ValueError for a phase that is none, and for counts below 1.
        """
        fault = Fault(at, act, wanted or _always, nth, times)
        self._faults = (*self._faults, fault)
        return fault

    def clear(self) -> None:
        """Forget them all."""
        self._faults = ()

    async def _meet(self, at: str, session: Session, names: Iterable[str]) -> Reply | None:
        names = tuple(names)
        for fault in self._faults:
            if fault.at == at and fault.due(session, names) and (reply := await fault.act()) is not None:
                return reply
        return None

    @hookimpl
    async def connect(self, session: Session) -> Reply | None:
        return await self._meet("connect", session, [session.client.host])

    @hookimpl
    async def ehlo(self, session: Session, hostname: str) -> Reply | None:
        return await self._meet("ehlo", session, [hostname])

    @hookimpl
    async def mail(self, session: Session, sender: Sender) -> Reply | None:
        return await self._meet("mail", session, [str(sender)])

    @hookimpl
    async def rcpt(self, session: Session, recipient: Recipient) -> Reply | None:
        return await self._meet("rcpt", session, [str(recipient)])

    @hookimpl
    async def data(self, session: Session) -> Reply | None:
        return await self._meet("data", session, _recipients(session))

    @hookimpl
    async def message(self, session: Session) -> Reply | None:
        return await self._meet("message", session, _recipients(session))

    @hookimpl
    async def queue(self, session: Session, call_next: CallNext) -> Reply:
        reply = await call_next()
        if reply.positive:
            return await self._meet("kept", session, _recipients(session)) or reply
        return reply


def _recipients(session: Session) -> list[str]:
    assert session.transaction is not None
    return [str(recipient) for recipient in session.transaction.recipients]


# When.


def _always(session: Session, names: Iterable[str]) -> bool:
    return True


def named(pattern: str | None) -> Wanted:
    """Whether one of the names is this one, `*` and `?` being wildcards, in upper or lower case. None: any name."""
    if pattern is None:
        return _always
    lower = pattern.lower()
    return lambda session, names: any(fnmatchcase(name.lower(), lower) for name in names)


def first_time() -> Wanted:
    """Whether this sender writes to this recipient for the first time: what a greylist asks."""
    known: set[tuple[str, ...]] = set()

    def wanted(session: Session, names: Iterable[str]) -> bool:
        assert session.transaction is not None
        pair = (str(session.transaction.sender), *names)
        new = pair not in known
        known.add(pair)
        return new

    return wanted


# What.


def refusing(reply: str) -> Act:
    """Answer "450 4.2.0 text"; status and text may be left out. 421 closes (RFC 5321 §3.8). ValueError otherwise."""
    found = _REPLY.fullmatch(reply)
    if found is None:
        raise ValueError(f"{reply!r} is no refusal: write it as '550 5.1.1 no such user'")
    code, status, text = int(found[1]), found[2], found[3] or ""
    answer = Reply(code, text, status=status, close=code == 421)

    async def act() -> Reply:
        return answer

    return act


def waiting(seconds: float) -> Act:
    """Let time pass, then go on."""

    async def act() -> None:
        await sleep(seconds)

    return act


def cutting() -> Act:
    """End the connection without a reply."""

    async def act() -> None:
        raise Hangup("cut")

    return act
