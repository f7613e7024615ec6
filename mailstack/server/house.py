"""What all connections of one running server share: its chains, limits, spool, and who is connected."""

from __future__ import annotations

import secrets
import time
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

from anyio import CancelScope, Event
from anyio.abc import TaskGroup

from ..contract.pipeline import Pipeline
from ..session.patience import Patience
from ..session.session import Session
from ..session.spool import SpoolFolder
from ..session.transaction import Transaction
from ..wire.reply import Reply
from .answers import ENDS, command, would_be_queued
from .limits import Limits
from .naming import asked_for_early

if TYPE_CHECKING:
    from ..services.resolver import Resolver
    from .connection import Connection

Received = Callable[[Session, Transaction], "str | bytes | None"]


class House:
    """One running server, as its connections see it.

    connect, ehlo, mail … -- the compiled chain of each phase: what to ask, and whether its answer is to be awaited (a
        `contract.step.Step` as a plain pair, which is taken apart for each command).
    keywords -- what EHLO offers before middleware adds its own.
    names_clients -- whether names are looked up for the addresses of clients; confirms_names -- and led back;
        names_early -- and waited for at EHLO.
    patience -- the limits that a session may have of its own, as they are without.
    now -- time.monotonic() as of the sweeper's last look; good enough for limits, and free.
    load -- the part of the connections that are taken, as of the same look.
    closing -- whether the server is stopping.
    """

    def __init__(
        self,
        pipeline: Pipeline,
        limits: Limits,
        spool: SpoolFolder,
        *,
        hostname: str,
        greeting: str,
        received: Received | None = None,
        normalise: bool = False,
        rehearsal: bool = False,
        resolver: Callable[[], Resolver] | None = None,
        reverse_dns: str = "off",
    ) -> None:
        self.pipeline = pipeline
        self.limits = limits
        self.message_size = int(limits.message_size)
        self.header_section = int(limits.header_section)
        self.header_line = int(limits.header_line)
        self.hand_over = float(limits.hand_over)
        self.spool = spool
        self.spool_path = spool.path
        self.hostname = hostname
        self.received = received
        self.normalise = normalise
        self.rehearsal = rehearsal
        self._resolver = resolver
        self.names_clients = reverse_dns != "off"
        self.confirms_names = reverse_dns == "verify"
        self.names_early = self.names_clients and asked_for_early(pipeline)
        self.group: TaskGroup | None = None
        self.new_scope = type(CancelScope())  # the running backend's; CancelScope() asks which that is, each time
        self.connections: set[Connection] = set()
        self.closing = False
        self.now = time.monotonic()
        self.load = 0.0
        self.patience = Patience(
            idle=float(limits.idle),
            session=float(limits.session),
            data_rate=limits.data_rate,
            data_grace=float(limits.data_grace),
            errors=limits.errors,
        )
        self.keywords: Mapping[str, str] = {
            "PIPELINING": "",
            "SIZE": str(limits.message_size),
            "8BITMIME": "",
            "SMTPUTF8": "",
            "CHUNKING": "",
            "BINARYMIME": "",
            "LIMITS": f"RCPTMAX={min(limits.recipients, 999_999)}",  # RFC 9422 §4: six digits at most
            "ENHANCEDSTATUSCODES": "",
            "HELP": "",
        }
        words = _with_esmtp(f"{hostname} {greeting}".rstrip(" "))
        self._greeting = Reply(220, words)
        self._lmtp_greeting = Reply(220, " ".join("LMTP" if word == "ESMTP" else word for word in words.split(" ")))
        self._hello: dict[tuple[tuple[str, str], ...], Reply] = {}
        self._prefix = secrets.token_hex(4)
        self._serial = 0
        self._empty: Event | None = None
        self.hears_replied = bool(pipeline.nodes("replied"))
        self.hears_queued = bool(pipeline.nodes("queued"))
        self._compile()

    def _compile(self) -> None:
        hello = Reply(250, self.hostname)
        ends: dict[str, Callable[[Session, Any], Reply]] = {
            **ENDS,
            "connect": lambda session, subject: self._lmtp_greeting if session.lmtp else self._greeting,
            "ehlo": lambda session, greeting: hello,
            "command": command(self.pipeline.verbs),
        }
        if self.rehearsal:
            ends["queue"] = would_be_queued
        envelope, hand_over = float(self.limits.envelope), self.hand_over

        def chain(hook: str, limit: float) -> tuple[Callable[[Session, Any], Any], bool]:
            step = self.pipeline.chain(hook, ends[hook], limit)
            return step.call, step.is_async

        self.connect = chain("connect", envelope)
        self.ehlo = chain("ehlo", envelope)
        self.auth = chain("auth", envelope)
        self.mail = chain("mail", envelope)
        self.rcpt = chain("rcpt", envelope)
        self.data = chain("data", envelope)
        self.command = chain("command", envelope)
        self.headers = chain("headers", envelope)
        self.message = chain("message", hand_over)
        self.queue = chain("queue", hand_over)

    def resolver(self, session: Session) -> Resolver:
        """The server's resolver, within the budget of `session`."""
        assert self._resolver is not None
        return self._resolver().of(session)

    def leave(self, connection: Connection) -> None:
        """A connection is over."""
        self.connections.discard(connection)
        if self._empty is not None and not self.connections:
            self._empty.set()

    def cut_short(self) -> None:
        """The server ends without waiting any longer: so does who is still connected."""
        self.closing = True
        for connection in tuple(self.connections):
            connection.drop()

    async def empty(self) -> None:
        """Wait until nobody is connected any more."""
        while self.connections:
            self._empty = Event()
            await self._empty.wait()

    def new_id(self) -> str:
        """An identifier that no other session or message of any run has."""
        self._serial += 1
        return f"{self._prefix}{self._serial:x}"

    def hello(self, text: str, keywords: Mapping[str, str]) -> Reply:
        """The answer to EHLO; made once for each set of keywords."""
        key = ((text, ""), *keywords.items())
        reply = self._hello.get(key)
        if reply is None:
            lines = [text, *(f"{name} {value}".rstrip() for name, value in keywords.items())]
            reply = Reply(250, "\n".join(lines))
            if len(self._hello) < 64:
                self._hello[key] = reply
        return reply


def _with_esmtp(text: str) -> str:
    """RFC 5321 §3.1: clients look for the word."""
    return text if "ESMTP" in text.split() else f"{text} ESMTP"
