"""Lists in the DNS: what an answer means, and what is none."""

from __future__ import annotations

import ipaddress
from typing import Any

import pytest

from mailstack.option import ConfigError
from mailstack.services.dnslist import Found, Listing, Lists, Threshold, Zone, domains_of, is_public, reversed_ip
from mailstack.testing import SERVFAIL, TIMEOUT, FakeResolver
from mailstack.testing.message import make_session

IP = ipaddress.ip_address("192.0.2.1")


def points(answer: str, **options: Any) -> float | None:
    return Zone("bl.example", **options).points([ipaddress.IPv4Address(answer)])


@pytest.mark.parametrize(
    ("codes", "answer", "expected"),
    [
        ((), "127.0.0.2", 1.0),
        ((), "127.255.255.254", None),
        ((), "127.255.254.1", 1.0),
        ((), "93.184.216.34", None),
        ("127.0.0.2", "127.0.0.3", None),
        ("127.0.0.2-127.0.0.4", "127.0.0.4", 1.0),
        ("127.0.0.0/24", "127.0.1.2", None),
        ("127.0.*.3", "127.0.9.3", 1.0),
        ("127.0.*.3", "127.0.9.2", None),
        ("&8", "127.0.0.10", 1.0),
        ("&8", "127.0.0.7", None),
        ({"127.0.0.2": 3, "&2": 0.5}, "127.0.0.2", 3.0),
        ({"127.0.0.2": -2}, "127.0.0.2", -2.0),
        (["127.0.0.4", "127.0.0.5"], "127.0.0.5", 1.0),
        ("127.255.255.255", "127.255.255.255", None),
    ],
)
def test_an_answer_counts_as_the_zone_says_and_errors_never(codes: Any, answer: str, expected: float | None) -> None:
    assert points(answer, codes=codes) == expected


def test_of_several_answers_the_heaviest_counts() -> None:
    zone = Zone("bl.example", codes={"127.0.0.2": 1, "127.0.0.4": 5})
    assert zone.points(map(ipaddress.IPv4Address, ("127.0.0.2", "127.0.0.4", "127.0.0.9"))) == 5


@pytest.mark.parametrize(
    "options",
    [
        {"codes": "127.0.0"},
        {"codes": "&0"},
        {"codes": "&256"},
        {"codes": "127.0.0.9-127.0.0.2"},
        {"codes": "*"},
        {"codes": [3]},
        {"codes": {"127.0.0.2": "much"}},
        {"weight": "heavy"},
        {"text": "{nobody}"},
        {"text": "{"},
        {"text": "{ip.x}"},
        {"name": "not a domain"},
    ],
)
def test_what_is_no_zone_is_an_error(options: dict[str, Any]) -> None:
    with pytest.raises(ConfigError, match="Zone"):
        Zone(**{"name": "bl.example", **options})


def test_names_of_addresses() -> None:
    assert reversed_ip(IP) == "1.2.0.192"
    assert reversed_ip(ipaddress.ip_address("2001:db8::1")) == "1" + ".0" * 23 + ".8.b.d.0.1.0.0.2"
    private = [
        "10.1.2.3",
        "127.0.0.1",
        "192.168.0.1",
        "172.31.0.1",
        "100.64.0.1",
        "::1",
        "fe80::1",
        "fd00::1",
        "0.0.0.0",
    ]
    assert not any(is_public(ipaddress.ip_address(each)) for each in private)
    assert all(is_public(ipaddress.ip_address(each)) for each in ("192.0.2.1", "8.8.8.8", "2001:db8::1", "172.32.0.1"))


@pytest.mark.parametrize(
    ("name", "levels", "expected"),
    [
        ("example.org", 3, ["example.org"]),
        ("a.b.c.Example.ORG.", 3, ["a.b.c.example.org", "c.example.org", "example.org"]),
        ("a.example.org", 1, ["a.example.org"]),
        ("localhost", 3, []),
        ("[192.0.2.1]", 3, []),
        ("192.0.2.1", 3, []),
    ],
)
def test_names_of_domains(name: str, levels: int, expected: list[str]) -> None:
    assert list(domains_of(name, levels)) == expected


async def test_each_list_is_asked_and_none_that_fails_is_a_listing() -> None:
    dns = FakeResolver(
        {
            "1.2.0.192.hit.example": {"A": "127.0.0.2", "TXT": "bad client"},
            "1.2.0.192.own.example": {"A": "127.0.0.3"},
            "1.2.0.192.broken.example": SERVFAIL,
            "1.2.0.192.slow.example": TIMEOUT,
            "1.2.0.192.full.example": {"A": "127.255.255.255"},
            "1.2.0.192.hijacked.example": {"A": "203.0.113.5"},
        }
    )
    zones = ["hit", "miss", "broken", "slow", "full", "hijacked"]
    lists = Lists(
        [f"{zone}.example" for zone in zones] + [Zone("own.example", 2, text="{ip} at {zone}")],
        timeout="5s",
        name="DNSBL",
    )
    session = make_session(resolver=dns)
    found = await lists.ask(session, "connect", ips=[IP])
    assert [each.zone.name for each in found.hits] == ["hit.example", "own.example"]
    assert found.points == 3
    assert found.reason == "192.0.2.1 is listed by hit.example: bad client; 192.0.2.1 at own.example"
    assert [bool(each.error) for each in found.listings] == [False, False, True, True, True, True, False]
    assert {zone: (each.asked, each.listed, each.errors) for zone, each in lists.statistics.items()} == {
        "hit.example": (1, 1, 0),
        "miss.example": (1, 0, 0),
        "broken.example": (1, 0, 1),
        "slow.example": (1, 0, 1),
        "full.example": (1, 0, 1),
        "hijacked.example": (1, 0, 1),
        "own.example": (1, 1, 0),
    }
    details = [each.detail for each in session.evidence]
    assert details[0].startswith("192.0.2.1 hit.example: 127.0.0.2 (")
    assert details[1].startswith("192.0.2.1 miss.example: not listed (")


async def test_a_list_for_ipv4_alone_is_not_asked_for_other_addresses() -> None:
    dns = FakeResolver()
    lists = Lists([Zone("four.example", ipv6=False), "both.example"], timeout="5s", name="DNSBL")
    await lists.ask(make_session(resolver=dns), "connect", ips=[ipaddress.ip_address("2001:db8::1")])
    assert [name.rpartition(".2.")[2] for name, _ in dns.asked] == ["both.example"]


async def test_who_has_not_answered_in_time_made_an_error() -> None:
    dns = FakeResolver({"1.2.0.192.hit.example": {"A": "127.0.0.2"}})
    dns.hold("1.2.0.192.slow.example")
    lists = Lists(["slow.example", "hit.example"], timeout="50ms", name="DNSBL")
    found = await lists.ask(make_session(resolver=dns), "connect", ips=[IP])
    assert [each.error for each in found.listings] == ["no answer in time", ""]
    assert found.points == 1


def test_a_list_that_has_two_names_of_one_counts_once() -> None:
    zone = Zone("dbl.example")
    found = Found([Listing(zone, "a.example", (), 1.0), Listing(zone, "example", (), 2.0)])
    assert found.points == 2
    assert Threshold(2, False, name="X").reply(found) is not None
    assert Threshold(2.5, False, name="X").reply(found) is None
    assert Threshold(0, True, name="X").reply(Found()) is None


@pytest.mark.parametrize("zones", [(), ("a.example", "A.example.")])
def test_no_list_and_one_twice_are_errors(zones: tuple[str, ...]) -> None:
    with pytest.raises(ConfigError, match="DNSBL"):
        Lists(zones, timeout="1s", name="DNSBL")
