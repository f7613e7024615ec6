"""Scanners: daemons that are given a message and say what they think of it. What all of their clients share.

    scanner = Scanner("SpamAssassin", ["127.0.0.1:783", "unix:/run/spamd.sock"], timeout="60s", max_size="500 KiB")
    found = await scanner.scan(session, message, talk)      # talk(stream, sample) speaks the daemon's protocol
    if found.reply is not None:
        return found.reply                                  # nobody could or should look at it, and that is refused
    if found.value is not None: ...                         # what talk returned

`scanner` says which messages are looked at, by how many at a time and how long, and what it means that no daemon could
be asked; `servers` which daemon is asked; `sample` is the part of the message that it gets. `verdict` turns a score
into what becomes of the message.
"""

from .sample import Sample
from .scanner import Scan, Scanner, Talk
from .servers import Servers
from .verdict import Thresholds

__all__ = ["Sample", "Scan", "Scanner", "Servers", "Talk", "Thresholds"]
