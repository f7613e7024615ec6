"""Which slips are forgiven, whom, and for how long; how they are read is in tests/wire/test_leniency.py."""

import pytest

from mailstack import ConfigError, Limits, Observe, When, predicate
from mailstack.middleware.lenient import Lenient
from mailstack.testing import Dialog, Vouch

SAID = {
    "brackets": "MAIL FROM:a@example.org",
    "colon": "MAIL FROM <a@example.org>",
    "null": "MAIL FROM:<#@[]>",
}


@pytest.mark.parametrize("slip", SAID)
async def test_a_slip_is_forgiven_where_its_switch_is_on(slip: str) -> None:
    async with Dialog(Lenient(**{slip: True}), Vouch()) as smtp:
        assert await smtp.say("EHLO me") == 250
        for other, line in SAID.items():
            assert await smtp.say(line) == (250 if other == slip else 501)
            assert await smtp.say("RSET") == 250


@pytest.mark.parametrize("line", SAID.values())
async def test_nobody_forgives_by_default(line: str) -> None:
    async with Dialog(Vouch()) as smtp:
        assert await smtp.say("EHLO me") == 250
        assert await smtp.say(line) == 501


async def test_what_was_forgiven_is_delivered_as_if_well_said() -> None:
    async with Dialog(Lenient(brackets=True, null=True), Vouch()) as smtp:
        assert await smtp.say("EHLO me") == 250
        await smtp.send(b"MAIL FROM:<#@[]> SIZE=20\r\nRCPT TO:b@example.org\r\nDATA\r\n")
        assert [answer.code for answer in await smtp.replies(3)] == [250, 250, 354]
        await smtp.send(b"Subject: hi\r\n\r\n.\r\n")
        assert await smtp.reply() == 250
        [message] = smtp.messages
        assert message.sender == ""
        assert message.recipients == ["b@example.org"]


async def test_parameters_after_helo_are_limited_as_after_ehlo() -> None:
    async with Dialog(Lenient(parameters=True), Vouch(), limits=Limits(message_size=1000)) as smtp:
        assert await smtp.say("HELO me") == 250
        assert await smtp.say("MAIL FROM:<a@example.org> SIZE=1001") == 552
        assert await smtp.say("MAIL FROM:<a@example.org> SIZE=10 BODY=8BITMIME") == 250
        assert not smtp.session.esmtp


async def test_several_entries_add_up() -> None:
    async with Dialog(Lenient(brackets=True), Lenient(colon=True)) as smtp:
        assert await smtp.say("EHLO me") == 250
        assert await smtp.say("MAIL FROM a@example.org") == 250


@pytest.mark.parametrize(("client", "code"), [("192.0.2.65", 250), ("192.0.2.1", 501)])
async def test_a_condition_says_whom(client: str, code: int) -> None:
    stack = When(predicate.client_in("192.0.2.64/27"), Lenient(brackets=True))
    async with Dialog(stack, client=client) as smtp:
        assert await smtp.say("EHLO me") == 250
        assert await smtp.say(SAID["brackets"]) == code


async def test_what_is_only_observed_forgives_nothing() -> None:
    async with Dialog(Observe(Lenient(brackets=True))) as smtp:
        assert await smtp.say("EHLO me") == 250
        assert await smtp.say(SAID["brackets"]) == 501
        assert "would have changed" in [each.outcome for each in smtp.evidence]


async def test_errors_of_syntax_count_as_ever() -> None:
    async with Dialog(Lenient(brackets=True, colon=True, null=True, parameters=True), limits=Limits(errors=2)) as smtp:
        assert await smtp.say("EHLO me") == 250
        assert await smtp.say("MAIL FROM:<>>") == 501
        assert await smtp.say("RCPT TO:<#@[]>") == 501
        assert await smtp.reply() == 421


@pytest.mark.parametrize("options", [{}, {"brackets": False}, {"null": "perhaps"}])
def test_what_makes_no_sense_is_refused(options: dict[str, bool]) -> None:
    with pytest.raises(ConfigError, match="Lenient"):
        Lenient(**options)
