"""limits: how much one client, one user or one domain may take of this server.

    from mailstack.middleware import limits

    Stack(
        Unless(
            predicate.client_in("192.0.2.0/24"),
            limits.Sessions(total=900, per_ip=10, per_prefix=30),
            limits.Rate(connections="30/1m", messages="60/1m", recipients="300/1h"),
            limits.LoadGate(above=20),
            limits.Stress(),
            limits.Tarpit(),
        ),
        tls.TLS("mx.pem"),
        limits.Rate(messages="200/1h", by="login"),
        …
    )

| entry | limits | answers |
|---|---|---|
| `Sessions` | sessions at once: in all, per address, per network | 421 4.7.0, 421 4.3.2 in all |
| `Rate` | connections, messages and recipients in a time, by address, network, login or domain | 421 4.7.0, 450 4.7.1 |
| `Recipients` | recipients of one message, RCPT commands of one session | 452 4.5.3 |
| `Size` | octets of a message, of one recipient's messages | 552 5.3.4, 552 5.2.3 |
| `Tarpit` | the pace of a client that makes errors; refusals of either kind | (waits), 421 4.7.0 |
| `Deadlines` | what `Server(limits=…)` says of idle time, session time, the pace of a body and errors, for some | 421 |
| `Stress` | the same, while the server is nearly full | 421 |
| `LoadGate` | new connections, while the machine has too much to do | 421 4.3.2 |

What holds for every client is `Server(limits=Limits(…))`; these entries hold where they stand, so that `When` and
`Unless` exempt whom they name. postmaster is no exception to limits.

Who is one client: an IPv4 address is one. Of IPv6 a /64 is one, for who has an address there has them all. `per_prefix`
and `by="prefix"` count networks; `prefix=(24, 48)` are their lengths in IPv4 and IPv6. A UNIX socket has no address and
is counted in `total` alone.

Where they stand matters. Sessions takes its place before TLS and the banner: below `proxy`, so that it sees the client
and not the proxy, and above `tls`, so that handshakes count. It cannot be observed or scored, for it is around
the session; the others can. `Rate(connections=…)` counts when the banner is due, which at a listener with TLS from the
first octet is after the handshake.

What is counted lies in a store (`mailstack.services.store`), by default one in memory for each entry. Servers that
share `store=SQLite("/var/lib/mailstack/limits.db")` share their limits. Entries with the same options in one store are
the same limit; `name=…` tells them apart. A store that fails is a fault: 451, or 421 before the banner, unless
`Limit(…, on_fault="pass")` says otherwise. In a rehearsal the stores are read, and nothing is taken from them.
"""

from .deadlines import Deadlines, Stress
from .load import LoadGate
from .message import Recipients, Size
from .rate import Rate
from .sessions import Sessions
from .tarpit import Tarpit

__all__ = ["Deadlines", "LoadGate", "Rate", "Recipients", "Sessions", "Size", "Stress", "Tarpit"]
