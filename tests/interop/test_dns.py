"""The resolver with real name servers: nsd has the zones, one of them signed, and unbound asks it and validates."""

from __future__ import annotations

import ipaddress
from collections.abc import Callable, Iterator
from pathlib import Path

import dns.dnssec
import dns.name
import dns.rdatatype
import dns.zone
import pytest
from cryptography.hazmat.primitives.asymmetric import ed25519
from dns.dnssectypes import Algorithm

from mailstack.services.resolver import MX, NoRecords, NoSuchName, Resolver, Temporary, reverse_name
from mailstack.testing import Dialog, Vouch
from tests.interop.nameservers import HEAD, NameServers, name_servers

pytestmark = pytest.mark.interop

PLAIN = """
ns A 127.0.0.1
@ A 192.0.2.1
@ AAAA 2001:db8::1
@ MX 10 mx1
@ MX 20 mx2.signed.test.
@ TXT "v=spf1 " "mx -all"
mx1 A 192.0.2.11
www CNAME mx1
away CNAME mx.signed.test.
none MX 0 .
*.wild A 192.0.2.77
loop1 CNAME loop2
loop2 CNAME loop1
"""

BIG = "".join(
    f'big TXT "{number:04} {"x" * 200}"\nmany A 10.1.{number // 250}.{number % 250}\n' for number in range(200)
)

SIGNED = """
ns A 127.0.0.1
mx A 192.0.2.12
_25._tcp.mx TLSA 3 1 1 0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef
"""

REVERSE = """
1 PTR plain.test.
11 PTR mx1.plain.test.
99 PTR mx1.plain.test.
66 PTR evil\\010name.plain.test.
"""


def signed(text: str) -> tuple[str, str]:
    """The zone with its signatures, and the anchor to trust."""
    origin = dns.name.from_text("signed.test.")
    zone = dns.zone.from_text(text, origin, relativize=False)
    key = ed25519.Ed25519PrivateKey.generate()
    public = dns.dnssec.make_dnskey(key.public_key(), Algorithm.ED25519, flags=257)
    with zone.writer() as writer:
        dns.dnssec.sign_zone(zone, writer, keys=[(key, public)], add_dnskey=True, dnskey_ttl=300, lifetime=3600)
    return zone.to_text(relativize=False), f"signed.test. DNSKEY {public.to_text()}"


@pytest.fixture
def servers(tmp_path: Path, program: Callable[[str], str]) -> Iterator[NameServers]:
    """Both, with the zones of this file."""
    zones = {"plain.test": HEAD + PLAIN + BIG, "2.0.192.in-addr.arpa": HEAD + REVERSE}
    texts = {name: text.replace("{zone}", name) for name, text in zones.items()}
    texts["signed.test"], anchor = signed((HEAD + SIGNED).replace("{zone}", "signed.test"))
    with name_servers(tmp_path, program, texts, more=f'    trust-anchor: "{anchor}"') as running:
        yield running


@pytest.mark.every_backend
async def test_what_unbound_says_is_understood(servers: NameServers) -> None:
    resolver = Resolver(servers.unbound)
    assert {str(ip) for ip in await resolver.addresses("Plain.Test")} == {"192.0.2.1", "2001:db8::1"}
    assert (await resolver.mx("plain.test")).records == (MX(10, "mx1.plain.test"), MX(20, "mx2.signed.test"))
    assert (await resolver.mx("none.plain.test")).records == (MX(0, ""),)
    assert (await resolver.txt("plain.test")).records == (b"v=spf1 mx -all",)
    www = await resolver.a("www.plain.test")
    assert ([str(ip) for ip in www], www.canonical) == (["192.0.2.11"], "mx1.plain.test")
    assert (await resolver.a("away.plain.test")).canonical == "mx.signed.test"
    assert await resolver.a("anything.wild.plain.test")
    assert (await resolver.query("plain.test", "NS")).records == ("ns.plain.test",)
    with pytest.raises(NoSuchName):
        await resolver.a("gone.plain.test")
    with pytest.raises(NoRecords):
        await resolver.mx("mx1.plain.test")
    with pytest.raises(Temporary):
        await resolver.a("loop1.plain.test")


@pytest.mark.every_backend
async def test_what_does_not_fit_comes_over_tcp(servers: NameServers) -> None:
    for server in (servers.unbound, servers.nsd):
        resolver = Resolver(server)
        assert len(await resolver.txt("big.plain.test")) == 100
        assert len(await resolver.a("many.plain.test")) == 100
        assert resolver.statistics.tcp == 2


async def test_what_unbound_has_validated_is_secure(servers: NameServers) -> None:
    resolver = Resolver(servers.unbound)
    tlsa = await resolver.query("_25._tcp.mx.signed.test", "TLSA")
    assert tlsa.secure
    assert (tlsa.records[0].usage, tlsa.records[0].selector, tlsa.records[0].mtype) == (3, 1, 1)
    assert not (await resolver.a("plain.test")).secure
    with pytest.raises(NoSuchName) as error:
        await resolver.a("gone.signed.test")
    assert error.value.secure
    assert not (await Resolver(servers.nsd).query("_25._tcp.mx.signed.test", "TLSA")).secure


async def test_a_name_server_that_does_not_ask_others_is_no_resolver(servers: NameServers) -> None:
    resolver = Resolver(servers.nsd)
    assert await resolver.a("plain.test")
    with pytest.raises(Temporary, match="REFUSED"):
        await resolver.a("elsewhere.example")


async def test_names_of_addresses_are_confirmed(servers: NameServers) -> None:
    resolver = Resolver(servers.unbound)
    found = {}
    for last in (1, 11, 99, 66, 55):
        found[last] = await reverse_name(resolver, ipaddress.ip_address(f"192.0.2.{last}"))
    assert {last: (reverse.name, reverse.result) for last, reverse in found.items()} == {
        1: ("plain.test", "pass"),
        11: ("mx1.plain.test", "pass"),
        99: ("mx1.plain.test", "fail"),
        66: (None, "permerror"),
        55: (None, "permerror"),
    }


async def test_received_tells_the_name_that_the_dns_knows(servers: NameServers) -> None:
    dialog = Dialog(Vouch(), resolver=Resolver(servers.unbound), client="192.0.2.11")
    async with dialog as smtp:
        assert await smtp.message("a@example.org", "b@example.org") == 250
        assert b"(mx1.plain.test [192.0.2.11])\r\n" in smtp.messages[0].content
