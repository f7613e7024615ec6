"""Sockets as streams: the one place that knows the backends for I/O.

`serve` accepts on listening sockets and starts one task for each connection; `connect` is the client's side. Both
give a `RawStream`, which promises the same on asyncio, uvloop and trio:

* `receive` returns what has come (at most about 128 KiB), b"" once the peer has finished or the connection is broken.
* `send` returns when the octets are handed over; it waits while the peer does not read, and raises `BrokenStream`
  once nobody can read them any more.
* A cancelled `receive` loses no octet. A cancelled `send` that had to wait aborts the connection: nobody could know
  how much has left. Neither waits, nor looks at the cancel scope, when it can be done at once.
* `close` sends what is written, then the end; `abort` resets. Both may be repeated, and `abort` may follow `close`.
* One task receives and one task sends at a time.

`stream` is this contract, `accept` and `connect` the two ways to a connection; `on_asyncio` and `on_trio` carry it, and
`running` says which of them does. `tls` makes a stream over a stream.
"""

from . import tls
from .accept import Acceptor, serve
from .connect import connect
from .stream import Address, BrokenStream, RawStream, Stream

__all__ = ["Acceptor", "Address", "BrokenStream", "RawStream", "Stream", "connect", "serve", "tls"]
