"""forward: pass each message on to another mail server by SMTP, and answer what that server answers.

    forward.Forward("127.0.0.1:10025")
    forward.Forward("192.0.2.25", "[2001:db8::1]:25")                       # the second when the first is not there
    forward.Forward("192.0.2.25:25", "192.0.2.26:25", policy="rotate")
    forward.Forward("192.0.2.25:25", ask_recipients=True)                   # it knows who exists
    forward.Forward("smtp.example.net:587", tls="verify", user="edge", password_file="/etc/mailstack/secret")
    forward.Forward("smtp.example.net:465", implicit_tls=True, user="edge", password_file="…")

There is no queue here: the client waits while the next server takes the message, and 250 means that it has. Connections
are kept and used again. What is sent is CRLF and dot-stuffed on every line start, so that nothing in a message can be
its end or a command to a lenient server; BDAT is used where the next server offers CHUNKING. A message is read from the
spool in pieces, so its size does not matter to memory.

Recipients: nobody is vouched for here; put `recipients.Domains` in front. With `ask_recipients` each recipient that
somebody vouched for is asked for at the next server, at RCPT, and its refusal is passed on there: unknown users are
refused for what they are, one by one. With `vouch=True` the next server's word is enough, and all recipients are asked
for: then it must be a server that relays for nobody else, or this one is an open relay. The message then follows on the
connection where the recipients were named.

TLS and AUTH: `tls` says how much is wanted, `user` who we are there. TLS that is wanted and cannot be had, and a login
that fails, never refuse a message for good: the client hears 451, and the log has an error with server and user. A
login that was refused is tried again after a minute, or when the password file has changed; the file is read for each
connection. AUTH= of MAIL is passed on for clients that have logged in here, or are known by their certificates; where
we have logged in, all other mail goes with AUTH=<> (RFC 4954 §5). `TLS` and `Login` of `mailstack.services.client`
say more than these options: an authority, a name, a fingerprint, a certificate of ours; a token, mechanisms.

What the client hears:

* the next server's own reply, 2xx, 4xx or 5xx; its 421 as 451, since a 421 would close the client's connection.
* 451 4.4.1 -- no server could be talked to, or each broke off before it could have taken the message. A server that
  fails is tried last for half a minute.
* 451 4.7.4, 4.7.5, 4.7.0 -- no TLS is offered where it is wanted; a handshake failed or a certificate is not right; we
  cannot log in. Other servers were tried.
* 451 4.4.2 -- all was sent, and the connection broke before the answer. The message may have arrived; no other server
  is tried, and when the client comes again there may be two. The alternative would be to lose it.
* 554 5.6.7, 5.6.3, 5.6.1 -- the message needs SMTPUTF8, 8BITMIME or BINARYMIME, which the next server does not offer.
* Recipients that differ. An LMTP client hears the verdict on each. An SMTP client has one reply for all: when the next
  server refuses some of several recipients, the message is not sent to the others either, and the answer is the first
  temporary refusal or 451 4.5.3. Most clients then try all of them together again: so use `ask_recipients`, or
  `recipients.Addresses` in front, or `single=True`, where a client may name one recipient per message and is told 452
  for more, which all clients know how to deal with.

MAIL parameters (SIZE, BODY, SMTPUTF8, RET, ENVID) and RCPT parameters (NOTIFY, ORCPT) are passed on. DSN is offered to
clients while every next server has offered it when it was last talked to, which is tried at the start.

Caveats: `tls="may"` helps against who listens, not against who interferes. A client waits up to `final`, and the
core's hand-over limit (`Limits(hand_over=…)`, 5 min) cuts what takes longer, with 451, and the message may then have
arrived.
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

__all__ = ["Forward"]


class Forward:
    """The handler.

    to -- addresses of the next servers, "host:port", "[v6]:port" or "unix:/path"; the port is 25 if not written.
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
            "Forward",
            to,
            lmtp=False,
            port=25,
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


async def _rcpt(self: Forward, session: Session, recipient: Recipient) -> Reply | None:
    return await self._relay.recipient(session, recipient)


def _reset(self: Forward, transaction: Transaction) -> None:
    self._relay.forget(transaction)
