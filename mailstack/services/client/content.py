"""The octets of a message on their way into a client: in pieces of a good size, and looked at where that is needed."""

from __future__ import annotations

import re
from collections.abc import AsyncGenerator, AsyncIterable, AsyncIterator
from contextlib import asynccontextmanager
from typing import Final, NamedTuple

from .values import Content

__all__ = ["LEAST", "Survey", "pieces", "survey"]

LEAST: Final = 64 * 1024  # octets of a piece, unless it is the last
MOST: Final = 512 * 1024

_BLANK_LINE: Final = re.compile(rb"\r?\n\r?\n")


@asynccontextmanager
async def _opened(content: Content) -> AsyncIterator[AsyncIterable[bytes]]:
    """The octets; a generator is closed here, not when somebody finds it."""
    chunks = content.chunks()
    try:
        yield chunks
    finally:
        if isinstance(chunks, AsyncGenerator):
            await chunks.aclose()


async def pieces(content: Content) -> AsyncGenerator[tuple[bytes, bool], None]:
    """The message in pieces of 64 to 512 KiB, each with whether it is the last; there is at least one."""
    held = b""
    parts: list[bytes] = []
    size = 0
    async with _opened(content) as chunks:
        async for chunk in chunks:
            parts.append(chunk)
            size += len(chunk)
            if size < LEAST:
                continue
            joined = b"".join(parts)
            parts, size = [], 0
            for at in range(0, len(joined), MOST):
                if held:
                    yield held, False
                held = joined[at : at + MOST]
            if len(held) < LEAST:  # the rest of a long chunk waits for more
                parts, size, held = [held], len(held), b""
    rest = b"".join(parts)
    if held and rest:
        yield held, False
    yield rest or held, True


class Survey(NamedTuple):
    """What a message needs. eight_bit -- octets above 127. utf8 -- such octets in its own header section."""

    eight_bit: bool
    utf8: bool


async def survey(content: Content) -> Survey:
    """Read the message through."""
    eight_bit = utf8 = False
    header = b""  # the header section, or its end, as far as its end was not found
    in_header = True
    async with _opened(content) as chunks:
        async for chunk in chunks:
            if in_header:
                header += chunk
                blank = _BLANK_LINE.search(header)
                utf8 = utf8 or not header[: blank.start() if blank else None].isascii()
                in_header = blank is None
                header = header[-3:]
            eight_bit = eight_bit or not chunk.isascii()
            if eight_bit and not in_header:
                break
    return Survey(eight_bit, utf8)
