"""discard: take every message and keep none.

For trials, benchmarks and a sink behind `Unless`. It answers 250, and the message is gone: never the end of a stack
that somebody's mail goes through.

    Stack(recipients.Domains("example.org"), discard.Discard())
"""

from __future__ import annotations

from mailstack.contract.hookspec import hookimpl
from mailstack.session.message import Message
from mailstack.wire.reply import Reply

__all__ = ["Discard"]


class Discard:
    """The handler; it has no options."""

    @hookimpl
    def queue(self, message: Message) -> Reply:
        return Reply(250, f"discarded as {message.id}")
