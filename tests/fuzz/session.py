"""The target with everything but sockets: what was delivered is what the client was told, whole and in order.

The reference is `protocol.play`: each message that the server hands over is one that the protocol alone finds complete.
"""

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import partial

import anyio
from anyio.lowlevel import checkpoint

from mailstack import Limits, Message, Recipient, Reply, Server, Stack, hookimpl
from mailstack.services.memory import MemoryStream, memory_stream_pair
from mailstack.services.transport import BrokenStream

from .octets import split
from .protocol import LMTP, NORMALISE, SIZE, play

HASTY, ABRUPT, TRIO = 2, 4, 8  # flags of an input, beside NORMALISE and LMTP
PAUSES = 4  # steps of the event loop that a piece gets, unless the client is hasty

_TAKEN = re.compile(rb"^250 2\.0\.0 taken as (\w+)\r$", re.MULTILINE)


@dataclass(frozen=True, slots=True)
class Delivery:
    """A message as it was handed over."""

    id: str
    content: bytes


class Take:
    """Takes every recipient and every message."""

    def __init__(self) -> None:
        self.deliveries: list[Delivery] = []

    @hookimpl
    def rcpt(self, recipient: Recipient) -> None:
        recipient.accept()

    @hookimpl
    async def queue(self, message: Message) -> Reply:
        content = await message.read()
        await checkpoint()
        self.deliveries.append(Delivery(message.id, content))
        return Reply(250, f"taken as {message.id}")


async def converse(pieces: Sequence[bytes], flags: int = 0) -> tuple[list[Delivery], bytes]:
    """Send the pieces to a server: what it delivered, and what it said."""
    take = Take()
    server = Server(
        Stack(take),
        [],
        hostname="mx.test",
        received=lambda session, transaction: None,
        limits=Limits(message_size=SIZE, memory_each=64),
        normalise=bool(flags & NORMALISE),
    )
    there, here = memory_stream_pair()
    async with server:
        async with anyio.create_task_group() as group:
            group.start_soon(partial(server.serve_stream, there, lmtp=bool(flags & LMTP)))
            with anyio.fail_after(20):
                output = await _client(here, pieces, flags)
        house = server._house
        assert house is not None
        assert not house.connections
        assert not house.spool.in_memory
        assert not house.spool.files
    return take.deliveries, output


async def _client(stream: MemoryStream, pieces: Iterable[bytes], flags: int) -> bytes:
    try:
        for piece in pieces:
            await stream.send(piece)
            for _ in range(0 if flags & HASTY else PAUSES):
                await checkpoint()
        if flags & ABRUPT:
            await stream.close()
        else:
            await stream.send_eof()
    except BrokenStream:  # the server has closed; what it said can be read
        pass
    output = b""
    while data := await stream.receive():
        output += data
    return output


def judge(deliveries: list[Delivery], output: bytes, pieces: Sequence[bytes], flags: int) -> None:
    """AssertionError unless each delivery is a complete message whose 250 was sent."""
    whole = play(pieces, flags & (NORMALISE | LMTP)).messages
    rest = iter(whole)
    for delivery in deliveries:
        found = any(delivery.content in (message, b"\r\n" + message) for message in rest)
        assert found, f"{delivery.content!r} was delivered, in this order, of {whole!r}"
    told = list(dict.fromkeys(name.decode() for name in _TAKEN.findall(output)))  # LMTP tells each recipient
    taken = [delivery.id for delivery in deliveries]
    expected = taken[: len(told)] if flags & ABRUPT else taken  # who has left hears less
    assert told == expected, f"the client was told of {told}, and {taken} were delivered"


def check(data: bytes) -> None:
    """The invariant."""
    flags, pieces = split(data)
    backend = "trio" if flags & TRIO else "asyncio"
    deliveries, output = anyio.run(converse, pieces, flags, backend=backend)
    judge(deliveries, output, pieces, flags)
