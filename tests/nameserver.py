"""A name server in the test's own event loop, as good or as bad as the test wants it.

    async with name_server({("example.org", "A"): "192.0.2.1"}) as server:
        resolver = Resolver(server.address)

It listens on UDP and TCP on one free port of 127.0.0.1. An answer is the text of records, an rcode, None for silence,
or a function of the question (a dnspython message) and "udp" or "tcp" that gives a message, octets, or a list of octets
to be sent one after the other.
"""

from __future__ import annotations

import socket
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager, suppress
from typing import Any

import anyio
import dns.flags
import dns.message
import dns.rcode
import dns.rdatatype
import dns.rrset
from anyio import create_task_group, wait_readable

from mailstack.services import transport
from mailstack.services.transport import BrokenStream, RawStream

Give = Callable[[dns.message.Message, str], Any]
SOA = "ns.test. hostmaster.test. 1 3600 600 86400 {minimum}"


def answer(question: dns.message.Message, *records: str, ttl: int = 300, rcode: int = 0) -> dns.message.Message:
    """A good answer: "data" of the type that was asked for, "TYPE data", or "NAME TYPE data" for another name."""
    reply = dns.message.make_response(question, recursion_available=True)
    reply.set_rcode(dns.rcode.Rcode(rcode))
    asked = question.question[0]
    for record in records:
        words = record.split(" ")
        name, type, data = str(asked.name), dns.rdatatype.to_text(asked.rdtype), record
        if len(words) > 2 and words[0].endswith(".") and words[1].isupper():
            name, type, data = words[0], words[1], " ".join(words[2:])
        elif words[0].isupper() and words[0].isalpha() and len(words) > 1:
            type, data = words[0], " ".join(words[1:])
        more = dns.rrset.from_text(name, ttl, "IN", type, data)
        rrset = reply.find_rrset(reply.answer, more.name, more.rdclass, more.rdtype, create=True)
        for rdata in more:
            rrset.add(rdata, ttl)
    return reply


def nothing(
    question: dns.message.Message, *, minimum: int = 60, rcode: dns.rcode.Rcode = dns.rcode.NXDOMAIN
) -> dns.message.Message:
    """No such name (or no such record, with NOERROR), with the zone's SOA."""
    reply = answer(question, rcode=rcode)
    reply.authority.append(dns.rrset.from_text(".", 86400, "IN", "SOA", SOA.format(minimum=minimum)))
    return reply


class NameServer:
    """asked -- (name, type, "udp" or "tcp") of each question. ports -- where datagrams came from. ids -- theirs."""

    def __init__(self, answers: Mapping[tuple[str, str], Any] | Give) -> None:
        self._answers = answers
        self.asked: list[tuple[str, str, str]] = []
        self.ports: list[int] = []
        self.ids: list[int] = []
        self.port = 0

    @property
    def address(self) -> str:
        return f"127.0.0.1:{self.port}"

    def count(self, name: str) -> int:
        return sum(asked[0] == name for asked in self.asked)

    async def _give(self, octets: bytes, over: str) -> list[bytes]:
        question = dns.message.from_wire(octets)
        name, type = str(question.question[0].name).rstrip("."), dns.rdatatype.to_text(question.question[0].rdtype)
        self.asked.append((name, type, over))
        self.ids.append(question.id)
        given = self._answers if callable(self._answers) else self._answers.get((name, type), nothing)
        if callable(given):
            given = given(question, over) if given is not nothing else nothing(question)
            if hasattr(given, "__await__"):
                given = await given
        match given:
            case None:
                return []
            case bytes():
                return [given]
            case list() if all(isinstance(each, bytes) for each in given):
                return given
            case str():
                given = answer(question, given)
            case list():
                given = answer(question, *given)
            case dns.rcode.Rcode():
                given = answer(question, rcode=given)
        octets = given.to_wire(max_size=65535)
        if over == "udp" and len(octets) > question.payload:
            given = dns.message.make_response(question, recursion_available=True)
            given.flags |= dns.flags.TC
            octets = given.to_wire()
        return [octets]

    async def _datagrams(self, connection: socket.socket, group: anyio.abc.TaskGroup) -> None:
        async def serve(octets: bytes, peer: Any) -> None:
            for each in await self._give(octets, "udp"):
                connection.sendto(each, peer)

        while True:
            await wait_readable(connection)
            octets, peer = connection.recvfrom(65535)
            self.ports.append(peer[1])
            group.start_soon(serve, octets, peer)

    async def _stream(self, stream: RawStream, _: int) -> None:
        received = await stream.receive()
        while received and len(received) < 2 + int.from_bytes(received[:2], "big"):
            received += await stream.receive()
        if received:
            with suppress(BrokenStream):  # who asked may have gone
                for each in await self._give(received[2:], "tcp"):
                    await stream.send(len(each).to_bytes(2, "big") + each)
        await stream.close()


def _sockets() -> tuple[socket.socket, socket.socket]:
    """UDP and TCP on one port, which somebody else may have for one of them: so a few tries."""
    for last in (False,) * 20 + (True,):
        stream = socket.create_server(("127.0.0.1", 0))
        datagrams = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        stream.setblocking(False)
        datagrams.setblocking(False)
        try:
            datagrams.bind(stream.getsockname())
            break
        except OSError:
            stream.close()
            datagrams.close()
            if last:
                raise
    return datagrams, stream


@asynccontextmanager
async def name_server(answers: Mapping[tuple[str, str], Any] | Give) -> AsyncIterator[NameServer]:
    server = NameServer(answers)
    datagrams, stream = _sockets()
    with datagrams, stream:
        server.port = stream.getsockname()[1]
        async with create_task_group() as group:
            acceptor = await transport.serve([stream], server._stream, group, cancel=True)
            group.start_soon(server._datagrams, datagrams, group)
            try:
                with anyio.fail_after(30):
                    yield server
            finally:
                await acceptor.close()
                group.cancel_scope.cancel()
