"""Who vouches for which recipient, and who is told that there is no such mailbox."""

import pytest

from mailstack import ConfigError, Recipient, hookimpl
from mailstack.middleware.recipients import Addresses, Domains
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
    with pytest.raises(ConfigError, match="no domains"):
        Domains()
    with pytest.raises(ConfigError, match="no addresses"):
        Addresses()


@pytest.mark.parametrize("address", ["example.org", "@example.org", "a@b@c", "", "<>", "postmaster", ".example.org"])
def test_what_is_no_address_is_refused(address: str) -> None:
    with pytest.raises(ConfigError, match="Addresses"):
        Addresses(address)
