"""What of a message a scanner gets to see: all of it, or its beginning."""

from __future__ import annotations

from collections.abc import AsyncGenerator
from contextlib import aclosing

from ...session.message import Message


class Sample:
    """The first octets of a message, as it stands. It may be read as often as one likes.

    size -- how many octets. whole -- whether that is all of it.
    """

    __slots__ = ("_message", "size", "whole")

    def __init__(self, message: Message, most: int | None = None) -> None:
        self._message = message
        size = message.size
        self.whole = most is None or size <= most
        self.size = size if most is None else min(size, most)

    async def chunks(self) -> AsyncGenerator[bytes, None]:
        """The octets in pieces."""
        left = self.size
        async with aclosing(self._message.chunks()) as chunks:
            async for chunk in chunks:
                yield chunk[:left]
                left -= len(chunk)
                if left <= 0:
                    return
