"""One connection: octets to and from the protocol, the clocks, and the end.

What the client says is answered by `dialog`, what plugins ask of the connection is in `abilities`. All commands that
are in the buffer are handled and their replies leave in one write.

Limits cost no timer: while the connection waits for its client, the server's sweeper compares numbers, and cancels the
connection's scope when one has run out. That scope lies inside the end of the `session` chain, so onions see a normal
return whatever ended the conversation.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence

from anyio import CancelScope, move_on_after
from anyio.lowlevel import checkpoint

from .. import log
from ..contract.pipeline import wrapped
from ..services.transport import BrokenStream, RawStream, tls
from ..session.hangup import Hangup
from ..session.later import Later
from ..session.lookup import ReverseName
from ..session.patience import Patience
from ..session.session import IPNetwork, Peer, Session
from ..session.watch import Watch
from ..wire.order import State
from ..wire.reply import Reply
from ..wire.server import NEED_DATA, ServerProtocol
from . import answers
from .abilities import Abilities
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
    """Serves one stream. `await connection.serve()` is its whole life.

    since -- since when we wait for what we wait for. waiting -- for the client, to say something or to take what we
    say; reads -- for what it says. talks -- whether the banner is due or out. encrypted_by -- when a handshake that
    runs must have ended. naming -- the look for the client's name, until it is told. why -- how it ended, for the log.
    """

    __slots__ = (
        "_after",
        "_cut",
        "_onions",
        "_patience",
        "_scope",
        "_stress",
        "abilities",
        "dialog",
        "encrypted_by",
        "house",
        "messages",
        "naming",
        "protocol",
        "reads",
        "session",
        "since",
        "stream",
        "talks",
        "waiting",
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
        self.abilities = Abilities(self, introduced=not proxy)
        self.session = Session(
            house.new_id(),
            _peer(stream.peer),
            _peer(stream.local),
            link=self.abilities,
            hostname=house.hostname,
            listener=listener,
            lmtp=lmtp,
            implicit_tls=tls,
            proxies=proxy,
            rehearsal=house.rehearsal,
        )
        self.dialog = Dialog(self)
        self.since = house.now
        self._patience = house.patience
        self._stress: tuple[float, Mapping[str, float]] | None = None  # above which load, and what holds then
        self.messages = 0
        self.waiting = self.reads = self.talks = False
        self._onions: CancelScope | None = None  # around the session chain
        self._scope: CancelScope | None = None  # around the conversation, within the chain; the one of its watch
        self.encrypted_by: float | None = None
        self._cut: Hangup | None = None
        self._after: Reply | None = None
        self.why = "closed"
        self.naming: Later[ReverseName] | None = None

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
        if self.abilities.background is None:
            del self.session, self.dialog, self.abilities

    async def _live(self) -> None:
        """The session chain. Its onions have a scope, so that a server that is cut short can end them."""
        if log.enabled("debug"):
            session = self.session
            log.debug("connected", session=session.id, client=str(session.client), listener=session.listener)
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
        self.abilities.end_background()
        try:
            await self.dialog.end()
        except Exception as error:
            log.exception("fault", error=error, session=self.session.id, phase="disconnect")
        self.abilities.end_background()  # a notice may have begun more
        if log.enabled("info"):
            session = self.session
            log.info(
                "connection",
                session=session.id,
                client=str(session.client),
                helo=session.helo,
                commands=session.command_count,
                errors=session.error_count,
                refused=self.dialog.refusals,
                messages=self.messages,
                tls=session.encryption and str(session.encryption),
                seconds=round(time.monotonic() - session.started, 3),
                end=self.why,
            )

    async def _converse(self, session: Session) -> None:
        """The end of the session chain: always returns normally."""
        self.talks = True
        hangup: Hangup | None = None
        try:
            self._enter()
            await self._talk()
        except Hangup as ended:
            hangup = ended
        self.talks = False
        session.watch = None
        if hangup is not None:
            self.why = hangup.why
            await self._say_last(hangup.reply)
        await self._close()

    def _enter(self) -> None:
        """What the listener asks for has been done, or nobody is served."""
        session = self.session
        missing = ""
        if session.implicit_tls and not session.secure:
            missing = "TLS"
        elif not self.abilities.introduced:
            missing = "a PROXY header"
        if missing:
            log.error("not served", session=session.id, listener=session.listener, problem=f"nobody saw to {missing}")
            raise Hangup("not served")
        self.protocol.receive(self.abilities.take_unread())

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
            self.waiting = self.reads = True
            data = await self.stream.receive()
            self.waiting = self.reads = False
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
        self.waiting = self.reads = True
        data = await self.stream.receive()
        self.waiting = self.reads = False
        if not data:
            raise Hangup("left")
        self.protocol.receive(data)

    async def flush(self) -> None:
        """Write all replies that are due, in one piece."""
        output = self.protocol.take_output()
        if not output:
            return
        self.since = self.house.now
        self.waiting = True
        try:
            await self.stream.send(output)
        except BrokenStream:
            raise Hangup("left") from None
        self.waiting = False
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
        if self.encrypted_by is not None and now > self.encrypted_by:
            self.stream.abort()  # which the handshake takes for the client's leaving
        if not self.waiting:
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

    def limit(self, changes: Mapping[str, float], above: float) -> Callable[[], None]:
        """Other limits from now on, or while the server is that full."""
        before = self._patience, self._stress
        changed = self._patience._replace(**changes)
        if above:
            self._stress = above, changes
        else:
            self._patience = changed
        return lambda: self.set_limits(*before)

    def set_limits(self, patience: Patience, stress: tuple[float, Mapping[str, float]] | None) -> None:
        """Exactly these. stress -- above which load, and what holds then."""
        self._patience, self._stress = patience, stress

    def close_after(self, reply: Reply | None) -> Callable[[], None]:
        """End the session after the reply that is due; returns how to take that back."""
        before, self._after = self._after, _closing(reply or answers.BROKEN)
        return lambda: setattr(self, "_after", before)

    def cut(self, hangup: Hangup) -> None:
        """End the conversation from outside."""
        if self._scope is not None and self._cut is None:
            self._cut = hangup
            self._scope.cancel()

    def stop(self) -> None:
        """The server stops: who is idle hears so at once, a command that runs is finished first."""
        if self.reads and self.protocol.state not in _IN_BODY:
            self.cut(Hangup("shutdown", answers.SHUTDOWN))

    def drop(self) -> None:
        """The server is cut short: end without a word, but for a hand-over that has begun."""
        if self.talks:
            self.cut(Hangup("cut"))
        else:
            self.stream.abort()
        if self._onions is not None:
            self._onions.cancel()

    def abandon(self) -> None:
        """The grace is over: end whatever runs, but for a hand-over that has begun."""
        self.cut(Hangup("shutdown", answers.SHUTDOWN))

    @property
    def gone(self) -> bool:
        """Whether the client has left. Commands that it sent before count as presence."""
        return not self.protocol.unread and self.stream.gone


def _closing(reply: Reply) -> Reply:
    return reply if reply.close else Reply(reply.code, reply.text, status=reply.status, close=True)


def _peer(address: tuple[str, int] | str) -> Peer:
    return Peer(address, None) if isinstance(address, str) else Peer(*address)
