"""Whom a proxy speaks for, and who is never believed."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mailstack import ConfigError, Listener, Server, Stack
from mailstack.middleware.earlytalker import EarlyTalker
from mailstack.middleware.proxy import Proxy, parse_binary, parse_text
from mailstack.testing import Conversation, Dialog, Vouch
from tests import proxies
from tests.proxies import LOCAL, PROXY, TCP4, TCP6, UDP4, UNIX, UNSPEC, binary, crc32c, extension, frame, text
from tests.server.test_starttls import Tls
from tests.tls import client_context

BALANCER = "192.0.2.1"


def dialog(*stack: object, client: str = BALANCER, **options: object) -> Dialog:
    """Behind a balancer, whose address is in the network of the listener's proxies."""
    return Dialog(*(stack or (Proxy(),)), Vouch(), client=client, proxy="192.0.2.0/28", **options)  # type: ignore[arg-type]


def ends(smtp: Conversation) -> tuple[str, str]:
    return str(smtp.session.client), str(smtp.session.server)


# Who is believed, and what.

HEADERS = {
    "text, IPv4": (text(), "198.51.100.7:4711", "203.0.113.1:25"),
    "text, IPv6": (text("2001:DB8:0::7", "2001:db8::1"), "[2001:db8::7]:4711", "[2001:db8::1]:25"),
    "text, highest ports": (text(ports="65535 0"), "198.51.100.7:65535", "203.0.113.1:0"),
    "text, mapped": (text("::ffff:198.51.100.7", "::1"), "198.51.100.7:4711", "[::1]:25"),
    "binary, IPv4": (binary(), "198.51.100.7:4711", "203.0.113.1:25"),
    "binary, IPv6": (binary("2001:db8::7", "2001:db8::1"), "[2001:db8::7]:4711", "[2001:db8::1]:25"),
    "binary, mapped": (binary("::ffff:198.51.100.7", "::1"), "198.51.100.7:4711", "[::1]:25"),
    "binary, UNIX": (frame(PROXY, UNIX, b"/a\n\xff".ljust(108, b"\0") + b"/b".ljust(108, b"\0")), r"/a\n\\xff", "/b"),
    "binary, unnamed": (frame(PROXY, UNIX, bytes(216)), "local", "local"),
    "binary, checksum": (proxies.summed(binary()), "198.51.100.7:4711", "203.0.113.1:25"),
    "binary, extended": (
        binary(extensions=extension(4, bytes(100)) + extension(0xEA, b"vpce-1") + extension(1, b"smtp")),
        "198.51.100.7:4711",
        "203.0.113.1:25",
    ),
}


@pytest.mark.parametrize(("header", "client", "server"), HEADERS.values(), ids=HEADERS.keys())
async def test_a_listed_proxy_names_the_client(header: bytes, client: str, server: str) -> None:
    async with dialog() as smtp:
        await smtp.send(header + b"EHLO client.example\r\n")
        assert [answer.code for answer in await smtp.replies(2)] == [220, 250]
        assert ends(smtp) == (client, server)
        assert smtp.session.proxy is not None
        assert smtp.session.proxy.host == BALANCER


TALKS_FOR_ITSELF = {
    "text, unknown": b"PROXY UNKNOWN\r\n",
    "text, unknown with addresses": text(family="UNKNOWN"),
    "text, unknown with anything": b"PROXY UNKNOWN \xff\0\n\r".ljust(105, b"x") + b"\r\n",
    "binary, local": frame(LOCAL, UNSPEC, b""),
    "binary, local with addresses": binary(command=LOCAL),
    "binary, local with nonsense": frame(LOCAL, 0xFF, b"nonsense"),
    "binary, unspec": frame(PROXY, UNSPEC, b""),
    "binary, unspec with an extension": frame(PROXY, UNSPEC, extension(4, b"")),
}


@pytest.mark.parametrize("header", TALKS_FOR_ITSELF.values(), ids=TALKS_FOR_ITSELF.keys())
async def test_a_proxy_that_names_nobody_is_the_client(header: bytes) -> None:
    async with dialog() as smtp:
        await smtp.send(header)
        assert await smtp.banner() == 220
        assert smtp.session.client.host == BALANCER
        assert smtp.session.proxy is None


# Who is not: attack 17 of the peers' list, a forged or broken header.

BROKEN = {
    "no header": b"EHLO client.example\r\n",
    "a web client": b"GET / HTTP/1.1\r\n\r\n",
    "lower case": text().lower(),
    "no end": b"PROXY TCP4 198.51.100.7 203.0.113.1 4711 25\n".ljust(107, b" "),
    "bare LF": b"PROXY TCP4 198.51.100.7 203.0.113.1 4711 25\nEHLO me\r\nMAIL FROM:<a@example.org>\r\n",
    "too long": b"PROXY UNKNOWN ".ljust(106, b"x") + b"\r\n",
    "wrong family": text("2001:db8::7", "2001:db8::1", family="TCP4"),
    "other wrong family": text(family="TCP6"),
    "mixed families": text("198.51.100.7", "2001:db8::1"),
    "no such family": text(family="UDP4"),
    "two blanks": text().replace(b" 25", b"  25"),
    "a tab": text().replace(b" 25", b"\t25"),
    "blank at the end": text(ports="4711 25 "),
    "a port missing": text(ports="4711"),
    "a port too many": text(ports="4711 25 25"),
    "a port too high": text(ports="65536 25"),
    "a zero in front": text(ports="04711 25"),
    "a sign": text(ports="+4711 25"),
    "other digits": "PROXY TCP4 198.51.100.7 203.0.113.1 ٤٧١١ 25\r\n".encode(),
    "a zero in an address": text("198.051.100.7"),
    "an address too short": text("198.51.100"),
    "an address too high": text("198.51.100.256"),
    "a scope": text("fe80::1%eth0", "fe80::2"),
    "brackets": text("[2001:db8::7]", "[2001:db8::1]", family="TCP6"),
    "NUL": text().replace(b"198", b"\x00198"),
    "half a signature": proxies.SIGNATURE[:-1] + b"x" + bytes(4),
    "version 1 in binary": frame(0x11, TCP4, bytes(12)),
    "version 3": frame(0x31, TCP4, bytes(12)),
    "no such command": frame(0x22, TCP4, bytes(12)),
    "UDP": binary(family=UDP4),
    "UNIX datagrams": frame(PROXY, 0x32, bytes(216)),
    "no such protocol": frame(PROXY, 0x13, bytes(12)),
    "no such family, binary": frame(PROXY, 0x41, bytes(12)),
    "family without protocol": frame(PROXY, 0x10, bytes(12)),
    "shorter than its addresses": frame(PROXY, TCP4, bytes(11)),
    "IPv4 as IPv6": binary(family=TCP6),
    "too long, binary": frame(PROXY, TCP4, bytes(16385)),
    "an extension cut short": binary(extensions=b"\x04\x00"),
    "an extension too long": binary(extensions=b"\x04\x00\x09x"),
    "a wrong checksum": binary(extensions=extension(3, b"\0\1\2\3")),
    "a short checksum": binary(extensions=extension(3, b"\0\1\2")),
    "two checksums": proxies.summed(proxies.summed(binary())),
    "something changed under a checksum": proxies.summed(binary()).replace(b"\xc6\x33\x64\x07", b"\xc6\x33\x64\x08"),
    "a TLS extension cut short": binary(extensions=extension(0x20, bytes(4))),
    "a TLS detail cut short": binary(extensions=extension(0x20, b"\1\0\0\0\0\x21\0\7TLS")),
}


@pytest.mark.parametrize("header", BROKEN.values(), ids=BROKEN.keys())
async def test_a_broken_header_ends_the_connection_without_a_word(
    header: bytes, caplog: pytest.LogCaptureFixture
) -> None:
    async with dialog() as smtp:
        await smtp.send(header)
        await smtp.closed()
        assert smtp.session.client.host == BALANCER
        assert smtp.session.command_count == 0
    assert "proxy refused" in caplog.text
    assert "fault" not in caplog.text


@pytest.mark.parametrize("header", [text(), binary(), b"", b"EHLO me\r\n"])
async def test_a_stranger_at_the_proxies_listener_is_closed_whatever_it_says(
    header: bytes, caplog: pytest.LogCaptureFixture
) -> None:
    async with dialog(client="192.0.2.200") as smtp:
        await smtp.send(header)
        await smtp.closed()
        assert smtp.session.client.host == "192.0.2.200"
    assert "not one of the proxies" in caplog.text


async def test_a_client_of_a_unix_socket_is_none_of_the_proxies() -> None:
    async with dialog(client="") as smtp:
        await smtp.send(text())
        await smtp.closed()


@pytest.mark.parametrize("header", [text(), binary()])
async def test_elsewhere_a_header_is_no_command(header: bytes) -> None:
    async with Dialog(Proxy(), client=BALANCER) as smtp:
        assert await smtp.banner() == 220
        await smtp.send(header)
        assert (await smtp.reply()).code == 500
        assert smtp.session.client.host == BALANCER


async def test_a_header_in_a_session_is_no_header() -> None:
    async with dialog() as smtp:
        await smtp.send(text() + text("198.51.100.8"))
        assert [answer.code for answer in await smtp.replies(2)] == [220, 500]
        assert smtp.session.client.host == "198.51.100.7"


# Octet by octet, late, and gone.


@pytest.mark.parametrize("header", [text(), binary()])
async def test_a_header_may_come_in_pieces(header: bytes) -> None:
    async with dialog() as smtp:
        for octet in header:
            await smtp.send(bytes((octet,)))
        assert await smtp.banner() == 220
        assert smtp.session.client.host == "198.51.100.7"


@pytest.mark.every_backend
@pytest.mark.parametrize("octets", [b"", b"P", text()[:-1], binary()[:14], binary()[:-1], frame(PROXY, TCP4, b"")])
async def test_a_proxy_that_leaves_early_is_nobody_s_fault(octets: bytes, caplog: pytest.LogCaptureFixture) -> None:
    async with dialog() as smtp:
        await smtp.send(octets[:15])
        await smtp.hang_up()
        await smtp.finished()
        assert not list(smtp.evidence)
    assert "proxy refused" not in caplog.text


@pytest.mark.parametrize("octets", [b"", b"P", text()[:-1], binary()[:-1]])
async def test_a_header_that_does_not_come_in_time_ends_the_connection(
    octets: bytes, caplog: pytest.LogCaptureFixture
) -> None:
    async with dialog(Proxy(timeout="20ms")) as smtp:
        await smtp.send(octets)
        await smtp.closed()
    assert "no header within 0.02 s" in caplog.text


# What comes behind it.


@pytest.mark.parametrize("header", [text(), binary()])
async def test_a_client_hello_in_the_segment_of_the_header_belongs_to_tls(header: bytes) -> None:
    async with dialog(Proxy(), Tls(), tls=True) as smtp:
        await smtp.send(header)  # the memory holds it until the server reads: one segment
        await smtp.start_tls(client_context())
        assert await smtp.say("EHLO client.example") == 250
        assert smtp.session.client.host == "198.51.100.7"
        assert smtp.session.secure


async def test_who_talks_early_behind_a_proxy_is_found_out() -> None:
    async with dialog(Proxy(), EarlyTalker(wait="1h")) as smtp:
        await smtp.send(text() + b"EHLO client.example\r\n")
        assert await smtp.reply() == 554
        await smtp.closed()


async def test_who_waits_behind_a_proxy_is_served() -> None:
    async with dialog(Proxy(), EarlyTalker(wait="5ms")) as smtp:
        await smtp.send(text())
        assert await smtp.message("a@example.org", "b@example.org") == 250


# What is noted.

TLS = extension(
    0x20, b"\1\0\0\0\0" + extension(0x21, b"TLSv1.3") + extension(0x22, b"Anna\n\xff") + extension(0x23, b"AES")
)


@pytest.mark.parametrize(
    ("extensions", "detail"),
    [
        (extension(2, "mx.bücher.example".encode()), r"asked for mx.b\xfccher.example"),
        (TLS, r"at the proxy with TLS TLSv1.3 AES client certificate of Anna\n\\xff"),
        (extension(0x20, b"\1\0\0\0\0"), "at the proxy with TLS"),
        (extension(2, b"mx.test") + TLS[:3] + b"\0" + TLS[4:], "asked for mx.test"),
    ],
)
async def test_what_the_client_had_at_the_proxy_is_noted(extensions: bytes, detail: str) -> None:
    async with dialog() as smtp:
        await smtp.send(proxies.summed(binary(extensions=extensions)))
        assert await smtp.banner() == 220
        assert [(each.who, each.detail) for each in smtp.evidence] == [("proxy", detail)]
        assert not smtp.session.secure


def test_the_checksum_is_that_of_the_rfc() -> None:
    assert crc32c(b"123456789") == bytes.fromhex("e3069283")


# Anything.


@given(st.one_of(st.binary(max_size=200), st.binary(max_size=100).map(lambda octets: b"PROXY TCP4 " + octets)))
def test_any_line_is_read_or_refused(line: bytes) -> None:
    try:
        header = parse_text(line)
    except ValueError:
        return
    assert (header.client is None) == line.startswith(b"PROXY UNKNOWN")


@given(st.sampled_from([PROXY, LOCAL, 0]), st.sampled_from([UNSPEC, TCP4, TCP6, UNIX, 0x99]), st.binary(max_size=300))
def test_any_binary_header_is_read_or_refused(command: int, family: int, rest: bytes) -> None:
    for octets in (frame(command, family, rest), proxies.SIGNATURE + rest, rest):
        try:
            header = parse_binary(octets)
        except ValueError:
            continue
        assert header.detail.isascii()
        assert header.detail.isprintable()
        for end in (header.client, header.server):
            if end is not None and end.port is not None:
                assert end.ip is not None


@settings(deadline=None, max_examples=30)
@given(st.binary(max_size=400))
async def test_nobody_is_served_for_octets_that_are_no_header(octets: bytes) -> None:
    async with dialog() as smtp:
        for opening in (b"", b"PROXY ", proxies.SIGNATURE, proxies.SIGNATURE + b"\x21\x11\0\7"):
            [other] = await smtp.several(1)
            await other.send(opening + octets + b"\r\nNOOP\r\n")
            await other.hang_up()
            await other.finished()
            assert other.session.command_count == 0
            assert not [each for each in other.evidence if each.outcome == "fault"]


# The configuration.


def test_a_listener_for_proxies_needs_the_entry() -> None:
    listeners = [Listener("127.0.0.1:0", proxy="192.0.2.1")]
    Server(Stack(Proxy()), listeners).check()
    with pytest.raises(ConfigError, match="proxy"):
        Server(Stack(Vouch()), listeners).check()


def test_a_time_that_makes_no_sense_is_refused() -> None:
    with pytest.raises(ConfigError, match=r"Proxy\(timeout\)"):
        Proxy(timeout="soon")
