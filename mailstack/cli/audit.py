"""What a stack that loads may still get wrong: it takes nobody's mail, it keeps none, or it is an open relay.

The first two can be read from the stack. The third is asked: the compiled `rcpt` chain, in rehearsal, for two strangers
at two domains that do not exist, on behalf of clients outside. Only a chain that accepts both from all of them, of IPv4
or of IPv6, is called open, because an address that is an example here may be somebody's own network.
"""

from __future__ import annotations

import logging
import secrets
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from itertools import product
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, cast

import anyio

from ..contract.chain import Step
from ..server.answers import ENDS
from ..session.session import Link, Peer, Session
from ..session.transaction import Recipient, Sender, Transaction
from ..wire.address import Address

if TYPE_CHECKING:
    from ..contract.pipeline import Pipeline
    from ..server.server import Server
    from ..session.later import Later
    from ..wire.reply import Reply

# Addresses that are nobody's: RFC 5737; RFC 3849 and RFC 9637.
OUTSIDE = (("192.0.2.1", "198.51.100.1", "203.0.113.1"), ("2001:db8::1", "3fff::1"))
# Seconds that all questions together may take.
PATIENCE = 20.0


def gaps(pipeline: Pipeline) -> list[str]:
    """What is missing in the stack, in words."""
    found = []
    if not pipeline.nodes("rcpt"):
        found.append("no entry implements rcpt: no recipient but postmaster will be accepted")
    if not pipeline.nodes("queue"):
        found.append("no entry implements queue: every message will be answered 451")
    return found


def open_listeners(server: Server) -> list[str]:
    """The listeners at which mail for anybody is accepted from anybody.

    Runs an event loop of its own; what an entry's `lifespan` would open is not there, and a fault counts as refusal.
    """
    pipeline = server.check()
    if not pipeline.nodes("rcpt"):
        return []
    step = pipeline.chain("rcpt", ENDS["rcpt"], float(server.limits.envelope))
    with silence():
        return anyio.run(_probe, step, [listener.label for listener in server.listeners], server.hostname)


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
    session = Session(
        "rehearsal",
        Peer(client, 50000),
        Peer("192.0.2.2", 25),
        link=cast(Link, _Nobody()),
        hostname=hostname,
        listener=label,
        rehearsal=True,
    )
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


class _Nobody:
    """The connection of a session that has none (`session.Link`)."""

    def start(self, later: Later[Any], function: Callable[..., Awaitable[Any]], args: tuple[object, ...]) -> None:
        later.fail(RuntimeError("there is no background work in a rehearsal"))

    async def input_waits(self, seconds: float) -> bool:
        await anyio.lowlevel.checkpoint()
        return False

    def close_after(self, reply: Reply | None) -> Callable[[], None]:
        return lambda: None  # nothing to close


@contextmanager
def silence() -> Iterator[None]:
    """Faults of a rehearsal are no news."""
    logger = logging.getLogger("mailstack")
    before = logger.disabled
    logger.disabled = True
    try:
        yield
    finally:
        logger.disabled = before
