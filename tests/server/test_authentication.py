"""What the core does for AUTH: the talk with the client, the judgement of the stack, and who the client then is."""

from __future__ import annotations

from base64 import b64encode

import pytest
from anyio import sleep_forever

from mailstack import Limit, Limits, Observe, Reply, Stack, When, hookimpl, predicate
from mailstack.contract.pipeline import build
from mailstack.option import ConfigError
from mailstack.session.credentials import PASSWORD, Challenge, Credentials, Password, Secret
from mailstack.session.session import Session
from mailstack.testing import Dialog
from mailstack.wire.command import Command


class Plain:
    """AUTH in its simplest form: user and password with a blank between, each time asked for."""

    verbs = ("AUTH",)

    @hookimpl
    async def command(self, session: Session, command: Command) -> Reply | None:
        if command.verb != "AUTH":
            return None
        user, _, password = (await session.challenge(b"who?")).decode().partition(" ")
        return await session.authenticate("PLAIN", Password(user, password))


class Users:
    """Knows some users and their passwords."""

    mechanisms = PASSWORD

    def __init__(self, **users: str | Reply) -> None:
        self.users = users
        self.asked: list[str] = []
        self.decoys = 0

    @hookimpl
    async def auth(self, credentials: Credentials) -> Reply | None:
        assert isinstance(credentials, Password)
        self.asked.append(credentials.user)
        known = self.users.get(credentials.user)
        if known is None:
            credentials.pretend(self._decoy)
            return None
        return known if isinstance(known, Reply) else Reply(235 if known == credentials.password else 535, "mine")

    async def _decoy(self) -> None:
        self.decoys += 1


def line(text: str) -> str:
    return b64encode(text.encode()).decode()


async def test_who_gives_the_right_password_is_that_user() -> None:
    async with Dialog(Plain(), Users(ann="right")) as smtp:
        await smtp.banner()
        await smtp.say("EHLO client.example")
        assert str(await smtp.say("AUTH PLAIN")) == f"334 {line('who?')}"
        assert await smtp.say(line("ann right")) == 235
        assert (smtp.session.user, smtp.session.mechanism) == ("ann", "PLAIN")


async def test_wrong_password_and_unknown_user_hear_the_same_and_cost_the_same() -> None:
    users = Users(ann="right")
    async with Dialog(Plain(), users) as smtp:
        await smtp.banner()
        await smtp.say("EHLO client.example")
        await smtp.say("AUTH PLAIN")
        wrong = await smtp.say(line("ann wrong"))
        assert users.decoys == 0
        await smtp.say("AUTH PLAIN")
        unknown = await smtp.say(line("bob wrong"))
        assert users.decoys == 1
        assert str(wrong) == str(unknown) == "535 5.7.8 authentication failed"
        assert smtp.session.user is None


async def test_the_next_provider_is_asked_for_who_is_unknown_and_one_decoy_is_enough() -> None:
    first, second = Users(ann="right"), Users(bob="right")
    async with Dialog(Plain(), first, second) as smtp:
        await smtp.banner()
        await smtp.say("AUTH PLAIN")
        assert await smtp.say(line("eve right")) == 535
        assert (first.decoys, second.decoys) == (1, 0)
        await smtp.say("AUTH PLAIN")
        assert await smtp.say(line("bob right")) == 235
        assert first.asked == second.asked == ["eve", "bob"]


async def test_work_that_is_pretended_and_fails_is_454_as_for_a_user() -> None:
    class Fails(Users):
        async def _decoy(self) -> None:
            raise OSError("the database is gone")

    async with Dialog(Plain(), Fails()) as smtp:
        await smtp.banner()
        await smtp.say("AUTH PLAIN")
        assert await smtp.say(line("bob wrong")) == 454


@pytest.mark.parametrize("given", [Reply(451, "database at 10.0.0.1 is down"), Reply(454, "out of order")])
async def test_trouble_is_454_and_tells_nothing(given: Reply) -> None:
    async with Dialog(Plain(), Users(ann=given)) as smtp:
        await smtp.banner()
        await smtp.say("AUTH PLAIN")
        assert str(await smtp.say(line("ann right"))) == "454 4.7.0 temporary authentication failure, try again later"


class Broken:
    name = "broken"
    mechanisms = PASSWORD

    @hookimpl
    def auth(self) -> Reply | None:
        raise RuntimeError("secret path")


async def test_a_provider_that_fails_is_454_and_the_session_goes_on() -> None:
    async with Dialog(Plain(), Broken()) as smtp:
        await smtp.banner()
        await smtp.say("AUTH PLAIN")
        assert await smtp.say(line("ann right")) == 454
        assert await smtp.say("NOOP") == 250
        assert [(each.who, each.phase) for each in smtp.evidence if each.outcome == "fault"] == [("broken", "auth")]


async def test_a_provider_that_is_late_is_454() -> None:
    class Slow:
        mechanisms = PASSWORD

        @hookimpl
        async def auth(self) -> Reply | None:
            await sleep_forever()
            return None

    async with Dialog(Plain(), Limit(Slow(), timeout=0.01)) as smtp:
        await smtp.banner()
        await smtp.say("AUTH PLAIN")
        assert await smtp.say(line("ann right")) == 454
        assert await smtp.say("NOOP") == 250


@pytest.mark.parametrize("reply", [Reply(250), Reply(550, "go away"), Reply(535, "5.7.8 no such user")])
async def test_only_235_is_a_login_and_a_refusal_has_no_text_of_its_own(reply: Reply) -> None:
    async with Dialog(Plain(), Users(ann=reply)) as smtp:
        await smtp.banner()
        await smtp.say("AUTH PLAIN")
        assert str(await smtp.say(line("ann right"))) == "535 5.7.8 authentication failed"
        assert smtp.session.user is None


async def test_an_empty_password_is_none_whatever_a_directory_makes_of_it() -> None:
    users = Users(ann="")
    async with Dialog(Plain(), users) as smtp:
        await smtp.banner()
        await smtp.say("AUTH PLAIN")
        assert str(await smtp.say(line("ann "))) == "535 5.7.8 authentication failed"
        assert users.asked == []


@pytest.mark.parametrize("user", ["a\nb", "", "x" * 513])
async def test_a_login_that_is_no_name_is_none(user: str) -> None:
    async with Dialog(Plain(), Users(**{user: "right"})) as smtp:
        await smtp.banner()
        await smtp.say("AUTH PLAIN")
        assert await smtp.say(line(f"{user} right")) == 535
        assert smtp.session.user is None


# The talk.


@pytest.mark.parametrize(
    ("answer", "reply"),
    [
        ("*", "501 5.7.0 authentication cancelled"),
        ("not base64!", "501 5.5.2 cannot decode that base64"),
        ("QQ", "501 5.5.2 cannot decode that base64"),
        ("Q Q==", "501 5.5.2 cannot decode that base64"),
    ],
)
async def test_a_client_that_does_not_go_on_is_told_and_the_session_goes_on(answer: str, reply: str) -> None:
    users = Users()
    async with Dialog(Plain(), users) as smtp:
        await smtp.banner()
        await smtp.say("AUTH PLAIN")
        assert str(await smtp.say(answer)) == reply
        assert await smtp.say("NOOP") == 250
        assert users.asked == []
        assert [each.outcome for each in smtp.evidence if each.outcome in ("fault", "late")] == []


async def test_a_line_over_the_limit_is_refused_and_thrown_away() -> None:
    async with Dialog(Plain(), Users(), limits=Limits(auth_line=512)) as smtp:
        await smtp.banner()
        await smtp.say("AUTH PLAIN")
        assert await smtp.say("A" * 65536) == 500
        assert await smtp.say("NOOP") == 250


async def test_a_line_of_the_limit_is_read() -> None:
    users = Users()
    async with Dialog(Plain(), users) as smtp:
        await smtp.banner()
        await smtp.say("AUTH PLAIN")
        assert len(longest := line("x" * 9211 + " y")) == 12284
        assert await smtp.say(longest) == 535
        assert len(users.asked[0]) == 9211


async def test_the_exchange_may_come_in_one_segment_with_what_follows() -> None:
    async with Dialog(Plain(), Users(ann="right")) as smtp:
        await smtp.banner()
        await smtp.send(f"AUTH PLAIN\r\n{line('ann right')}\r\nNOOP\r\n".encode())
        assert [answer.code for answer in await smtp.replies(3)] == [334, 235, 250]


async def test_commands_inside_the_exchange_are_its_answers() -> None:
    async with Dialog(Plain(), Users()) as smtp:
        await smtp.banner()
        await smtp.say("AUTH PLAIN")
        assert await smtp.say("QUIT") == 535  # base64, by chance
        await smtp.say("AUTH PLAIN")
        assert await smtp.say("MAIL FROM:<>") == 501


async def test_a_client_that_leaves_inside_the_exchange_is_nobody_s_fault() -> None:
    async with Dialog(Plain(), Users()) as smtp:
        await smtp.banner()
        await smtp.say("AUTH PLAIN")
        await smtp.hang_up()
        await smtp.finished()
        assert [each.outcome for each in smtp.evidence if each.outcome in ("fault", "late")] == []


class Proof(Challenge):
    """What the client says is the secret; asked for only when somebody knows the user."""

    def __init__(self, session: Session, user: str) -> None:
        super().__init__(user)
        self.session = session

    def takes(self, secret: Secret) -> bool:
        return isinstance(secret, str)

    async def matches(self, secret: Secret) -> bool:
        return (await self.session.challenge(b"prove it")).decode() == secret

    async def decoy(self) -> None:
        await self.session.challenge(b"prove it")


class Proving:
    verbs = ("AUTH",)

    @hookimpl
    async def command(self, session: Session, command: Command) -> Reply | None:
        if command.verb != "AUTH":
            return None
        return await session.authenticate("CRAM-MD5", Proof(session, command.argument))


class Secrets:
    mechanisms = ("CRAM-MD5",)

    @hookimpl
    async def auth(self, credentials: Credentials) -> Reply | None:
        assert isinstance(credentials, Challenge)
        if credentials.user != "ann":
            return None
        credentials.identity = "ann@example.org"
        return Reply(235 if await credentials.matches("right") else 535)


@pytest.mark.parametrize(("user", "code"), [("ann", 235), ("bob", 535)])
async def test_a_proof_is_asked_for_within_the_judgement_and_of_the_unknown_too(user: str, code: int) -> None:
    async with Dialog(Proving(), Secrets()) as smtp:
        await smtp.banner()
        assert await smtp.say(f"AUTH {user}") == 334
        assert await smtp.say(line("right")) == code
        assert smtp.session.user == ("ann@example.org" if code == 235 else None)


@pytest.mark.parametrize("user", ["ann", "bob"])
async def test_an_exchange_that_ends_within_the_judgement_blames_nobody(user: str) -> None:
    async with Dialog(Proving(), Secrets()) as smtp:
        await smtp.banner()
        await smtp.say(f"AUTH {user}")
        assert await smtp.say("*") == 501
        assert await smtp.say("NOOP") == 250
        assert [each.outcome for each in smtp.evidence if each.outcome in ("fault", "late")] == []
        await smtp.say("AUTH ann")
        assert await smtp.say(line("right")) == 235


# Who may ask, and what is offered.


async def test_the_abilities_belong_to_command() -> None:
    class Rude:
        @hookimpl
        async def mail(self, session: Session) -> Reply | None:
            with pytest.raises(RuntimeError):
                await session.challenge(b"")
            with pytest.raises(RuntimeError):
                await session.authenticate("PLAIN", Password("ann", "right"))
            return None

    async with Dialog(Rude()) as smtp:
        await smtp.banner()
        await smtp.say("EHLO client.example")
        assert await smtp.say("MAIL FROM:<>") == 250


async def test_the_mechanisms_of_a_session_are_those_of_the_providers_it_may_use() -> None:
    stack = Users(), When(predicate.client_in("192.0.2.0/24"), Secrets())
    async with Dialog(*stack, client="192.0.2.1") as smtp:
        assert smtp.session.mechanisms == ("CRAM-MD5", "LOGIN", "PLAIN")
    async with Dialog(*stack, client="198.51.100.1") as smtp:
        assert smtp.session.mechanisms == ("LOGIN", "PLAIN")


async def test_starttls_and_restart_forget_the_login() -> None:
    class Again:
        @hookimpl
        async def command(self, session: Session, command: Command) -> Reply | None:
            return await session.restart() if command.verb == "XAGAIN" else None

    async with Dialog(Plain(), Again(), Users(ann="right")) as smtp:
        await smtp.banner()
        await smtp.say("AUTH PLAIN")
        await smtp.say(line("ann right"))
        await smtp.say("XAGAIN")
        assert (smtp.session.user, smtp.session.mechanism) == (None, None)


async def test_an_observed_login_is_none() -> None:
    async with Dialog(Observe(Plain()), Users(ann="right")) as smtp:
        await smtp.banner()
        await smtp.say("AUTH PLAIN")
        assert await smtp.say(line("ann right")) == 502
        assert smtp.session.user is None


def test_who_judges_must_say_what() -> None:
    class Silent:
        @hookimpl
        def auth(self) -> Reply | None:
            return None

    class Deaf:
        mechanisms = PASSWORD

        @hookimpl
        def connect(self) -> None: ...

    class Odd:
        mechanisms = ("plain text",)

        @hookimpl
        def auth(self) -> Reply | None:
            return None

    for plugin, words in ((Silent(), "no mechanisms"), (Deaf(), "has no `auth`"), (Odd(), "nothing that SMTP")):
        with pytest.raises(ConfigError, match=words):
            build(Stack(plugin))
