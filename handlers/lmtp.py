"""lmtp: hand each message to a delivery server by LMTP (RFC 2033), which answers for each recipient.

    lmtp.Lmtp("unix:/run/dovecot/lmtp")
    lmtp.Lmtp("192.0.2.25:24", ask_recipients=True)                # it knows who exists, and whose mailbox is full

It is `forward` with another language on the wire: the manual of that handler tells of connections, TLS and AUTH,
recipients, several servers and what the client hears. The difference is the end: a delivery server that has the message
says for each recipient what became of it.

* An LMTP client hears just that, recipient by recipient.
* An SMTP client has one reply for all. Who is refused at RCPT is seen to before the message is sent: it goes to all or
  to none. When the server has taken the message for some and then refuses others, the answer must be temporary, 451
  4.5.3 or the server's own 4xx: a 250 would lose mail. The client tries again, and those who have the message get it
  once more, at every try. To keep that from happening say `single=True`: SMTP clients may then name one recipient per
  message, and are told 452 4.5.3 for more, so that they send them one after another. With `ask_recipients` it is rare,
  since most delivery servers know at RCPT who exists and who is over quota.

Sent by DATA (BDAT for BINARYMIME only, where the server offers it). When the connection breaks in the middle of the
answers, those that came are final and the others are 451 4.4.2.
"""

from __future__ import annotations

import os
from collections.abc import MutableMapping

from mailstack.contract.bind import bind
from mailstack.contract.hookspec import Host, LiveOn, hookimpl
from mailstack.services.client import TLS, Login
from mailstack.services.relay import new
from mailstack.session.message import Message
from mailstack.session.session import Session
from mailstack.session.transaction import Recipient, Transaction
from mailstack.wire.reply import Reply

__all__ = ["Lmtp"]


class Lmtp:
    """The handler.

    to -- addresses of the delivery servers, "unix:/path", "host:port" or "[v6]:port"; several must share the mailboxes.
    tls -- "none", "may" (STARTTLS where it is offered, any certificate), "encrypt" (always, any certificate), "verify"
        (always, and the certificate must be right), or a `TLS` that says more; None: "verify" where we log in or TLS is
        implicit, else "may", and "none" over UNIX sockets.
    implicit_tls -- TLS from the first octet, as on port 465.
    user, password, password_file -- to log in there; or login -- a `Login` that says more.
    policy -- of several servers: "failover" tries them in order, "rotate" begins with another one each time.
    hostname -- what we call ourselves there; None: the server's own name.
    ask_recipients -- ask for each recipient at RCPT. vouch -- and whom the next server accepts is accepted.
    single -- SMTP clients may name one recipient per message.
    connections -- open at a time to each server; who needs one more waits, a minute (`timeout`) at most.
    pool -- of these, kept when idle, for the time `idle`. messages -- that go over one connection.
    connect -- time for connecting. timeout -- for each reply, and for each piece of a message to be taken.
    final -- for the reply to the message.

    ConfigError: no server, or an option that makes no sense.
    """

    def __init__(
        self,
        *to: str,
        tls: str | TLS | None = None,
        implicit_tls: bool = False,
        user: str | None = None,
        password: str | None = None,
        password_file: str | os.PathLike[str] | None = None,
        login: Login | None = None,
        policy: str = "failover",
        hostname: str | None = None,
        ask_recipients: bool = False,
        vouch: bool = False,
        single: bool = False,
        connections: int = 20,
        pool: int = 8,
        idle: str | float = "30s",
        messages: int = 100,
        connect: str | float = "10s",
        timeout: str | float = "1m",
        final: str | float = "4m",
    ) -> None:
        self._relay = new(
            "Lmtp",
            to,
            lmtp=True,
            port=None,
            tls=tls,
            implicit_tls=implicit_tls,
            user=user,
            password=password,
            password_file=password_file,
            login=login,
            policy=policy,
            hostname=hostname,
            ask_recipients=ask_recipients,
            vouch=vouch,
            single=single,
            connections=connections,
            pool=pool,
            idle=idle,
            messages=messages,
            connect=connect,
            timeout=timeout,
            final=final,
        )
        if self._relay.hears_recipients:  # who does not listen to recipients costs nothing there
            bind(self, rcpt=_rcpt, reset=_reset)

    @hookimpl
    async def lifespan(self, server: Host, call_next: LiveOn) -> None:
        async with self._relay.running(server.hostname):
            await call_next()

    @hookimpl
    def ehlo(self, keywords: MutableMapping[str, str]) -> None:
        if self._relay.offers("DSN"):
            keywords["DSN"] = ""

    @hookimpl
    async def queue(self, session: Session, message: Message) -> Reply:
        return await self._relay.deliver(session, message)


async def _rcpt(self: Lmtp, session: Session, recipient: Recipient) -> Reply | None:
    return await self._relay.recipient(session, recipient)


def _reset(self: Lmtp, transaction: Transaction) -> None:
    self._relay.forget(transaction)
