"""The server's side of an SMTP conversation, without I/O: octets in, events out; replies in, octets out.

Use: `receive()` what arrived, call `next_event()` until it says `NEED_DATA`, answer each command with `answer()`,
and write what `take_output()` returns. The order of commands is a table (`order.py`); a command that comes out
of turn, or that cannot be read, never reaches the caller's policy: it surfaces as `Refused` with its reply.

Promises: however the octets are cut, the events are the same. Memory is bounded by the longest command line plus what
`receive()` was given. A message body is over at CRLF.CRLF, or with the last octet of a BDAT, and nowhere else.

Sources: RFC 5321 §3 and §4, RFC 2920 (pipelining), RFC 3030 (CHUNKING, BINARYMIME), RFC 2033 (LMTP), RFC 2034
(enhanced status codes).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from enum import Enum
from typing import Any, NamedTuple

from .body import ChunkDecoder, DataDecoder
from .command import AnyCommand, Bdat, Command, CommandError, Data, Hello, Mail, Rset
from .command import parse_command as parse
from .leniency import read_again
from .order import LEGAL, LEGAL_BINARY, NEXT, State, out_of_turn
from .parameter import PARAMETERS, Parameter
from .reply import Reply

__all__ = ["NEED_DATA", "Body", "EndOfBody", "Event", "NeedData", "Refused", "ServerProtocol"]


class NeedData(Enum):
    """The type of `NEED_DATA`."""

    NEED_DATA = "need data"


NEED_DATA = NeedData.NEED_DATA


class Refused(NamedTuple):
    """A command that the wire itself refuses: unreadable, too long, or out of turn.

    When the reply closes, the conversation is over already: nothing more is read.
    error -- what a 4xx comes from: a parameter that middleware brought and could not read. None for all else.
    """

    verb: str
    reply: Reply
    error: CommandError | None = None


class Body(NamedTuple):
    """Decoded octets of the message: dots unstuffed, chunk sizes gone."""

    data: bytes


class EndOfBody(NamedTuple):
    """The true end of the data (DATA), or of one chunk (BDAT; `last` says whether the message is complete).

    fault -- "bare CR", "bare LF", "NUL", or None.
    """

    last: bool
    fault: str | None


Event = AnyCommand | Refused | Body | EndOfBody | NeedData

# Names of the module for what each command asks: Python 3.11 finds a member of an enumeration through its metaclass,
# which costs as much as a call.
_GREETING, _CLOSED, _READY, _DATA, _CHUNK = State.GREETING, State.CLOSED, State.READY, State.DATA, State.CHUNK

_SAY_LHLO = Reply(500, "this is an LMTP server: send LHLO", status="5.5.1")
_SAY_EHLO = Reply(500, "this is no LMTP server: send EHLO", status="5.5.1")
_TOO_LONG = Reply(500, "command line too long")
_EXCHANGE_TOO_LONG = Reply(500, "authentication exchange line is too long", status="5.5.6")
_LINE_END = Reply(500, "command lines end with CRLF")
_NO_WEB = Reply(554, "this is a mail server", status="5.5.1", close=True)

# Not SMTP at all: a browser that was lured here, or one protocol's request replayed at another (ALPACA).
_FOREIGN = tuple(b"GET |POST |HEAD |PUT |CONNECT |OPTIONS |PRI * |HOST:|USER-AGENT:|CONTENT-".split(b"|"))


_SOUND_END = EndOfBody(True, None)
_NO_CHUNK = (Bdat(0, True), State.RCPT)
_NONE: frozenset[str] = frozenset()
_NO_KEYWORDS: Mapping[str, str] = {}


def _foreign(line: bytes) -> bool:
    return line[:16].upper().startswith(_FOREIGN)


class ServerProtocol:
    """One conversation.

    normalise -- make bare CR and LF in bodies CRLF and drop NUL, instead of refusing them; accept command lines that
                 end with a bare LF.
    lmtp -- speak LMTP (RFC 2033): LHLO takes the place of HELO and EHLO. That the end of the data has one reply for
            each recipient is up to the caller, who says them.
    line_limit, auth_limit -- octets of a command line, its end included.
    parameters -- the MAIL and RCPT parameters that are understood, the core's and those that middleware brought.
    leniency -- the slips that are read as what they mean (see `leniency`); none at first.
    """

    __slots__ = (
        "_at",
        "_buffer",
        "_chunk",
        "_chunk_opened",
        "_chunk_start",
        "_data",
        "_exchanging",
        "_legal",
        "_output",
        "_overlong",
        "_pending",
        "auth_limit",
        "due",
        "keywords",
        "leniency",
        "line_limit",
        "lmtp",
        "normalise",
        "parameters",
        "state",
        "utf8",
    )

    def __init__(
        self,
        *,
        normalise: bool = False,
        lmtp: bool = False,
        line_limit: int = 2048,
        auth_limit: int = 12288,
        parameters: Mapping[tuple[str, str], Parameter] = PARAMETERS,
    ) -> None:
        self.normalise = normalise
        self.lmtp = lmtp
        self.line_limit = line_limit
        self.auth_limit = auth_limit
        self.parameters = parameters
        self.state = _GREETING
        self.keywords = _NO_KEYWORDS
        self.leniency: frozenset[str] = _NONE
        self.utf8 = False
        self._legal = LEGAL
        self._buffer = b""
        self._at = 0
        self._output: list[bytes] = []
        self.due = 0  # octets of replies that wait to be written
        self._exchanging = False  # whether the next line belongs to an AUTH exchange
        self._overlong = b""  # the start of a line over the limit, whose rest is thrown away
        self._data: DataDecoder | None = None
        self._chunk: ChunkDecoder | None = None
        self._chunk_opened = _NO_CHUNK
        self._chunk_start = b""
        self._pending = False

    # Octets in, events out.

    def receive(self, data: bytes) -> None:
        """Take what the transport read."""
        self._buffer = self._buffer[self._at :] + data if self._at < len(self._buffer) else data
        self._at = 0

    @property
    def unread(self) -> bool:
        """Whether octets wait that no event has told of."""
        return self._at < len(self._buffer)

    def discard(self) -> None:
        """Throw away what was received and not yet read (STARTTLS: RFC 3207 §4.2)."""
        self._buffer = b""
        self._at = 0

    def next_event(self) -> Event:
        """The next thing that the client said, or NEED_DATA."""
        state = self.state
        if state is _DATA:
            return self._next_of_data()
        if state is _CHUNK:
            return self._next_of_chunk()
        if self._at >= len(self._buffer) or state is _GREETING or state is _CLOSED:
            return NEED_DATA
        return self._next_command()

    def _next_command(self) -> Event:
        buffer, at = self._buffer, self._at
        end = buffer.find(b"\r\n", at, at + self.line_limit)
        line = buffer[at:end]
        if end >= 0 and line.find(b"\n") < 0 and not self._overlong:  # as nearly all are
            self._at = end + 2
        else:
            found = self._next_line()
            if not isinstance(found, bytes):
                return found
            line = found
        try:
            command = parse(line, self.keywords, self.parameters, self.utf8)
        except CommandError as error:
            try:
                command = read_again(line, error, self.leniency, self.keywords, self.parameters, self.utf8)
            except CommandError as last:
                refused = self._unreadable(line, last.reply)
                return refused._replace(error=last) if last.reply.temporary else refused
        kind = type(command)
        if kind is Command and _foreign(line):
            return self._unreadable(line, _NO_WEB)
        if self.state in self._legal[kind]:
            if kind is Bdat:
                self._open_chunk(command)  # type: ignore[arg-type]
            elif kind is Hello and (command.verb == "LHLO") is not self.lmtp:
                return Refused(command.verb, _SAY_LHLO if self.lmtp else _SAY_EHLO)
            return command
        return self._refuse(command)

    def next_line(self) -> bytes | NeedData | Refused:
        """The next line of an AUTH exchange, without its end; no command, whatever it looks like (RFC 4954 §4)."""
        self._exchanging = True
        line = self._next_line()
        if line is NEED_DATA:
            return line
        self._exchanging = False
        if isinstance(line, Refused) and line.reply is _TOO_LONG:
            return line._replace(reply=_EXCHANGE_TOO_LONG)
        return line

    def _next_line(self) -> bytes | NeedData | Refused:
        """One line without its end."""
        end = self._buffer.find(b"\n", self._at)
        if end < 0:
            return self._partial_line()
        line = self._buffer[self._at : end]
        self._at = end + 1
        if self._overlong:
            line, self._overlong = self._overlong, b""
            return self._unreadable(line, _TOO_LONG)
        if len(line) >= self.line_limit and len(line) >= self._limit_of(line):
            return self._unreadable(line[: self.line_limit], _TOO_LONG)
        if line.endswith(b"\r"):
            return line[:-1]
        return line if self.normalise else self._unreadable(line, _LINE_END)

    def _partial_line(self) -> NeedData:
        """No line end yet: wait, and forget what is over the limit."""
        if not self._overlong:
            start = self._buffer[self._at : self._at + self.line_limit]
            if len(start) == self.line_limit and len(self._buffer) - self._at >= self._limit_of(start):
                self._overlong = start
        if self._overlong:
            self.discard()
        return NEED_DATA

    def _unreadable(self, line: bytes, reply: Reply) -> Refused:
        """What looks like BDAT has octets behind it that cannot be skipped, and must never be read as commands."""
        if _foreign(line):
            reply = _NO_WEB
        elif line.lstrip()[:4].upper() == b"BDAT" and not reply.close:
            reply = replace(reply, close=True)
        if reply.close:
            self.state = _CLOSED
        return Refused(line[:4].decode("ascii", "replace").upper(), reply)

    def _limit_of(self, line: bytes) -> int:
        return self.auth_limit if self._exchanging or line[:5].upper() == b"AUTH " else self.line_limit

    def _refuse(self, command: AnyCommand) -> Event:
        """A command out of turn. The octets of a BDAT are consumed all the same."""
        if type(command) is Bdat:
            self._pending = True
            self._open_chunk(command)
            return self.next_event()
        return Refused(command.verb, out_of_turn(command, self.state))

    # Bodies.

    def _next_of_data(self) -> Event:
        decoder = self._data
        assert decoder is not None
        if not decoder.done:
            if self._at >= len(self._buffer):
                return NEED_DATA
            decoded = decoder.feed(self._buffer[self._at :] if self._at else self._buffer)
            self._buffer = decoder.trailing
            self._at = 0
            if decoded:
                return Body(decoded)
            if not decoder.done:
                return NEED_DATA
        self._data = None
        self.state = _READY
        self.utf8 = False
        return _SOUND_END if decoder.fault is None else EndOfBody(True, decoder.fault)

    def _open_chunk(self, command: Bdat) -> None:
        if self._chunk is None:
            self._chunk = ChunkDecoder(self.normalise, binary=self._legal is LEGAL_BINARY)
        self._chunk_start = self._chunk.start(command.size, command.last)
        self._chunk_opened = (command, self.state)
        self.state = _CHUNK

    def _next_of_chunk(self) -> Event:
        decoder = self._chunk
        assert decoder is not None
        if not decoder.done and self._at >= len(self._buffer):
            return NEED_DATA
        decoded, self._chunk_start = self._chunk_start, b""
        if not decoder.done:
            end = self._at + decoder.left
            decoded = decoder.feed(self._buffer[self._at : end])
            self._at = min(end, len(self._buffer))
        if decoded and not self._pending:
            return Body(decoded)
        return self._end_of_chunk(decoder) if decoder.done else NEED_DATA

    def _end_of_chunk(self, decoder: ChunkDecoder) -> Event:
        command, before = self._chunk_opened
        if self._pending:
            self._pending = False
            self._chunk = None
            self.state = before
            return Refused(command.verb, out_of_turn(command, before))
        if command.last:
            self._forget()
        self.state = _READY if command.last else State.CHUNKED
        return EndOfBody(command.last, decoder.fault)

    # Replies in, octets out.

    def greet(self, reply: Reply) -> None:
        """The banner, or what stands in its place (no enhanced code there: RFC 2034 §4)."""
        self.state = State.HELLO if reply.positive else State.SHUNNED
        self._write(reply, False)

    def answer(self, command: AnyCommand, reply: Reply) -> None:
        """The reply to a command from `next_event()`; a positive one moves the state."""
        kind = type(command)
        if reply.code < 400:
            following = NEXT.get(kind)
            if following is not None:
                self.state = following
            if kind is Mail and command.parameters:  # type: ignore[union-attr]
                self._opened(command.parameters)  # type: ignore[union-attr]
            elif kind is Data:
                self._data = DataDecoder(self.normalise)
            elif kind is Rset:
                self.reset()
            elif kind is Hello:
                self._forget()
        self._write(reply, kind is not Hello)

    def _opened(self, parameters: Mapping[str, Any]) -> None:
        """What the parameters of MAIL mean for the commands that follow."""
        self.utf8 = "SMTPUTF8" in parameters
        self._legal = LEGAL_BINARY if parameters.get("BODY") == "BINARYMIME" else LEGAL

    def _forget(self) -> None:
        """No transaction any more."""
        self._chunk = None
        self._legal = LEGAL
        self.utf8 = False

    def say(self, reply: Reply) -> None:
        """A reply that answers no command: to `Refused`, to the end of a body, or a 421 of the server's own."""
        self._write(reply, self.state is not _GREETING)

    def reset(self) -> None:
        """The transaction is over (RSET, or the server dropped it)."""
        self._forget()
        if self.state not in (State.HELLO, State.SHUNNED, _CLOSED):
            self.state = _READY

    def restart(self) -> None:
        """Forget all that the client said (STARTTLS: RFC 3207 §4.2, XCLIENT); EHLO is due."""
        self._forget()
        self.keywords = {}
        self.state = State.HELLO

    def spoil(self) -> None:
        """The transaction was refused at a BDAT that was not the last (RFC 3030 §2): 503 to the rest until RSET."""
        self._chunk = None
        self.state = State.SPOILT

    def _write(self, reply: Reply, enhanced: bool) -> None:
        if reply.close:
            self.state = _CLOSED
            if reply.temporary and reply.code != 421:
                reply = replace(reply, code=421)
        octets = reply.encode(enhanced)
        self._output.append(octets)
        self.due += len(octets)

    def take_output(self) -> bytes:
        """All that is to be written, as one piece; empty when there is nothing."""
        output = self._output
        if not output:
            return b""
        self._output = []
        self.due = 0
        return output[0] if len(output) == 1 else b"".join(output)
