"""Score and Threshold: refusals become points, and one place judges the sum."""

import logging
from typing import Any

import pytest
from anyio.lowlevel import checkpoint

from mailstack import (
    CallNext,
    ConfigError,
    Limit,
    Message,
    Observe,
    Postpone,
    Recipient,
    Reply,
    Score,
    Session,
    Stack,
    Threshold,
    Unless,
    When,
    hookimpl,
    known,
    predicate,
    score,
)
from mailstack.contract.pipeline import build
from mailstack.contract.score import scores
from mailstack.testing import Conversation, Dialog, Vouch

NO = Reply(550, "no", status="5.7.1", close=True)
HOOKS = ("connect", "ehlo", "mail", "rcpt", "data", "headers", "message")


class No:
    """Refuses in the phases that it is told to: at ehlo bad names, at rcpt bad recipients alone."""

    name = "x"

    def __init__(self, *phases: str, reply: Reply = NO, name: str = "x") -> None:
        self.name = name

        def always(session: Session) -> Reply | None:
            return reply

        async def always_async(session: Session) -> Reply | None:
            await checkpoint()
            return reply

        def ehlo(hostname: str) -> Reply | None:
            return reply if hostname.startswith("bad") else None

        def rcpt(recipient: Recipient) -> Reply | None:
            return reply if recipient.address.local.startswith("bad") else None

        given: dict[str, Any] = {"ehlo": ehlo, "rcpt": rcpt, "data": always_async}
        for phase in phases:
            setattr(self, phase, hookimpl(given.get(phase, always)))


class Reads:
    """Writes down the score at the end of the data, and who gave it."""

    name = "reads"

    def __init__(self) -> None:
        self.scores: list[dict[str, float]] = []

    @hookimpl
    def message(self, session: Session, message: Message) -> None:
        self.scores.append(scores(session))
        message.add_header("X-Score", f"{score(session):g}")


def outcomes(smtp: Conversation, who: str = "x") -> list[tuple[str, str, str]]:
    return [(each.phase, each.outcome, each.detail) for each in smtp.evidence if each.who == who]


# Counting.


@pytest.mark.parametrize("phase", HOOKS)
async def test_a_refusal_in_any_phase_is_points(phase: str) -> None:
    reads = Reads()
    async with Dialog(Score(No(phase), 2.5), Vouch(), reads) as smtp:
        await smtp.say("EHLO bad.example.org")
        assert await smtp.message("a@example.org", "bad@example.net") == 250
        assert reads.scores == [{"x": 2.5}]
        assert outcomes(smtp) == [(phase, "scored", "2.5 points")]
        assert smtp.messages[0].content.startswith(b"X-Score: 2.5\r\n")
        assert await smtp.say("NOOP") == 250


async def test_an_entry_counts_once_in_a_transaction() -> None:
    reads = Reads()
    async with Dialog(Score(No(*HOOKS), 3), Vouch(), reads) as smtp:
        await smtp.say("EHLO bad.example.org")
        await smtp.message("a@example.org", ["bad@example.net", "bad2@example.net", "bad3@example.net"])
        assert reads.scores == [{"x": 3}]
        assert [each for each in outcomes(smtp) if each[2] != "counted already"] == [("connect", "scored", "3 points")]
        assert len(outcomes(smtp)) == 9


async def test_three_recipients_are_points_once() -> None:
    reads = Reads()
    async with Dialog(Score(No("rcpt"), 3), Vouch(), reads) as smtp:
        await smtp.message("a@example.org", ["bad@example.net", "bad2@example.net", "bad3@example.net"])
    assert reads.scores == [{"x": 3}]


async def test_points_of_the_session_hold_and_those_of_a_transaction_do_not() -> None:
    reads = Reads()
    entries = (Score(No("connect", name="c"), 1), Score(No("ehlo", name="e"), 2), Score(No("rcpt", name="r"), 4))
    async with Dialog(*entries, Vouch(), reads) as smtp:
        await smtp.say("EHLO bad.example.org")
        await smtp.message("a@example.org", "bad@example.net")
        await smtp.message("a@example.org", "good@example.net")
        await smtp.say("EHLO good.example.org")
        await smtp.message("a@example.org", "good@example.net")
        await smtp.message("a@example.org", "bad@example.net")
        await smtp.say("RSET")
        assert scores(smtp.session) == {"c": 1}
    assert reads.scores == [{"c": 1, "e": 2, "r": 4}, {"c": 1, "e": 2}, {"c": 1}, {"c": 1, "r": 4}]


async def test_instances_of_one_middleware_count_apart() -> None:
    reads = Reads()
    async with Dialog(Score(No("mail"), 1), Score(Stack(No("mail"), No("data")), 2), Vouch(), reads) as smtp:
        await smtp.message("a@example.org", "b@example.net")
        assert {each.who for each in smtp.evidence if each.outcome == "scored"} == {"x", "x#2", "x#3"}
    assert reads.scores == [{"x": 1, "x#2": 2, "x#3": 2}]


async def test_sessions_count_apart() -> None:
    reads = Reads()
    async with Dialog(Score(No("ehlo"), 1), Vouch(), reads) as smtp:
        [other] = await smtp.several(1)
        await smtp.say("EHLO bad.example.org")
        await other.message("a@example.org", "b@example.net")
        assert (score(smtp.session), score(other.session)) == (1, 0)
    assert reads.scores == [{}]


async def test_negative_points_speak_for_the_mail() -> None:
    entries = (Score(No("mail"), 5), Score(No("mail", name="known"), -3), Threshold(reject_at=5))
    async with Dialog(*entries, Vouch()) as smtp:
        assert await smtp.message("a@example.org", "b@example.net") == 250


async def test_a_positive_answer_and_a_failure_are_as_ever() -> None:
    class Fails:
        name = "x"

        @hookimpl
        def mail(self) -> None:
            raise ValueError

    async with Dialog(Score(No("mail", reply=Reply(250, "fine")), 5), No("mail"), Vouch()) as smtp:
        await smtp.say("EHLO client.example.org")
        assert (await smtp.say("MAIL FROM:<a@example.org>")).text == "fine"
        assert score(smtp.session) == 0
    async with Dialog(Score(Fails(), 5), Vouch()) as smtp:
        assert await smtp.message("a@example.org", "b@example.net") == 451
    for passes in (Score(Limit(Fails(), on_fault="pass"), 5), Limit(Score(Fails(), 5), on_fault="pass")):
        async with Dialog(passes, Vouch()) as smtp:
            assert await smtp.message("a@example.org", "b@example.net") == 250
            assert score(smtp.session) == 0


async def test_what_is_not_about_mail_is_answered_as_ever() -> None:
    class Verb:
        name = "x"

        @hookimpl
        def command(self) -> Reply | None:
            return Reply(502, "not here")

        @hookimpl
        def mail(self) -> None:
            pass

    async with Dialog(Score(Verb(), 5), Vouch()) as smtp:
        assert (await smtp.say("NOOP")).text == "not here"
        assert score(smtp.session) == 0


async def test_the_log_tells_of_points_once(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO, "mailstack")
    async with Dialog(Score(No("rcpt"), 5), Vouch()) as smtp:
        await smtp.message("a@example.org", ["bad@example.net", "bad2@example.net"])
    [line] = [record.getMessage() for record in caplog.records if record.getMessage().startswith("scored")]
    assert "who=x" in line
    assert "points=5" in line


# Judging.


@pytest.mark.parametrize(
    ("points", "code"), [(0, 250), (3.9, 250), (4, 451), (6.9, 451), (7, 550), (100, 550), (-100, 250)]
)
@pytest.mark.parametrize("phase", ["rcpt", "data", "headers", "message"])
async def test_a_threshold_refuses_from_its_numbers_on(points: float, code: int, phase: str) -> None:
    judge = Threshold(reject_at=7, defer_at=4, phase=phase)
    async with Dialog(Score(No("mail"), points), judge, Vouch()) as smtp:
        assert await smtp.message("a@example.org", "b@example.net") == code
        refusals = [each.phase for each in smtp.evidence if each.who == "threshold" and each.outcome == "refused"]
        assert refusals == ([] if code == 250 else [phase])


async def test_the_evidence_tells_who_contributed() -> None:
    entries = (Score(No("mail"), 5), Score(No("connect", name="y"), 2.5), Score(No("ehlo", name="z"), 9))
    async with Dialog(*entries, Threshold(reject_at=7), Vouch()) as smtp:
        answer = await smtp.message("a@example.org", "b@example.net")
        assert (answer.code, answer.status, answer.text) == (550, "5.7.1", "refused by policy")
        noted, refused = outcomes(smtp, "threshold")
        assert noted[:2] == ("data", "noted")
        assert set(noted[2].removeprefix("7.5 points: ").split(", ")) == {"x 5", "y 2.5"}
        assert refused[:2] == ("data", "refused")


async def test_a_threshold_may_say_what_it_likes() -> None:
    judge = Threshold(reject_at=1, phase="message", reply=Reply(554, "spam", status="5.7.1"), name="spam")
    async with Dialog(Score(No("mail"), 5), judge, Vouch()) as smtp:
        answer = await smtp.message("a@example.org", "b@example.net")
        assert (answer.code, answer.text) == (554, "spam")
        assert outcomes(smtp, "spam")


@pytest.mark.parametrize("phase", ["rcpt", "data", "headers", "message"])
async def test_postmaster_is_spared(phase: str) -> None:
    judge = Threshold(reject_at=1, phase=phase)
    async with Dialog(Score(No("mail"), 5), judge, Vouch()) as smtp:
        for one in ("postmaster", "postmaster@example.net", "Abuse@example.net"):
            assert await smtp.message("a@example.org", one) == 250
        mixed = await smtp.message("a@example.org", ["postmaster", "b@example.net"])
        assert mixed == (250 if phase == "rcpt" else 550)
        assert len(smtp.messages) == (4 if phase == "rcpt" else 3)


async def test_several_thresholds_judge_at_their_places() -> None:
    entries = (
        Score(No("mail"), 2),
        Threshold(reject_at=5, phase="rcpt"),
        Score(No("data", name="y"), 4),
        Threshold(reject_at=5),
    )
    async with Dialog(*entries, Vouch()) as smtp:
        assert await smtp.message("a@example.org", "b@example.net") == 550
        assert {each.who for each in smtp.evidence if each.outcome == "refused"} == {"threshold#2"}


async def test_a_condition_may_ask_for_the_score() -> None:
    for points, code in ((4, 250), (5, 552)):
        suspicious = predicate.score_at_least(5)
        entries = (Score(No("mail"), points), When(suspicious, No("data", reply=Reply(552, "suspicious"), name="y")))
        async with Dialog(*entries, Vouch()) as smtp:
            assert await smtp.message("a@example.org", "b@example.net") == code
    assert str(predicate.score_at_least(5)) == "score_at_least(5)"


# With the others.


@known("connect")
def yes(session: Session) -> bool:
    return True


@pytest.mark.parametrize(
    "wrap",
    [
        lambda x: When(yes, Score(x, 5)),
        lambda x: Score(When(yes, x), 5),
        lambda x: Score(Stack(Stack(Unless(~yes, x))), 5),
        lambda x: Limit(Score(x, 5), timeout=5),
        lambda x: Score(Limit(x, timeout=5, on_fault="pass"), 5),
        lambda x: Postpone(Score(x, 5)),
        lambda x: Score(Postpone(x), 5),
        lambda x: Postpone(Limit(Score(Postpone(x, until="data"), 5), timeout=5)),
    ],
)
async def test_wrappers_combine(wrap: Any) -> None:
    for phase in ("connect", "ehlo", "mail"):
        reads = Reads()
        async with Dialog(wrap(No(phase)), Vouch(), reads) as smtp:
            await smtp.say("EHLO bad.example.org")
            for _ in range(2):
                assert await smtp.message("a@example.org", ["b@example.net", "c@example.net"]) == 250
        assert reads.scores == [{"x": 5}, {"x": 5}]


# What cannot be, and what is told.


class Onion:
    name = "onion"

    @hookimpl
    async def mail(self, call_next: CallNext) -> Reply:
        return await call_next()


class Handler:
    name = "handler"

    @hookimpl
    def queue(self) -> Reply | None:
        return None


@pytest.mark.parametrize(
    ("make", "words"),
    [
        (lambda: Score(Onion(), 1), "onion cannot be scored: its mail is an onion"),
        (lambda: Score(Stack(No("mail"), Handler()), 1), "handler cannot be scored: it implements queue"),
        (lambda: Score(Score(No("mail"), 1), 1), "x stands in two Scores"),
        (lambda: Score(When(yes, Limit(Score(No("mail"), 1), timeout=1)), 1), "x stands in two Scores"),
    ],
)
def test_what_cannot_be_scored_is_a_load_error(make: Any, words: str) -> None:
    with pytest.raises(ConfigError, match=words) as caught:
        build(Stack(make()))
    assert caught.value.file == __file__
    assert caught.value.remedy


@pytest.mark.parametrize(
    ("given", "words"),
    [
        ({}, "refuses nothing"),
        ({"reject_at": "many"}, "reject_at"),
        ({"defer_at": 5, "reject_at": 5}, "nothing is deferred"),
        ({"reject_at": 5, "phase": "connect"}, "not known here"),
        ({"reject_at": 5, "reply": Reply(250)}, "refuses nothing"),
        ({"reject_at": 5, "reply": "no"}, "refuses nothing"),
    ],
)
def test_a_threshold_that_makes_no_sense_is_refused(given: dict[str, Any], words: str) -> None:
    with pytest.raises(ConfigError, match=words):
        Threshold(**given)


@pytest.mark.parametrize("points", ["many", None, float("inf"), True])
def test_points_are_a_number(points: Any) -> None:
    with pytest.raises(ConfigError, match="points"):
        Score(No("mail"), points)


def test_points_that_nobody_judges_are_told() -> None:
    def warnings(*entries: object) -> list[str]:
        return [warning.partition(": ")[2] for warning in build(Stack(*entries)).warnings]

    late = ["x scores in message, but no Threshold judges after it"]
    assert warnings(Score(No("mail"), 1), Threshold(reject_at=1)) == []
    assert warnings(Score(No("message"), 1), Threshold(reject_at=1)) == late
    assert warnings(Score(No("message"), 1), Threshold(reject_at=1, phase="message")) == []
    assert warnings(Threshold(reject_at=1, phase="message"), Score(No("message"), 1)) == late
    assert warnings(Threshold(reject_at=1), Score(No("mail"), 1)) == []
    assert warnings(Score(No("mail"), 1)) == ["x scores in mail, but no Threshold judges after it"]
    idle = ["Score: nobody inside gives an answer that could be scored"]
    assert warnings(Score(Vouch(), 1), Threshold(reject_at=1)) == idle
    assert warnings(Score(Observe(No("mail")), 1)) == idle
