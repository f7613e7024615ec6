"""Callout: the server behind this one is asked who exists."""

from __future__ import annotations

from collections import OrderedDict
from dataclasses import dataclass
from functools import partial
from time import monotonic
from typing import Final

import anyio

from mailstack import log, option
from mailstack.contract.hookspec import Host, LiveOn, hookimpl
from mailstack.services import lookup
from mailstack.services.client import (
    TLS,
    Client,
    Disconnected,
    Login,
    NotAuthenticated,
    NotSecure,
    Refused,
    Timeouts,
    Unsupported,
)
from mailstack.services.client.pool import Pool
from mailstack.services.lookup.given import Given
from mailstack.services.relay.hop import Access
from mailstack.services.relay.options import access, places
from mailstack.services.transport import Address as SocketAddress
from mailstack.session.session import Session
from mailstack.session.transaction import Recipient
from mailstack.wire.address import Address
from mailstack.wire.command import Mail, Rcpt
from mailstack.wire.reply import NO_SUCH_MAILBOX, Reply

from . import place

__all__ = ["Callout"]

REST: Final = 5.0  # seconds for which a server that could not be talked to is not asked again

_LATER: Final = Reply(451, "cannot find out now whether that mailbox exists, try again later", status="4.4.3")

_Key = tuple[str, str]


class Callout:
    """Vouch for the addresses at these domains that another server accepts, and refuse those that it refuses.

    server -- "192.0.2.25", "[2001:db8::1]:25", "unix:/run/lmtp"; port 25 if not written.
    domains -- as in `Domains`.
    lmtp -- whether that server speaks LMTP.
    tls -- "none", "may" (STARTTLS where it is offered, any certificate), "encrypt" (always, any certificate), "verify"
        (always, and the certificate must be right), or a `TLS` that says more; None: "verify" where we log in,
        else "may", and "none" over UNIX sockets.
    login -- a `Login`, where that server wants to know who asks.
    sender -- MAIL's address there, "" for the null sender, which every server must take.
    positive, negative -- for how long an answer is remembered. remember -- how many addresses, the last used ones.
    timeout -- seconds that asking may take, from the connection to the answer.
    connections -- to that server at a time; who finds them all busy waits.
    case_sensitive -- whether local parts that differ in letter case alone are asked for apart.

    ConfigError for what makes no sense.
    """

    name = "recipients"
    _host: Host  # the running server, from `lifespan` on
    rehearsable = True  # asking leaves nothing behind: no message is sent

    def __init__(
        self,
        server: str,
        *domains: Given,
        lmtp: bool = False,
        tls: str | TLS | None = None,
        login: Login | None = None,
        sender: str = "",
        positive: str | float = "4h",
        negative: str | float = "15m",
        remember: int = 10_000,
        timeout: str | float = "10s",
        connections: int = 5,
        case_sensitive: bool = False,
    ) -> None:
        [where] = places("Callout", [server], 25)
        self._server = where.name
        remedy = 'write Callout("192.0.2.25", "example.org")'
        self._domains = lookup.domains(*domains, name="Callout", remedy=remedy)
        self._sender = option.address(sender, name="Callout(sender)") if sender else Address.NULL
        self._positive = option.duration(positive, name="Callout(positive)")
        self._negative = option.duration(negative, name="Callout(negative)")
        self._timeout = option.duration(timeout, name="Callout(timeout)", minimum=0.01)
        self._case = option.boolean(case_sensitive, name="Callout(case_sensitive)")
        wanted, who = access("Callout", tls=tls, login=login)
        self._access = Access(
            where.address,
            ours=lambda: self._host.hostname,
            lmtp=option.boolean(lmtp, name="Callout(lmtp)"),
            tls=wanted,
            login=who,
            timeouts=Timeouts(connect=self._timeout),  # all other times are under the one of the whole
        )
        self._known = Memory(option.integer(remember, name="Callout(remember)", minimum=1))
        self._asking: dict[_Key, _Question] = {}
        self._rests_until = 0.0
        self._pool = Pool(
            self._open,
            connections=option.integer(connections, name="Callout(connections)", minimum=1),
            idle=1,
            wait=self._timeout,
        )

    @hookimpl
    async def lifespan(self, server: Host, call_next: LiveOn) -> None:
        self._host = server
        self._asking.clear()
        async with self._domains.opened(), self._pool.running():
            await call_next()

    @hookimpl
    async def rcpt(self, session: Session, recipient: Recipient) -> Reply | None:
        address = recipient.address
        if place.is_routed(address):
            return None
        if await self._domains.find(address.domain, partial(session.note, "recipients", "rcpt")) is None:
            return None
        reply = None if place.is_role(address) else await self._verdict(session, address)
        if reply is None:
            recipient.accept()
        return reply

    # What is known.

    async def _verdict(self, session: Session, address: Address) -> Reply | None:
        """The refusal of an address, or None. Who asks for what is being asked for already, waits for that."""
        key = (address.local if self._case else address.local.lower(), address.domain)
        while True:
            known = self._known.get(key, monotonic())
            if known is not None:
                self._tell(session, address, "remembered")
                return known.refusal
            question = self._asking.get(key)
            if question is None:
                return await self._ask_once(session, key, address)
            await question.over.wait()
            if question.answer is not None:
                return question.answer.refusal

    async def _ask_once(self, session: Session, key: _Key, address: Address) -> Reply | None:
        question = self._asking[key] = _Question(anyio.Event())
        try:
            question.answer = answer = await self._ask(session, address)
        finally:
            del self._asking[key]
            question.over.set()
        if answer.seconds:
            self._known.put(key, answer, monotonic() + answer.seconds)
        return answer.refusal

    # Asking.

    async def _ask(self, session: Session, address: Address) -> _Answer:
        if monotonic() < self._rests_until:
            self._tell(session, address, "it did not answer a moment ago")
            return _Answer(_LATER)
        began = monotonic()
        try:
            with anyio.fail_after(self._timeout):
                reply = await self._talk(address)
        except Unsupported as error:  # the next server cannot take such an address, now or later
            return _Answer(error.reply)
        except (OSError, Refused, NotSecure, NotAuthenticated) as error:
            self._rests_until = monotonic() + REST
            self._tell(session, address, f"{error} ({monotonic() - began:.3f} s)")
            log.warning("callout failed", who="recipients", server=self._server, reason=str(error))
            return _Answer(_LATER)
        self._tell(session, address, f"{reply} ({monotonic() - began:.3f} s)")
        if log.enabled("info"):
            log.info(
                "callout",
                session=session.id,
                who="recipients",
                server=self._server,
                address=str(address),
                reply=str(reply),
                seconds=round(monotonic() - began, 3),
            )
        return self._judged(reply)

    def _tell(self, session: Session, address: Address, what: str) -> None:
        session.note("recipients", "rcpt", f"{address} at {self._server}: {what}")

    def _judged(self, reply: Reply) -> _Answer:
        if reply.positive:
            return _Answer(None, self._positive)
        if reply.temporary:
            return _Answer(_LATER)
        return _Answer(_refusal(reply), self._negative)

    async def _talk(self, address: Address) -> Reply:
        """The answer to RCPT; once more where a connection from before turned out to be dead."""
        async with self._pool.connection() as connection:
            try:
                return await self._rcpt(connection.client, address)
            except Disconnected:
                if not connection.reused:
                    raise
        async with self._pool.connection(fresh=True) as connection:
            return await self._rcpt(connection.client, address)

    async def _rcpt(self, client: Client, address: Address) -> Reply:
        reply = await client.mail(Mail(self._sender, {"SMTPUTF8": True} if address.utf8 else {}))
        if reply.refused:  # which says nothing of the recipient
            raise Refused(reply)
        return await client.rcpt(Rcpt(address))

    async def _open(self) -> Client:
        client = await self._access.open()
        if _is_one_of(client, self._host.addresses):
            client.abort()
            raise ConnectionError("it is this server itself, which would ask itself without end")
        return client


def _refusal(reply: Reply) -> Reply:
    """What a stranger hears for a 5xx: unknown is unknown, whatever the reason, but for a mailbox that is there."""
    if reply.status is not None and reply.status.startswith("5.2."):  # full, disabled: RFC 3463 §3.3
        return Reply(550, "that mailbox takes no mail now", status=reply.status)
    return NO_SUCH_MAILBOX


def _is_one_of(client: Client, own: list[SocketAddress]) -> bool:
    """Whether the other end is one of our listeners; one that is bound to every address is where we come from, too."""
    there, here = client.peer, client.local
    if isinstance(there, str) or isinstance(here, str):
        return there in own
    bound_to_all = ("::", there[1]) in own or ("0.0.0.0", there[1]) in own
    return there in own or (bound_to_all and there[0] == here[0])


@dataclass(slots=True)
class _Answer:
    """refusal -- None: it exists. seconds -- for how long that is known, 0 for now only."""

    refusal: Reply | None
    seconds: float = 0.0


@dataclass(slots=True)
class _Question:
    """One that is under way. answer -- None when whoever asked it was cancelled."""

    over: anyio.Event
    answer: _Answer | None = None


class Memory:
    """Answers, each with its end; the least recently used ones go when there are too many."""

    __slots__ = ("_answers", "_most")

    def __init__(self, most: int) -> None:
        self._most = most
        self._answers: OrderedDict[_Key, tuple[_Answer, float]] = OrderedDict()

    def get(self, key: _Key, now: float) -> _Answer | None:
        found = self._answers.get(key)
        if found is None:
            return None
        if found[1] <= now:
            del self._answers[key]
            return None
        self._answers.move_to_end(key)
        return found[0]

    def put(self, key: _Key, answer: _Answer, until: float) -> None:
        self._answers[key] = answer, until
        self._answers.move_to_end(key)
        if len(self._answers) > self._most:
            self._answers.popitem(last=False)

    def __len__(self) -> int:
        return len(self._answers)
