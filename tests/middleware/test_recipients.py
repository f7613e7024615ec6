"""Who vouches for which recipient, and who is told that there is no such mailbox."""

import logging
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from anyio.lowlevel import checkpoint

from mailstack import ConfigError, Recipient, hookimpl, lookup
from mailstack.handlers.maildir import Maildir
from mailstack.middleware import recipients
from mailstack.middleware.recipients import Addresses, Domains, Users
from mailstack.testing import Answer, Dialog
from mailstack.wire.address import Address

TAKEN, RELAY, UNKNOWN = (250, "2.1.5"), (550, "5.7.1"), (550, "5.1.1")


async def ask(recipient: str, *stack: object) -> tuple[int, str | None]:
    """What RCPT is answered."""
    answer = (await ask_all([recipient], *stack))[0]
    return answer.code, answer.status


async def ask_all(recipients: list[str], *stack: object) -> list[Answer]:
    async with Dialog(*stack) as smtp:
        assert await smtp.say("EHLO me") == 250
        assert await smtp.say("MAIL FROM:<a@example.net> SMTPUTF8") == 250
        return [await smtp.say(f"RCPT TO:<{recipient}>") for recipient in recipients]


DOMAINS = [
    ("example.org", "b@example.org", TAKEN),
    ("example.org", "B@EXAMPLE.ORG", TAKEN),
    ("Example.ORG.", "b@example.org", TAKEN),
    ("example.org", "b@sub.example.org", RELAY),
    ("example.org", "b@badexample.org", RELAY),
    ("example.org", "b@example.org.evil.example", RELAY),
    ("example.org", "@example.org:b@evil.example", RELAY),
    ("example.org", "b%evil.example@example.com", RELAY),
    ("example.org", '"b@example.org"@evil.example', RELAY),
    (".example.org", "b@sub.example.org", TAKEN),
    (".example.org", "b@a.b.example.org", TAKEN),
    (".example.org", "b@example.org", RELAY),
    (".example.org", "b@badexample.org", RELAY),
    ("bücher.example", "b@xn--bcher-kva.example", TAKEN),
    ("xn--bcher-kva.example", "b@BÜCHER.example", TAKEN),
    (".bücher.example", "b@mx.bücher.example", TAKEN),
    ("[192.0.2.1]", "b@[192.0.2.1]", TAKEN),
    ("[192.0.2.1]", "b@[192.0.2.2]", RELAY),
    ("[IPv6:2001:DB8:0::1]", "b@[ipv6:2001:db8::1]", TAKEN),
    ("example.org", "b@[192.0.2.2]", RELAY),
    ("example.org", "postmaster@example.org", TAKEN),
    ("example.org", "Abuse@example.org", TAKEN),
    ("example.org", "postmaster@example.com", RELAY),
    ("example.org", "Postmaster", TAKEN),
]


@pytest.mark.parametrize(("domain", "recipient", "answer"), DOMAINS)
async def test_a_domain_takes_what_is_addressed_to_it(domain: str, recipient: str, answer: tuple[int, str]) -> None:
    assert await ask(recipient, Domains(domain)) == answer


ADDRESSES = [
    ("alice@example.org", TAKEN),
    ("ALICE@Example.ORG", TAKEN),
    ('"alice"@example.org', TAKEN),
    ("bob@example.org", UNKNOWN),
    ("alice+lists@example.org", UNKNOWN),
    ("alice@sub.example.org", RELAY),
    ("alice@example.com", RELAY),
    ("jörg@bücher.example", TAKEN),
    ("jörg@xn--bcher-kva.example", TAKEN),
    ("JÖRG@bücher.example", TAKEN),
    ("alice@bücher.example", UNKNOWN),
    ("postmaster@example.org", TAKEN),
    ("aBuse@bücher.example", TAKEN),
    ("abuse@example.com", RELAY),
    ("postmaster", TAKEN),
]


@pytest.mark.parametrize(("recipient", "answer"), ADDRESSES)
async def test_only_those_who_are_known_are_taken(recipient: str, answer: tuple[int, str]) -> None:
    assert await ask(recipient, Addresses("alice@example.org", "<Jörg@bücher.example>")) == answer


@pytest.mark.parametrize(
    ("recipient", "answer"),
    [
        ("alice+lists@example.org", TAKEN),
        ("Alice+a+b@example.org", TAKEN),
        ("alice+@example.org", TAKEN),
        ("bob+x@example.org", UNKNOWN),
        ("+alice@example.org", UNKNOWN),
        ("a+b@example.org", TAKEN),
        ("a+c@example.org", UNKNOWN),
        ("alice@example.org", TAKEN),
    ],
)
async def test_a_detail_after_the_separator_is_the_users(recipient: str, answer: tuple[int, str]) -> None:
    assert await ask(recipient, Addresses("alice@example.org", "a+b@example.org", separator="+")) == answer


async def test_a_refusal_stands_though_the_domain_is_ours() -> None:
    assert await ask("eve@example.org", Domains("example.org"), Addresses("alice@example.org")) == UNKNOWN
    assert await ask("alice@example.org", Domains("example.org"), Addresses("alice@example.org")) == TAKEN


async def test_several_entries_each_vouch_for_their_own() -> None:
    stack = (Addresses("alice@example.org"), Domains("example.net", ".example.net"))
    answers = await ask_all(["alice@example.org", "x@example.net", "x@mx.example.net", "x@example.com"], *stack)
    assert [answer.code for answer in answers] == [250, 250, 250, 550]


async def test_the_address_counts_as_it_stands_after_rewriting() -> None:
    class Rewrite:
        @hookimpl
        def rcpt(self, recipient: Recipient) -> None:
            recipient.rewrite(Address("alice", "example.org"))

    assert await ask("x@example.com", Rewrite(), Addresses("alice@example.org")) == TAKEN


@pytest.mark.parametrize("domain", ["user@example.org", "", ".", "*.example.org", "[nonsense]", "exa mple", "_x.org"])
def test_what_is_no_domain_is_refused(domain: str) -> None:
    with pytest.raises(ConfigError, match="Domains"):
        Domains(domain)


def test_an_empty_list_is_a_mistake() -> None:
    with pytest.raises(ConfigError, match="nothing in it"):
        Domains()
    with pytest.raises(ConfigError, match="nothing in it"):
        Addresses()


@pytest.mark.parametrize("address", ["example.org", "@example.org", "a@b@c", "", "<>", "postmaster", ".example.org"])
def test_what_is_no_address_is_refused(address: str) -> None:
    with pytest.raises(ConfigError, match="Addresses"):
        Addresses(address)


# Local parts that are routes (RFC 5321 appendix C, F.2).

ROUTED = [
    "user%elsewhere.example@example.org",
    "%@example.org",
    "elsewhere.example!user@example.org",
    "a!b!c@example.org",
    '"user@elsewhere.example"@example.org',
    '"user%elsewhere.example"@example.org',
]


@pytest.mark.parametrize("recipient", ROUTED)
async def test_a_route_is_no_address_of_ours(recipient: str) -> None:
    assert await ask(recipient, Domains("example.org")) == RELAY
    assert await ask(recipient, Addresses("/.*@example\\.org/")) == RELAY
    assert await ask(recipient, Addresses("ann@example.org")) == UNKNOWN
    assert await ask(recipient, Domains("example.org", routed=True)) == TAKEN
    assert await ask(recipient, Addresses(recipient)) == TAKEN


@pytest.mark.parametrize(
    ("path", "code"),
    [
        ("<@elsewhere.example,@other.example:b@example.org>", 250),  # a source route is dropped
        ("<@example.org:b@elsewhere.example>", 550),
        ("<@example.org,b@example.org>", 501),
        ("<@example.org:@elsewhere.example:b@example.org>", 501),
        ("<b@example.org@elsewhere.example>", 501),
        ("<b@elsewhere.example@example.org>", 501),
        ("<b@[192.0.2.1]>", 550),
        ("<b@[example.org]>", 501),
        ("<b@example.org.>", 501),
        ("<b.@example.org>", 501),
        ("<.b@example.org>", 501),
        ("<b@.example.org>", 501),
        ("<b@example..org>", 501),
        ("<b(comment)@example.org>", 501),
        (f"<{'x' * 64}@example.org>", 250),
        (f"<{'x' * 65}@example.org>", 501),
        (f'<"{"x" * 63}"@example.org>', 250),
        (f"<b@{'x.' * 130}example.org>", 501),
        ("<b@example.org> <c@elsewhere.example>", 501),
        ("<b@example.org>\rRCPT TO:<c@elsewhere.example>", 501),
        ('<"b\rX-Header: yes"@example.org>', 501),
        ('<"b\\\rX-Header: yes"@example.org>', 501),
        ("<b\0@example.org>", 501),
        ("<b@example.org\0.elsewhere.example>", 501),
        ("<b@example.org\t>", 501),
        ("<>", 501),
        ("<abuse>", 501),
    ],
)
async def test_what_is_no_plain_address_of_ours_does_not_get_in(path: str, code: int) -> None:
    async with Dialog(Domains("example.org")) as smtp:
        for command in ("EHLO me", "MAIL FROM:<a@example.net>"):
            assert await smtp.say(command) == 250
        answer = await smtp.say(f"RCPT TO:{path}")
        assert answer.code in ((500, 501) if code == 501 else (code,)), answer


async def test_a_recipient_cannot_write_header_fields() -> None:
    async with Dialog(Domains("example.org")) as smtp:
        assert await smtp.message("a@example.net", '"b X-Evil: yes"@example.org') == 250
        [delivery] = smtp.messages
        assert b"\nX-Evil" not in delivery.content
        assert delivery.recipients == ['"b X-Evil: yes"@example.org']


# Expressions.


@pytest.mark.parametrize(
    ("recipient", "answer"),
    [
        ("sales-list@example.org", TAKEN),
        ("SALES-LIST@Example.Org", TAKEN),
        ("sales-list@example.org.elsewhere.example", RELAY),
        ("x@elsewhere.example", RELAY),
        ("sales-list@example.net", UNKNOWN),
        ("x@example.org", RELAY),  # no whole address is listed there, so nobody says that it is unknown
        ("ann@example.net", TAKEN),
        ("bob@example.net", UNKNOWN),
    ],
)
async def test_an_expression_must_match_the_whole_address(recipient: str, answer: tuple[int, str]) -> None:
    assert await ask(recipient, Addresses("/[a-z]+-list@example\\.org/", "ann@example.net")) == answer


async def test_letter_case_counts_where_it_shall() -> None:
    entry = Addresses("Ann@example.org", "/[a-z]+-list@example\\.org/", case_sensitive=True)
    assert await ask("Ann@EXAMPLE.org", entry) == TAKEN
    assert await ask("ann@example.org", entry) == UNKNOWN
    assert await ask("a-list@example.org", entry) == TAKEN
    assert await ask("A-list@example.org", entry) == UNKNOWN


# What mail is delivered to.


async def delivered(recipient: str, *stack: object) -> list[str]:
    async with Dialog(*stack) as smtp:
        assert await smtp.message("a@example.net", recipient) == 250
        return smtp.messages[0].recipients


async def test_the_detail_stays_or_goes() -> None:
    plus = "Ann+lists@example.org"
    assert await delivered(plus, Addresses("ann@example.org", separator="+")) == [plus]
    assert await delivered(plus, Addresses("ann@example.org", separator="+", keep_detail=False)) == ["Ann@example.org"]
    users = Users("example.org", known=["ann"], separator="+", keep_detail=False)
    assert await delivered(plus, users) == ["Ann@example.org"]
    assert await delivered("abuse+x@example.org", users) == ["abuse@example.org"]


async def test_a_catch_all_gets_what_is_for_nobody() -> None:
    for entry in (
        Addresses("ann@example.org", catch_all="all@example.net"),
        Users("example.org", known=["ann"], catch_all="all@example.net"),
    ):
        assert await delivered("eve@example.org", entry) == ["all@example.net"]
        assert await delivered("ann@example.org", entry) == ["ann@example.org"]
        assert await delivered("postmaster@example.org", entry) == ["postmaster@example.org"]
        assert await delivered("user%elsewhere.example@example.org", entry) == ["all@example.net"]
        assert await ask("eve@example.com", entry) == RELAY


# Users.


@pytest.mark.parametrize(
    ("recipient", "answer"),
    [
        ("ann@example.org", TAKEN),
        ("ANN@mx.example.net", TAKEN),
        ("ann@example.net", RELAY),
        ("eve@example.org", UNKNOWN),
        ("a b@example.org", (501, "5.1.3")),
        ('"a b"@example.org', TAKEN),
        ("jörg@example.org", TAKEN),
        ("abuse@mx.example.net", TAKEN),
    ],
)
async def test_users_exist_at_all_the_domains(recipient: str, answer: tuple[int, str]) -> None:
    assert await ask(recipient, Users("example.org", ".example.net", known=["ann", '"a b"', "Jörg"])) == answer


async def test_a_function_may_say_who_exists() -> None:
    async def slow(address: Address) -> bool:
        await checkpoint()
        return address.local == "ann"

    for known in (lambda address: address.local == "ann", slow):
        assert await ask("ann@example.org", Users("example.org", known=known)) == TAKEN
        assert await ask("Ann@example.org", Users("example.org", known=known)) == UNKNOWN


@pytest.mark.parametrize("known", [lambda address: 1 // 0, lambda address: None])
async def test_who_cannot_say_makes_nobody_unknown(known: Callable[[Address], bool]) -> None:
    assert await ask("ann@example.org", Users("example.org", known=known)) == (451, "4.3.0")
    assert await ask("abuse@example.org", Users("example.org", known=known)) == TAKEN
    assert await ask("ann@example.com", Users("example.org", known=known)) == RELAY


async def test_a_user_exists_when_his_maildir_does(tmp_path: Path) -> None:
    mail = Maildir(tmp_path / "{domain}" / "{local}")
    users = Users("example.org", "example.net", known=recipients.folder(mail.folder_of), separator="+")
    (tmp_path / "example.org" / "ann").mkdir(parents=True)
    (tmp_path / "example.org" / "file").write_text("")
    assert await ask("Ann+lists@example.org", users) == TAKEN
    for unknown in ("eve", '"../example.org/ann"', '".."', '"."', "file"):
        assert await ask(f"{unknown}@example.org", users) == UNKNOWN
    # A disk that is not there is no empty village.
    assert await ask("ann@example.net", users) == (451, "4.3.0")


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"known": []}, "nothing in it"),
        ({"known": "ann"}, "one name"),
        ({"known": ["ann bob"]}, "not a mail address"),
        ({"known": ["ann"], "catch_all": "all"}, "catch_all"),
        ({"known": ["ann"], "separator": None}, "separator"),
    ],
)
def test_users_that_make_no_sense_are_told(options: dict[str, Any], words: str) -> None:
    with pytest.raises(ConfigError, match=words):
        Users("example.org", **options)


def test_users_need_a_domain() -> None:
    with pytest.raises(ConfigError, match="Users: there is nothing in it"):
        Users(known=["ann"])


# What the log tells of a refusal.


async def test_the_line_of_a_refusal_tells_who_was_asked_for_this_recipient_and_what_came_back(
    caplog: pytest.LogCaptureFixture,
) -> None:
    async def known(name: str) -> str | None:
        if name == "down":
            raise lookup.Unavailable("the database is down")
        return "" if name == "ann" else None

    caplog.set_level(logging.INFO, "mailstack")
    async with Dialog(Users("example.org", known=lookup.Function(known))) as smtp:
        await smtp.say("EHLO me")
        await smtp.say("MAIL FROM:<a@example.net>")
        for local, code in (("ann", 250), ("eve", 550), ("down", 451)):
            assert await smtp.say(f"RCPT TO:<{local}@example.org>") == code
        noted = [finding.detail for finding in smtp.evidence if finding.outcome == "noted"]
    unknown, down = (line for each in caplog.records if (line := each.getMessage()).startswith("refused "))
    seconds = r"\(Function, 0\.\d{3} s\)"
    assert re.search(rf'because="eve@example.org: not found {seconds}"', unknown)
    assert re.search(rf'because="down@example.org: the database is down {seconds}"', down)
    assert re.fullmatch(rf"ann@example.org: found {seconds}", noted[0])
