"""Who may relay, who may not, and what becomes of those who try."""

import pytest

from mailstack import ConfigError, Observe, Recipient, Reply, When, hookimpl, predicate
from mailstack.middleware import recipients, relay
from mailstack.testing import Dialog
from mailstack.testing.message import make_recipient, make_session

DENIED = (550, "5.7.1", "relaying denied")
ELSEWHERE = "b@elsewhere.example"


async def rcpt(client: str, *stack: object, to: str = ELSEWHERE) -> tuple[int, str | None, str]:
    async with Dialog(*stack, client=client) as smtp:
        for command in ("EHLO me", "MAIL FROM:<a@example.net>"):
            assert await smtp.say(command) == 250
        answer = await smtp.say(f"RCPT TO:<{to}>")
        return answer.code, answer.status, answer.text


NETWORKS = ("192.0.1.0/24", "198.51.100.7", "fdda:b13d:e431:ae06::/64")
CLIENTS = [
    ("192.0.1.0", True),
    ("192.0.1.1", True),
    ("192.0.1.255", True),
    ("192.0.0.255", False),
    ("192.0.2.0", False),
    ("192.51.1.1", False),
    ("198.51.100.7", True),
    ("198.51.100.8", False),
    ("fdda:b13d:e431:ae06::", True),
    ("fdda:b13d:e431:ae06:a1:b2:c3:d4", True),
    ("fdda:b13d:e431:ae07::1", False),
    ("::1", False),
    ("127.0.0.1", False),
    ("::ffff:c000:101", False),  # the transport undresses mapped addresses, so that none comes here
    # Holes.
    ("192.0.1.99", False),
    ("192.0.1.129", False),
    ("192.0.1.127", True),
    ("fdda:b13d:e431:ae06::bad", False),
]
HOLES = ("192.0.1.99", "192.0.1.128/30", "fdda:b13d:e431:ae06::bad")


@pytest.mark.parametrize(("client", "may"), CLIENTS)
def test_a_client_in_the_networks_and_in_no_hole_may_relay(client: str, may: bool) -> None:
    entry = relay.Relay(*NETWORKS, norelay=HOLES)
    session = make_session(client, sender="a@example.net")
    recipient = make_recipient(ELSEWHERE, session)
    assert entry.rcpt(session, recipient) is None
    assert recipient.accepted is may


async def test_it_vouches_and_says_no_more() -> None:
    class Strict:
        @hookimpl
        def rcpt(self, recipient: Recipient) -> Reply | None:
            return Reply(550, "not him") if recipient.address.local == "c" else None

    stack = (relay.Relay("192.0.2.0/24"), Strict())
    assert (await rcpt("192.0.2.1", *stack))[0] == 250
    assert (await rcpt("192.0.2.1", *stack, to="c@elsewhere.example"))[2] == "not him"
    assert await rcpt("198.51.100.1", *stack) == DENIED


async def test_mail_for_our_domains_needs_no_relaying() -> None:
    stack = (relay.Relay("192.0.2.0/24"), recipients.Domains("example.org"))
    assert (await rcpt("198.51.100.1", *stack, to="b@example.org"))[0] == 250
    assert await rcpt("198.51.100.1", *stack) == DENIED


@pytest.mark.parametrize("stack", [(relay.Relay(only=True), recipients.Domains("example.org"))])
async def test_only_serves_nobody_else(stack: tuple[object, ...]) -> None:
    for to in (ELSEWHERE, "b@example.org", "postmaster@example.org"):
        assert await rcpt("192.0.2.1", *stack, to=to) == DENIED
    assert (await rcpt("192.0.2.1", *stack, to="Postmaster"))[0] == 250


async def test_only_holds_where_its_condition_does() -> None:
    stack = (
        When(predicate.listener("submission"), relay.Relay("192.0.2.0/24", only=True)),
        recipients.Domains("example.org"),
    )
    for listener, code in (("submission", 550), ("", 250)):
        async with Dialog(*stack, client="198.51.100.1", listener=listener) as smtp:
            assert await smtp.message("a@example.net", "b@example.org") == code
    async with Dialog(*stack, client="192.0.2.1", listener="submission") as smtp:
        assert await smtp.message("a@example.net", ELSEWHERE) == 250


@pytest.mark.parametrize(
    ("entry", "user", "may"),
    [
        (relay.Relay(), "ann", True),
        (relay.Relay(), None, False),
        (relay.Relay("198.51.100.0/24"), "ann", True),
        (relay.Relay("192.0.2.0/24", norelay="192.0.2.1"), "ann", True),
        (relay.Relay("198.51.100.0/24", authenticated=False), "ann", False),
    ],
)
def test_an_identity_may_relay_from_anywhere(entry: relay.Relay, user: str | None, may: bool) -> None:
    session = make_session("192.0.2.1", user=user, sender="a@example.net")
    recipient = make_recipient(ELSEWHERE, session)
    entry.rcpt(session, recipient)
    assert recipient.accepted is may


def test_a_unix_socket_is_in_no_network() -> None:
    assert not relay.Relay("0.0.0.0/0", "::/0").allows_now(make_session("", port=None))


async def test_what_is_only_observed_relays_for_nobody() -> None:
    assert await rcpt("192.0.2.1", Observe(relay.Relay("192.0.2.0/24"))) == DENIED


@pytest.mark.parametrize(
    ("arguments", "options", "words"),
    [
        ((), {"authenticated": False}, "nothing in it"),
        (("192.0.2",), {}, "is not a network"),
        (("192.0.2.1/24",), {}, "bits set behind its prefix"),
        (("192.0.2.0/24",), {"norelay": "198.51.100.1"}, "in none of the networks"),
        (("192.0.2.0/24",), {"norelay": "2001:db8::1"}, "in none of the networks"),
        ((), {"norelay": "192.0.2.1"}, "in none of the networks"),
        (("192.0.2.0/24",), {"only": "perhaps"}, "only"),
    ],
)
def test_what_makes_no_sense_is_told(arguments: tuple[str, ...], options: dict[str, object], words: str) -> None:
    with pytest.raises(ConfigError, match=words):
        relay.Relay(*arguments, **options)  # type: ignore[arg-type]


# Attempts.


async def test_too_many_attempts_end_the_session() -> None:
    async with Dialog(relay.Attempts(3), recipients.Domains("example.org")) as smtp:
        for command in ("EHLO me", "MAIL FROM:<a@example.net>", "RCPT TO:<b@example.org>"):
            assert await smtp.say(command) == 250
        for _ in range(3):
            assert await smtp.say(f"RCPT TO:<{ELSEWHERE}>") == 550
        (end,) = await smtp.replies(1)
        assert (end.code, end.status, end.text) == (421, "4.7.0", "too many attempts to relay")
        await smtp.closed()


async def test_attempts_are_counted_over_all_transactions_and_for_each_session_alone() -> None:
    async with Dialog(relay.Attempts(2)) as smtp:
        [other] = await smtp.several(1)
        for line in (smtp, other):
            for command in ("EHLO me", "MAIL FROM:<a@example.net>"):
                assert await line.say(command) == 250
            assert await line.say(f"RCPT TO:<{ELSEWHERE}>") == 550
            assert await line.say("RSET") == 250
        assert await smtp.say("MAIL FROM:<a@example.net>") == 250
        assert await smtp.say(f"RCPT TO:<{ELSEWHERE}>") == 550
        assert (await smtp.replies(1))[0] == 421
        assert await other.say("NOOP") == 250


async def test_what_is_refused_for_another_reason_is_no_attempt() -> None:
    async with Dialog(relay.Attempts(1), recipients.Addresses("ann@example.org")) as smtp:
        for command in ("EHLO me", "MAIL FROM:<a@example.net>"):
            assert await smtp.say(command) == 250
        for command in ("RCPT TO:<eve@example.org>", "RCPT TO:<@>"):
            assert (await smtp.say(command)).code > 500
        assert await smtp.say("NOOP") == 250


def test_attempts_must_be_some() -> None:
    with pytest.raises(ConfigError, match="Attempts"):
        relay.Attempts(0)
