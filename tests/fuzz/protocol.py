"""The target without I/O: any octets are events, however they are cut, and the answers are replies.

`play` holds a whole conversation with `ServerProtocol`, answering as the server's core would.
"""

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from mailstack.wire.command import AnyCommand, Bdat, Data, Hello, Mail, Quit, Rcpt, Rset
from mailstack.wire.order import State
from mailstack.wire.reply import Reply
from mailstack.wire.server import NEED_DATA, Body, EndOfBody, Event, Refused, ServerProtocol

from .octets import split

NORMALISE, RUDE, LMTP = 1, 2, 16  # flags of an input

SIZE = 1000000
KEYWORDS = dict.fromkeys(("PIPELINING", "SIZE", "8BITMIME", "SMTPUTF8", "CHUNKING", "BINARYMIME", "HELP"), "")

_REPLIES = re.compile(rb"(?:(\d{3})-[ -~]*\r\n(?:\1-[ -~]*\r\n)*\1 [ -~]*\r\n|\d{3} [ -~]*\r\n)*")


@dataclass(frozen=True, slots=True)
class Outcome:
    """What came of a conversation: the events with the pieces of each body joined, what left, how it stands."""

    events: list[Event]
    messages: list[bytes]
    output: bytes
    state: State


class _Player:
    """Answers as the core does. rude -- refuses what is called "no" and bodies that say "two"."""

    __slots__ = ("_body", "_refused", "_rude", "events", "messages", "protocol")

    def __init__(self, normalise: bool, rude: bool, lmtp: bool) -> None:
        self._rude = rude
        self._body = b""
        self._refused = False
        self.protocol = ServerProtocol(normalise=normalise, lmtp=lmtp)
        self.events: list[Event] = []
        self.messages: list[bytes] = []

    def handle(self, event: Event) -> None:
        protocol = self.protocol
        if isinstance(event, Body):
            assert event.data
            self._body += event.data
            return
        if isinstance(event, EndOfBody):
            if self._body:
                self.events.append(Body(self._body))
            self.events.append(event)
            self._end(event)
            return
        self.events.append(event)
        if isinstance(event, Refused):
            assert event.reply.refused
            assert (protocol.state is State.CLOSED) is event.reply.close
            protocol.say(event.reply)
        elif not isinstance(event, Bdat):
            assert event is not NEED_DATA
            self._answer(event)

    def _answer(self, command: AnyCommand) -> None:
        reply = self._reply(command)
        if isinstance(command, (Hello, Rset)) and reply.positive:
            self._body = b""
        if isinstance(command, Hello) and reply.positive:
            self.protocol.keywords = KEYWORDS if command.verb != "HELO" else {}
        self.protocol.answer(command, reply)
        if isinstance(command, Data) and not reply.positive:
            self.protocol.reset()

    def _reply(self, command: AnyCommand) -> Reply:
        names: Mapping[type, str] = {
            Hello: getattr(command, "hostname", ""),
            Mail: str(getattr(command, "sender", "")),
            Rcpt: str(getattr(command, "recipient", "")),
        }
        assert not isinstance(command, Hello) or (command.verb == "LHLO") is self.protocol.lmtp
        if isinstance(command, Mail) and command.parameters.get("SIZE", 0) > SIZE:
            return Reply(552)
        if self._rude and names.get(type(command), "").startswith("no"):
            return Reply(550)
        return {Data: Reply(354), Quit: Reply(221, close=True)}.get(type(command), Reply(250))

    def _end(self, event: EndOfBody) -> None:
        refused = self._rude and b"two" in self._body
        if event.last and not refused and not event.fault:
            self.messages.append(self._body)
        if refused and not event.last:
            self.protocol.spoil()
        if event.last or refused:
            self._body = b""
        self.protocol.say(Reply(554, close=event.fault is not None) if refused or event.fault else Reply(250))


def play(pieces: Iterable[bytes], flags: int = 0) -> Outcome:
    """Hold a conversation; AssertionError when the protocol breaks a promise."""
    player = _Player(bool(flags & NORMALISE), bool(flags & RUDE), bool(flags & LMTP))
    protocol = player.protocol
    protocol.greet(Reply(220, "mx.test"))
    output = protocol.take_output()
    for piece in pieces:
        protocol.receive(piece)
        while (event := protocol.next_event()) is not NEED_DATA:
            assert protocol.state is not State.CLOSED or isinstance(event, Refused)
            player.handle(event)
        held = len(protocol._buffer) - protocol._at
        assert protocol.state is State.CLOSED or held <= protocol.auth_limit + len(piece)
        output += protocol.take_output()
    return Outcome(player.events, player.messages, output, protocol.state)


def check(data: bytes) -> None:
    """The invariant."""
    flags, pieces = split(data)
    octets = b"".join(pieces)
    outcome = play([octets], flags)
    assert play(pieces, flags) == outcome
    if len(octets) <= 2000:
        assert play([octets[at : at + 1] for at in range(len(octets))], flags) == outcome
    assert _REPLIES.fullmatch(outcome.output)
    assert max(map(len, outcome.output.splitlines(keepends=True))) <= 512
