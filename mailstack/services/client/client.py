"""The client: one connection, its commands, its transactions."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from types import TracebackType

from ...wire.command import Mail, Rcpt
from ...wire.reply import Reply
from ..transport import Address, Stream
from .values import Content, Envelope, Outcome, Timeouts

Transcript = Callable[[str, str], None]


async def open_client(
    address: Address,
    *,
    hostname: str,
    lmtp: bool = False,
    timeouts: Timeouts | None = None,
    transcript: Transcript | None = None,
    pipelining: bool = True,
    chunking: bool = True,
) -> Client:
    """Connect to (host, port) or to the path of a UNIX socket, read the banner, say EHLO (LHLO).

    hostname -- what we call ourselves. transcript -- called with ("C", line) and ("S", line) for each line, bodies
    abbreviated. pipelining, chunking -- whether these are used where the server offers them.
    Where EHLO is refused with 5xx, HELO is tried. OSError, Refused, Disconnected, ValueError (hostname).
    """
    raise NotImplementedError


async def start_client(
    stream: Stream,
    *,
    hostname: str,
    lmtp: bool = False,
    timeouts: Timeouts | None = None,
    transcript: Transcript | None = None,
    pipelining: bool = True,
    chunking: bool = True,
) -> Client:
    """The same over a connection that exists."""
    raise NotImplementedError


class Client:
    """One connection. Made by `open_client`; `async with` says QUIT at the end, or aborts when an exception leaves.

    keywords -- of the last EHLO answer, upper case, each with its argument. Empty after HELO.
    peer -- the other end's address.
    usable -- whether another transaction may follow (after `reset()`): False after 421, a cut, `quit` or `abort`.
    greeting -- the reply that opened the connection.
    """

    keywords: Mapping[str, str]
    peer: Address
    usable: bool
    greeting: Reply

    async def mail(self, mail: Mail) -> Reply:
        """Open a transaction. Unsupported, Disconnected."""
        raise NotImplementedError

    async def rcpt(self, rcpt: Rcpt) -> Reply:
        """Ask for one recipient of the open transaction. Unsupported, Disconnected."""
        raise NotImplementedError

    async def data(self, content: Content) -> Outcome:
        """Send the message to the recipients that were accepted; the transaction is over then.

        RuntimeError without an open transaction. Unsupported, Disconnected; what `content` raises aborts the
        connection. Outcome: of the recipients that were asked for, in that order.
        """
        raise NotImplementedError

    async def transact(self, envelope: Envelope, content: Content) -> Outcome:
        """A whole transaction, in as few round trips as the server allows. Unsupported, Disconnected."""
        raise NotImplementedError

    async def command(self, line: str) -> Reply:
        """Any other command or continuation (NOOP, VRFY, AUTH and the lines that 334 asks for), without line end.

        ValueError for control characters. Disconnected.
        """
        raise NotImplementedError

    async def reset(self) -> Reply:
        """RSET, before the connection is used again, or to see whether it still works. Disconnected."""
        raise NotImplementedError

    async def quit(self) -> None:
        """QUIT, and close, whatever comes."""
        raise NotImplementedError

    def abort(self) -> None:
        """Close at once, without a word."""
        raise NotImplementedError

    async def __aenter__(self) -> Client:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        if error is None:
            await self.quit()
        else:
            self.abort()
