"""The frame around every talk with a scanner: which messages, how long, how many at once, what a failure means."""

from __future__ import annotations

import time
from collections.abc import Awaitable, Callable, Sequence
from typing import Generic, Literal, NamedTuple, TypeVar

from anyio import Semaphore, move_on_after

from ... import log, option
from ...session.message import Message
from ...session.session import Session
from ...wire.reply import Reply
from ..transport import Stream, connect
from .sample import Sample
from .servers import Servers

T = TypeVar("T")
Talk = Callable[[Stream, Sample], Awaitable[T]]

TooLarge = Literal["skip", "head", "defer"]
OnFault = Literal["defer", "pass"]

_TOO_LARGE = Reply(451, "this message is too large to be scanned now", status="4.3.4")
_NOT_NOW = Reply(451, "the message cannot be scanned now, try again later", status="4.7.1")


class ScanError(Exception):
    """The daemon answers what makes no sense, or that it could not do it."""


class Scan(NamedTuple, Generic[T]):
    """What came of it. value -- what the talk returned; None when nobody looked, and `reply` is what that means.

    server -- who answered, as the configuration has it. seconds -- how long it took.
    """

    value: T | None
    reply: Reply | None = None
    server: str = ""
    seconds: float = 0.0


class Scanner:
    """Talks with one of several daemons about a message.

    name -- what it is called in ConfigError; who -- in the log and the evidence.
    servers, port -- as in `Servers`. connections -- how many messages at a time; others wait.
    timeout -- for one message, waiting and all servers together.
    max_size -- octets of the largest message that is scanned. too_large -- what becomes of others: "skip" lets them
        pass unseen, "head" shows their first `max_size` octets, "defer" refuses them with 451.
    on_fault -- when no server gives an answer in time: "defer" is 451, "pass" goes on, unseen.
    """

    def __init__(
        self,
        name: str,
        who: str,
        servers: Sequence[str],
        *,
        port: int,
        connections: int = 10,
        timeout: str | float = "60s",
        max_size: str | int = "500 KiB",
        too_large: TooLarge = "skip",
        on_fault: OnFault = "defer",
    ) -> None:
        self.who = who
        self._servers = Servers(servers, port=port, name=name)
        self._places = Semaphore(option.integer(connections, name=f"{name}(connections)", minimum=1))
        self._timeout = option.duration(timeout, name=f"{name}(timeout)", minimum=0.01)
        self._max_size = option.size(max_size, name=f"{name}(max_size)")
        self._too_large = option.choice(too_large, "skip", "head", "defer", name=f"{name}(too_large)")
        self._on_fault = option.choice(on_fault, "defer", "pass", name=f"{name}(on_fault)")

    async def scan(self, session: Session, message: Message, talk: Talk[T]) -> Scan[T]:
        """Let a server look at the message. A talk that fails is repeated with the next server, from the beginning."""
        sample = Sample(message, self._max_size if self._too_large == "head" else None)
        if self._too_large != "head" and sample.size > self._max_size:
            session.note(self.who, "message", f"not scanned: {sample.size} octets are too many")
            return Scan(None, _TOO_LARGE if self._too_large == "defer" else None)
        began = time.monotonic()
        problems: list[str] = []
        with move_on_after(self._timeout):
            async with self._places:
                for server, address in self._servers:
                    try:
                        value = await self._ask(address, sample, talk)
                    except (OSError, ScanError) as error:
                        self._servers.failed(server)
                        problems.append(f"{server}: {str(error) or type(error).__name__}")
                        continue
                    self._servers.answered(server)
                    return Scan(value, None, server, time.monotonic() - began)
        if len(problems) < len(self._servers.addresses):
            problems.append(f"no answer within {self._timeout:g} s")
        return self._failed(session, message, "; ".join(problems), time.monotonic() - began)

    async def _ask(self, address: object, sample: Sample, talk: Talk[T]) -> T:
        stream = await connect(address)  # type: ignore[arg-type]
        try:
            value = await talk(stream, sample)
        except BaseException:
            stream.abort()
            raise
        await stream.close()
        return value

    def _failed(self, session: Session, message: Message, why: str, seconds: float) -> Scan[T]:
        log.error(
            "not scanned",
            session=session.id,
            queue_id=message.id,
            who=self.who,
            reason=why,
            seconds=round(seconds, 3),
            then=self._on_fault,
        )
        session.note(self.who, "message", f"not scanned: {why}")
        return Scan(None, _NOT_NOW if self._on_fault == "defer" else None, "", seconds)


async def everything(stream: Stream, most: int, whole: Callable[[bytearray], bool]) -> bytes:
    """What a daemon says, until that is whole or it closes. ScanError for more than `most` octets."""
    received = bytearray()
    while octets := await stream.receive():
        received += octets
        if len(received) > most:
            raise ScanError(f"the answer is longer than {most} octets")
        if whole(received):
            break
    return bytes(received)
