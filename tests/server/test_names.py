"""The client's name: who is asked for it, when it is known, what comes of it; and the budget of a session."""

from __future__ import annotations

import anyio
import pytest

from mailstack import ConfigError, Limits, Reply, Resolver, Server, Session, Stack, Unless, When, hookimpl, predicate
from mailstack.contract.hookspec import CallNext
from mailstack.contract.predicate import Predicate
from mailstack.server import naming
from mailstack.services.resolver import ReverseName, Temporary
from mailstack.session.session import Peer
from mailstack.testing import SERVFAIL, Dialog, FakeResolver, Vouch
from mailstack.wire.command import Command
from tests.server.kit import client as client_of
from tests.server.kit import on, serving

NAMED = {"192.0.2.1": "mail.example.org", "mail.example.org": {"A": "192.0.2.1", "AAAA": "2001:db8::1"}}


def received(content: bytes) -> str:
    """What the first line of Received says of the client."""
    return content.decode().partition("\r\n")[0].partition(" (")[2].removesuffix(")")


@pytest.mark.parametrize(
    ("table", "seen"),
    [
        (NAMED, "mail.example.org [192.0.2.1]"),
        ({"192.0.2.1": "mail.example.org"}, "mail.example.org [192.0.2.1] (may be forged)"),
        ({**NAMED, "mail.example.org": {"A": "192.0.2.9"}}, "mail.example.org [192.0.2.1] (may be forged)"),
        ({**NAMED, "mail.example.org": SERVFAIL}, "mail.example.org [192.0.2.1] (may be forged)"),
        ({"192.0.2.1": SERVFAIL}, "unknown [192.0.2.1]"),
        ({}, "unknown [192.0.2.1]"),
        ({"192.0.2.1": "evil\\010x.example"}, "unknown [192.0.2.1]"),
        ({"192.0.2.1": "\\(a.example"}, "unknown [192.0.2.1]"),
    ],
)
async def test_received_tells_the_name_and_how_far_it_can_be_believed(table: dict[str, object], seen: str) -> None:
    async with Dialog(Vouch(), resolver=FakeResolver(table)) as smtp:
        assert await smtp.message("a@example.org", "b@example.org") == 250
        assert received(smtp.messages[0].content) == seen


async def test_an_ipv6_client_has_a_name_too() -> None:
    table = {"2001:db8::1": "mail.example.org", **NAMED}
    async with Dialog(Vouch(), resolver=FakeResolver(table), client="2001:db8::1") as smtp:
        assert await smtp.message("a@example.org", "b@example.org") == 250
        assert received(smtp.messages[0].content) == "mail.example.org [IPv6:2001:db8::1]"


@pytest.mark.parametrize(
    ("setting", "seen", "asked"),
    [
        ("verify", "mail.example.org [192.0.2.1]", 2),
        ("unverified", "mail.example.org [192.0.2.1] (may be forged)", 1),
        ("off", "[192.0.2.1]", 0),
    ],
)
async def test_how_far_to_look_is_a_setting(setting: str, seen: str, asked: int) -> None:
    fake = FakeResolver(NAMED)
    async with Dialog(Server(Stack(Vouch()), [], reverse_dns=setting), resolver=fake) as smtp:
        assert await smtp.message("a@example.org", "b@example.org") == 250
        assert received(smtp.messages[0].content) == seen
        assert len(fake.asked) == asked


@pytest.mark.parametrize("client", ["127.0.0.1", "127.8.9.1", "::1", "0.0.0.0", ""])
async def test_nobody_asks_who_is_on_this_machine(client: str) -> None:
    fake = FakeResolver()
    async with Dialog(Vouch(), resolver=fake, client=client) as smtp:
        assert await smtp.message("a@example.org", "b@example.org") == 250
    assert fake.asked == []


async def test_a_dialog_asks_nobody_unless_it_is_given_a_resolver() -> None:
    stack = Server(Stack(Vouch()), [], resolver=Resolver("127.0.0.1:9", timeout=100, lifetime=100))
    async with Dialog(stack) as smtp:
        assert await smtp.message("a@example.org", "b@example.org") == 250
        assert received(smtp.messages[0].content) == "[192.0.2.1]"


async def test_a_server_on_loopback_does_not_make_a_resolver() -> None:
    async with serving(Vouch()) as server, client_of(server) as smtp:
        await smtp.hello()
        assert server._resolver is None
        assert isinstance(server.resolver, Resolver)


async def test_rcpt_waits_for_the_name_and_what_comes_before_does_not() -> None:
    fake = FakeResolver(NAMED)
    held = fake.hold("192.0.2.1")
    async with Dialog(Vouch(), resolver=fake) as smtp:
        assert await smtp.banner() == 220
        await held.asked.wait()
        assert smtp.session is not None
        assert await smtp.say("EHLO client.example.org") == 250
        assert await smtp.say("MAIL FROM:<a@example.org>") == 250
        assert smtp.session.client_name is None
        await smtp.send(b"RCPT TO:<b@example.org>\r\n")
        held.release()
        assert await smtp.reply() == 250
        assert smtp.session.client_name == "mail.example.org"


async def test_nobody_sees_the_name_before_all_do_but_who_waits_for_it() -> None:
    seen: dict[str, str | None] = {}

    async def mail(session: Session) -> None:
        seen["waited"] = await session.named()
        seen["looked"] = session.client_name

    def rcpt(session: Session) -> None:
        seen["rcpt"] = session.client_name

    async with Dialog(on(mail=mail, rcpt=rcpt), Vouch(), resolver=FakeResolver(NAMED)) as smtp:
        assert await smtp.message("a@example.org", "b@example.org") == 250
    assert seen == {"waited": "mail.example.org", "looked": None, "rcpt": "mail.example.org"}


async def test_a_session_without_a_recipient_has_its_name_at_the_end() -> None:
    seen = []

    def disconnect(session: Session) -> None:
        seen.append(session.client_name)

    async def ehlo(session: Session) -> None:
        await session.named()

    async with Dialog(on(ehlo=ehlo, disconnect=disconnect), resolver=FakeResolver(NAMED)) as smtp:
        await smtp.say("EHLO client.example.org")
        await smtp.say("QUIT")
    assert seen == ["mail.example.org"]


async def test_a_name_that_does_not_come_is_not_waited_for_for_ever(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(naming, "PATIENCE", 0.05)
    fake = FakeResolver(NAMED)
    fake.hold("192.0.2.1")
    async with Dialog(Vouch(), resolver=fake) as smtp:
        assert await smtp.message("a@example.org", "b@example.org") == 250
        assert received(smtp.messages[0].content) == "unknown [192.0.2.1]"
        assert smtp.session is not None
        assert smtp.session.client.reverse.result == "temperror"


async def test_a_client_that_leaves_meanwhile_ends_the_look() -> None:
    fake = FakeResolver(NAMED)
    held = fake.hold("192.0.2.1")
    async with Dialog(Vouch(), resolver=fake) as smtp:
        await held.asked.wait()
        await smtp.hang_up()
        await smtp.finished()


async def test_a_resolver_that_fails_by_mistake_leaves_the_client_without_a_name() -> None:
    class Broken:
        async def fetch(self, question: object) -> None:
            raise ZeroDivisionError

    async with Dialog(Vouch(), resolver=Resolver(source=Broken())) as smtp:  # type: ignore[arg-type]
        assert await smtp.message("a@example.org", "b@example.org") == 250


async def test_a_client_that_another_speaks_for_gets_a_name_of_its_own() -> None:
    class Introduce:
        @hookimpl
        async def session(self, session: Session, call_next: CallNext) -> None:
            session.proxied(Peer("192.0.2.1", 4711), None)
            await call_next()

        fulfils = ("proxy",)

    fake = FakeResolver(NAMED)
    async with Dialog(Introduce(), Vouch(), resolver=fake, client="192.0.2.50", proxy="192.0.2.0/24") as smtp:
        assert await smtp.message("a@example.org", "b@example.org") == 250
        assert received(smtp.messages[0].content) == "mail.example.org [192.0.2.1]"
        assert all("50.2.0.192" not in name for name, _ in fake.asked)


async def test_after_a_restart_the_new_client_is_asked_for() -> None:
    async def command(session: Session, command: Command) -> Reply | None:
        if command.verb != "XTEST":
            return None
        return await session.restart(client=Peer("192.0.2.1", 4711))

    fake = FakeResolver(NAMED)
    held = fake.hold("192.0.2.50")
    async with Dialog(on(command=command), Vouch(), resolver=fake, client="192.0.2.50") as smtp:
        await held.asked.wait()
        held.release()
        assert await smtp.message("a@example.org", "b@example.org") == 250
        assert smtp.session is not None
        assert smtp.session.client.reverse.result == "permerror"
        assert await smtp.say("XTEST") == 220
        assert await smtp.say("EHLO inner.example.org") == 250
        assert await smtp.message("a@example.org", "b@example.org") == 250
        assert received(smtp.messages[-1].content) == "mail.example.org [192.0.2.1]"


async def test_a_name_that_is_known_already_is_not_asked_for() -> None:
    async def command(session: Session, command: Command) -> Reply:
        return await session.restart(client=Peer("192.0.2.1", 1, ReverseName("told.example", "pass")))

    fake = FakeResolver(NAMED)
    async with Dialog(on(command=command), Vouch(), resolver=fake, client="192.0.2.50") as smtp:
        await smtp.say("EHLO proxy.example.org")
        asked = len(fake.asked)
        assert await smtp.say("XTEST") == 220
        assert await smtp.say("EHLO inner.example.org") == 250
        assert await smtp.message("a@example.org", "b@example.org") == 250
        assert received(smtp.messages[0].content) == "told.example [192.0.2.1]"
        assert len(fake.asked) == asked


# Predicates.


@pytest.mark.parametrize(
    ("patterns", "table", "holds"),
    [
        (("mail.example.org",), NAMED, True),
        (("*.example.org",), NAMED, True),
        ((".example.org",), NAMED, True),
        (("example.org",), NAMED, False),
        (("*.mail.example.org",), NAMED, False),
        (("ample.org", "*.ample.org"), NAMED, False),
        (("other.example", "*.Example.ORG"), NAMED, True),
        (("*.example.org",), {"192.0.2.1": "mail.example.org"}, False),
        (("*.example.org",), {"192.0.2.1": SERVFAIL}, False),
    ],
)
async def test_client_named_asks_for_a_name_that_leads_back(
    patterns: tuple[str, ...], table: dict[str, object], holds: bool
) -> None:
    def rcpt() -> Reply:
        return Reply(550, "by name")

    policy = When(predicate.client_named(*patterns), on(rcpt=rcpt))
    async with Dialog(policy, Vouch(), resolver=FakeResolver(table)) as smtp:
        assert await smtp.message("a@example.org", "b@example.org") == (550 if holds else 250)


def test_client_named_is_known_when_ehlo_is() -> None:
    assert predicate.client_named("example.org").known == "ehlo"
    with pytest.raises(ConfigError, match="known"):
        Server(Stack(When(predicate.client_named("example.org"), on(connect=lambda: None)))).check()


@predicate.known("mail")
def known_later(session: Session) -> bool:
    return session.client_name == "mail.example.org"


@pytest.mark.parametrize(
    ("condition", "hook"),
    [
        (predicate.client_named("*.example.org"), "ehlo"),
        (predicate.client_named("*.example.org") | predicate.secure, "mail"),
        (~~known_later, "mail"),
    ],
)
async def test_where_a_condition_may_ask_for_the_name_ehlo_waits(condition: Predicate, hook: str) -> None:
    policy = Unless(predicate.secure, Unless(condition, on("policy", **{hook: lambda: Reply(550, "no")})))
    fake = FakeResolver(NAMED)
    held = fake.hold("192.0.2.1")
    async with Dialog(policy, resolver=fake) as smtp:
        await held.asked.wait()
        await smtp.send(b"EHLO x.example\r\n")
        assert await smtp.banner() == 220
        assert smtp.session is not None
        before = smtp.session.client_name
        held.release()
        assert await smtp.reply() == 250
        assert (before, smtp.session.client_name) == (None, "mail.example.org")
        assert await smtp.say("MAIL FROM:<a@example.org>") == 250


@pytest.mark.parametrize("wrong", ["*.", "user@example.org", "a*.example.org", ""])
def test_a_pattern_that_is_no_name_is_told(wrong: str) -> None:
    with pytest.raises(ConfigError, match="client_named"):
        predicate.client_named(wrong)


# The budget of a session.


class Asks:
    """Asks three questions at each RCPT."""

    @hookimpl
    async def rcpt(self, session: Session) -> Reply | None:
        for number in range(3):
            try:
                await session.resolver.a(f"{number}.example")
            except Temporary:
                return Reply(451, "no DNS", status="4.4.3")
        return None


async def test_a_session_has_a_budget_and_a_message_that_was_taken_renews_it() -> None:
    fake = FakeResolver({f"{number}.example": {"A": "192.0.2.1"} for number in range(3)}, session_queries=5)
    async with Dialog(Asks(), Vouch(), resolver=fake, client="127.0.0.1") as smtp:
        assert await smtp.message("a@example.org", "b@example.org") == 250
        assert await smtp.message("a@example.org", "b@example.org") == 250
        await smtp.say("MAIL FROM:<a@example.org>")
        assert await smtp.say("RCPT TO:<b@example.org>") == 250
        assert await smtp.say("RCPT TO:<c@example.org>") == (451)
        assert await smtp.say("RSET") == 250
        assert await smtp.message("a@example.org", "b@example.org") == 451


async def test_the_budget_is_one_session_s() -> None:
    fake = FakeResolver({f"{number}.example": {"A": "192.0.2.1"} for number in range(3)}, session_queries=4)
    dialog = Dialog(Asks(), Vouch(), resolver=fake, client="127.0.0.1")
    async with dialog as smtp:
        for line in (smtp, await dialog.connect()):
            await line.say("EHLO x")
            await line.say("MAIL FROM:<a@example.org>")
            assert await line.say("RCPT TO:<b@example.org>") == 250
            assert await line.say("RCPT TO:<b@example.org>") == 451


async def test_an_error_of_the_dns_that_nobody_catches_is_451() -> None:
    async def rcpt(session: Session) -> None:
        await session.resolver.mx("gone.example")

    async with Dialog(on(rcpt=rcpt), Vouch()) as smtp:
        assert await smtp.message("a@example.org", "b@example.org") == 451


async def test_a_server_that_stops_does_not_wait_for_names() -> None:
    fake = FakeResolver(NAMED)
    held = fake.hold("192.0.2.1")
    dialog = Dialog(Vouch(), resolver=fake, limits=Limits(sweep=0.02, shutdown=0.1))
    with anyio.fail_after(20):
        async with dialog as smtp:
            await held.asked.wait()
            await smtp.say("EHLO x")
            await smtp.say("MAIL FROM:<a@example.org>")
            await smtp.send(b"RCPT TO:<b@example.org>\r\n")
            dialog.server.stop()
            assert await smtp.reply() == 421


def test_what_is_no_resolver_and_no_setting_is_told() -> None:
    with pytest.raises(ConfigError, match="not a resolver"):
        Server(Stack(Vouch()), [], resolver="127.0.0.1")  # type: ignore[arg-type]
    with pytest.raises(ConfigError, match="reverse_dns"):
        Server(Stack(Vouch()), [], reverse_dns="maybe")
