"""badsender, badrecipient, badpair, badhelo: who is listed is refused, and hears no more than he should."""

from __future__ import annotations

from typing import Any

import pytest

from mailstack.middleware import badhelo, badpair, badrecipient, badsender
from mailstack.option import ConfigError
from mailstack.services import lookup
from mailstack.testing import Dialog, Vouch

NOBODY = "550 5.1.1 no such mailbox here"


def broken(key: str) -> str | None:
    raise RuntimeError("out of order")


async def said(
    *stack: Any, sender: str = "ann@example.org", recipient: str = "bob@example.net", helo: str = "x"
) -> str:
    """The first refusal, or the answer to RCPT."""
    async with Dialog(*stack, Vouch()) as smtp:
        await smtp.banner()
        await smtp.say(f"EHLO {helo}")
        answer = await smtp.say(f"MAIL FROM:<{sender}>")
        return str(answer if answer.code >= 400 else await smtp.say(f"RCPT TO:<{recipient}>"))


@pytest.mark.parametrize(
    ("sender", "listed"),
    [
        ("spam@example.org", True),
        ("SPAM@Example.Org", True),
        ("ann@example.org", False),
        ("any@below.spam.example", True),
        ("any@spam.example", False),
        ("big-offers@any.example", True),
        ("root@any.example", True),
        ("", False),
    ],
)
async def test_a_listed_sender_is_refused_without_a_reason(sender: str, listed: bool) -> None:
    entry = badsender.BadSender({"spam@example.org": "asked to stop", ".spam.example": ""}, "/.*-offers@.*/", "root@")
    answer = await said(entry, sender=sender)
    assert answer == "550 5.7.1 this sender is not accepted" if listed else answer.startswith("250")


async def test_the_reason_may_be_told_and_is_in_the_log(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level("INFO", "mailstack")
    listed = {"ann@example.org": "asked to stop"}
    assert await said(badsender.BadSender(listed, reveal=True)) == "550 5.7.1 asked to stop"
    assert await said(badsender.BadSender(listed, temporary=True)) == "450 4.7.1 this sender is not accepted"
    assert 'because="<ann@example.org> is listed: asked to stop"' in caplog.text


async def test_bounces_are_refused_where_they_are_listed() -> None:
    assert (await said(badsender.BadSender("<>"), sender="")).startswith("550")


@pytest.mark.parametrize(
    ("recipient", "listed"),
    [
        ("former@example.net", True),
        ("bob@example.net", False),
        ("a!b@example.net", True),
        ("a%b@example.net", True),
        ('"a@b"@example.net', True),
        ("postmaster", False),
    ],
)
async def test_a_listed_recipient_does_not_exist(recipient: str, listed: bool) -> None:
    entry = badrecipient.BadRecipient("former@example.net", lookup.File("conf/badrecipients"))
    answer = await said(entry, recipient=recipient)
    assert answer == NOBODY if listed else answer.startswith("250")


async def test_a_recipient_s_reason_may_be_told() -> None:
    entry = badrecipient.BadRecipient({"bob@example.net": "left us, see example.com"}, reveal=True)
    assert await said(entry) == "550 5.1.1 left us, see example.com"


@pytest.mark.parametrize(
    ("sender", "recipient", "listed"),
    [
        ("ann@example.org", "bob@example.net", True),
        ("ann@example.org", "carl@example.net", False),
        ("eve@example.org", "bob@example.net", False),
        ("x@a.spam.example", "any@example.com", True),
        ("x@a.spam.example", "sales@example.net", True),
        ("", "bob@example.net", False),
    ],
)
async def test_a_pair_is_told_as_an_unknown_user(sender: str, recipient: str, listed: bool) -> None:
    pairs = {"ann@example.org": "bob@example.net", ".spam.example": "sales@example.net, example.com"}
    answer = await said(badpair.BadPair(pairs), sender=sender, recipient=recipient)
    assert answer == NOBODY if listed else answer.startswith("250")


@pytest.mark.parametrize(
    ("helo", "listed"),
    [("friend", True), ("FRIEND", True), ("friend.example.org", False), ("dynamic-1-2-3.example.org", True)],
)
async def test_a_listed_name_is_not_served(helo: str, listed: bool) -> None:
    answer = await said(badhelo.BadHelo("friend", lookup.Regexps("/dynamic-.*/")), helo=helo)
    assert answer == "550 5.7.1 clients of this name are not served" if listed else answer.startswith("250")


@pytest.mark.parametrize(
    "make",
    [badsender.BadSender, badrecipient.BadRecipient, badpair.BadPair, badhelo.BadHelo],
    ids=lambda make: make.__name__,
)
async def test_a_lookup_that_cannot_say_defers(make: Any) -> None:
    assert (await said(make(lookup.Function(broken)))).startswith("451 4.3.0")


@pytest.mark.parametrize(
    "make",
    [
        lambda: badsender.BadSender(),
        lambda: badsender.BadSender("not an address at all"),
        lambda: badrecipient.BadRecipient("/(a+)+b@.*/"),
        lambda: badpair.BadPair({"ann@example.org": ""}),
        lambda: badpair.BadPair({"ann@example.org": "not an address"}),
        lambda: badhelo.BadHelo(),
    ],
)
def test_what_makes_no_sense_is_an_error(make: Any) -> None:
    with pytest.raises(ConfigError):
        make()
