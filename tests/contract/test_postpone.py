"""Postpone: a refusal is given later, where more is known, and never to postmaster."""

from collections.abc import Callable, MutableMapping
from typing import Any

import pytest
from anyio import sleep_forever
from anyio.lowlevel import checkpoint

from mailstack import (
    CallNext,
    Command,
    ConfigError,
    Limit,
    Postpone,
    Recipient,
    Reply,
    Sender,
    Session,
    Stack,
    Unless,
    When,
    hookimpl,
    known,
)
from mailstack.contract.pipeline import build
from mailstack.testing import Conversation, Dialog, Vouch

NO = Reply(550, "listed", status="5.7.1")


def outcomes(smtp: Conversation, who: str = "x") -> list[tuple[str, str]]:
    return [(each.phase, each.outcome) for each in smtp.evidence if each.who == who]


class Early:
    """Refuses at connect, at EHLO by a bad name, or at MAIL from a bad sender."""

    name = "x"

    def __init__(self, *phases: str, reply: Reply = NO) -> None:
        self.phases = phases
        self.reply = reply

    @hookimpl
    def connect(self) -> Reply | None:
        return self.reply if "connect" in self.phases else None

    @hookimpl
    async def ehlo(self, hostname: str) -> Reply | None:
        await checkpoint()
        return self.reply if "ehlo" in self.phases and hostname.startswith("bad") else None

    @hookimpl
    def mail(self, sender: Sender) -> Reply | None:
        return self.reply if "mail" in self.phases and sender.address.local == "bad" else None


async def transaction(smtp: Conversation, *recipients: str, sender: str = "bad@example.org") -> list[int]:
    """The codes of MAIL, each RCPT, and DATA; the message itself if it is let in, else RSET."""
    codes = [(await smtp.say(f"MAIL FROM:<{sender}>")).code]
    codes += [(await smtp.say(f"RCPT TO:<{recipient}>")).code for recipient in recipients]
    codes.append((await smtp.say("DATA")).code)
    if codes[-1] == 354:
        await smtp.send(b"\r\n.\r\n")
        assert await smtp.reply() == 250
    else:
        await smtp.say("RSET")
    return codes


@pytest.mark.parametrize("phase", ["connect", "ehlo", "mail"])
async def test_an_early_refusal_is_given_to_each_recipient(phase: str) -> None:
    async with Dialog(Postpone(Early(phase)), Vouch()) as smtp:
        assert await smtp.banner() == 220
        assert await smtp.say("EHLO bad.example.org") == 250
        assert await transaction(smtp, "a@example.net", "b@example.net") == [250, 550, 550, 503]
        assert outcomes(smtp) == [(phase, "postponed"), ("rcpt", "refused"), ("rcpt", "refused")]
        answers = [each.reply for each in smtp.evidence if each.who == "x"]
        assert answers == [NO] * 3


@pytest.mark.parametrize("phase", ["connect", "ehlo", "mail"])
async def test_it_may_wait_until_data(phase: str) -> None:
    async with Dialog(Postpone(Early(phase), until="data"), Vouch()) as smtp:
        await smtp.say("EHLO bad.example.org")
        assert await transaction(smtp, "a@example.net") == [250, 250, 550]
        assert outcomes(smtp) == [(phase, "postponed"), ("data", "refused")]


async def test_data_is_refused_by_bdat_too() -> None:
    async with Dialog(Postpone(Early("connect"), until="data"), Vouch()) as smtp:
        await smtp.say("EHLO client.example.org")
        await smtp.say("MAIL FROM:<a@example.org>")
        await smtp.say("RCPT TO:<b@example.org>")
        assert await smtp.say("BDAT 0 LAST") == 550


# How long it holds.


async def test_a_refusal_at_connect_holds_for_the_session() -> None:
    async with Dialog(Postpone(Early("connect")), Vouch()) as smtp:
        for name in ("one", "two"):
            await smtp.say(f"EHLO {name}.example.org")
            assert await transaction(smtp, "a@example.net") == [250, 550, 503]
    async with Dialog(Postpone(Early("connect")), Vouch()) as smtp:
        await smtp.say("HELO client.example.org")
        assert await transaction(smtp, "a@example.net") == [250, 550, 503]


async def test_a_refusal_at_ehlo_holds_until_the_next_greeting() -> None:
    async with Dialog(Postpone(Early("ehlo")), Vouch()) as smtp:
        await smtp.say("EHLO bad.example.org")
        assert await transaction(smtp, "a@example.net") == [250, 550, 503]
        assert await transaction(smtp, "a@example.net") == [250, 550, 503]
        await smtp.say("EHLO good.example.org")
        assert await transaction(smtp, "a@example.net") == [250, 250, 354]
        await smtp.say("HELO bad.example.org")
        assert await transaction(smtp, "a@example.net") == [250, 550, 503]


async def test_a_greeting_that_was_refused_changes_nothing() -> None:
    """Otherwise a client could greet once more, to be refused, and be rid of what there is against it."""

    class NoWeird:
        name = "noweird"

        @hookimpl
        def ehlo(self, hostname: str) -> Reply | None:
            return Reply(550, "weird") if "weird" in hostname else None

    for stack in ([Postpone(Early("ehlo")), NoWeird()], [NoWeird(), Postpone(Early("ehlo"))]):
        async with Dialog(*stack, Vouch()) as smtp:
            await smtp.say("EHLO bad.example.org")
            for _ in range(2):
                assert await smtp.say("EHLO weird.example.org") == 550
                assert await transaction(smtp, "a@example.net") == [250, 550, 503]
            await smtp.say("EHLO good.example.org")
            for _ in range(2):
                assert await smtp.say("EHLO bad.weird.example.org") == 550
                assert await transaction(smtp, "a@example.net") == [250, 250, 354]


async def test_a_refusal_at_mail_holds_for_its_transaction() -> None:
    async with Dialog(Postpone(Early("mail")), Vouch()) as smtp:
        await smtp.say("EHLO client.example.org")
        assert await transaction(smtp, "a@example.net") == [250, 550, 503]
        assert await transaction(smtp, "a@example.net", sender="good@example.org") == [250, 250, 354]
        assert await smtp.say("MAIL FROM:<bad@example.org>") == 250
        assert await smtp.say("RSET") == 250
        assert await transaction(smtp, "a@example.net", sender="good@example.org") == [250, 250, 354]


async def test_the_earliest_of_several_is_given() -> None:
    stack = Stack(
        Postpone(Stack(Early("mail", reply=Reply(450, "mail")), Early("connect", reply=Reply(550, "connect")))), Vouch()
    )
    async with Dialog(stack) as smtp:
        await smtp.say("EHLO client.example.org")
        await smtp.say("MAIL FROM:<bad@example.org>")
        assert (await smtp.say("RCPT TO:<a@example.net>")).text == "mail"  # two entries: the stack's order


# What it becomes.


@pytest.mark.parametrize(
    ("reply", "wanted"),
    [
        (Reply(550, "listed", status="5.7.1", close=True), (550, "5.7.1")),
        (Reply(421, "busy", status="4.7.0", close=True), (450, "4.7.0")),
        (Reply(421, "busy"), (450, "4.3.2")),
        (Reply(450, "wait", close=True), (450, "4.2.0")),
    ],
)
@pytest.mark.parametrize("phase", ["connect", "ehlo", "mail"])
async def test_it_does_not_close(reply: Reply, wanted: tuple[int, str], phase: str) -> None:
    async with Dialog(Postpone(Early(phase, reply=reply)), Vouch()) as smtp:
        assert await smtp.say("EHLO bad.example.org") == 250
        assert await smtp.say("MAIL FROM:<bad@example.org>") == 250
        answer = await smtp.say("RCPT TO:<a@example.net>")
        assert (answer.code, answer.status, answer.text) == (*wanted, reply.text)
        assert await smtp.say("NOOP") == 250


class Fails:
    name = "x"

    @hookimpl
    def connect(self) -> None:
        raise ValueError("hunter2")


class Hangs:
    name = "x"

    @hookimpl
    async def ehlo(self) -> None:
        await sleep_forever()


@pytest.mark.parametrize("entry", [Fails, Hangs])
@pytest.mark.parametrize(("on_fault", "code"), [(None, 451), ("defer", 451), ("reject", 554), ("pass", 250)])
async def test_a_failure_is_given_later_too(entry: Any, on_fault: Any, code: int) -> None:
    inside = Postpone(Limit(entry(), timeout=0.05, on_fault=on_fault))
    outside = Limit(Postpone(entry()), timeout=0.05, on_fault=on_fault)
    for postponed in (inside, outside):
        async with Dialog(postponed, Vouch()) as smtp:
            assert await smtp.banner() == 220
            assert await smtp.say("EHLO bad.example.org") == 250
            assert await transaction(smtp, "a@example.net") == [250, code, 354 if code == 250 else 503]


async def test_a_late_run_without_a_limit_of_its_own_goes_on(monkeypatch: pytest.MonkeyPatch) -> None:
    from mailstack import Limits

    limits = Limits(envelope=0.05, sweep=0.01)
    async with Dialog(Postpone(Hangs()), Waits(), Vouch(), limits=limits) as smtp:
        assert await smtp.say("EHLO client.example.org") == 250
        assert await transaction(smtp, "a@example.net") == [250, 451, 503]


class Waits:
    name = "waits"

    @hookimpl
    async def ehlo(self) -> None:
        await checkpoint()


async def test_a_positive_answer_is_an_answer() -> None:
    async with Dialog(Postpone(Early("mail", reply=Reply(250, "fine"))), Vouch()) as smtp:
        await smtp.say("EHLO client.example.org")
        assert (await smtp.say("MAIL FROM:<bad@example.org>")).text == "fine"


async def test_what_it_says_later_is_as_ever() -> None:
    class Both(Early):
        @hookimpl
        def rcpt(self, recipient: Recipient) -> Reply | None:
            return Reply(552, "own") if recipient.address.local == "full" else None

        @hookimpl
        async def data(self) -> Reply | None:
            return Reply(554, "own")

    async with Dialog(Postpone(Both()), Vouch()) as smtp:
        await smtp.say("EHLO client.example.org")
        assert await transaction(smtp, "full@example.net", "a@example.net") == [250, 552, 250, 554]
    async with Dialog(Postpone(Both("connect")), Vouch()) as smtp:
        await smtp.say("EHLO client.example.org")
        assert await transaction(smtp, "full@example.net", "postmaster") == [250, 550, 250, 554]


# postmaster.

SPARED = ("postmaster", "Postmaster@example.net", "abuse@example.net")


@pytest.mark.parametrize("recipient", SPARED)
@pytest.mark.parametrize("until", ["rcpt", "data"])
async def test_it_is_never_given_to_postmaster(recipient: str, until: str) -> None:
    async with Dialog(Postpone(Early("connect", "ehlo", "mail"), until=until), Vouch()) as smtp:
        await smtp.say("EHLO bad.example.org")
        assert await transaction(smtp, recipient) == [250, 250, 354]
        [finding] = [each for each in smtp.evidence if each.outcome == "overruled"]
        assert (finding.who, finding.phase, finding.reply, finding.detail) == ("x", until, NO, "postmaster")


async def test_others_beside_postmaster_are_not_spared() -> None:
    async with Dialog(Postpone(Early("connect")), Vouch()) as smtp:
        await smtp.say("EHLO client.example.org")
        assert await transaction(smtp, "postmaster", "a@example.net") == [250, 250, 550, 354]
        assert smtp.messages[0].recipients == ["postmaster"]
    async with Dialog(Postpone(Early("connect"), until="data"), Vouch()) as smtp:
        await smtp.say("EHLO client.example.org")
        assert await transaction(smtp, "postmaster", "a@example.net") == [250, 250, 250, 550]


# Where it stands.


class Login:
    """A client says AUTHED, and is."""

    name = "login"

    @hookimpl
    def command(self, session: Session, command: Command) -> Reply | None:
        if command.verb != "AUTHED":
            return None
        session.user = "alice"
        return Reply(250)


@known("auth")
def authenticated(session: Session) -> bool:
    return session.user is not None


@pytest.mark.parametrize("login", [True, False])
@pytest.mark.parametrize(
    ("make", "goes"),
    [
        (lambda x: Postpone(Unless(authenticated, x)), False),
        (lambda x: Unless(authenticated, Postpone(x)), True),
    ],
)
async def test_only_a_condition_outside_is_asked_again(
    make: Callable[[object], object], goes: bool, login: bool
) -> None:
    async with Dialog(Login(), make(Early("connect")), Vouch()) as smtp:
        await smtp.say("EHLO client.example.org")
        if login:
            await smtp.say("AUTHED")
        wanted = [250, 250, 354] if login and goes else [250, 550, 503]
        assert await transaction(smtp, "a@example.net") == wanted


def test_a_condition_that_is_asked_again_in_time_needs_no_warning() -> None:
    assert build(Stack(Unless(authenticated, Postpone(Early())))).warnings == []
    for early in (Early(), Postpone(Unless(authenticated, Early()))):
        stack = Stack(early) if isinstance(early, Postpone) else Stack(Unless(authenticated, early))
        assert any("until then it runs for everybody" in warning for warning in build(stack).warnings)


def test_a_condition_that_is_not_known_in_time_is_refused_as_ever() -> None:
    with pytest.raises(ConfigError, match="x listens in connect"):
        build(Stack(When(authenticated, Postpone(Early()))))


async def test_its_place_in_the_stack_is_where_it_refuses() -> None:
    heard: list[str] = []

    class Hears:
        name = "hears"

        @hookimpl
        def rcpt(self) -> None:
            heard.append("rcpt")

    async with Dialog(Hears(), Postpone(Early("connect")), Hears2(heard), Vouch()) as smtp:
        await smtp.say("EHLO client.example.org")
        await transaction(smtp, "a@example.net", "postmaster")
    assert heard == ["rcpt", "rcpt", "below"]


class Hears2:
    name = "hears2"

    def __init__(self, heard: list[str]) -> None:
        self.heard = heard

    @hookimpl
    def rcpt(self) -> None:
        self.heard.append("below")


async def test_one_may_stand_inside_another() -> None:
    nested = Postpone(Stack(Postpone(Early("connect"), until="data"), Early("mail")))
    async with Dialog(nested, Vouch()) as smtp:
        await smtp.say("EHLO client.example.org")
        assert await transaction(smtp, "a@example.net", sender="good@example.org") == [250, 250, 550]
        assert await transaction(smtp, "a@example.net") == [250, 550, 503]


async def test_the_same_stack_serves_two_sessions_apart() -> None:
    async with Dialog(Postpone(Early("ehlo")), Vouch()) as smtp:
        [other] = await smtp.several(1)
        await smtp.say("EHLO bad.example.org")
        await other.say("EHLO good.example.org")
        assert await transaction(other, "a@example.net") == [250, 250, 354]
        assert await transaction(smtp, "a@example.net") == [250, 550, 503]


# What cannot be.


class Onion:
    name = "onion"

    @hookimpl
    async def mail(self, call_next: CallNext) -> Reply:
        return await call_next()


class LateOnion(Early):
    @hookimpl
    async def message(self, call_next: CallNext) -> Reply:
        return await call_next()


def test_an_onion_cannot_be_postponed() -> None:
    for entry in (Postpone(Onion()), Postpone(Stack(Early(), Limit(Onion(), timeout=1)))):
        with pytest.raises(ConfigError, match="onion cannot be postponed: its mail is an onion") as caught:
            build(Stack(entry))
        assert caught.value.file == __file__
    build(Stack(Postpone(LateOnion())))


def test_until_is_rcpt_or_data() -> None:
    with pytest.raises(ConfigError, match="at mail nobody knows whether the mail is for postmaster"):
        Postpone(Early(), until="mail")
    with pytest.raises(ConfigError, match="not known here"):
        Postpone(Early(), until="connect")


def test_where_nothing_is_postponed_check_says_so() -> None:
    [warning] = build(Stack(Postpone(Vouch()))).warnings
    assert "nothing is postponed" in warning
    assert "test_postpone.py" in warning


async def test_offered_keywords_stay() -> None:
    class Offers:
        name = "x"

        @hookimpl
        def ehlo(self, keywords: MutableMapping[str, str]) -> None:
            keywords["XTRA"] = ""

    async with Dialog(Postpone(Offers())) as smtp:
        assert "XTRA" in (await smtp.say("EHLO client.example.org")).keywords
