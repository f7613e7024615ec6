"""Observe: an entry is tried, and the mail goes on as if it were not there."""

import logging
from collections.abc import Callable, Sequence
from typing import Any

import pytest
from anyio import Event, move_on_after, sleep_forever
from anyio.lowlevel import checkpoint

from mailstack import (
    Address,
    CallNext,
    ConfigError,
    Key,
    Limit,
    Message,
    Observe,
    Postpone,
    Recipient,
    Reply,
    Score,
    Sender,
    Session,
    Stack,
    Threshold,
    Unless,
    When,
    hookimpl,
    known,
)
from mailstack.contract.pipeline import build
from mailstack.testing import Conversation, Dialog, Vouch

NO = Reply(550, "no", status="5.7.1")


def outcomes(smtp: Conversation, who: str = "x") -> list[tuple[str, str]]:
    return [(each.phase, each.outcome) for each in smtp.evidence if each.who == who]


class No:
    """Refuses in the phases that it is told to, and tells them that it closes."""

    name = "x"

    def __init__(self, *phases: str, reply: Reply = NO) -> None:
        self.asked: list[str] = []

        def check_in(phase: str) -> Callable[..., Any]:
            def check(session: Session) -> Reply | None:
                self.asked.append(phase)
                return reply

            async def waits(session: Session) -> Reply | None:
                await checkpoint()
                return check(session)

            return hookimpl(waits if phase in ("mail", "headers") else check)

        for phase in phases:
            setattr(self, phase, check_in(phase))


PHASES = ("connect", "ehlo", "mail", "rcpt", "data", "headers", "message")


async def test_a_refusal_in_any_phase_is_only_recorded() -> None:
    tried = No(*PHASES, reply=Reply(550, "no", close=True))
    async with Dialog(Observe(tried), Vouch()) as smtp:
        assert await smtp.message("a@example.org", ["b@example.org", "c@example.org"]) == 250
        assert await smtp.say("NOOP") == 250
        assert outcomes(smtp) == [(phase, "would have refused") for phase in (*PHASES[:4], *PHASES[3:])]
        assert [each.reply.text for each in smtp.evidence if each.who == "x" and each.reply] == ["no"] * 8
    assert [*dict.fromkeys(tried.asked)] == list(PHASES)


async def test_an_acceptance_is_only_recorded_too_and_silences_nobody() -> None:
    async with Dialog(Observe(No("mail", reply=Reply(250, "fine"))), No("rcpt")) as smtp:
        assert await smtp.message("a@example.org", "b@example.org") == 550
        assert outcomes(smtp) == [("mail", "would have accepted")]
        assert outcomes(smtp, "x#2") == [("rcpt", "refused")]


async def test_the_log_says_what_would_have_been(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO, "mailstack")
    async with Dialog(Observe(No("mail")), Vouch()) as smtp:
        await smtp.message("a@example.org", "b@example.org")
    [line] = [record.getMessage() for record in caplog.records if "would have been" in record.getMessage()]
    for word in ("who=x", "phase=mail", "outcome=refused", "550 5.7.1 no"):
        assert word in line


class Changes:
    """Changes all that a check can change."""

    name = "x"

    @hookimpl
    def ehlo(self, keywords: Any) -> None:
        keywords["XTRA"] = "1"
        keywords.pop("CHUNKING", None)

    @hookimpl
    def mail(self, sender: Sender) -> None:
        sender.rewrite(Address.parse("tried@example.net"))

    @hookimpl
    async def rcpt(self, session: Session, recipient: Recipient) -> None:
        recipient.accept()
        await checkpoint()
        recipient.rewrite(Address.parse("tried@example.net"))
        recipient.answer(NO)
        session.close()

    @hookimpl
    def message(self, session: Session, message: Message) -> Reply | None:
        assert session.transaction is not None
        message.add_header("X-Tried", "1")
        message.remove_header("Subject")
        session.transaction.results.add("spf", "fail")
        session.transaction.recipients[0].answer(NO)
        return NO


async def test_what_it_changed_is_undone_and_recorded() -> None:
    async with Dialog(Observe(Changes()), Vouch()) as smtp:
        assert await smtp.message("a@example.org", "b@example.org") == 250
        assert "XTRA" not in smtp.session.keywords
        assert "CHUNKING" in smtp.session.keywords
        [delivery] = smtp.messages
        assert (delivery.sender, delivery.recipients) == ("a@example.org", ["b@example.org"])
        assert b"Subject: test" in delivery.content
        for word in (b"X-Tried", b"spf"):
            assert word not in delivery.content
        changed = {each.phase: each.detail for each in smtp.evidence if each.outcome == "would have changed"}
        assert changed["ehlo"] == "offered XTRA; withdrew CHUNKING"
        assert "vouched for <b@example.org>" in changed["rcpt"]
        assert "closed the session" in changed["rcpt"]
        assert "added X-Tried; removed Subject; found spf=fail; answered 550" in changed["message"]
        assert await smtp.say("NOOP") == 250


async def test_its_vouch_makes_no_relay() -> None:
    async with Dialog(Observe(Vouch())) as smtp:
        answer = await smtp.message("a@example.org", "b@example.org")
        assert (answer.code, answer.text) == (550, "relaying denied")


async def test_what_others_changed_before_it_stays() -> None:
    async with Dialog(Vouch(), Tags("first"), Observe(Tags("tried")), Tags("last")) as smtp:
        await smtp.message("a@example.org", "b@example.org")
        assert smtp.messages[0].content.count(b"X-Tag: ") == 2
        assert b"X-Tag: tried" not in smtp.messages[0].content


class Tags:
    name = "x"

    def __init__(self, tag: str) -> None:
        self.tag = tag

    @hookimpl
    def message(self, message: Message) -> None:
        message.add_header("X-Tag", self.tag)


async def test_its_private_state_is_its_own_and_stays() -> None:
    class Remembers:
        name = "x"
        seen: Key[str] = Key("seen")

        @hookimpl
        def connect(self, session: Session) -> None:
            session.stash[self.seen] = "yes"

        @hookimpl
        def rcpt(self, session: Session) -> Reply | None:
            return Reply(550, session.stash[self.seen])

    async with Dialog(Observe(Remembers()), Vouch()) as smtp:
        assert await smtp.message("a@example.org", "b@example.org") == 250
        assert outcomes(smtp) == [("rcpt", "would have refused")]


# Failures.


@pytest.mark.parametrize("wrap", [lambda x: x, lambda x: Limit(x, on_fault="reject")])
async def test_when_it_raises_the_mail_goes_on(wrap: Any) -> None:
    class Fails:
        name = "x"

        @hookimpl
        def mail(self) -> None:
            raise ValueError("hunter2")

        @hookimpl
        async def rcpt(self, recipient: Recipient) -> None:
            recipient.accept()
            await checkpoint()
            raise ValueError("hunter2")

        @hookimpl
        def data(self) -> int:
            return 1

    Fails.data.__annotations__.clear()
    for entry in (Observe(wrap(Fails())), wrap(Observe(Fails()))):
        async with Dialog(entry, Vouch()) as smtp:
            assert await smtp.message("a@example.org", "b@example.org") == 250
            assert [each for each in outcomes(smtp) if each[1] == "fault"] == [
                ("mail", "fault"),
                ("rcpt", "fault"),
                ("data", "fault"),
            ]
    async with Dialog(Observe(Fails())) as smtp:
        assert await smtp.message("a@example.org", "b@example.org") == 550


async def test_when_it_is_late_the_mail_goes_on() -> None:
    class Hangs:
        name = "x"

        @hookimpl
        async def mail(self, sender: Sender) -> None:
            sender.rewrite(Address.parse("tried@example.net"))
            await sleep_forever()

    async with Dialog(Observe(Limit(Hangs(), timeout=0.05)), Vouch()) as smtp:
        assert await smtp.message("a@example.org", "b@example.org") == 250
        assert outcomes(smtp) == [("mail", "late"), ("mail", "would have changed")]
        assert smtp.messages[0].sender == "a@example.org"


async def test_a_condition_inside_that_fails_is_passed_over() -> None:
    @known("connect")
    def broken(session: Session) -> bool:
        raise ValueError

    async with Dialog(Observe(When(broken, No("mail"))), Vouch()) as smtp:
        assert await smtp.message("a@example.org", "b@example.org") == 250
        assert outcomes(smtp, "when broken") == [("mail", "fault")]
        assert outcomes(smtp) == []


async def test_a_client_that_leaves_meanwhile_is_nobodys_fault() -> None:
    begun = Event()

    class Waits:
        name = "x"

        @hookimpl
        async def mail(self, session: Session, sender: Sender) -> None:
            sender.rewrite(Address.parse("tried@example.net"))
            begun.set()
            await session.input_waits(60)

    class Onion(Waits):
        @hookimpl
        async def mail(self, session: Session, call_next: CallNext) -> Reply:  # type: ignore[override]
            begun.set()
            await session.input_waits(60)
            return await call_next()

    class Outside(Waits):
        @hookimpl
        async def mail(self, session: Session, call_next: CallNext) -> Reply:  # type: ignore[override]
            return await call_next()

    for stack in ([Observe(Waits())], [Observe(Onion())], [Observe(Outside()), Waits()]):
        begun = Event()
        async with Dialog(*stack) as smtp:
            await smtp.say("EHLO client.example.org")
            await smtp.send(b"MAIL FROM:<a@example.org>\r\n")
            await begun.wait()
            await smtp.hang_up()
            await smtp.finished()
            assert [each for each in smtp.evidence if each.outcome in ("fault", "late")] == []


# Onions.


class Onion:
    """An onion at rcpt that vouches before, rewrites after, and answers as it is told."""

    name = "x"

    def __init__(self, answer: Reply | None = NO, calls: int = 1) -> None:
        self.answer = answer
        self.calls = calls
        self.heard: list[Reply] = []

    @hookimpl
    async def rcpt(self, recipient: Recipient, call_next: CallNext) -> Reply:
        recipient.accept()
        recipient.rewrite(Address.parse("before@example.net"))
        for _ in range(self.calls):
            self.heard.append(await call_next())
            recipient.rewrite(Address.parse("after@example.net"))
        return self.answer or self.heard[-1]


class Below:
    """Sees the recipient as it is, vouches, and rewrites."""

    name = "below"

    def __init__(self) -> None:
        self.saw: list[str] = []

    @hookimpl
    async def rcpt(self, recipient: Recipient) -> None:
        await checkpoint()
        self.saw.append(f"{recipient} {recipient.accepted}")
        recipient.accept()
        recipient.rewrite(Address.parse("below@example.org"))


@pytest.mark.parametrize("calls", [0, 1, 3])
@pytest.mark.parametrize("answer", [NO, Reply(250, "fine")])
async def test_an_onion_is_undone_and_those_below_it_are_not(calls: int, answer: Reply) -> None:
    below, onion = Below(), Onion(answer, calls)
    async with Dialog(Observe(onion), below) as smtp:
        assert await smtp.message("a@example.org", "b@example.org") == 250
        assert smtp.messages[0].recipients == ["below@example.org"]
        assert below.saw == ["b@example.org False"]
        assert [reply.code for reply in onion.heard] == [250] * calls
        changes = [each.detail for each in smtp.evidence if each.outcome == "would have changed"]
        assert "before@example.net" in changes[0]
        assert len(changes) == (2 if calls else 1)
        assert ("rcpt", "would have refused" if answer is NO else "would have accepted") in outcomes(smtp)


async def test_an_onion_that_hands_the_answer_on_has_said_nothing() -> None:
    async with Dialog(Observe(Onion(None)), No("rcpt")) as smtp:
        assert await smtp.message("a@example.org", "b@example.org") == 550
        assert [each[1] for each in outcomes(smtp)] == ["would have changed", "would have changed"]
        assert smtp.session.transaction is not None


async def test_the_answer_is_theirs_who_gave_it_below_an_observed_onion() -> None:
    heard: list[str] = []

    class Hears:
        name = "hears"

        @hookimpl
        def replied(self, by: str, phase: str) -> None:
            heard.append(f"{phase} {by}")

    async with Dialog(Hears(), Observe(Onion()), No("rcpt")) as smtp:
        await smtp.message("a@example.org", "b@example.org")
    assert "rcpt x#2" in heard


async def test_an_onion_that_raises_before_or_after_is_passed_over() -> None:
    class Raises:
        name = "x"

        def __init__(self, before: bool) -> None:
            self.before = before

        @hookimpl
        async def rcpt(self, call_next: CallNext) -> Reply:
            if not self.before:
                await call_next()
            raise ValueError

    for before in (True, False):
        below = Below()
        async with Dialog(Observe(Raises(before)), below) as smtp:
            assert await smtp.message("a@example.org", "b@example.org") == 250
            assert outcomes(smtp) == [("rcpt", "fault")]
            assert len(below.saw) == 1


async def test_an_onion_that_hangs_is_passed_over() -> None:
    class Hangs:
        name = "x"

        @hookimpl
        async def rcpt(self, call_next: CallNext) -> Reply:
            await sleep_forever()
            return NO

    async with Dialog(Observe(Limit(Hangs(), timeout=0.05)), Vouch()) as smtp:
        assert await smtp.message("a@example.org", "b@example.org") == 250
        assert outcomes(smtp) == [("rcpt", "late")]


async def test_an_onions_own_time_limit_does_not_cut_those_below_it_short() -> None:
    done: list[str] = []

    class Impatient:
        name = "x"

        @hookimpl
        async def rcpt(self, call_next: CallNext) -> Reply:
            with move_on_after(0):
                return await call_next()
            return NO

    class Slow:
        name = "slow"

        @hookimpl
        async def rcpt(self, recipient: Recipient) -> None:
            for _ in range(5):
                await checkpoint()
            recipient.accept()
            done.append("slow")

    async with Dialog(Observe(Impatient()), Slow()) as smtp:
        assert await smtp.message("a@example.org", "b@example.org") == 250
    assert done == ["slow"]
    async with Dialog(Impatient(), Slow()) as smtp:
        assert await smtp.message("a@example.org", "b@example.org") == 550


async def test_observed_onions_nest() -> None:
    outer, inner, below = Onion(), Onion(calls=0), Below()
    async with Dialog(Observe(Stack(outer, inner)), below) as smtp:
        assert await smtp.message("a@example.org", "b@example.org") == 250
        assert below.saw == ["b@example.org False"]
        assert [reply.code for reply in outer.heard] == [250]
        assert ("rcpt", "would have refused") in outcomes(smtp, "x#2")


# Notices and lives.


async def test_a_notice_of_an_observed_entry_hears_and_changes_nothing() -> None:
    heard: list[str] = []

    class Budget:
        name = "x"

        @hookimpl
        def replied(self, session: Session) -> None:
            heard.append("replied")
            session.close()

        @hookimpl
        async def queued(self, session: Session) -> None:
            heard.append("queued")
            session.close()

        @hookimpl
        async def lifespan(self, call_next: Any) -> None:
            heard.append("lifespan")
            await call_next()

    async with Dialog(Observe(Budget()), Vouch()) as smtp:
        assert await smtp.message("a@example.org", "b@example.org") == 250
        assert await smtp.say("NOOP") == 250
    assert {"lifespan", "replied", "queued"} == set(heard)


# What cannot be observed.


class Handler:
    name = "handler"

    @hookimpl
    def queue(self) -> Reply:
        return Reply(250)


class Life:
    name = "life"

    @hookimpl
    async def session(self, call_next: Any) -> None:
        await call_next()


@pytest.mark.parametrize(
    ("entry", "words"), [(Handler, "it would take the mail for good"), (Life, "it holds the conversation itself")]
)
def test_what_cannot_be_undone_is_a_load_error(entry: Any, words: str) -> None:
    def stacks() -> Sequence[Callable[[], object]]:
        return (
            lambda: Observe(entry()),
            lambda: Observe(Stack(No("mail"), entry())),
            lambda: Unless(lambda session: True, Observe(Limit(entry(), timeout=1))),
        )

    for make in stacks():
        with pytest.raises(ConfigError, match=words) as caught:
            build(Stack(make()))
        assert caught.value.file == __file__
        assert caught.value.remedy


# With the others.


async def test_a_stack_and_a_condition_inside_are_observed_whole() -> None:
    @known("connect")
    def no(session: Session) -> bool:
        return False

    inside = Stack(No("mail"), Unless(no, No("rcpt")), When(no, No("data")))
    async with Dialog(Observe(inside), Vouch()) as smtp:
        assert await smtp.message("a@example.org", "b@example.org") == 250
        assert [each.who for each in smtp.evidence] == ["x", "x#2", "collect"]
    async with Dialog(When(no, Observe(No("mail"))), Unless(no, Observe(No("rcpt"))), Vouch()) as smtp:
        assert await smtp.message("a@example.org", "b@example.org") == 250
        assert (outcomes(smtp), outcomes(smtp, "x#2")) == ([], [("rcpt", "would have refused")])


@pytest.mark.parametrize("wrap", [lambda x: Observe(Score(x, 5)), lambda x: Score(Observe(x), 5)])
async def test_points_under_observation_do_not_count(wrap: Any) -> None:
    async with Dialog(wrap(No("connect", "ehlo", "mail", "rcpt")), Vouch(), Threshold(reject_at=1)) as smtp:
        assert await smtp.message("a@example.org", "b@example.org") == 250
        found = {each[1] for each in outcomes(smtp)}
        assert found & {"would have scored", "would have refused"}
        assert "scored" not in found


@pytest.mark.parametrize("wrap", [lambda x: Observe(Postpone(x)), lambda x: Postpone(Observe(x))])
async def test_what_is_observed_is_not_enforced_later(wrap: Any) -> None:
    async with Dialog(wrap(No("connect")), Vouch()) as smtp:
        assert await smtp.message("a@example.org", "b@example.org") == 250
        assert outcomes(smtp)[-1][1] == "would have refused"


async def test_a_threshold_can_be_tried() -> None:
    async with Dialog(Score(No("mail"), 5), Observe(Threshold(reject_at=5)), Vouch()) as smtp:
        assert await smtp.message("a@example.org", "b@example.org") == 250
        assert ("data", "would have refused") in outcomes(smtp, "threshold")
