"""One client's end of a connection to the server under test.

    assert await smtp.say("EHLO client.example.org") == 250
    answer = await smtp.message("a@example.org", ["b@example.org"], "Subject: hi\\r\\n\\r\\nhello\\r\\n")

Nothing is timed: each call waits for the reply itself. One that does not come within `PATIENCE` seconds, or a
connection that ends instead, is an AssertionError that shows the conversation so far.
"""

from __future__ import annotations

import ssl
from collections.abc import Iterable
from typing import TYPE_CHECKING

from anyio import Event, move_on_after

from ..services.memory import MemoryStream
from ..services.transport import BrokenStream, RawStream, tls
from ..session.evidence import Evidence
from ..session.session import Session
from .answer import Answer, Reader
from .delivery import Delivery

if TYPE_CHECKING:
    from .dialog import Dialog

__all__ = ["PATIENCE", "Conversation", "ConversationEnded", "Delivery", "shown", "stuffed"]

PATIENCE = 10.0  # seconds that a reply may take before the test has failed


class ConversationEnded(AssertionError):
    """The server has closed the connection, where a reply was expected or something was to be said."""


class Conversation:
    """The client's end.

    session -- what the plugins see.
    dialog -- the server and its other connections.
    said -- the conversation so far, one line each: "C: …", "S: …".
    """

    __slots__ = ("_banner", "_finished", "_reader", "_session", "_stream", "dialog", "said")

    def __init__(self, dialog: Dialog, stream: MemoryStream, session: Session | None, finished: Event) -> None:
        self.dialog = dialog
        self._stream: RawStream = stream
        self._session = session
        self._finished = finished
        self._reader = Reader()
        self._banner: Answer | None = None
        self.said: list[str] = []

    @property
    def session(self) -> Session:
        """The session. AssertionError when the server refused the connection before there was one."""
        assert self._session is not None, "the server had too many connections: there is no session"
        return self._session

    @property
    def messages(self) -> list[Delivery]:
        """What reached the end of the stack, from all connections to this server."""
        return self.dialog.messages

    @property
    def evidence(self) -> Evidence:
        """Who found what so far."""
        return self.session.evidence

    # What the server says.

    async def banner(self) -> Answer:
        """The first reply; read once, so that it may be asked for at any time."""
        return self._banner or await self.reply()

    async def reply(self) -> Answer:
        """The next complete reply, the banner being the first."""
        answer = self._reader.next_answer()
        while answer is None:
            self._reader.feed(await self._receive())
            answer = self._reader.next_answer()
        self.said.extend(f"S: {line}" for line in str(answer).splitlines())
        if self._banner is None:
            self._banner = answer
        return answer

    async def replies(self, count: int) -> list[Answer]:
        """The next `count` replies."""
        return [await self.reply() for _ in range(count)]

    async def closed(self) -> None:
        """Assert that the server has closed and nothing is unread; the session's end is over when this returns."""
        with move_on_after(PATIENCE):
            left = await self._rest()
            if left:
                raise self._failure(f"the server said more: {left!r}")
            await self._stream.close()  # as a client does; the server may wait for it
            await self._finished.wait()
            return
        raise self._failure("the server does not close the connection")

    async def finished(self) -> None:
        """Wait until the server is through with this connection, `disconnect` notices and all."""
        with move_on_after(PATIENCE):
            await self._finished.wait()
            return
        raise self._failure("the server does not end the session")

    async def _rest(self) -> bytes:
        parts = [self._reader.unread]
        while data := await self._stream.receive():
            parts.append(data)
        return b"".join(parts)

    async def _receive(self) -> bytes:
        with move_on_after(PATIENCE):
            data = await self._stream.receive()
            if not data:
                midway = " inside a reply" if self._reader.midway else ""
                raise self._failure(f"the connection ended{midway}", ConversationEnded)
            return data
        raise self._failure(f"no reply within {PATIENCE:g} s")

    # What the client says.

    async def say(self, line: str | bytes) -> Answer:
        """Send a command line (CRLF is added), and read the reply. The banner is read before the first one."""
        await self.banner()
        await self.send((line.encode() if isinstance(line, str) else line) + b"\r\n")
        return await self.reply()

    async def send(self, octets: bytes) -> None:
        """Send octets as they are; waits for nothing but room, not even for the banner."""
        self.said.extend(f"C: {shown(line)}" for line in octets.splitlines(keepends=True))
        with move_on_after(PATIENCE):
            try:
                await self._stream.send(octets)
            except BrokenStream:
                raise self._failure("the server has closed the connection", ConversationEnded) from None
            return
        raise self._failure("the server does not read what it is sent")

    async def message(
        self, sender: str, recipients: str | Iterable[str], data: bytes | str = b"Subject: test\r\n\r\ntest\r\n"
    ) -> Answer:
        """One transaction by MAIL, RCPT and DATA; the first refusal, or the reply to the message.

        EHLO (LHLO in LMTP) is said first if the client did not greet yet. Recipients may be refused as long as one is
        not. `data` is sent with its dots stuffed, and CRLF added when it does not end with one; a text's LF line ends
        become CRLF.
        """
        answers = await self.deliver(sender, recipients, data)
        return next((answer for answer in answers if answer.code >= 400), answers[0])

    async def deliver(
        self, sender: str, recipients: str | Iterable[str], data: bytes | str = b"Subject: test\r\n\r\ntest\r\n"
    ) -> list[Answer]:
        """The same with all replies to the message: LMTP has one for each recipient that was not refused at RCPT.

        A refusal before the message stands alone.
        """
        await self.banner()
        hello = "LHLO" if self.session.lmtp else "EHLO"
        if self.session.helo is None and (answer := await self.say(f"{hello} client.example.org")) != 250:
            return [answer]
        if (answer := await self.say(f"MAIL FROM:<{sender}>")) != 250:
            return [answer]
        wanted = [recipients] if isinstance(recipients, str) else list(recipients)
        answers = [await self.say(f"RCPT TO:<{recipient}>") for recipient in wanted]
        taken = sum(answer.code < 300 for answer in answers)
        if not taken:
            return answers[:1]
        if (answer := await self.say("DATA")) != 354:
            return [answer]
        await self.send(stuffed(data))
        return await self.replies(taken if self.session.lmtp else 1)

    async def start_tls(self, context: ssl.SSLContext, server_hostname: str = "mx.test") -> None:
        """Make the handshake: after the 220 to STARTTLS, or first of all where the listener wants that.

        The server must go by `server_hostname`. `transport.tls.HandshakeFailed`.
        """
        self.said.append("C: (handshake)")
        with move_on_after(PATIENCE):
            self._stream = await tls.wrap(self._stream, context, server_hostname=server_hostname)
            return
        raise self._failure("the handshake does not end")

    @property
    def encryption(self) -> tls.TLSStream | None:
        """What the client sees of the TLS, or None."""
        return self._stream if isinstance(self._stream, tls.TLSStream) else None

    async def hang_up(self) -> None:
        """Leave without a word. What was sent before still reaches the server."""
        self.said.append("C: (hangs up)")
        await self._stream.close()

    async def half_close(self) -> None:
        """Send the end of file and go on listening."""
        self.said.append("C: (end of file)")
        try:
            await self._stream.send_eof()
        except BrokenStream:
            raise self._failure("the server has closed the connection", ConversationEnded) from None

    async def several(self, number: int, client: str | tuple[str, int] | None = None) -> list[Conversation]:
        """More connections to the same server, by default from the same address."""
        return await self.dialog.several(number, client)

    def _failure(self, problem: str, kind: type[AssertionError] = AssertionError) -> AssertionError:
        unread = f"\n(unread: {self._reader.unread!r})" if self._reader.unread else ""
        return kind(f"{problem}\nthe conversation so far:\n" + "\n".join(self.said[-40:]) + unread)


def stuffed(data: bytes | str) -> bytes:
    """A message as DATA sends it (RFC 5321 §4.5.2), its end included."""
    if isinstance(data, str):
        data = data.replace("\r\n", "\n").replace("\n", "\r\n").encode()
    if data and not data.endswith(b"\r\n"):
        data += b"\r\n"
    return (b"\r\n" + data).replace(b"\r\n.", b"\r\n..")[2:] + b".\r\n"


def shown(line: bytes) -> str:
    """A line as people can read it: printable, and not too long."""
    text = line.removesuffix(b"\r\n").decode("ascii", "backslashreplace")
    text = text if text.isprintable() else text.encode("unicode_escape").decode("ascii")
    return text if len(text) <= 200 else f"{text[:200]}… ({len(line)} octets)"
