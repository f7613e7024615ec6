"""One RCPT that becomes several recipients: what the client hears, who gets the message, and what is taken back."""

import pytest

from mailstack import Address, Limits, Observe, Recipient, Reply, Session, hookimpl
from mailstack.testing import Dialog, Vouch

GOOD = Reply(250, "delivered")
LATER = Reply(452, "mailbox full", status="4.2.2")
NEVER = Reply(550, "spam", status="5.7.1")


class Lists:
    """An address such as "3@…" becomes 1@, 2@ and 3@example.net."""

    name = "lists"

    @hookimpl
    def rcpt(self, recipient: Recipient) -> None:
        if recipient.address.local.isdigit():
            recipient.expand(Address(str(each + 1), "example.net") for each in range(int(recipient.address.local)))


class Verdicts:
    """Gives recipients that are named so their verdict, in one phase."""

    def __init__(self, phase: str, **verdicts: Reply) -> None:
        def judge(session: Session) -> None:
            assert session.transaction is not None
            for recipient in session.transaction.recipients:
                if verdict := verdicts.get(f"_{recipient.address.local}"):
                    recipient.answer(verdict)

        setattr(self, phase, hookimpl(judge))


async def test_one_reply_to_rcpt_and_everybody_gets_the_message() -> None:
    async with Dialog(Lists(), Vouch()) as smtp:
        assert await smtp.message("a@example.org", ["3@example.org", "b@example.org"]) == 250
        [delivery] = smtp.messages
        assert delivery.recipients == ["1@example.net", "2@example.net", "3@example.net", "b@example.org"]


async def test_what_nobody_vouched_for_does_not_become_several() -> None:
    async with Dialog(Lists()) as smtp:
        assert await smtp.message("a@example.org", ["3@example.org", "postmaster"]) == 250
        assert [delivery.recipients for delivery in smtp.messages] == [["postmaster"]]


async def test_what_was_only_observed_does_not_become_several() -> None:
    async with Dialog(Observe(Lists()), Vouch()) as smtp:
        assert await smtp.message("a@example.org", "3@example.org") == 250
        assert [delivery.recipients for delivery in smtp.messages] == [["3@example.org"]]
        [changed] = [each.detail for each in smtp.evidence if each.outcome == "would have changed"]
        assert changed == "expanded the recipient to <1@example.net>, <2@example.net>, <3@example.net>"


async def test_too_many_at_once_are_a_fault_of_who_made_them() -> None:
    async with Dialog(Lists(), Vouch()) as smtp:
        assert await smtp.message("a@example.org", "101@example.org") == 451
        assert [(each.who, each.outcome) for each in smtp.evidence] == [("lists", "fault")]


async def test_later_it_is_too_late() -> None:
    class Late:
        name = "late"

        @hookimpl
        def data(self, session: Session) -> None:
            assert session.transaction is not None
            session.transaction.recipients[0].expand([Address("x", "example.net")])

    async with Dialog(Vouch(), Late()) as smtp:
        assert await smtp.message("a@example.org", "b@example.org") == 451
        assert [(each.who, each.outcome) for each in smtp.evidence][-1] == ("late", "fault")


async def test_all_together_have_a_limit_and_the_next_ones_hear_452() -> None:
    async with Dialog(Lists(), Vouch(), limits=Limits(expanded=100, recipients=100)) as smtp:
        for command in ("EHLO me", "MAIL FROM:<a@example.org>"):
            assert await smtp.say(command) == 250
        answers = [await smtp.say(f"RCPT TO:<{number}@example.org>") for number in (60, 41, 40)]
        assert [(each.code, each.status) for each in answers] == [(250, "2.1.5"), (452, "4.5.3"), (250, "2.1.5")]


async def test_a_client_may_name_as_many_as_it_was_told_whatever_becomes_of_them() -> None:
    async with Dialog(Lists(), Vouch(), limits=Limits(recipients=100)) as smtp:
        for command in ("EHLO me", "MAIL FROM:<a@example.org>", "RCPT TO:<90@example.org>"):
            assert await smtp.say(command) == 250
        for number in range(99):
            assert await smtp.say(f"RCPT TO:<b{number}@example.org>") == 250
        assert await smtp.say("RCPT TO:<b@example.org>") == 452


@pytest.mark.parametrize(
    ("phase", "verdicts", "heard"),
    [
        ("queue", {}, [250, 250]),
        ("message", {"_2": NEVER}, [550, 250]),
        ("message", {"_2": NEVER, "_3": LATER}, [452, 250]),
        ("queue", {"_1": GOOD, "_3": LATER}, [452, 250]),
        ("queue", {"_1": GOOD, "_2": NEVER}, [550, 250]),
        ("queue", {"_b": NEVER}, [250, 550]),
    ],
)
async def test_lmtp_has_one_reply_for_all_of_them_and_it_is_the_worst(
    phase: str, verdicts: dict[str, Reply], heard: list[int]
) -> None:
    async with Dialog(Lists(), Vouch(), Verdicts(phase, **verdicts), lmtp=True) as smtp:
        answers = await smtp.deliver("a@example.org", ["3@example.org", "b@example.org"])
        assert [answer.code for answer in answers] == heard
        assert await smtp.say("NOOP") == 250


async def test_lmtp_answers_a_fault_once_for_all_of_them() -> None:
    class Broken:
        @hookimpl
        def message(self) -> None:
            raise RuntimeError

    async with Dialog(Lists(), Vouch(), Broken(), lmtp=True) as smtp:
        answers = await smtp.deliver("a@example.org", ["3@example.org", "b@example.org"])
        assert [answer.code for answer in answers] == [451, 451]
        assert await smtp.say("NOOP") == 250


@pytest.mark.parametrize(
    ("recipients", "verdicts", "code", "status"),
    [
        (["3@example.org"], {"_2": NEVER}, 550, "5.7.1"),
        (["3@example.org"], {"_2": LATER}, 452, "4.2.2"),
        (["3@example.org", "b@example.org"], {"_2": NEVER}, 451, "4.5.3"),
        (["3@example.org", "b@example.org"], {"_2": NEVER, "_b": NEVER}, 550, "5.7.1"),
    ],
)
async def test_smtp_takes_them_for_one_that_the_client_cannot_divide(
    recipients: list[str], verdicts: dict[str, Reply], code: int, status: str
) -> None:
    async with Dialog(Lists(), Vouch(), Verdicts("message", **verdicts)) as smtp:
        answer = await smtp.message("a@example.org", recipients)
        assert (answer.code, answer.status) == (code, status)
