"""Passing a message on to the next server: what the handlers `forward` and `lmtp` share.

    relay = new("Forward", ["192.0.2.25:25"], lmtp=False, port=25, tls="verify", user="ann", password_file="…", …)

A `Relay` has one or several servers, each with a pool of connections, and three things to do for its handler:
`deliver` hands a message over and answers, `recipient` asks for one while the client still names them, `forget` lets go
of what was asked. `running` is its life.

Promises: 2xx is answered only for recipients that the next server has taken. A message is offered to another server, or
again, only if it certainly was not taken before. What the next server answered is passed on; what it did not answer is
a 4xx:

* no server could be talked to, or it left before the message was complete: 451 4.4.1
* TLS is wanted and cannot be had: 451 4.7.4 when it is not offered, 4.7.5 when a certificate is not right or a
  handshake fails; we cannot log in: 451 4.7.0. The log names server and user. Nothing is ever refused for good for that
* the connection broke when all was sent, and the answer is missing: 451 4.4.2; the client's next try may be the second
* the recipients share one reply (SMTP) and the next server refuses some: nothing is sent, and the answer is its first
  temporary refusal, or 451 4.5.3. Over LMTP a server may refuse some when it has the message: then those who have it
  will get it again, unless the handler lets clients name one recipient only (`single`).
"""

from __future__ import annotations

import os
from collections.abc import Sequence

from ..client import TLS, Login
from .options import Options, access, places
from .relay import Relay

__all__ = ["Relay", "new"]


def new(
    factory: str,
    to: Sequence[str],
    *,
    lmtp: bool,
    port: int | None,
    tls: str | TLS | None,
    implicit_tls: bool,
    user: str | None,
    password: str | None,
    password_file: str | os.PathLike[str] | None,
    login: Login | None,
    policy: str,
    hostname: str | None,
    ask_recipients: bool,
    vouch: bool,
    single: bool,
    connections: int,
    pool: int,
    idle: str | float,
    messages: int,
    connect: str | float,
    timeout: str | float,
    final: str | float,
) -> Relay:
    """A relay as it is written in a configuration; what the options mean is told in the handlers' manuals.

    factory -- what the handler is called there; in lower case in the log. port -- where none is written.

    ConfigError: no server, or an option that makes no sense.
    """
    given = Options(factory)
    policy_of_tls, who = access(
        factory,
        tls=tls,
        implicit_tls=implicit_tls,
        user=user,
        password=password,
        password_file=password_file,
        login=login,
    )
    return Relay(
        factory.lower(),
        places(factory, to, port),
        lmtp=lmtp,
        rotates=given.rotates(policy),
        hostname=given.hostname(hostname),
        recipients=given.recipients(ask_recipients, vouch, single),
        connections=given.connections(connections, pool, idle, messages, timeout),
        timeouts=given.timeouts(connect, timeout, final),
        tls=policy_of_tls,
        login=who,
    )
