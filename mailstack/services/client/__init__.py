"""A client of SMTP and LMTP over the transport: for handlers that pass mail on, and for the command line.

    async with await open_client(("192.0.2.25", 25), hostname="mx.example.org") as client:
        outcome = await client.transact(Envelope.of("a@example.org", ["b@example.net"]), Content.of(octets))
        for verdict in outcome.verdicts: ...        # a Reply for each recipient, in their order

`open_client` connects, reads the banner and says EHLO; `tls=TLS("verify")` says what is wanted of TLS (`policy`), and
`login=Login("ann", password_file="…")` who we are (`login`). `transact` is a whole transaction, pipelined when the
server offers it; `mail`, `rcpt`, `data` are the same in steps. What the server answers is returned, as `Reply`; what is
no answer is raised:

* `Refused` -- the server does not serve us (banner or EHLO), with its reply.
* `NotSecure` -- TLS that is wanted cannot be had, or the certificate is not right.
* `NotAuthenticated` -- the server does not let us in; `NoMechanism` among them: there is no mechanism that may be used.
* `Unsupported` -- it lacks an extension that the mail needs; nothing was said. With the reply that is due upstream.
* `Disconnected`, an OSError -- the connection was cut, timed out, or what came is no SMTP. It says at which stage, and
  whether the server may have taken the message. The connection is closed then.
* OSError -- `open_client` could not connect.

After a 421 everything that is asked is answered with that 421, and `usable` is False.

BDAT is used where CHUNKING is offered: the end of a message is then a number, which no octet in it can forge, and a
refusal is heard after the chunk that it is due to. Over LMTP only a BINARYMIME message goes by BDAT, for servers differ
in how often they answer a refused last chunk.

A message of any size takes the same memory. One task uses a client at a time; one that is cancelled aborts it.
"""

from .client import Client
from .login import Login
from .opening import begin, dial, open_client, reach
from .policy import TLS
from .transcript import Transcript
from .values import (
    Content,
    Disconnected,
    Envelope,
    NoMechanism,
    NotAuthenticated,
    NotSecure,
    Outcome,
    Refused,
    Timeouts,
    Unsupported,
)

__all__ = [
    "TLS",
    "Client",
    "Content",
    "Disconnected",
    "Envelope",
    "Login",
    "NoMechanism",
    "NotAuthenticated",
    "NotSecure",
    "Outcome",
    "Refused",
    "Timeouts",
    "Transcript",
    "Unsupported",
    "begin",
    "dial",
    "open_client",
    "reach",
]
