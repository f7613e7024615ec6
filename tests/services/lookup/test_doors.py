"""The doors of middleware: what a list of domains, addresses, networks or words holds, and which keys sources hear."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from functools import partial
from ipaddress import ip_address, ip_network
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mailstack import Address, ConfigError, lookup, option
from mailstack.middleware import recipients
from mailstack.services.lookup import Door, Unavailable
from mailstack.services.lookup.networks import NetworkTable
from mailstack.testing import Dialog


class Heard:
    """A source that notes what it is asked. open -- how often it is."""

    def __init__(self, **entries: str) -> None:
        self.entries = entries
        self.keys: list[str] = []
        self.open = 0

    @asynccontextmanager
    async def opened(self) -> AsyncIterator[None]:
        self.open += 1
        yield
        self.open -= 1

    async def find(self, key: str) -> str | None:
        self.keys.append(key)
        return self.entries.get(key)


def address(text: str) -> Address:
    return Address.parse(text) if text else Address.NULL


# What is written and what files hold.

ADDRESSES: dict[str, str] = {
    "ann@example.org": "whole",
    "Ann@EXAMPLE.org": "whole",
    "bob@example.org": "domain",
    "bob@sub.example.org": "parent",
    "bob@a.b.sub.example.org": "parent",
    "list-x@example.org": "expression",
    "list-x@sub.example.org": "parent",
    "postmaster@other.example": "user",
    "postmaster@example.org": "user",
    "a@alias.example": "at",
    "": "null",
    "postmaster": "bare",
    "a@xn--bcher-kva.example": "unicode",
    "a@[192.0.2.1]": "literal",
}


def test_the_most_specific_key_of_an_address_counts(tmp_path: Path) -> None:
    (tmp_path / "list").write_text(
        "<> null\nexample.org domain\n.example.org parent\nann@example.org whole\n/list-.*@example\\.org/ expression\n"
    )
    rest = {"@alias.example": "at", "Postmaster@": "user", "postmaster": "bare", "bücher.example": "unicode"}
    door = lookup.addresses(lookup.File(tmp_path / "list"), rest, {"[192.0.2.1]": "literal"}, name="T", parse=str)
    assert not door.waits
    assert {each: door.find_now(address(each)) for each in ADDRESSES} == ADDRESSES
    for strange in ("x@org", "x@notexample.org", "annx@example.net", "x@[192.0.2.2]"):
        assert door.find_now(Address(*strange.split("@"))) is None


async def test_an_address_is_asked_for_from_the_whole_to_the_parents() -> None:
    heard = Heard()
    door = lookup.addresses(heard, {"example.org": "held"}, name="T", parse=str)
    assert door.waits
    assert await door.find(address("Ann@Mail.Example.COM")) is None
    assert heard.keys == ["ann@mail.example.com", "ann@", "mail.example.com", ".example.com", ".com"]
    heard.keys.clear()
    assert await door.find(address("ann@example.org")) == "held"
    assert heard.keys == ["ann@example.org", "ann@"]
    heard.entries["ann@"] = "user"
    assert await door.find(address("ann@example.org")) == "user"
    heard.keys.clear()
    for each in ("", "postmaster", '"a b"@[192.0.2.1]'):
        await door.find(address(each))
    assert heard.keys == ["<>", "postmaster", '"a b"@[192.0.2.1]', '"a b"@', "[192.0.2.1]"]


async def test_letter_case_of_local_parts_counts_if_wanted() -> None:
    heard = Heard()
    door = lookup.addresses(heard, "Ann@example.org", name="T", case=True, whole=True)
    assert await door.find(address("Ann@example.org")) == ""
    assert await door.find(address("aNN@example.org")) is None
    assert heard.keys == ["aNN@example.org"]
    with pytest.raises(ConfigError, match="is not a mail address"):
        lookup.addresses("example.org", name="T", whole=True)


async def test_a_name_with_very_many_labels_makes_few_questions() -> None:
    heard = Heard()
    name = ".".join("a" * 120) + ".example.org"
    assert await lookup.domains(heard, name="T").find(name) is None
    assert len(heard.keys) == 11
    assert (heard.keys[0], heard.keys[-2:]) == (name, [".example.org", ".org"])
    assert lookup.domains(f".{name[2:]}", name="T").find_now(name) == ""


async def test_an_address_of_a_machine_is_asked_for_with_the_networks_around_it() -> None:
    heard = Heard()
    door = lookup.networks(heard, {"192.0.0.0/15": "fifteen", "192.0.2.0/25": "twenty-five"}, name="T", parse=str)
    assert await door.find(ip_address("192.0.2.200")) == "fifteen"
    assert await door.find(ip_address("192.0.2.1")) == "twenty-five"
    assert await door.find(ip_address("2001:db8:1:2:3::4")) is None
    assert heard.keys == [
        *("192.0.2.200", "192.0.2.0/24", "192.0.0.0/16"),
        "192.0.2.1",
        *("2001:db8:1:2:3::4", "2001:db8:1:2::/64", "2001:db8:1::/56", "2001:db8:1::/48", "2001:db8::/32"),
    ]


async def test_not_in_it_means_in_no_way() -> None:
    strangers = lookup.Not("example.org", ".example.org", value="stranger")
    door = lookup.domains(strangers, name="T", parse=str)
    wanted = {"example.org": None, "a.b.example.org": None, "org": "stranger", "example.net": "stranger"}
    assert {each: door.find_now(each) for each in wanted} == wanted
    heard = Heard(**{".example.org": ""})
    waits = lookup.domains("first.example", lookup.Not(heard), name="T")
    assert waits.waits
    assert [await waits.find(each) for each in ("a.example.org", "first.example", "a.b")] == [None, "", ""]
    assert heard.keys == ["a.example.org", ".example.org", "a.b", ".b"]
    async with waits.opened():
        assert heard.open == 1
    assert heard.open == 0


@pytest.mark.parametrize(
    ("make", "line", "words"),
    [
        (lookup.domains, "a.example b.example", "are several"),
        (lookup.domains, "a.example,b.example", "is not a domain"),
        (lookup.domains, "user@a.example", "is not a domain"),
        (lookup.addresses, "a@a.example b@a.example", "are several"),
        (lookup.addresses, "a@@b", "is not a mail address"),
        (lookup.networks, "192.0.2.1 192.0.2.2", "are several"),
        (lookup.networks, "192.0.2.1/24", "bits set"),
        (lookup.words, "one two", "are several"),
    ],
)
def test_a_line_that_is_wrong_is_told_with_its_place(make: Any, line: str, words: str, tmp_path: Path) -> None:
    (tmp_path / "list").write_text(f"# one\n\n{line}\n")
    with pytest.raises(ConfigError, match=words) as raised:
        make(lookup.File(tmp_path / "list"), name="Test")
    assert (raised.value.file, raised.value.line) == (str(tmp_path / "list"), 3)


def test_a_value_that_nobody_wants_may_stand_there(tmp_path: Path) -> None:
    (tmp_path / "list").write_text("example.org 50M ours\nexample.net OK\n")
    assert lookup.domains(lookup.File(tmp_path / "list"), name="T").find_now("example.org") == ""


def test_words_are_words(tmp_path: Path) -> None:
    (tmp_path / "list").write_text("LocalHost\n")
    door = lookup.words("friend", lookup.File(tmp_path / "list"), name="T")
    assert [door.find_now(each) for each in ("localhost", "FRIEND", "x", "")] == ["", "", None, None]


# Settings.


async def test_a_setting_has_a_default_and_its_values_are_parsed() -> None:
    size: lookup.Setting[int] = lookup.Setting(
        {"example.org": "50M", "ann@example.org": "1k"}, parse=option.size, default=7, name="Size"
    )
    assert [size.of_now(address(each)) for each in ("ann@example.org", "b@example.org", "")] == [1024, 50 << 20, 7]
    with pytest.raises(ConfigError, match="is not a size"):
        lookup.Setting({"example.org": "much"}, parse=partial(option.size, name="Size"), default=7, name="Size")
    asked: lookup.Setting[int] = lookup.Setting(Heard(bad="much"), parse=option.size, default=7, name="Size")
    assert await asked.of(address("x@good")) == 7
    with pytest.raises(Unavailable, match="Size: a value that makes no sense"):
        await asked.of(address("x@bad"))


# In middleware.


def hooks(entry: object) -> set[str]:
    return {each for each in ("rcpt", "lifespan") if each in vars(entry)}


async def test_a_check_of_lists_stays_plain_and_has_nothing_to_open(tmp_path: Path) -> None:
    (tmp_path / "list").write_text("example.org\n")
    assert hooks(recipients.Domains("example.net", lookup.File(tmp_path / "list"), lookup.Regexps("/x/"))) == set()
    assert hooks(recipients.Domains(Heard())) == {"rcpt", "lifespan"}
    assert hooks(recipients.Domains(lookup.HTTPFile("https://list.example/"))) == {"lifespan"}


MIDDLEWARE: dict[str, Any] = {
    "Domains": recipients.Domains,
    "Addresses": recipients.Addresses,
    "Users": lambda source: recipients.Users("example.org", known=source),
    "Aliases": lambda source: (recipients.Aliases(source), recipients.Domains("target.example")),
}


@pytest.mark.parametrize("kind", MIDDLEWARE)
async def test_a_lookup_that_waits_vouches_and_one_that_cannot_say_defers(kind: str) -> None:
    entries = {
        "Domains": {".example.org": ""},
        "Aliases": {"ann@sub.example.org": "bob@target.example, c@target.example"},
    }
    heard = Heard(**entries.get(kind, {"ann@sub.example.org": "", "ann@example.org": ""}))

    async def dead(key: str) -> str:
        raise ConnectionRefusedError

    ours = "ann@example.org" if kind == "Users" else "ann@sub.example.org"
    for source, code in ((heard, 250), (lookup.Function(dead), 451)):
        entry = MIDDLEWARE[kind](source)
        async with Dialog(*entry) if isinstance(entry, tuple) else Dialog(entry) as smtp:
            await smtp.say("EHLO client.example.net")
            await smtp.say("MAIL FROM:<a@example.net>")
            assert await smtp.say(f"RCPT TO:<{ours}>") == code
            unknown = await smtp.say("RCPT TO:<nobody@example.org>")
            assert unknown == (550 if code == 250 else 451)
            assert heard.open == (1 if code == 250 else 0)
            # A route to elsewhere is nobody's here, whatever a database says.
            assert (await smtp.say("RCPT TO:<a%b.example@sub.example.org>")).code in (550, 451)
    assert heard.open == 0


async def test_users_are_asked_for_by_address_and_by_name() -> None:
    heard = Heard(bob="")
    async with Dialog(recipients.Users("example.org", known=[heard, "ann"], separator="+")) as smtp:
        await smtp.say("EHLO client.example.net")
        await smtp.say("MAIL FROM:<a@example.net>")
        codes = [(await smtp.say(f"RCPT TO:<{each}@example.org>")).code for each in ("Ann", "Bob+list", "eve")]
    assert codes == [250, 250, 550]
    asked = ["ann@example.org", "bob+list@example.org", "bob+list", "bob@example.org", "bob", "eve@example.org", "eve"]
    assert heard.keys == asked


@pytest.mark.parametrize("targets", ["", "no address", ", ".join(f"u{n}@target.example" for n in range(101))])
async def test_targets_of_a_database_that_make_no_sense_are_451(targets: str) -> None:
    async with Dialog(recipients.Aliases(Heard(**{"ann@example.org": targets}))) as smtp:
        await smtp.say("EHLO client.example.net")
        await smtp.say("MAIL FROM:<a@example.net>")
        assert await smtp.say("RCPT TO:<ann@example.org>") == 451


# Tables of networks.


@given(
    st.lists(st.tuples(st.integers(0, 255), st.integers(0, 8), st.sampled_from(["allow", "deny"])), max_size=30),
    st.integers(0, 255),
)
def test_a_question_finds_what_a_search_through_all_would(rules: list[tuple[int, int, str]], last: int) -> None:
    table: NetworkTable[str] = NetworkTable()
    written: dict[Any, str] = {}
    for octet, length, verdict in rules:
        network = ip_network(f"192.0.2.{octet}/{24 + length}", strict=False)
        if network not in written:
            written[network] = verdict
            table.add(network, verdict)
    asked = ip_address(f"192.0.2.{last}")
    around = [network for network in written if asked in network]
    wanted = written[max(around, key=lambda network: network.prefixlen)] if around else None
    assert table.find(asked) == wanted
    assert next((held for held, _ in table.steps(asked) if held is not None), None) == wanted
    assert {*table} == {*written}


def test_a_hundred_thousand_networks_are_as_quick_as_a_few() -> None:
    """Steps are counted, not seconds: one for each length of prefix."""
    table: NetworkTable[str] = NetworkTable()
    for number in range(100_000):
        table.add(ip_network((number << 8, 24)), "deny")
    assert len(table._by_length[4]) == 1
    assert table.find(ip_address("0.1.0.9")) == "deny"
    assert table.find(ip_address("2001:db8::1")) is None


def test_doors_take_each_other_s_kinds_of_text_and_nothing_else() -> None:
    door: Door[Any, str] = lookup.networks(ip_network("10.0.0.0/8"), [ip_address("192.0.2.1")], {"::1"}, name="T")
    assert [door.find_now(ip_address(each)) for each in ("10.1.1.1", "192.0.2.1", "::1", "::2")] == ["", "", "", None]
    with pytest.raises(ConfigError, match="is no list"):
        lookup.networks(7, name="T")
