"""One connection: octets to and from the protocol, the clocks, and the end.

What the client says is answered by `dialog`; what a plugin may ask of the connection (`Link`) is here. All commands
that are in the buffer are handled and their replies leave in one write.

Limits cost no timer: while the connection waits for its client, the server's sweeper compares numbers, and cancels the
connection's scope when one has run out. That scope lies inside the end of the `session` chain, so onions see a normal
return whatever ended the conversation.
"""

from __future__ import annotations

import ssl
import time
from collections.abc import Awaitable, Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import replace
from typing import Any

from anyio import CancelScope, move_on_after
from anyio.lowlevel import checkpoint

from .. import log
from ..contract.pipeline import wrapped
from ..services.transport import BrokenStream, RawStream, tls
from ..session.credentials import Credentials
from ..session.encryption import Encryption
from ..session.hangup import Hangup
from ..session.later import Later
from ..session.lookup import Lookups, ReverseName
from ..session.patience import Patience
from ..session.session import IPNetwork, Peer, Session
from ..session.watch import Watch
from ..wire.reply import Reply
from ..wire.server import NEED_DATA, ServerProtocol, State
from . import answers, authentication, naming
from .background import Background
from .dialog import HANDLERS, Dialog
from .house import House

_GREETING, _CLOSED = State.GREETING, State.CLOSED  # plain names, see there

# Inside a body no reply is due before its end; behind the last reply there is no other.
_IN_BODY = frozenset({State.DATA, State.CHUNK})
_NO_TIME_TO_CLOSE = _IN_BODY | {State.CLOSED}

# Ends of a conversation after which nobody listens any more.
_NOBODY_LISTENS = ("quit", "left", "cut")

# Octets of replies that may gather before they are written, though the client said more.
OUTPUT = 65536
# How long the last words to a client may take to leave.
FAREWELL = 5.0
# How long a client has to close after we did.
LINGER = 1.0


class Connection:
    """Serves one stream. `await connection.serve()` is its whole life."""

    __slots__ = (
        "_after",
        "_background",
        "_cut",
        "_encrypted_by",
        "_introduced",
        "_onions",
        "_opening",
        "_patience",
        "_reads",
        "_scope",
        "_speaks_for_another",
        "_stress",
        "_talks",
        "_waiting",
        "dialog",
        "house",
        "messages",
        "naming",
        "protocol",
        "session",
        "since",
        "stream",
        "why",
    )

    def __init__(
        self,
        stream: RawStream,
        house: House,
        listener: str = "",
        *,
        lmtp: bool = False,
        tls: bool = False,
        proxy: Sequence[IPNetwork] = (),
    ) -> None:
        self.stream = stream
        self.house = house
        limits = house.limits
        self.protocol = ServerProtocol(
            normalise=house.normalise,
            lmtp=lmtp,
            line_limit=limits.command_line,
            auth_limit=limits.auth_line,
            parameters=house.pipeline.parameters,
        )
        self.session = Session(
            house.new_id(),
            _peer(stream.peer),
            _peer(stream.local),
            link=self,
            hostname=house.hostname,
            listener=listener,
            lmtp=lmtp,
            implicit_tls=tls,
            proxies=proxy,
            rehearsal=house.rehearsal,
        )
        self.dialog = Dialog(self)
        self.since = house.now  # since when we wait for what we wait for
        self._patience = house.patience
        self._stress: tuple[float, Mapping[str, float]] | None = None  # above which load, and what holds then
        self.messages = 0
        self._waiting = False  # for the client, to say something or to take what we say
        self._reads = False  # for what it says
        self._onions: CancelScope | None = None  # around the session chain
        self._scope: CancelScope | None = None  # around the conversation, within the chain; the one of its watch
        self._talks = False
        self._opening = b""  # read before the banner, and not consumed yet
        self._introduced = not proxy  # whether the proxy in front has said for whom it speaks
        self._speaks_for_another = False  # whether the conversation was begun anew for somebody else
        self._encrypted_by: float | None = None  # when a handshake that runs must have ended
        self._cut: Hangup | None = None
        self._after: Reply | None = None
        self.why = "closed"
        self.naming: Later[ReverseName] | None = None  # the look for the client's name, until it is told
        self._background: Background | None = None

    # The life.

    async def serve(self) -> None:
        """From the accepted connection to its end; raises nothing but cancellation."""
        house, session = self.house, self.session
        house.connections.add(self)
        try:
            await self._live()
        except Exception as error:
            self.why = "fault"
            log.exception("fault", error=error, session=session.id, who=session.answered_by, phase="session")
            await self._say_last(answers.BROKEN)
            await self._close()
        finally:
            try:
                await self._end()
            finally:
                house.leave(self)
                self._let_go()

    def _let_go(self) -> None:
        """Break the circle with session and dialog, which the garbage collector would have to find.

        With what hangs on it that is 20 objects, and a twentieth of what a short connection costs. What ends in the
        background may still need it.
        """
        if self._background is None:
            del self.session, self.dialog

    async def _live(self) -> None:
        """The session chain. Its onions have a scope, so that a server that is cut short can end them."""
        onions = self.house.pipeline.onions(self.session)
        if not onions:
            await self._converse(self.session)
            return
        with self.house.new_scope() as self._onions:
            await wrapped(onions, self._converse)(self.session)
            if self._scope is None:  # an onion did not go on
                await self._say_last(self._after)
                await self._close()

    async def _end(self) -> None:
        self._end_background()
        try:
            await self.dialog.end()
        except Exception as error:
            log.exception("fault", error=error, session=self.session.id, phase="disconnect")
        self._end_background()  # a notice may have begun more
        if log.enabled("info"):
            session = self.session
            log.info(
                "connection",
                session=session.id,
                client=str(session.client),
                helo=session.helo,
                commands=session.command_count,
                errors=session.error_count,
                messages=self.messages,
                tls=session.encryption and str(session.encryption),
                seconds=round(time.monotonic() - session.started, 3),
                end=self.why,
            )

    async def _converse(self, session: Session) -> None:
        """The end of the session chain: always returns normally."""
        self._talks = True
        hangup: Hangup | None = None
        try:
            self._enter()
            await self._talk()
        except Hangup as ended:
            hangup = ended
        self._talks = False
        session.watch = None
        if hangup is not None:
            self.why = hangup.why
            await self._say_last(hangup.reply)
        await self._close()

    def _enter(self) -> None:
        """What the listener asks for has been done, or nobody is served."""
        session = self.session
        missing = "TLS" if session.implicit_tls and not session.secure else "" if self._introduced else "a PROXY header"
        if missing:
            log.error("not served", session=session.id, listener=session.listener, problem=f"nobody saw to {missing}")
            raise Hangup("not served")
        self.protocol.receive(self._opening)
        self._opening = b""

    async def _talk(self) -> None:
        """The command loop, in a scope that is renewed when a run of checks was late and has spent it."""
        protocol, session = self.protocol, self.session
        while self._cut is None and (protocol.state is not _CLOSED or protocol.due):
            session.watch = watch = Watch(shared=True, scope=self.house.new_scope)
            self._scope = watch.scope
            with watch.scope:
                await self._dialog(watch)
        if self._cut is not None:
            raise self._cut

    async def _dialog(self, watch: Watch) -> None:
        """Commands until the end, or until `watch` has expired."""
        protocol, dialog = self.protocol, self.dialog
        if protocol.state is _GREETING:
            await dialog.greet()
            self._say_after()
        while protocol.state is not _CLOSED:
            if watch.expired:
                return
            event = protocol.next_event()
            if event is not NEED_DATA:
                await HANDLERS[type(event)](dialog, event)
                if self._after is not None:
                    self._say_after()
                if protocol.due > OUTPUT:
                    await self.flush()
                    await checkpoint()  # the others want to be served too
                continue
            if protocol.due:
                await self.flush()
            if self.house.closing and protocol.state not in _IN_BODY:
                raise Hangup("shutdown", answers.SHUTDOWN)
            # As in read(), without one more coroutine for each turn.
            self._waiting = self._reads = True
            data = await self.stream.receive()
            self._waiting = self._reads = False
            if not data:
                raise Hangup("left")
            protocol.receive(data)
        if not watch.expired:
            if isinstance(self.stream, tls.TLSStream):
                self.stream.last = True
            await self.flush()

    def _say_after(self) -> None:
        """The reply of `session.close()`, once its time has come."""
        if self._after is not None and self.protocol.state not in _NO_TIME_TO_CLOSE:
            self.protocol.say(self._after)

    # Octets.

    async def read(self) -> None:
        """Wait for the client and give the protocol what it sent."""
        self._waiting = self._reads = True
        data = await self.stream.receive()
        self._waiting = self._reads = False
        if not data:
            raise Hangup("left")
        self.protocol.receive(data)

    async def flush(self) -> None:
        """Write all replies that are due, in one piece."""
        output = self.protocol.take_output()
        if not output:
            return
        self.since = self.house.now
        self._waiting = True
        try:
            await self.stream.send(output)
        except BrokenStream:
            raise Hangup("left") from None
        self._waiting = False
        if self.dialog.queued:
            await self.dialog.flushed()

    async def _say_last(self, reply: Reply | None) -> None:
        """What the client is still due, if it listens."""
        if reply is not None and self.protocol.state is not _CLOSED:
            self.protocol.say(reply)
        output = self.protocol.take_output()
        if output:
            with move_on_after(FAREWELL, shield=True):
                try:
                    await self.stream.send(output)
                except BrokenStream:
                    return

    async def _close(self) -> None:
        """Close; when it was we who ended it, so that the client can read why.

        A socket that is closed with input unread is reset, and the reset may overtake the last reply.
        """
        if self.why not in _NOBODY_LISTENS:
            with move_on_after(LINGER):
                await self._hear_out()
        await self.stream.close()

    async def _hear_out(self) -> None:
        try:
            await self.stream.send_eof()
        except BrokenStream:
            return
        while await self.stream.receive():
            pass

    # The clocks.

    def sweep(self, now: float) -> None:
        """Look at the clocks; called about once a second."""
        watch = self.session.watch
        if watch is not None and now > watch.deadline:
            watch.expire()
        if self._encrypted_by is not None and now > self._encrypted_by:
            self.stream.abort()  # which the handshake takes for the client's leaving
        if not self._waiting:
            return
        patience = self.patience
        if now - self.since > patience.idle:
            self.cut(Hangup("idle", answers.IDLE))
        elif now - self.session.started > patience.session:
            self.cut(Hangup("session limit", answers.TOO_LONG))
        elif self.dialog.too_slow(now):
            self.cut(Hangup("data rate", answers.TOO_SLOW))

    @property
    def patience(self) -> Patience:
        """What holds at the moment."""
        stress = self._stress
        if stress is None or self.house.load <= stress[0]:
            return self._patience
        return self._patience._replace(**stress[1])

    def cut(self, hangup: Hangup) -> None:
        """End the conversation from outside."""
        if self._scope is not None and self._cut is None:
            self._cut = hangup
            self._scope.cancel()

    def stop(self) -> None:
        """The server stops: who is idle hears so at once, a command that runs is finished first."""
        if self._reads and self.protocol.state not in _IN_BODY:
            self.cut(Hangup("shutdown", answers.SHUTDOWN))

    def drop(self) -> None:
        """The server is cut short: end without a word, but for a hand-over that has begun."""
        if self._talks:
            self.cut(Hangup("cut"))
        else:
            self.stream.abort()
        if self._onions is not None:
            self._onions.cancel()

    def abandon(self) -> None:
        """The grace is over: end whatever runs, but for a hand-over that has begun."""
        self.cut(Hangup("shutdown", answers.SHUTDOWN))

    # What a plugin may ask for (`session.session.Link`).

    async def input_waits(self, seconds: float) -> bool:
        """Whether the client talks within `seconds`; the asking entry's clock stands still."""
        protocol, watch = self.protocol, self.session.watch
        if protocol.unread or seconds <= 0:
            return protocol.unread
        if watch is not None:
            watch.pause()
        try:
            await self.flush()
            self.since = self.house.now
            with move_on_after(seconds):
                await self.read()
                return True
            self._waiting = self._reads = False
            return False
        finally:
            if watch is not None:
                watch.resume()

    def close_after(self, reply: Reply | None) -> Callable[[], None]:
        """End the session after the reply that is due; returns how to take that back."""
        before, self._after = self._after, _closing(reply or answers.BROKEN)
        return lambda: setattr(self, "_after", before)

    def limit(self, changes: Mapping[str, float], above: float) -> Callable[[], None]:
        """Other limits from now on, or while the server is that full."""
        before = self._patience, self._stress
        changed = self._patience._replace(**changes)
        if above:
            self._stress = above, changes
        else:
            self._patience = changed
        return lambda: self._limit_again(*before)

    def _limit_again(self, patience: Patience, stress: tuple[float, Mapping[str, float]] | None) -> None:
        self._patience, self._stress = patience, stress

    def forgive(self, leniency: frozenset[str]) -> Callable[[], None]:
        """Slips that the protocol reads as what they mean, from now on."""
        before = self.protocol.leniency
        self.protocol.leniency = before | leniency
        return lambda: setattr(self.protocol, "leniency", before)

    async def restart(self, client: Peer | None, server: Peer | None, helo: str | None, user: str | None) -> Reply:
        """The conversation begins anew; the reply of `connect` is due."""
        session, dialog = self.session, self.dialog
        self.protocol.leniency = frozenset()
        self._limit_again(self.house.patience, None)
        dialog.forget("restart")
        self._end_background()
        self._background = None
        session.forget_stash()
        session.client = client or session.client
        session.server = server or session.server
        session.helo, session.user, session.mechanism = helo, user, None
        self._speaks_for_another = True
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
        return await authentication.challenge(self, data)

    async def authenticate(self, mechanism: str, credentials: Credentials) -> Reply:
        self._must_answer("authenticate")
        return await authentication.authenticate(self, mechanism, credentials)

    def mechanisms(self) -> tuple[str, ...]:
        return self.house.pipeline.mechanisms(self.session)

    def _must_answer(self, ability: str) -> None:
        if not self.dialog.answering:
            raise RuntimeError(f"{ability} is for `command`, and for the `auth` that it leads to")

    # Before the banner, in `session` onions.

    async def start_tls(self, context: ssl.SSLContext) -> None:
        """What was read and not consumed may be the beginning of the handshake: it was sent as such."""
        self._must_not_talk("start_tls")
        received, self._opening = self._opening, b""
        await self.encrypt(context, received)

    async def encrypt(self, context: ssl.SSLContext, received: bytes = b"") -> None:
        """The handshake, and what it brought. A failure is nobody's fault but the client's: Hangup."""
        self._encrypted_by = due = self.house.now + float(self.house.limits.opening)
        try:
            self.stream = stream = await tls.wrap(self.stream, context, received=received)
        except OSError as error:
            failure = "it took too long" if self.house.now > due else error.strerror or str(error)
        else:
            self._encrypted_by = None
            self.session.secure = True
            self.session.encryption = self._encryption(stream)
            return
        log.info("handshake failed", session=self.session.id, client=str(self.session.client), reason=failure)
        self.stream.abort()
        raise Hangup("tls")

    def _encryption(self, stream: tls.TLSStream) -> Encryption:
        """Who speaks for another shows a certificate of its own, which proves nothing of that other."""
        facts = stream.version, stream.cipher, stream.bits, stream.server_name
        certificate = None if self._speaks_for_another else stream.certificate
        return Encryption(*facts) if certificate is None else Encryption(*facts, certificate, stream.names)

    async def read_line(self, limit: int) -> bytes:
        end = await self._read_opening("read_line", lambda: self._opening.find(b"\r\n", 0, limit) + 1, limit)
        if not end:
            raise ValueError(f"the line is longer than {limit} octets")
        line, self._opening = self._opening[: end - 1], self._opening[end + 1 :]
        return line

    async def read_exactly(self, count: int) -> bytes:
        await self._read_opening("read_exactly", lambda: len(self._opening) >= count, count)
        octets, self._opening = self._opening[:count], self._opening[count:]
        return octets

    async def _read_opening(self, ability: str, enough: Callable[[], int], most: int) -> int:
        """Read until `enough` says a number, or `most` octets are there (0)."""
        self._must_not_talk(ability)
        with move_on_after(float(self.house.limits.opening)):
            while not (found := enough()) and len(self._opening) < most:
                octets = await self.stream.receive()
                if not octets:
                    raise Hangup("left")
                self._opening += octets
            return found
        raise Hangup("idle")

    def proxied(self, client: Peer | None, server: Peer | None) -> None:
        self._must_not_talk("proxied")
        session = self.session
        self._introduced = True
        if client is not None:
            session.proxy, session.client = session.client, client
        session.server = server or session.server

    def _must_not_talk(self, ability: str) -> None:
        if self._talks:
            raise RuntimeError(f"{ability} is for `session` onions, before call_next()")

    def start(self, later: Later[Any], function: Callable[..., Awaitable[Any]], args: tuple[object, ...]) -> None:
        """Background work, ended with the session."""
        if self._background is None:
            group = self.house.group
            assert group is not None
            self._background = Background(group)
        self._background.start(later, function, args)

    def resolver(self) -> Lookups:
        return self.house.resolver(self.session)

    def look_for_name(self) -> None:
        """Begin to ask how the client is called."""
        house, session = self.house, self.session
        worth = house.names_clients and naming.worth_asking(session.client)
        self.naming = session.start(naming.find, session, house.confirms_names) if worth else None

    async def tell_name(self) -> None:
        """From here on the client has a name, or none for good."""
        found, self.naming = await self.name(), None
        self.session.client.reverse = found

    async def name(self) -> ReverseName:
        """How the client is called, as soon as that is known."""
        client, later = self.session.client, self.naming
        if later is not None:
            with suppress(RuntimeError):  # the session ends
                return await later.get()
        return client.reverse

    def _end_background(self) -> None:
        if self._background is not None:
            self._background.cancel()

    @property
    def gone(self) -> bool:
        """Whether the client has left. Commands that it sent before count as presence."""
        return not self.protocol.unread and self.stream.gone


def _closing(reply: Reply) -> Reply:
    return reply if reply.close else Reply(reply.code, reply.text, status=reply.status, close=True)


def _peer(address: tuple[str, int] | str) -> Peer:
    return Peer(address, None) if isinstance(address, str) else Peer(*address)
