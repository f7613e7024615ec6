"""What a plugin may ask of its connection: the abilities behind `session.…` (`session.session.Link`).

Some have their time, and raise RuntimeError at any other: TLS, reading and `proxied` before the banner, in `session`
onions that have not called `call_next()`; the talk of AUTH while `command` is asked.
"""

from __future__ import annotations

import ssl
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from anyio import move_on_after

from ..session.credentials import Credentials
from ..session.hangup import Hangup
from ..session.later import Later
from ..session.lookup import Lookups, ReverseName
from ..session.session import Peer
from ..wire.reply import Reply
from . import authentication, handshake, naming
from .background import Background

if TYPE_CHECKING:
    from .connection import Connection


class Abilities:
    """Those of one connection.

    introduced -- whether the proxy in front has said for whom it speaks, or none is expected.
    speaks_for_another -- whether the conversation was begun anew for somebody else.
    background -- the work that plugins have begun, if any.
    """

    __slots__ = ("_connection", "_unread", "background", "introduced", "speaks_for_another")

    def __init__(self, connection: Connection, *, introduced: bool) -> None:
        self._connection = connection
        self._unread = b""  # what was read before the banner, and not consumed yet
        self.background: Background | None = None
        self.introduced = introduced
        self.speaks_for_another = False

    # At any time.

    def start(self, later: Later[Any], function: Callable[..., Awaitable[Any]], args: tuple[object, ...]) -> None:
        """Background work, ended with the session."""
        if self.background is None:
            group = self._connection.house.group
            assert group is not None
            self.background = Background(group)
        self.background.start(later, function, args)

    def end_background(self) -> None:
        if self.background is not None:
            self.background.cancel()

    def resolver(self) -> Lookups:
        return self._connection.house.resolver(self._connection.session)

    async def name(self) -> ReverseName:
        return await naming.known(self._connection)

    def close_after(self, reply: Reply | None) -> Callable[[], None]:
        return self._connection.close_after(reply)

    def limit(self, changes: Mapping[str, float], above: float) -> Callable[[], None]:
        return self._connection.limit(changes, above)

    def forgive(self, leniency: frozenset[str]) -> Callable[[], None]:
        """Slips that the protocol reads as what they mean, from now on."""
        protocol = self._connection.protocol
        before = protocol.leniency
        protocol.leniency = before | leniency
        return lambda: setattr(protocol, "leniency", before)

    async def input_waits(self, seconds: float) -> bool:
        """Whether the client talks within `seconds`; the asking entry's clock stands still."""
        connection = self._connection
        protocol, watch = connection.protocol, connection.session.watch
        if protocol.unread or seconds <= 0:
            return protocol.unread
        if watch is not None:
            watch.pause()
        try:
            await connection.flush()
            connection.since = connection.house.now
            with move_on_after(seconds):
                await connection.read()
                return True
            connection.waiting = connection.reads = False
            return False
        finally:
            if watch is not None:
                watch.resume()

    # In `command`.

    async def restart(self, client: Peer | None, server: Peer | None, helo: str | None, user: str | None) -> Reply:
        """The conversation begins anew; the reply of `connect` is due."""
        connection = self._connection
        session, dialog = connection.session, connection.dialog
        connection.protocol.leniency = frozenset()
        connection.set_limits(connection.house.patience, None)
        dialog.forget("restart")
        self.end_background()
        self.background = None
        session.forget_stash()
        session.client = client or session.client
        session.server = server or session.server
        session.helo, session.user, session.mechanism = helo, user, None
        self.speaks_for_another = True
        if session.encryption is not None:
            session.encryption = replace(session.encryption, certificate=None, names=())
        watch, session.watch = session.watch, None  # the chain has clocks of its own
        if watch is not None:
            watch.pause()
        try:
            return await dialog.restart()
        finally:
            session.watch = watch
            if watch is not None:
                watch.resume()

    async def challenge(self, data: bytes) -> bytes:
        self._must_answer("challenge")
        return await authentication.challenge(self._connection, data)

    async def authenticate(self, mechanism: str, credentials: Credentials) -> Reply:
        self._must_answer("authenticate")
        return await authentication.authenticate(self._connection, mechanism, credentials)

    def mechanisms(self) -> tuple[str, ...]:
        return self._connection.house.pipeline.mechanisms(self._connection.session)

    def _must_answer(self, ability: str) -> None:
        if not self._connection.dialog.answering:
            raise RuntimeError(f"{ability} is for `command`, and for the `auth` that it leads to")

    # Before the banner, in `session` onions.

    async def start_tls(self, context: ssl.SSLContext) -> None:
        """What was read and not consumed may be the beginning of the handshake: it was sent as such."""
        self._must_not_talk("start_tls")
        await handshake.encrypt(self._connection, context, self.take_unread())

    async def read_line(self, limit: int) -> bytes:
        end = await self._read("read_line", lambda: self._unread.find(b"\r\n", 0, limit) + 1, limit)
        if not end:
            raise ValueError(f"the line is longer than {limit} octets")
        line, self._unread = self._unread[: end - 1], self._unread[end + 1 :]
        return line

    async def read_exactly(self, count: int) -> bytes:
        await self._read("read_exactly", lambda: len(self._unread) >= count, count)
        octets, self._unread = self._unread[:count], self._unread[count:]
        return octets

    def take_unread(self) -> bytes:
        octets, self._unread = self._unread, b""
        return octets

    async def _read(self, ability: str, enough: Callable[[], int], most: int) -> int:
        """Read until `enough` says a number, or `most` octets are there (0)."""
        self._must_not_talk(ability)
        with move_on_after(float(self._connection.house.limits.opening)):
            while not (found := enough()) and len(self._unread) < most:
                octets = await self._connection.stream.receive()
                if not octets:
                    raise Hangup("left")
                self._unread += octets
            return found
        raise Hangup("idle")

    def proxied(self, client: Peer | None, server: Peer | None) -> None:
        self._must_not_talk("proxied")
        session = self._connection.session
        self.introduced = True
        if client is not None:
            session.proxy, session.client = session.client, client
        session.server = server or session.server

    def _must_not_talk(self, ability: str) -> None:
        if self._connection.talks:
            raise RuntimeError(f"{ability} is for `session` onions, before call_next()")
