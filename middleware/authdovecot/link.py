"""One connection to Dovecot, on which any number of questions are under way: each has a number, answers come in any
order, and a wrong password takes two seconds and more."""

from __future__ import annotations

import secrets
from collections.abc import Mapping
from itertools import count

from anyio import Event, Lock, move_on_after

from mailstack.services.elsewhere import Trouble
from mailstack.services.transport import Address, Stream, connect
from mailstack.session.credentials import Password

from .protocol import Answer, Dialogue, hello, request

__all__ = ["Link", "Lost", "open_link"]


class Lost(Trouble):
    """The connection ended before the answer came."""


class _Question:
    """One that is under way."""

    __slots__ = ("answer", "over")

    def __init__(self) -> None:
        self.over = Event()
        self.answer: Answer | None = None


async def open_link(address: Address) -> Link:
    """Connect and shake hands; `run` has to follow. OSError, Trouble."""
    stream = await connect(address)
    dialogue = Dialogue()
    try:
        await stream.send(hello(secrets.randbelow(2**31 - 1) + 1))
        while dialogue.mechanisms is None:
            octets = await stream.receive()
            if not octets:
                raise Trouble("the connection ended in the handshake")
            dialogue.feed(octets)
    except BaseException:
        stream.abort()
        raise
    return Link(stream, dialogue)


class Link:
    """mechanisms -- what Dovecot offers. lost -- why the connection is of no use any more, or None."""

    __slots__ = ("_asked", "_dialogue", "_heard", "_numbers", "_sending", "_stream", "lost", "mechanisms")

    def __init__(self, stream: Stream, dialogue: Dialogue) -> None:
        assert dialogue.mechanisms is not None
        self.mechanisms = dialogue.mechanisms
        self.lost: str | None = None
        self._stream = stream
        self._dialogue = dialogue
        self._sending = Lock()
        self._numbers = count(1)
        self._asked: dict[int, _Question] = {}
        self._heard = 0  # answers so far

    async def run(self) -> None:
        """Hand the answers to those who wait for them, until the connection ends."""
        why = "the connection ended"
        try:
            while self.lost is None and (octets := await self._stream.receive()):
                for answer in self._dialogue.feed(octets):
                    self._answered(answer)
        except Trouble as error:
            why = str(error)
        finally:
            self.end(why)

    def end(self, why: str) -> None:
        """It is of no use any more: who waits hears of it."""
        self.lost = self.lost or why
        asked, self._asked = self._asked, {}
        for question in asked.values():
            question.over.set()
        self._stream.abort()

    async def ask(self, login: Password, fields: Mapping[str, str], patience: float) -> Answer:
        """What Dovecot says to that within so many seconds. Lost, Trouble."""
        if self.lost is not None:
            raise Lost(self.lost)
        number, question, heard = next(self._numbers), _Question(), self._heard
        self._asked[number] = question
        try:
            with move_on_after(patience):
                async with self._sending:
                    await self._stream.send(request(number, login, fields))
                await question.over.wait()
        except OSError as error:
            self.end(str(error))
        finally:
            self._asked.pop(number, None)
        if not question.over.is_set() and self.lost is None:
            problem = f"no answer within {patience:g} s"
            if self._heard == heard:  # and nobody else got one: who asks next had better connect anew
                self.end(problem)
            raise Trouble(problem)
        if question.answer is None:
            raise Lost(self.lost)
        return question.answer

    def _answered(self, answer: Answer) -> None:
        self._heard += 1
        question = self._asked.pop(answer.id, None)
        if question is not None:  # else nobody waits any more
            question.answer = answer
            question.over.set()
