"""LMTP: who hears what about a message, what its handler is shown, and what it counts as."""

import logging
from collections.abc import Callable, MutableMapping

import pytest

from mailstack import CallNext, Limits, Message, Recipient, Reply, Server, Session, Stack, Transaction, hookimpl
from mailstack.testing import Conversation, Dialog, Vouch
from mailstack.testing.message import make_recipient

GOOD = Reply(250, "delivered")
LATER = Reply(452, "mailbox full", status="4.2.2")
NEVER = Reply(550, "spam", status="5.7.1")
BROKEN = Reply(451)

ALL = ["one@example.org", "two@example.org", "three@example.org"]


def answering(*verdicts: Reply | None) -> Callable[[Session], None]:
    """A check that gives each recipient its verdict."""

    def check(session: Session) -> None:
        assert session.transaction is not None
        for recipient, verdict in zip(session.transaction.recipients, verdicts, strict=False):
            if verdict is not None:
                recipient.answer(verdict)

    return check


class InMessage:
    """Gives verdicts in `message`, and then its own."""

    def __init__(self, *verdicts: Reply | None, reply: Reply | None = None) -> None:
        self.answer, self.reply = answering(*verdicts), reply

    @hookimpl
    def message(self, session: Session) -> Reply | None:
        self.answer(session)
        return self.reply


class InQueue:
    """Gives verdicts in `queue`; then a reply, an exception, or nothing. Keeps whom it was shown."""

    def __init__(self, *verdicts: Reply | None, then: Reply | Exception | None = None) -> None:
        self.answer, self.then = answering(*verdicts), then
        self.shown: list[list[str]] = []

    @hookimpl
    def queue(self, session: Session) -> Reply | None:
        assert session.transaction is not None
        self.shown.append([str(each) for each in session.transaction.recipients])
        self.answer(session)
        if isinstance(self.then, Exception):
            raise self.then
        return self.then


class Ear:
    """Hears what the rest of the server is told."""

    def __init__(self) -> None:
        self.heard: list[str] = []

    @hookimpl
    def replied(self, phase: str, by: str, reply: Reply) -> None:
        if phase not in ("connect", "ehlo", "mail", "rcpt"):
            self.heard.append(f"{phase} {reply.code}")

    @hookimpl
    def reset(self, transaction: Transaction, why: str) -> None:
        self.heard.append(f"{why}, {len(transaction.recipients)} recipients")

    @hookimpl
    async def queued(self, reply: Reply) -> None:
        self.heard.append(f"queued {reply.code}")


async def codes(smtp: Conversation, recipients: list[str] = ALL) -> list[int]:
    return [answer.code for answer in await smtp.deliver("a@example.org", recipients)]


# Who hears what.


@pytest.mark.parametrize(
    ("message", "queue", "heard", "shown"),
    [
        (InMessage(), InQueue(then=GOOD), [250, 250, 250], [ALL]),
        (InMessage(), InQueue(), [451, 451, 451], [ALL]),
        (InMessage(), InQueue(then=LATER), [452, 452, 452], [ALL]),
        (InMessage(None, NEVER), InQueue(then=GOOD), [250, 550, 250], [[ALL[0], ALL[2]]]),
        (InMessage(None, NEVER, LATER), InQueue(then=LATER), [452, 550, 452], [ALL[:1]]),
        (InMessage(NEVER, LATER, NEVER), InQueue(then=GOOD), [550, 452, 550], []),
        (InMessage(), InQueue(GOOD, LATER, then=GOOD), [250, 452, 250], [ALL]),
        # Who has the message must not get it again: a promise of the handler holds, whatever came of the rest.
        (InMessage(), InQueue(GOOD, then=ValueError()), [250, 451, 451], [ALL]),
        (InMessage(), InQueue(GOOD, NEVER, then=LATER), [250, 550, 452], [ALL]),
        # Before `queue` nobody has it, whatever somebody said.
        (InMessage(GOOD, NEVER), InQueue(then=LATER), [452, 550, 452], [[ALL[0], ALL[2]]]),
        (InMessage(GOOD, GOOD, GOOD), InQueue(), [451, 451, 451], [ALL]),
        # A refusal of the whole is everybody's.
        (InMessage(GOOD, LATER, reply=NEVER), InQueue(then=GOOD), [550, 550, 550], []),
    ],
)
async def test_each_recipient_has_a_verdict_of_its_own_or_the_common_one(
    message: InMessage, queue: InQueue, heard: list[int], shown: list[list[str]]
) -> None:
    queue.shown.clear()
    async with Dialog(Vouch(), message, queue, handler=None, lmtp=True) as smtp:
        assert await codes(smtp) == heard
        assert queue.shown == shown
        assert await smtp.say("NOOP") == 250


@pytest.mark.parametrize("phase", ["headers", "message", "queue"])
async def test_a_fault_is_451_for_each_recipient(phase: str) -> None:
    def fail() -> None:
        raise RuntimeError("dead")

    class Broken:
        pass

    setattr(Broken, phase, staticmethod(hookimpl(fail)))
    async with Dialog(Vouch(), Broken(), lmtp=True) as smtp:
        answers = await smtp.deliver("a@example.org", ALL)
        assert [(answer.code, answer.status) for answer in answers] == [(451, "4.3.0")] * 3
        assert smtp.messages == []


async def test_too_large_a_message_is_refused_once_for_each_recipient() -> None:
    async with Dialog(Vouch(), lmtp=True, limits=Limits(message_size=100)) as smtp:
        assert await smtp.message("a@example.org", ALL, b"A: b\r\n\r\n" + b"x" * 200) == 552
        await smtp.replies(0)
        assert await smtp.say("NOOP") == 250


async def test_data_itself_has_one_reply() -> None:
    class NoData:
        @hookimpl
        def data(self) -> Reply:
            return LATER

    async with Dialog(Vouch(), NoData(), lmtp=True) as smtp:
        assert await codes(smtp) == [452]
        assert await smtp.say("NOOP") == 250


async def test_a_verdict_may_be_given_at_rcpt_and_leaves_the_reply_to_rcpt_alone() -> None:
    class Full:
        @hookimpl
        def rcpt(self, recipient: Recipient) -> None:
            if str(recipient) == ALL[1]:
                recipient.answer(LATER)

    for lmtp, heard in [(True, [250, 452, 250]), (False, [452])]:
        async with Dialog(Full(), Vouch(), lmtp=lmtp) as smtp:
            assert await codes(smtp) == heard
            assert smtp.said.count("S: 250 2.1.5 recipient ok") == 3
            assert [each.recipients for each in smtp.messages] == ([[ALL[0], ALL[2]]] if lmtp else [])


def test_going_on_is_no_verdict() -> None:
    with pytest.raises(ValueError, match="354 is no verdict"):
        make_recipient().answer(Reply(354))


@pytest.mark.parametrize("change", ["clear", "append"])
async def test_there_is_a_reply_for_each_rcpt_whatever_policy_does_to_the_list(change: str) -> None:
    class Alias:
        @hookimpl
        def message(self, session: Session) -> None:
            assert session.transaction is not None
            recipients = session.transaction.recipients
            if change == "append":
                recipients.append(recipients[0])
            else:
                del recipients[1:]

    async with Dialog(Vouch(), Alias(), lmtp=True) as smtp:
        assert await codes(smtp) == [250, 250, 250]
        assert await smtp.say("NOOP") == 250
        [delivery] = smtp.messages
        assert delivery.recipients == ([*ALL, ALL[0]] if change == "append" else ALL[:1])


async def test_a_verdict_that_closes_waits_for_the_others() -> None:
    closing = Reply(450, "go away", close=True)
    async with Dialog(Vouch(), InQueue(closing, then=GOOD), handler=None, lmtp=True) as smtp:
        assert await codes(smtp) == [450, 250, 250]
        await smtp.closed()
    async with Dialog(Vouch(), InMessage(reply=closing), handler=None, lmtp=True) as smtp:
        assert await codes(smtp) == [450, 450, 421]
        await smtp.closed()


# What the message counts as.


@pytest.mark.parametrize(
    ("verdicts", "errors", "heard"),
    [
        ((NEVER, GOOD, LATER), 0, ["data 354", "done, 3 recipients", "queue 250", "queued 250"]),
        ((NEVER, NEVER, LATER), 2, ["data 354", "refused, 3 recipients", "queue 550"]),
        ((LATER, NEVER, NEVER), 1, ["data 354", "refused, 3 recipients", "queue 452"]),
    ],
)
async def test_to_the_rest_of_the_server_a_message_is_taken_when_it_is_for_anybody(
    verdicts: tuple[Reply, ...], errors: int, heard: list[str]
) -> None:
    ear = Ear()
    async with Dialog(Vouch(), ear, InQueue(*verdicts, then=BROKEN), handler=None, lmtp=True) as smtp:
        await smtp.say("LHLO me")
        assert await smtp.say("nonsense") == 500
        ear.heard.clear()
        await codes(smtp)
        assert smtp.session.error_count == errors
        assert await smtp.say("RSET") == 250
        assert ear.heard == [*heard, "reset 250"]


async def test_the_log_names_how_many_were_taken(caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.INFO, "mailstack"):
        async with Dialog(Vouch(), InQueue(NEVER, LATER, then=GOOD), handler=None, lmtp=True) as smtp:
            await codes(smtp)
    [line] = [record.getMessage() for record in caplog.records if record.getMessage().startswith("message")]
    assert "recipients=3" in line
    assert "taken=1" in line
    assert "reply='250 2.0.0 delivered'" in line or 'reply="250 2.0.0 delivered"' in line


# SMTP: one reply for all.


@pytest.mark.parametrize(
    ("verdicts", "code"),
    [
        ((GOOD, GOOD, GOOD), 250),
        ((GOOD, None, None), 250),
        ((NEVER, NEVER, NEVER), 550),
        ((NEVER, LATER, NEVER), 452),
        ((NEVER, GOOD, GOOD), 451),
        ((NEVER, None, None), 451),
        ((GOOD, LATER, NEVER), 452),
    ],
)
async def test_verdicts_of_the_handler_become_one_reply_in_smtp(verdicts: tuple[Reply | None, ...], code: int) -> None:
    async with Dialog(Vouch(), InQueue(*verdicts, then=GOOD), handler=None) as smtp:
        assert await codes(smtp) == [code]


async def test_an_early_promise_hides_no_recipient_from_the_handler() -> None:
    for lmtp in (False, True):
        async with Dialog(Vouch(), InMessage(GOOD, GOOD, GOOD), lmtp=lmtp) as smtp:
            assert set(await codes(smtp)) == {250}
            assert smtp.messages[0].recipients == ALL


async def test_an_entry_of_queue_that_took_some_leaves_the_rest_to_the_next() -> None:
    async with Dialog(Vouch(), InQueue(GOOD, LATER), lmtp=True) as smtp:
        assert await codes(smtp) == [250, 452, 250]
        assert smtp.messages[0].recipients == ALL[2:]


# The greeting.


async def test_the_session_knows_what_it_speaks() -> None:
    seen: list[tuple[str, bool, bool]] = []

    class Look:
        @hookimpl
        def ehlo(self, session: Session, verb: str, keywords: MutableMapping[str, str]) -> None:
            seen.append((verb, session.lmtp, "PIPELINING" in keywords))

        @hookimpl
        def connect(self, session: Session) -> None:
            assert session.lmtp

    async with Dialog(Look(), Vouch(), lmtp=True) as smtp:
        assert "LMTP" in (await smtp.banner()).text
        await codes(smtp)
        assert seen == [("LHLO", True, True)]
        assert smtp.session.esmtp
        assert b" with LMTP id " in smtp.messages[0].content


@pytest.mark.parametrize("greeting", ["ready", "ESMTP ready", "the ESMTP of old"])
async def test_the_banner_says_lmtp_where_it_would_say_esmtp(greeting: str) -> None:
    server = Server(Stack(Vouch()), [], hostname="mx.test", greeting=greeting)
    for lmtp in (False, True):
        async with Dialog(server, lmtp=lmtp) as smtp:
            words = (await smtp.banner()).text.split()
            assert ("LMTP" in words, "ESMTP" in words) == (lmtp, not lmtp)


class Withdraw:
    def __init__(self, *keywords: str) -> None:
        self.withdrawn = keywords

    @hookimpl
    def ehlo(self, keywords: MutableMapping[str, str]) -> None:
        for keyword in self.withdrawn:
            keywords.pop(keyword, None)


async def test_what_lmtp_demands_stays_offered() -> None:
    withdraw = Withdraw("PIPELINING", "ENHANCEDSTATUSCODES", "SIZE")
    async with Dialog(withdraw, lmtp=True) as smtp:
        offered = (await smtp.say("LHLO me")).keywords
        assert {"PIPELINING", "ENHANCEDSTATUSCODES"} <= set(offered)
        assert "SIZE" not in offered
    async with Dialog(withdraw) as smtp:
        assert not {"PIPELINING", "ENHANCEDSTATUSCODES", "SIZE"} & set((await smtp.say("EHLO me")).keywords)


async def test_binarymime_goes_with_chunking() -> None:
    async with Dialog(Withdraw("CHUNKING"), Vouch()) as smtp:
        assert "BINARYMIME" not in (await smtp.say("EHLO me")).keywords
        assert await smtp.say("MAIL FROM:<a@example.org> BODY=BINARYMIME") == 555
    async with Dialog(Withdraw("BINARYMIME"), Vouch()) as smtp:
        assert "CHUNKING" in (await smtp.say("EHLO me")).keywords
        assert await smtp.say("MAIL FROM:<a@example.org> BODY=BINARYMIME") == 555


async def test_a_plugin_sees_that_a_message_is_binary() -> None:
    seen: list[bool] = []

    class Look:
        @hookimpl
        def message(self, session: Session, message: Message) -> None:
            assert session.transaction is not None
            seen.append(session.transaction.sender.binary)

    async with Dialog(Vouch(), Look()) as smtp:
        await smtp.say("EHLO me")
        for body in ("", " BODY=BINARYMIME", " BODY=8BITMIME"):
            await smtp.say(f"MAIL FROM:<a@example.org>{body}")
            await smtp.say("RCPT TO:<b@example.org>")
            await smtp.send(b"BDAT 6 LAST\r\nA: b\r\n")
            assert await smtp.reply() == 250
        assert seen == [False, True, False]


# LIMITS (RFC 9422).


@pytest.mark.parametrize(("recipients", "told"), [(100, "RCPTMAX=100"), (1000, "RCPTMAX=1000")])
async def test_limits_says_how_many_recipients_are_taken(recipients: int, told: str) -> None:
    async with Dialog(Vouch(), limits=Limits(recipients=recipients)) as smtp:
        assert (await smtp.say("EHLO me")).keywords["LIMITS"] == told
        await smtp.say("MAIL FROM:<a@example.org>")
        await smtp.send(b"".join(b"RCPT TO:<b%d@example.org>\r\n" % number for number in range(recipients + 1)))
        answers = await smtp.replies(recipients + 1)
        assert [answer.code for answer in answers] == [250] * recipients + [452]


async def test_limits_has_six_digits_at_most() -> None:
    async with Dialog(Vouch(), limits=Limits(recipients=10_000_000)) as smtp:
        assert (await smtp.say("EHLO me")).keywords["LIMITS"] == "RCPTMAX=999999"
        assert "LIMITS" not in (await smtp.say("HELO me")).keywords


async def test_an_onion_around_queue_sees_the_common_reply() -> None:
    seen: list[int] = []

    class Around:
        @hookimpl
        async def queue(self, call_next: CallNext) -> Reply:
            reply = await call_next()
            seen.append(reply.code)
            return reply

    async with Dialog(Vouch(), Around(), InQueue(NEVER, then=LATER), handler=None, lmtp=True) as smtp:
        assert await codes(smtp) == [550, 452, 452]
        assert seen == [452]
