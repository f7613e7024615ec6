"""TLS over a stream, both ends ours, in memory and over sockets."""

from __future__ import annotations

import ssl

import pytest
from anyio import create_task_group

from mailstack.services.memory import MemoryStream, memory_stream_pair
from mailstack.services.transport import BrokenStream, tls
from tests.tls import client_context, server_context


async def pair() -> tuple[tls.TLSStream, tls.TLSStream, MemoryStream, MemoryStream]:
    """Server's end, client's end, and what lies below them."""
    there, here = memory_stream_pair()
    made: dict[str, tls.TLSStream] = {}

    async def serve() -> None:
        made["server"] = await tls.wrap(there, server_context())

    async with create_task_group() as group:
        group.start_soon(serve)
        made["client"] = await tls.wrap(here, client_context(), server_hostname="mx.test")
    return made["server"], made["client"], there, here


async def test_what_is_sent_comes_back_decrypted_and_nothing_is_in_clear() -> None:
    server, client, there, _ = await pair()
    await client.send(b"EHLO client.example\r\n")
    assert b"EHLO" not in bytes(there._incoming.data)
    assert await server.receive() == b"EHLO client.example\r\n"
    await server.send(b"250 mx.test\r\n")
    assert await client.receive() == b"250 mx.test\r\n"
    assert server.peer == there.peer
    assert server.local == there.local


async def test_the_facts_of_the_handshake_are_known_on_both_sides() -> None:
    server, client, _, _ = await pair()
    assert server.version == client.version == "TLSv1.3"
    assert server.cipher == client.cipher
    assert server.bits >= 128
    assert server.certificate is None
    assert client.certificate


async def test_a_mebibyte_arrives_whole_and_in_order() -> None:
    server, client, _, _ = await pair()
    octets = bytes(range(256)) * 4096
    received = bytearray()

    async def send() -> None:
        for start in range(0, len(octets), 100_000):
            await client.send(octets[start : start + 100_000])
        await client.close()

    async with create_task_group() as group:
        group.start_soon(send)
        while piece := await server.receive():
            received += piece
    assert bytes(received) == octets


async def test_records_that_came_together_are_received_together() -> None:
    server, client, _, _ = await pair()
    for _ in range(5):
        await client.send(b"x" * 1000)
    assert await server.receive() == b"x" * 5000


async def test_the_end_is_said_before_the_connection_ends() -> None:
    server, client, _, here = await pair()
    await server.close()
    assert here._incoming.data, "close_notify"
    assert await client.receive() == b""
    assert client.gone


async def test_the_first_octets_may_have_been_read_before() -> None:
    there, here = memory_stream_pair()
    async with create_task_group() as group:

        async def serve() -> None:
            hello = await there.receive()
            server = await tls.wrap(there, server_context(), received=hello)
            await server.send(b"220 mx.test\r\n")

        group.start_soon(serve)
        client = await tls.wrap(here, client_context(), server_hostname="mx.test")
        assert await client.receive() == b"220 mx.test\r\n"


async def test_plain_text_instead_of_a_handshake_is_refused_with_a_reason() -> None:
    there, here = memory_stream_pair()
    await here.send(b"MAIL FROM:<a@example.org>\r\n")
    with pytest.raises(tls.HandshakeFailed, match=r"WRONG_VERSION_NUMBER|HTTP_REQUEST|RECORD"):
        await tls.wrap(there, server_context())


async def test_a_client_that_leaves_in_the_handshake_is_told_as_such() -> None:
    there, here = memory_stream_pair()
    await here.close()
    with pytest.raises(tls.HandshakeFailed, match="left"):
        await tls.wrap(there, server_context())


async def test_a_client_that_does_not_trust_us_ends_the_handshake_on_both_sides() -> None:
    there, here = memory_stream_pair()
    async with create_task_group() as group:
        group.start_soon(_quietly, there)
        with pytest.raises(tls.HandshakeFailed, match=r"certificate|issuer"):
            await tls.wrap(here, ssl.create_default_context(), server_hostname="mx.test")
        await here.close()


async def _quietly(there: MemoryStream) -> None:
    try:
        server = await tls.wrap(there, server_context())
        assert await server.receive() == b""  # TLS 1.3: the alert comes after our part is done
    except tls.HandshakeFailed:
        pass


async def test_another_name_than_the_certificate_s_is_refused() -> None:
    there, here = memory_stream_pair()
    async with create_task_group() as group:
        group.start_soon(_quietly, there)
        with pytest.raises(tls.HandshakeFailed, match="mismatch"):
            await tls.wrap(here, client_context(), server_hostname="other.test")
        await here.close()


async def test_a_forged_record_ends_the_stream() -> None:
    server, _, _, here = await pair()
    await here.send(b"\x17\x03\x03\x00\x20" + b"x" * 32)
    assert await server.receive() == b""
    assert server.gone


async def test_sending_to_somebody_who_has_left_is_a_broken_stream() -> None:
    server, _, _, here = await pair()
    here.abort()
    with pytest.raises(BrokenStream):
        await server.send(b"x")
