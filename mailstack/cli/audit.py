"""What a stack that loads may still get wrong: it takes nobody's mail, it keeps none, it is an open relay, nobody can
log in, or whoever listens on the way learns how.

What is missing can be read from the stack. The rest is asked of the compiled chains, in rehearsal. `rcpt`: for two
strangers at two domains that do not exist, on behalf of clients outside; only a chain that accepts both from all of
them, of IPv4 or of IPv6, is called open, because an address that is an example here may be somebody's own network. Who
fails there, or puts mail off, has said nothing: what waits today is relayed tomorrow.
`ehlo`: whether it offers AUTH to clients outside in clear, and whether to anybody at all.
"""

from __future__ import annotations

import secrets
from collections.abc import Awaitable, Callable, Iterator, Sequence
from dataclasses import replace
from itertools import chain, product
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, NamedTuple, cast

import anyio
from anyio import to_thread

from .. import log
from ..contract.chain import Branch, Greeting, Node, Step, compile_chain
from ..contract.entry import Impl
from ..contract.hookspec import LiveOn, hookimpl
from ..contract.load import HOOKS
from ..option import ConfigError, socket_address
from ..server.answers import ENDS
from ..server.privileges import account
from ..session.session import Link, Peer, Session
from ..session.transaction import Recipient, Sender, Transaction
from ..wire.address import Address
from ..wire.reply import Reply

if TYPE_CHECKING:
    from ..contract.pipeline import Pipeline
    from ..server.listener import Listener
    from ..server.server import Server
    from ..session.later import Later

# Addresses that are nobody's: RFC 5737; RFC 3849 and RFC 9637.
OUTSIDE = (("192.0.2.1", "198.51.100.1", "203.0.113.1"), ("2001:db8::1", "3fff::1"))
# And those of networks that are somebody's own (RFC 1918, RFC 4193), this machine, and a UNIX socket.
INSIDE = ("127.0.0.1", "::1", "10.0.0.1", "172.16.0.1", "192.168.0.1", "fd00::1", "")
EHLO = Reply(250)
IN_CLEAR = "AUTH IN CLEAR"
OPEN_RELAY = "OPEN RELAY: mail for anybody is accepted"
# Seconds that all questions together may take.
PATIENCE = 20.0


class Audit(NamedTuple):
    """warnings -- in words, those of the loader first. open_relay -- whether one of them is that."""

    warnings: list[str]
    open_relay: bool


def audit(server: Server) -> Audit:
    """Ask all questions; runs event loops of its own. ConfigError as the server's `check`."""
    pipeline = server.check()
    relays = [f"{OPEN_RELAY} at {label}" for label in _open_listeners(server)]
    found = [*pipeline.warnings, *_gaps(pipeline), *_nowhere(server, pipeline), *_nobody(server)]
    found += [*_faulty_logins(server), *relays]
    return Audit(found, bool(relays))


class ToldAtStart:
    """An entry for the top of a stack that tells the log what an audit finds.

    Entries are asked by an audit; so it comes when root's rights are given up, and not before.
    """

    name = "audit"

    @hookimpl
    async def lifespan(self, server: Server, call_next: LiveOn) -> None:
        found = await to_thread.run_sync(audit, server)
        for warning in found.warnings:
            log.warning("configuration", warning=warning)
        await call_next()


def _nowhere(server: Server, pipeline: Pipeline) -> list[str]:
    """Listeners that are not there, and those that are there twice."""
    found = [] if server.listeners else ["the server listens nowhere"]
    addresses = [listener.address for listener in server.listeners]
    found += [f"two listeners are at {each}" for each in dict.fromkeys(addresses) if addresses.count(each) > 1]
    labels = {listener.label for listener in server.listeners}
    conditions = chain.from_iterable(_conditions(pipeline.nodes(hook)) for hook in HOOKS)
    for branch in {branch.origin: branch for branch in conditions}.values():
        if missing := branch.predicate.listeners - labels:
            found.append(f"{branch.origin}: no listener is called {' or '.join(sorted(missing))}")
    return found


def _conditions(nodes: Sequence[Node]) -> Iterator[Branch]:
    for node in nodes:
        if isinstance(node, Branch):
            yield node
            yield from _conditions(node.nodes)


def _nobody(server: Server) -> list[str]:
    """Whether there is an account to serve as, here."""
    try:
        if server.user is not None:
            account(server.user, server.group)
    except ConfigError as error:
        return [f"{error.message}: {error.remedy}"]
    return []


def _gaps(pipeline: Pipeline) -> list[str]:
    """What is missing in the stack."""
    found = []
    if not pipeline.nodes("rcpt"):
        found.append("no entry implements rcpt: no recipient but postmaster will be accepted")
    if not pipeline.nodes("queue"):
        found.append("no entry implements queue: every message will be answered 451")
    speaks, judges = "AUTH" in pipeline.verbs, bool(pipeline.nodes("auth"))
    if speaks and not judges:
        found.append("AUTH is there, and no entry implements auth: nobody can log in")
    if judges and not speaks:
        found.append("an entry judges logins, and none has AUTH: nobody can log in; put auth.Auth() above it")
    return found


def _faulty_logins(server: Server) -> list[str]:
    """What is wrong with AUTH at the listeners."""
    pipeline = server.check()
    if "AUTH" not in pipeline.verbs or not pipeline.nodes("auth"):
        return []
    step = pipeline.chain("ehlo", lambda session, greeting: EHLO, float(server.limits.envelope))
    with log.silenced():
        return anyio.run(_find_faulty_logins, step, server, pipeline)


async def _find_faulty_logins(step: Step, server: Server, pipeline: Pipeline) -> list[str]:
    found, anybody = [], "STARTTLS" in pipeline.verbs or any(listener.tls for listener in server.listeners)
    with anyio.move_on_after(PATIENCE):
        for listener in server.listeners:
            if listener.tls:
                continue
            clear = {
                client: await _offers(step, _session(client, listener.label, server.hostname, pipeline))
                for client in (*INSIDE, *chain.from_iterable(OUTSIDE))
            }
            anybody = anybody or any(clear.values())
            if not _is_local(listener) and any(all(map(clear.__getitem__, clients)) for clients in OUTSIDE):
                found.append(f"{IN_CLEAR} at {listener.label}: who listens on the way learns the passwords")
    return found if anybody else ["AUTH is never offered in clear, and no entry brings TLS: nobody can log in"]


def _is_local(listener: Listener) -> bool:
    """Whether nobody outside of the machine can connect, and be listened to on his way."""
    host = socket_address(listener.address).host
    return host in (None, "localhost", "::1") or host.startswith("127.")


async def _offers(step: Step, session: Session) -> bool:
    keywords: dict[str, str] = {}
    reply = step.call(session, Greeting("EHLO", "client.example.com", (), keywords))
    if step.is_async:
        reply = await reply
    return bool(reply.positive and "AUTH" in keywords)


def _open_listeners(server: Server) -> list[str]:
    """The listeners at which mail for anybody is accepted from anybody, sooner or later."""
    nodes = server.check().nodes("rcpt")
    if not nodes:
        return []
    step = compile_chain(_resolute(nodes), ENDS["rcpt"], float(server.limits.envelope))
    with log.silenced():
        return anyio.run(_probe, step, [listener.label for listener in server.listeners], server.hostname)


def _resolute(nodes: Sequence[Node]) -> tuple[Node, ...]:
    """The same, but what fails, for no `lifespan` has opened it, says nothing; nor does a 4xx: mail comes again."""
    return tuple(
        replace(node, nodes=_resolute(node.nodes))
        if isinstance(node, Branch)
        else replace(node, on_fault="pass")
        if node.onion
        else replace(node, on_fault="pass", function=_unless_temporary(node))
        for node in nodes
    )


def _unless_temporary(impl: Impl) -> Callable[..., Any]:
    def lasting(reply: Reply | None) -> Reply | None:
        return None if reply is not None and reply.temporary else reply

    if not impl.is_async:
        return lambda *arguments: lasting(impl.function(*arguments))

    async def ask(*arguments: object) -> Reply | None:
        return lasting(await impl.function(*arguments))

    return ask


async def _probe(step: Step, labels: list[str], hostname: str) -> list[str]:
    strangers = [Address(secrets.token_hex(5), f"{secrets.token_hex(8)}.{tld}") for tld in ("com", "net")]
    found = []
    with anyio.move_on_after(PATIENCE):
        for label in labels:
            for clients in OUTSIDE:
                questions = product(clients, strangers)
                if all([await _accepts(step, hostname, label, client, stranger) for client, stranger in questions]):
                    found.append(label)
                    break
    return found


async def _accepts(step: Step, hostname: str, label: str, client: str, stranger: Address) -> bool:
    session = _session(client, label, hostname)
    session.helo, session.esmtp = f"client.{stranger.domain}", True
    nothing: MappingProxyType[str, Any] = MappingProxyType({})
    sender = Sender(Address("sender", f"client.{stranger.domain}"), nothing, session.journal)
    session.transaction = Transaction("rehearsal", sender, session.journal)
    recipient = Recipient(stranger, nothing, session.journal)
    reply = step.call(session, recipient)
    if step.is_async:
        reply = await reply
    session.transaction.clean_up()
    return bool(reply.positive and recipient.accepted)


def _session(client: str, label: str, hostname: str, pipeline: Pipeline | None = None) -> Session:
    """One that never was. client -- where from; "" for a UNIX socket."""
    nobody = _Nobody(pipeline)
    session = Session(
        "rehearsal",
        Peer(client, 50000 if client else None),
        Peer("192.0.2.2", 25),
        link=cast(Link, nobody),
        hostname=hostname,
        listener=label,
        rehearsal=True,
    )
    nobody.session = session
    return session


class _Nobody:
    """The connection of a session that has none (`session.Link`)."""

    session: Session

    def __init__(self, pipeline: Pipeline | None) -> None:
        self._pipeline = pipeline

    def mechanisms(self) -> tuple[str, ...]:
        return self._pipeline.mechanisms(self.session) if self._pipeline is not None else ()

    def start(self, later: Later[Any], function: Callable[..., Awaitable[Any]], args: tuple[object, ...]) -> None:
        later.fail(RuntimeError("there is no background work in a rehearsal"))

    async def input_waits(self, seconds: float) -> bool:
        await anyio.lowlevel.checkpoint()
        return False

    def close_after(self, reply: Reply | None) -> Callable[[], None]:
        return lambda: None  # nothing to close
