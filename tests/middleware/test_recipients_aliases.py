"""Aliases: who gets the mail, what the client hears, and which tables are refused."""

from itertools import pairwise
from typing import Any

import pytest

from mailstack import ConfigError, Observe, Recipient, Reply, Server, Stack, hookimpl
from mailstack.middleware.recipients import Addresses, Aliases, Domains
from mailstack.testing import Dialog
from mailstack.testing.rehearsal import Script, rehearse

RELAY = (550, "5.7.1")


async def sent(recipients: list[str] | str, *stack: object, **options: Any) -> list[str]:
    """To whom it goes in the end."""
    async with Dialog(*stack, **options) as smtp:
        answer = await smtp.message("a@example.net", recipients)
        assert answer == 250, answer
        return smtp.messages[0].recipients


async def refused(recipient: str, *stack: object) -> tuple[int, str | None]:
    async with Dialog(*stack) as smtp:
        answer = await smtp.message("a@example.net", recipient)
        assert answer.code >= 400
        return answer.code, answer.status


TABLE = {
    "sales@example.org": "ann@example.org",
    "all@example.org": ["ann@example.org", "bob@example.net"],
    "everybody@example.org": "all@example.org, carl@example.org",
    "keep@example.org": ["keep@example.org", "archive@example.org"],
    "@old.example": "@example.org",
    "special@old.example": "dora@example.com",
    "@two.example": ["@example.org", "@example.net"],
    "@many.example": "catch@example.org",
    "@self.example": "all@self.example, more@self.example",
    "@bücher.example": "@xn--bcher-kva.example, archive@example.org",
    '"a: b"@example.org': '"c, d"@example.org, "e: f"@example.org',
    "moved@example.org": "@new.example",
    "literal@[192.0.2.1]": "x@[IPv6:2001:db8::1]",
    "postmaster": "ann@example.org",
}


@pytest.mark.parametrize(
    ("recipient", "targets"),
    [
        ("sales@example.org", ["ann@example.org"]),
        ("SALES@Example.ORG", ["ann@example.org"]),
        ("all@example.org", ["ann@example.org", "bob@example.net"]),
        ("everybody@example.org", ["ann@example.org", "bob@example.net", "carl@example.org"]),
        ("keep@example.org", ["keep@example.org", "archive@example.org"]),
        ("Any.Body@old.example", ["Any.Body@example.org"]),
        ("sales@old.example", ["ann@example.org"]),
        ("special@old.example", ["dora@example.com"]),
        ("all@two.example", ["ann@example.org", "bob@example.net", "all@example.net"]),
        ("any@many.example", ["catch@example.org"]),
        ("x@self.example", ["all@self.example", "more@self.example"]),
        ("all@self.example", ["all@self.example", "more@self.example"]),
        ("x@xn--bcher-kva.example", ["x@xn--bcher-kva.example", "archive@example.org"]),
        ('"a: b"@example.org', ['"c, d"@example.org', '"e: f"@example.org']),
        ("moved@example.org", ["moved@new.example"]),
        ("literal@[192.0.2.1]", ["x@[IPv6:2001:db8::1]"]),
        ("postmaster", ["ann@example.org"]),
        ("Postmaster@old.example", ["Postmaster@example.org"]),
    ],
)
async def test_mail_goes_where_the_alias_says(recipient: str, targets: list[str]) -> None:
    assert await sent(recipient, Aliases(TABLE)) == targets


@pytest.mark.parametrize("recipient", ["ann@example.org", "x@sub.old.example", "x%y@old.example", '"x@y"@many.example'])
async def test_what_has_no_alias_is_left_to_others(recipient: str) -> None:
    assert await refused(recipient, Aliases(TABLE)) == RELAY


async def test_a_star_is_every_local_part() -> None:
    async with Dialog(Aliases({"*@old.example": "*@new.example"})) as smtp:
        assert await smtp.message("a@example.net", ["ann@old.example"], "Subject: x\n\n") == 250
        assert [str(each) for each in smtp.messages[0].recipients] == ["ann@new.example"]


async def test_a_detail_is_dropped() -> None:
    aliases = Aliases({"sales@example.org": "ann@example.org", "a+b@example.org": "bob@example.org"}, separator="+")
    assert await sent("Sales+x@example.org", aliases) == ["ann@example.org"]
    assert await sent("a+b@example.org", aliases) == ["bob@example.org"]
    assert await refused("a+c@example.org", aliases) == RELAY


async def test_letter_case_counts_where_it_shall() -> None:
    aliases = Aliases(
        {"Sales@example.org": "ann@example.org", "sales@example.org": "bob@x.example"}, case_sensitive=True
    )
    assert await sent("Sales@example.org", aliases) == ["ann@example.org"]
    assert await sent("sales@EXAMPLE.org", aliases) == ["bob@x.example"]
    assert await refused("SALES@example.org", aliases) == RELAY


# What stands below.


async def test_each_target_is_judged_below_and_one_refusal_is_for_all() -> None:
    aliases = Aliases({"list@example.org": "ann@example.org, eve@example.org, bob@example.org"})
    everybody = Addresses("ann@example.org", "eve@example.org", "bob@example.org")
    assert await sent("list@example.org", aliases, everybody) == [
        f"{name}@example.org" for name in ("ann", "eve", "bob")
    ]
    assert await refused("list@example.org", aliases, Addresses("ann@example.org")) == (550, "5.1.1")
    assert await refused("x@old.example", Aliases(TABLE), Addresses("ann@example.org")) == (550, "5.1.1")


async def test_a_fault_below_is_451_for_all() -> None:
    class Broken:
        name = "broken"

        @hookimpl
        def rcpt(self, recipient: Recipient) -> None:
            if recipient.address.local == "bob":
                raise RuntimeError

    assert await refused("all@example.org", Aliases(TABLE), Broken()) == (451, "4.3.0")


async def test_what_stands_below_may_rewrite_and_expand_in_its_turn() -> None:
    below = Aliases({"ann@example.org": ["ann@example.com", "bob@example.net"], "bob@example.net": "x@example.net"})
    assert await sent("all@example.org", Aliases(TABLE), below) == ["ann@example.com", "x@example.net"]
    detail = Addresses("ann@example.org", "bob@example.org", separator="+", keep_detail=False)
    aliases = Aliases({"list@example.org": ["ann+list@example.org", "bob+list@example.org"]})
    assert await sent("list@example.org", aliases, detail) == ["ann@example.org", "bob@example.org"]


async def test_what_stands_above_sees_what_the_client_said() -> None:
    class Above:
        def __init__(self) -> None:
            self.seen: list[str] = []

        @hookimpl
        def rcpt(self, recipient: Recipient) -> None:
            self.seen.append(str(recipient))

    above = Above()
    assert len(await sent("all@example.org", above, Aliases(TABLE))) == 2
    assert above.seen == ["all@example.org"]


async def test_several_recipients_each_go_their_way_and_the_client_hears_of_its_own() -> None:
    async with Dialog(Aliases(TABLE), Domains("example.org"), lmtp=True) as smtp:
        answers = await smtp.deliver("a@example.net", ["all@example.org", "x@example.org", "sales@example.org"])
        assert [answer.code for answer in answers] == [250, 250, 250]
        assert smtp.messages[0].recipients == [
            "ann@example.org",
            "bob@example.net",
            "x@example.org",
            "ann@example.org",
        ]


async def test_it_is_a_verdict_of_the_entry_that_gave_it() -> None:
    async with Dialog(Aliases(TABLE), Addresses("bob@example.org")) as smtp:
        assert await smtp.message("a@example.net", "sales@example.org") == 550
        assert [(each.who, each.outcome) for each in smtp.evidence] == [("recipients#2", "refused")]


async def test_what_is_only_observed_changes_nobody() -> None:
    assert await sent("all@example.org", Observe(Aliases(TABLE)), Domains("example.org")) == ["all@example.org"]


async def test_a_rehearsal_shows_all_that_an_alias_becomes() -> None:
    server = Server(Stack(Aliases(TABLE), lambda message: None), [], hostname="mx.test")
    names = ("all@example.org", "sales@example.org", "sales@example.org")
    report = await rehearse(server, Script(sender="a@example.net", recipients=names))
    finals = ["ann@example.org, bob@example.net", "ann@example.org", "ann@example.org"]
    assert [each.final for each in report.recipients] == finals


# Tables that make no sense.


def chain(*names: str) -> dict[str, str]:
    return {f"{a}@x.example": f"{b}@x.example" for a, b in pairwise(names)}


@pytest.mark.parametrize(
    "table",
    [
        chain("a", "b", "a"),
        chain("a", "b", "c", "d", "b"),
        {"a@x.example": ["a@x.example", "b@x.example"], "b@x.example": "a@x.example"},
        {"@x.example": "@y.example", "@y.example": "@x.example"},
        {"@x.example": "one@y.example", "@y.example": "two@x.example"},
        {"@x.example": "@y.example", "bob@y.example": "bob@x.example"},
        {"@x.example": "@y.example", "@y.example": "@z.example", "bob@z.example": "@x.example"},
    ],
)
def test_a_cycle_is_found_when_it_is_read(table: dict[str, Any]) -> None:
    with pytest.raises(ConfigError, match=r"a cycle: .+ → .+"):
        Aliases(table)


@pytest.mark.parametrize(
    ("table", "words"),
    [
        ({}, "nothing in it"),
        ({"sales": "ann@example.org"}, "not a mail address"),
        ({"sales@example.org": "ann"}, "not a mail address"),
        ({"sales@example.org": ""}, "no alias"),
        ({"sales@example.org": []}, "no alias"),
        ({"sales@example.org": "ann@example.org,"}, "no alias"),
        ({"sales@example.org": ",ann@example.org"}, "no alias"),
        ({"sales@example.org": "ann@example.org bob@example.org"}, "not a mail address"),
        ({"sales@example.org": "|/bin/sh"}, "no"),
        ({"sales@example.org": "/etc/passwd"}, "no"),
        ({"sales@example.org": '"open@example.org'}, "no alias"),
        ({'"open@example.org': "ann@example.org"}, "no alias"),
        ({"a@example.org, b@example.org": "ann@example.org"}, "no alias"),
        ({"sales-*@example.org": "ann@example.org"}, "a star"),
        ({"@": "ann@example.org"}, "not a domain"),
        ({"@*.example.org": "ann@example.org"}, "not a domain"),
        ({"A@example.org": "x@example.org", "a@EXAMPLE.org": "y@example.org"}, "twice"),
        ({"list@example.org": [f"{number}@example.org" for number in range(101)]}, "101 targets"),
        (
            {"list@example.org": "@a.example, @b.example"}
            | {f"list@{d}.example": [f"{d}{number}@example.org" for number in range(60)] for d in "ab"},
            "120 targets",
        ),
    ],
)
def test_what_is_no_alias_is_told(table: dict[str, Any], words: str) -> None:
    with pytest.raises(ConfigError, match=words):
        Aliases(table)


def test_many_ways_to_the_same_targets_are_walked_once() -> None:
    table = {f"{n}{x}@example.org": [f"{n + 1}a@example.org", f"{n + 1}b@example.org"] for n in range(60) for x in "ab"}
    Aliases(table)


async def test_too_many_at_the_time_are_a_fault() -> None:
    table: dict[str, Any] = {"@x.example": "@a.example, @b.example"}
    table |= {f"list@{d}.example": [f"{d}{number}@example.org" for number in range(60)] for d in "ab"}
    assert await refused("list@x.example", Aliases(table)) == (451, "4.3.0")
    assert await sent("other@x.example", Aliases(table)) == ["other@a.example", "other@b.example"]


async def test_aliases_relay_for_nobody_else() -> None:
    class Never:
        @hookimpl
        def rcpt(self) -> Reply | None:
            return None

    assert await refused("x@elsewhere.example", Aliases(TABLE), Never()) == RELAY
