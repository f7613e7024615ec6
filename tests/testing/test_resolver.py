"""The DNS that is a table."""

from __future__ import annotations

import ipaddress

import pytest
from anyio import create_task_group

from mailstack.services.resolver import MX, DNSBudget, NoRecords, NoSuchName, Temporary
from mailstack.testing import SERVFAIL, TIMEOUT, FakeResolver
from mailstack.testing.message import make_session

TABLE = {
    "Example.org": {
        "A": ["192.0.2.7", "192.0.2.8"],
        "MX": ["20 mx2.example.org", "10 MX1.example.org."],
        "TXT": "v=spf1 -all",
    },
    "www.example.org": {"CNAME": "example.org"},
    "loop.example": {"CNAME": "loop.example"},
    "192.0.2.7": "mail.example.org",
    "2001:db8::7": {"PTR": ["six.example.org"]},
    "_25._tcp.mx1.example.org": {"TLSA": "3 1 1 " + "ab" * 32},
    "bad.example": SERVFAIL,
    "half.example": {"A": TIMEOUT, "MX": "0 .", "TXT": [b"\xff", "two"]},
}


async def test_records_are_what_the_resolver_gives() -> None:
    fake = FakeResolver(TABLE)
    assert [str(ip) for ip in await fake.a("example.org")] == ["192.0.2.7", "192.0.2.8"]
    assert (await fake.mx("example.org")).records == (MX(10, "mx1.example.org"), MX(20, "mx2.example.org"))
    assert (await fake.txt("example.org")).records == (b"v=spf1 -all",)
    assert (await fake.a("WWW.example.org.")).canonical == "example.org"
    assert (await fake.ptr("192.0.2.7")).records == ("mail.example.org",)
    assert (await fake.ptr(ipaddress.ip_address("2001:db8::7"))).records == ("six.example.org",)
    assert (await fake.query("_25._tcp.mx1.example.org", "TLSA")).records[0].usage == 3
    assert (await fake.mx("half.example")).records == (MX(0, ""),)
    assert (await fake.txt("half.example")).records == (b"\xff", b"two")
    assert not (await fake.a("example.org")).secure
    assert (await FakeResolver(TABLE, secure=True).a("example.org")).secure


async def test_what_is_not_there_and_what_fails_are_told_apart() -> None:
    fake = FakeResolver(TABLE)
    with pytest.raises(NoSuchName):
        await fake.a("other.example")
    with pytest.raises(NoRecords):
        await fake.aaaa("example.org")
    with pytest.raises(Temporary, match="SERVFAIL"):
        await fake.txt("bad.example")
    with pytest.raises(Temporary, match="in time"):
        await fake.a("half.example")
    with pytest.raises(Temporary, match="CNAME"):
        await fake.a("loop.example")


async def test_every_question_is_seen() -> None:
    fake = FakeResolver(TABLE)
    for _ in range(2):
        await fake.a("example.ORG")
    assert fake.asked == [("example.org", "A")] * 2


async def test_a_question_can_be_held() -> None:
    fake, got = FakeResolver(TABLE), []
    held = fake.hold("example.org")

    async def ask() -> None:
        got.append(await fake.a("example.org"))

    async with create_task_group() as group:
        group.start_soon(ask)
        await held.asked.wait()
        assert got == []
        held.release()
    assert len(got) == 1


async def test_a_session_made_by_hand_has_a_resolver_with_a_budget() -> None:
    session = make_session(resolver=FakeResolver(TABLE, session_queries=1), client_name="mail.example.org")
    assert session.client_name == "mail.example.org"
    assert await session.resolver.a("example.org")
    with pytest.raises(DNSBudget):
        await session.resolver.a("example.org")
    with pytest.raises(NoSuchName):
        await make_session().resolver.a("example.org")


@pytest.mark.parametrize(
    "table",
    [
        {"a..b": "x.example"},
        {"example.org": {"A": "no address"}},
        {"example.org": {"NONSENSE": "x"}},
        {"example.org": {"MX": "mx.example.org"}},
    ],
)
def test_a_table_with_a_mistake_is_told(table: dict[str, object]) -> None:
    with pytest.raises(ValueError):
        FakeResolver(table)
