"""What a plugin sees of one conversation, and what it may do to it.

The core alone changes these facts. A check has a closed list of abilities, below under "Abilities"; it never writes
to the wire.
"""

from __future__ import annotations

import ipaddress
import math
import ssl
import time
from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, Protocol, TypeVar

from ..wire.leniency import known_slips
from ..wire.reply import Reply
from .budget import BUDGET
from .credentials import Credentials
from .encryption import Encryption
from .evidence import Evidence, Finding
from .journal import Journal
from .later import Later
from .lookup import NO_NAME, Lookups, ReverseName
from .stash import Stash

if TYPE_CHECKING:
    from .transaction import Transaction
    from .watch import Watch

T = TypeVar("T")

IPAddress = ipaddress.IPv4Address | ipaddress.IPv6Address
IPNetwork = ipaddress.IPv4Network | ipaddress.IPv6Network


class Peer:
    """One end of the connection.

    host -- the address as text, "" for an unnamed UNIX socket; port -- None for a UNIX socket.
    reverse -- the name of the address, as far as the DNS was asked: that of a client from its first `rcpt` on, or from
        `ehlo` on where a condition in the stack asks for it.
    """

    __slots__ = ("_ip", "host", "port", "reverse")

    def __init__(self, host: str, port: int | None, reverse: ReverseName = NO_NAME) -> None:
        self.host = host
        self.port = port
        self.reverse = reverse
        self._ip: IPAddress | None = None

    @property
    def ip(self) -> IPAddress | None:
        """The address as a value, None for a UNIX socket."""
        if self._ip is None and self.port is not None:
            self._ip = ipaddress.ip_address(self.host)
        return self._ip

    @property
    def literal(self) -> str:
        """RFC 5321 §4.1.3: `[192.0.2.1]`, `[IPv6:2001:db8::1]`; "" for a UNIX socket."""
        if self.port is None:
            return ""
        return f"[IPv6:{self.host}]" if ":" in self.host else f"[{self.host}]"

    def __str__(self) -> str:
        if self.port is None:
            return self.host or "local"
        return f"[{self.host}]:{self.port}" if ":" in self.host else f"{self.host}:{self.port}"


class Link(Protocol):
    """What the connection does for its session."""

    def start(self, later: Later[Any], function: Callable[..., Awaitable[Any]], args: tuple[object, ...]) -> None:
        """Run `function` in the background until the session ends."""

    async def input_waits(self, seconds: float) -> bool:
        """Whether the client talks within `seconds`."""

    async def start_tls(self, context: ssl.SSLContext) -> None:
        """Make the handshake, before the banner."""

    async def read_line(self, limit: int) -> bytes:
        """One line, before the banner."""

    async def read_exactly(self, count: int) -> bytes:
        """So many octets, before the banner."""

    def proxied(self, client: Peer | None, server: Peer | None) -> None:
        """The two ends as a proxy tells them."""

    async def restart(self, client: Peer | None, server: Peer | None, helo: str | None, user: str | None) -> Reply:
        """Begin the conversation anew."""

    async def challenge(self, data: bytes) -> bytes:
        """Ask the client in the middle of AUTH."""

    async def authenticate(self, mechanism: str, credentials: Credentials) -> Reply:
        """Let the providers judge."""

    def mechanisms(self) -> tuple[str, ...]:
        """What the providers can judge."""

    def forgive(self, leniency: frozenset[str]) -> Callable[[], None]:
        """Read these slips of the client's as what they mean; returns how to take that back."""

    def limit(self, changes: Mapping[str, float], above: float) -> Callable[[], None]:
        """Change how long the client is waited for; returns how to take that back."""

    def resolver(self) -> Lookups:
        """The server's, within the session's budget."""

    async def name(self) -> ReverseName:
        """How the client is called, once that is known."""

    def close_after(self, reply: Reply | None) -> Callable[[], None]:
        """End the session after the reply that is due; returns how to take that back."""


class Session:
    """One conversation.

    id -- unique; in every log line.
    client, server -- the two ends; listener -- the name of the listener that took the connection.
    hostname -- the name that this server goes by.
    helo -- the client's name from the last HELO, EHLO or LHLO that was accepted, or None.
    lmtp -- whether the conversation is LMTP (RFC 2033), with a reply for each recipient at the end of the data.
    esmtp -- whether that was EHLO or LHLO. keywords -- the EHLO keywords that were offered in the answer.
    user -- the authenticated identity, or None. mechanism -- the SASL mechanism by which it logged in ("PLAIN"); None
        for who did not (a certificate's identity, XCLIENT).
    secure -- whether the conversation runs under TLS; encryption -- what the handshake brought, or None.
    implicit_tls -- whether the listener wants TLS from the first octet. proxies -- who must begin with a PROXY header
        there: networks. proxy -- the address of the proxy that spoke for the client, or None.
    transaction -- the mail transaction at hand, or None.
    rehearsal -- true in a simulation: read stores, write nothing outside.
    started -- time.monotonic() of the connection. command_count, error_count -- so far.
    """

    __slots__ = (
        "_evidence",
        "_link",
        "_stash",
        "answered_by",
        "client",
        "command_count",
        "encryption",
        "error_count",
        "esmtp",
        "hand_over_by",
        "helo",
        "hostname",
        "id",
        "implicit_tls",
        "journal",
        "keywords",
        "listener",
        "lmtp",
        "mechanism",
        "proxies",
        "proxy",
        "rehearsal",
        "secure",
        "server",
        "started",
        "transaction",
        "user",
        "watch",
    )

    def __init__(
        self,
        id: str,
        client: Peer,
        server: Peer,
        *,
        link: Link,
        hostname: str = "localhost",
        listener: str = "",
        lmtp: bool = False,
        implicit_tls: bool = False,
        proxies: Sequence[IPNetwork] = (),
        rehearsal: bool = False,
    ) -> None:
        self.id = id
        self.client = client
        self.server = server
        self.hostname = hostname
        self.listener = listener
        self.lmtp = lmtp
        self.implicit_tls = implicit_tls
        self.proxies = proxies
        self.proxy: Peer | None = None
        self.rehearsal = rehearsal
        self.helo: str | None = None
        self.esmtp = False
        self.keywords: Mapping[str, str] = {}
        self.user: str | None = None
        self.mechanism: str | None = None
        self.secure = False
        self.encryption: Encryption | None = None
        self.transaction: Transaction | None = None
        self.started = time.monotonic()
        self.command_count = 0
        self.error_count = 0
        # The core's own: who gave the last answer, which clock runs, what may be undone.
        self.answered_by = "core"
        self.watch: Watch | None = None
        self.hand_over_by = math.inf  # time.monotonic() by which `message` and `queue` together must be over
        self.journal = Journal()
        self._link = link
        self._stash: Stash | None = None
        self._evidence: Evidence | None = None

    @property
    def stash(self) -> Stash:
        """Private storage of plugins, gone with the session."""
        if self._stash is None:
            self._stash = Stash()
        return self._stash

    def forget_stash(self) -> None:
        """The core's own, at `restart`."""
        self._stash = None

    def renew_budget(self) -> None:
        """The core's own, when a message was taken."""
        budget = self._stash.get(BUDGET) if self._stash is not None else None
        if budget is not None:
            budget.renew()

    @property
    def client_name(self) -> str | None:
        """The name of the client's address, if an address of that name leads back to it. Known from `rcpt` on."""
        reverse = self.client.reverse
        return reverse.name if reverse.confirmed else None

    async def named(self) -> str | None:
        """The same as soon as it is known: for work in the background, and for who must know before RCPT.

        The DNS is waited for, at most until five seconds after the connection. The banner would wait too.
        """
        reverse = await self._link.name()
        return reverse.name if reverse.confirmed else None

    @property
    def evidence(self) -> Evidence:
        """Who found what so far."""
        if self._evidence is None:
            self._evidence = Evidence()
        return self._evidence

    # Abilities.

    def start(self, function: Callable[..., Awaitable[T]], *args: object) -> Later[T]:
        """Run `function(*args)` in the background; its failure stays in the `Later`, and it ends with the session."""
        later: Later[T] = Later()
        self._link.start(later, function, args)
        return later

    @property
    def resolver(self) -> Lookups:
        """The DNS, with a budget of this session: questions beyond it are `DNSBudget`, which is temporary."""
        return self._link.resolver()

    async def input_waits(self, seconds: float) -> bool:
        """Whether the client sends something within `seconds`, without consuming it.

        Input that is already there counts; the end of file does not: then the session is over (Hangup). The caller's
        clock stands still meanwhile. 0 asks only for what came together with what was read so far.
        """
        return await self._link.input_waits(seconds)

    def close(self, reply: Reply | None = None) -> None:
        """End the session: the reply that is due goes out, then `reply`, then the connection closes."""
        self.journal.record("closed the session", self._link.close_after(reply))

    def identify(self, user: str) -> None:
        """The client's certificate shows that it is `user`: for who asked for it in the handshake and had it checked.

        Who has logged in stays who it is. It holds until STARTTLS or `restart`. RuntimeError without a certificate.
        """
        if self.encryption is None or self.encryption.certificate is None:
            raise RuntimeError("identify is for clients that have shown a certificate")
        if self.user is None:
            self.user = user
            self.journal.record("identified", lambda: setattr(self, "user", None), user)

    # AUTH: in `command`, and in the `auth` that it leads to. RuntimeError elsewhere.

    async def challenge(self, data: bytes = b"") -> bytes:
        """Say `334` with this in base64, and return what the client answers; the clock of who asks stands still.

        A client that cancels ("*"), or answers too long a line (`Limits(auth_line)`) or no base64, has ended the
        exchange: the ability does not return (Aborted), and the core answers. ValueError for more than 360 octets.
        """
        return await self._link.challenge(data)

    async def authenticate(self, mechanism: str, credentials: Credentials) -> Reply:
        """Let the stack's providers judge (the hook `auth`): 235, and the session has a user, 535 or 454."""
        return await self._link.authenticate(mechanism, credentials)

    @property
    def mechanisms(self) -> tuple[str, ...]:
        """What the providers in the stack can judge at present, as far as this session may use them; sorted."""
        return self._link.mechanisms()

    def become(self, user: str, mechanism: str) -> None:
        """The core's own, when a provider has said 235."""
        before = self.user, self.mechanism

        def undo() -> None:
            self.user, self.mechanism = before

        self.user, self.mechanism = user, mechanism
        self.journal.record("logged in", undo, user)

    def limit(self, *, above: float = 0.0, **changes: float) -> None:
        """Other limits for this session, until it ends or is begun anew by `restart`: `limit(idle=60.0, errors=3)`.

        changes -- the fields of `session.patience.Patience`; TypeError or ValueError for others.
        above -- only while more than this part of the server's connections is taken (0.8). Of several calls with one
            the last counts; calls without one add up.
        """
        words = ", ".join(f"{name} {value:g}" for name, value in changes.items())
        undo = self._link.limit(changes, above)
        self.journal.record(f"has limits of its own: {words}", undo)

    def forgive(self, *slips: str) -> None:
        """Read these slips of the client's as what they mean, besides those of earlier calls: see `wire.leniency`.

        ValueError for one that is not known there. It holds until the end of the session, or a `restart`.
        """
        undo = self._link.forgive(known_slips(slips))
        self.journal.record(f"forgives {', '.join(slips)}", undo)

    async def restart(
        self,
        *,
        client: Peer | None = None,
        server: Peer | None = None,
        helo: str | None = None,
        user: str | None = None,
    ) -> Reply:
        """Begin anew as if this client had just connected (XCLIENT): returns what `connect` says, to be answered.

        What is not given stays (client, server) or is forgotten (helo, user). Envelope, stash and background work are
        gone. Only from `command`.
        """
        return await self._link.restart(client, server, helo, user)

    # Abilities before the banner: in a `session` onion, before `call_next()`. The client's leaving, or its taking
    # longer than `Limits(opening=…)`, is a Hangup. RuntimeError afterwards.

    async def start_tls(self, context: ssl.SSLContext) -> None:
        """Make the TLS handshake now. What was read and not consumed belongs to it. Hangup when it fails."""
        await self._link.start_tls(context)

    async def read_line(self, limit: int) -> bytes:
        """One line of at most `limit` octets with its CRLF, which is left out. ValueError if it is longer."""
        return await self._link.read_line(limit)

    async def read_exactly(self, count: int) -> bytes:
        """The next `count` octets."""
        return await self._link.read_exactly(count)

    def proxied(self, client: Peer | None = None, server: Peer | None = None) -> None:
        """A proxy has spoken (PROXY protocol): the ends are these. None: the proxy talks for itself."""
        self._link.proxied(client, server)

    def note(self, who: str, phase: str, detail: str) -> None:
        """Add a finding of one's own to the evidence: what was looked up, what came back, how long it took.

        The log has it beside a refusal by the same entry.
        """
        transaction = self.transaction.id if self.transaction is not None else ""
        self.evidence.add(
            Finding(who, phase, "noted", detail=detail, transaction=transaction, command=self.command_count)
        )
