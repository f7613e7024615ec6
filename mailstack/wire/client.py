"""The client's side of an SMTP or LMTP conversation, without I/O: commands in, octets out; octets in, answers out.

Use: `send()` commands, write what `take_output()` returns, `receive()` what arrived, and call `next_event()` until it
says None; each `Answered` tells which command it answers. After the 354 of DATA the body goes through `body()` and
`end_body()`, with BDAT through `chunk()`; what these return is to be written as it is.

    protocol.send(Mail(sender)); protocol.send(Rcpt(recipient)); protocol.send(Data())
    await stream.send(protocol.take_output())

Promises: however the octets are cut, the events are the same. No command line holds a control character. A keyword
counts until the next EHLO. After 421, and after an answer to nothing while a body is sent, the state is CLOSED, and
what was awaited will not be answered.

Failure: `ProtocolError` when what came is not SMTP, `ValueError` for what cannot be said at all, `RuntimeError` for
what cannot be said now.

Sources: RFC 5321 §4, RFC 2920 (pipelining), RFC 3030 (CHUNKING), RFC 2033 (LMTP), RFC 3207 (STARTTLS).
"""

from __future__ import annotations

from collections import deque
from collections.abc import Mapping
from enum import Enum
from typing import Final, NamedTuple, TypeAlias

from .answer import Answer, AnswerReader, ProtocolError
from .command import AnyCommand, Bdat, Command, Data, Hello, Mail, Quit, Rcpt, Rset
from .command_line import encode_command, encode_line
from .outgoing import DotStuffer, LineEnds, chunk_line

__all__ = ["Answered", "ClientProtocol", "ClientState", "EndOfData", "ProtocolError", "Said"]


class ClientState(Enum):
    """Where the conversation stands, by the answers so far."""

    GREETING = "greeting"  # the banner is due
    SHUNNED = "shunned"  # the banner was a refusal: only QUIT (RFC 5321 §3.1)
    HELLO = "hello"  # no EHLO was accepted yet
    READY = "ready"  # no transaction
    MAIL = "mail"  # a transaction: the sender was accepted
    DATA = "data"  # 354 has come, the body goes out
    CLOSED = "closed"


class EndOfData(NamedTuple):
    """What the replies after the last octet of a message answer. recipient -- whose it is (LMTP); None: everybody's."""

    recipient: Rcpt | None


Said: TypeAlias = AnyCommand | EndOfData


class Answered(NamedTuple):
    """An answer, and what it answers: None is the banner, or nothing that was said."""

    said: Said | None
    answer: Answer


# Which class of answer is a success; any other positive one is nonsense.
_SUCCESS: Final[Mapping[type, tuple[int, ...]]] = {Data: (3,), Command: (2, 3)}
_TWO: Final = (2,)

# Nothing may be said behind them before they are answered: RFC 2920 §3.1.
_LAST_OF_BATCH: Final = (Hello, Data, Quit, Command)

_SPEECHLESS: Final = (ClientState.GREETING, ClientState.DATA, ClientState.CLOSED)


class ClientProtocol:
    """One conversation.

    lmtp -- one answer per accepted recipient after the data.
    keywords -- of the last EHLO answer: upper-case name to argument. recipients -- those accepted in this transaction.
    awaited -- what was said and is not answered yet, oldest first.
    """

    __slots__ = (
        "_chunked",
        "_ends",
        "_output",
        "_reader",
        "_stuffer",
        "awaited",
        "keywords",
        "lmtp",
        "recipients",
        "state",
    )

    def __init__(self, *, lmtp: bool = False) -> None:
        self.lmtp = lmtp
        self.state = ClientState.GREETING
        self.keywords: Mapping[str, str] = {}
        self.recipients: list[Rcpt] = []
        self.awaited: deque[Said] = deque()
        self._reader = AnswerReader()
        self._output: list[bytes] = []
        self._stuffer: DotStuffer | None = None
        self._ends: LineEnds | None = None
        self._chunked = False

    # Commands in, octets out.

    def send(self, command: AnyCommand) -> None:
        """Say a command. Parameters that the server does not offer are left out. ValueError, RuntimeError."""
        if isinstance(command, Bdat):
            raise RuntimeError("the octets of a BDAT go with it: chunk()")
        self._say(encode_command(command, self.keywords), command)

    def say(self, line: str, verb: str | None = None) -> None:
        """Say any other line, given without its end: a command, or what a 334 asked for. ValueError, RuntimeError.

        verb -- what it is called in errors; None: its first word, which may not be a secret.
        """
        first, _, argument = line.partition(" ")
        self._say(encode_line(line), Command(verb or first.upper(), argument))

    def _say(self, line: bytes, command: AnyCommand) -> None:
        self._check(command)
        self.awaited.append(command)
        self._output.append(line)

    def _check(self, command: AnyCommand) -> None:
        if self.state in _SPEECHLESS or (self.state is ClientState.SHUNNED and not isinstance(command, Quit)):
            raise RuntimeError(f"{command.verb} cannot be said now: {self.state.value}")
        if self.awaited and isinstance(self.awaited[-1], _LAST_OF_BATCH):
            raise RuntimeError(f"{command.verb} cannot be said before {self.awaited[-1].verb} is answered")

    def take_output(self) -> bytes:
        """All command lines that are to be written, as one piece; empty when there are none."""
        output, self._output = self._output, []
        return b"".join(output)

    # Bodies.

    def body(self, data: bytes) -> bytes:
        """The octets to write for the next octets of the message (DATA)."""
        if self.state is not ClientState.DATA:
            raise RuntimeError("there was no 354")
        if self._stuffer is None:
            self._stuffer = DotStuffer()
        return self._stuffer.feed(data)

    def end_body(self) -> bytes:
        """The octets that end the message (DATA); the final answer is awaited then."""
        self.body(b"")
        assert self._stuffer is not None
        end, self._stuffer = self._stuffer.end(), None
        self.state = ClientState.MAIL
        self._await_end()
        return end

    def chunk(self, data: bytes, last: bool, *, binary: bool = False) -> bytes:
        """A BDAT with its octets. binary -- they go as they are (BODY=BINARYMIME); else line ends become CRLF.

        Empty when nothing can be sent yet. RuntimeError.
        """
        self._check(Bdat(0, last))
        self._chunked = True
        if not binary:
            if self._ends is None:
                self._ends = LineEnds()
            data = self._ends.feed(data) + (self._ends.end() if last else b"")
        if last:
            self._ends = None
            self._await_end()
        elif data:
            self.awaited.append(Bdat(len(data), False))
        return chunk_line(len(data), last) + data if data or last else b""

    def _await_end(self) -> None:
        self.awaited.extend(map(EndOfData, self.recipients) if self.lmtp else (EndOfData(None),))

    # Octets in, events out.

    def receive(self, data: bytes) -> None:
        """Take what the transport read."""
        self._reader.feed(data)

    @property
    def midway(self) -> bool:
        """Whether octets came that no event has told of."""
        return self._reader.midway

    def next_event(self) -> Answered | None:
        """The next answer, or None when more must come. ProtocolError."""
        if self.state is ClientState.CLOSED:
            return None
        answer = self._reader.next_answer()
        if answer is None:
            return None
        if self.state is ClientState.GREETING:
            return self._greeted(answer)
        if not self.awaited:
            return self._unasked(answer)
        said = self.awaited.popleft()
        if answer.code < 400:
            if answer.code // 100 not in _SUCCESS.get(type(said), _TWO):
                raise ProtocolError(f"{answer.code} does not answer {getattr(said, 'verb', 'the end of the data')}")
            self._accepted(said, answer)
        self._ended(said, answer)
        return Answered(said, answer)

    def _greeted(self, answer: Answer) -> Answered:
        if 300 <= answer.code < 400:
            raise ProtocolError(f"{answer.code} is no greeting")
        self.state = ClientState.HELLO if answer.code < 300 else ClientState.SHUNNED
        if answer.code == 421:
            self.state = ClientState.CLOSED
        return Answered(None, answer)

    def _unasked(self, answer: Answer) -> Answered:
        """Said of the server's own accord: it wants to close, or will not have the body that is under way."""
        if answer.code != 421 and (self.state is not ClientState.DATA or answer.code < 400):
            raise ProtocolError(f"a reply {answer.code} that answers nothing")
        self.state = ClientState.CLOSED
        return Answered(None, answer)

    def _accepted(self, said: Said, answer: Answer) -> None:
        match said:
            case Hello():
                self.keywords = {} if said.verb == "HELO" else answer.keywords
                self._over()
            case Mail():
                self.recipients = []
                self.state = ClientState.MAIL
            case Rcpt():
                self.recipients.append(said)
            case Data():
                self.state = ClientState.DATA
            case Rset():
                self._over()
            case _:
                pass

    def _ended(self, said: Said, answer: Answer) -> None:
        """What ends whatever the answer is."""
        if answer.code == 421 or isinstance(said, Quit):
            self.state = ClientState.CLOSED
            self.awaited.clear()
        elif isinstance(said, EndOfData) and not self.awaited and not (self._chunked and answer.code >= 400):
            self._over()  # a refused chunk leaves the transaction open until RSET (RFC 3030 §2)

    def _over(self) -> None:
        if self.state is not ClientState.SHUNNED:
            self.state = ClientState.READY
        self.recipients = []
        self._ends = None
        self._chunked = False

    def restart(self) -> None:
        """TLS has begun: forget the keywords, and say EHLO again. ProtocolError when octets came before it."""
        if self._reader.midway or self.awaited:
            raise ProtocolError("something came between the answer to STARTTLS and TLS")
        self.state = ClientState.HELLO
        self.keywords = {}
        self.recipients = []
