"""One conversation with an IMAP server: as far as somebody is let in, and no further."""

from __future__ import annotations

import ssl
from base64 import b64encode
from collections import deque
from contextlib import suppress
from itertools import count
from typing import Final

from mailstack.services.elsewhere import GOOD, WRONG, Trouble
from mailstack.services.transport import RawStream, Stream, tls
from mailstack.session.credentials import Password
from mailstack.wire.reply import Reply

from .protocol import Nonsense, Reader, Response, literal

__all__ = ["Conversation"]

MOST: Final = 100  # responses to one command

# RFC 5530: what a refusal says of the user, and what it says of the server.
_KNOWN: Final = frozenset(("AUTHORIZATIONFAILED", "EXPIRED", "CONTACTADMIN"))
_TROUBLE: Final = frozenset(("UNAVAILABLE", "SERVERBUG", "INUSE", "LIMIT", "PRIVACYREQUIRED"))


class Conversation:
    """Over a stream that has just been opened: `greeted`, perhaps `start_tls`, then `log_in` and `leave`.

    Each raises Trouble, or OSError.
    """

    __slots__ = ("_capabilities", "_come", "_reader", "_stream", "_tags")

    def __init__(self, stream: Stream) -> None:
        self._stream = stream
        self._reader = Reader()
        self._come: deque[Response] = deque()
        self._tags = count(1)
        self._capabilities: frozenset[str] = frozenset()

    async def greeted(self) -> None:
        response = await self._next()
        if (response.tag, response.name) != ("*", "OK"):  # PREAUTH: who is let in without a password says nothing
            raise Trouble(f"the server greets with {response.tag} {response.name} {response.code}".rstrip())
        self._note(response)

    async def start_tls(self, raw: RawStream, context: ssl.SSLContext, host: str) -> None:
        """RFC 9051 §6.2.1. What was said in clear is forgotten."""
        if "STARTTLS" not in await self._offered():
            raise Trouble("the server offers no STARTTLS")
        response = await self._command(b"STARTTLS")
        if response.name != "OK":
            raise Trouble(f"the server answers STARTTLS with {response.name} {response.code}".rstrip())
        if self._come or self._reader.held:
            raise Trouble("the server, or somebody on the way, went on in clear behind STARTTLS")
        self._stream = await tls.wrap(raw, context, server_hostname=host)
        self._capabilities = frozenset()

    async def log_in(self, login: Password) -> Reply | None:
        offered = await self._offered()
        if "AUTH=PLAIN" in offered:
            return _judged(await self._plain(login, "SASL-IR" in offered))
        if "LOGINDISABLED" in offered:
            raise Trouble("the server takes no passwords here: LOGINDISABLED, and no AUTH=PLAIN")
        return _judged(await self._login(login, waits="LITERAL+" not in offered))

    async def leave(self) -> None:
        with suppress(OSError):
            await self._stream.send(self._tag() + b" LOGOUT\r\n")
        await self._stream.close()

    # The two ways. Neither has anything of the client's in a line, but for base64.

    async def _plain(self, login: Password, at_once: bool) -> Response:
        """RFC 4616; with an initial response (RFC 4959) if that may be."""
        told = b64encode(f"\0{login.user}\0{login.password}".encode())
        if at_once:
            return await self._command(b"AUTHENTICATE PLAIN " + told)
        return await self._command(b"AUTHENTICATE PLAIN\r\n", told)

    async def _login(self, login: Password, waits: bool) -> Response:
        """Literals end where they end, whatever is in them."""
        (announced, user), (next_announced, password) = (
            literal(each, waits=waits) for each in (login.user, login.password)
        )
        first, second = b"LOGIN " + announced, user + b" " + next_announced
        return await (self._command(first, second, password) if waits else self._command(first + second + password))

    # Commands and responses.

    async def _offered(self) -> frozenset[str]:
        if not self._capabilities:
            response = await self._command(b"CAPABILITY")
            if response.name != "OK" or not self._capabilities:
                raise Trouble(f"the server answers CAPABILITY with {response.name} {response.code}".rstrip())
        return self._capabilities

    async def _command(self, *parts: bytes) -> Response:
        """The response with the command's tag. Each part but the first waits until the server says "+"."""
        tag = self._tag()
        said = tag + b" "
        for part in parts[:-1]:
            await self._stream.send(said + part)
            response = await self._response("+", tag.decode())
            if response.tag != "+":
                return response
            said = b""
        await self._stream.send(said + parts[-1] + b"\r\n")
        return await self._response(tag.decode())

    def _tag(self) -> bytes:
        return b"A%d" % next(self._tags)

    async def _response(self, *tags: str) -> Response:
        for _ in range(MOST):
            response = await self._next()
            if response.tag in tags:
                self._note(response)
                return response
            if response.tag != "*":
                raise Nonsense(f"a response to {response.tag!r}, which was not said")
            if response.name == "BYE":
                raise Trouble(f"the server says BYE {response.code}".rstrip())
            self._note(response)
        raise Nonsense(f"more than {MOST} responses to one command")

    async def _next(self) -> Response:
        while not self._come:
            octets = await self._stream.receive()
            if not octets:
                raise Trouble("the server closed the connection")
            self._come += self._reader.feed(octets)
        return self._come.popleft()

    def _note(self, response: Response) -> None:
        if "CAPABILITY" in (response.name, response.code):
            self._capabilities = frozenset(response.words.upper().split())


def _judged(response: Response) -> Reply | None:
    if response.name == "OK":
        return GOOD
    if response.name != "NO" or response.code in _TROUBLE:
        raise Trouble(f"the server answers {response.name} {response.code}".rstrip())
    return WRONG if response.code in _KNOWN else None
