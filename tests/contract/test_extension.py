"""What entries declare: keywords in their place of the `ehlo` chain, parameters, verbs; what is refused at load."""

from collections.abc import MutableMapping
from typing import Any, ClassVar

import pytest

from mailstack import (
    CallNext,
    Command,
    ConfigError,
    Limit,
    Listener,
    Parameter,
    Reply,
    Sender,
    Server,
    Session,
    Stack,
    Unless,
    When,
    hookimpl,
    predicate,
)
from mailstack.contract.fault import counted
from mailstack.contract.pipeline import build
from mailstack.testing import Dialog, Vouch
from mailstack.testing.contract import CONTRACT_CHECKS, Check
from mailstack.wire.command import CommandError


def colour(text: str | None) -> str:
    if text not in ("red", "blue"):
        raise ValueError("no colour")
    return text


class Colour:
    """A keyword with an argument, a parameter and a verb, and no `ehlo` of its own."""

    name = "colour"
    rehearsable = True
    keywords: ClassVar = {"COLOUR": "red blue"}
    parameters = (Parameter("COLOUR", "MAIL", "COLOUR", colour),)
    verbs = ("XPAINT",)

    def __init__(self) -> None:
        self.seen: list[object] = []

    @hookimpl
    def mail(self, sender: Sender) -> None:
        self.seen.append(sender.parameters.get("COLOUR"))

    @hookimpl
    def command(self, command: Command) -> Reply | None:
        return Reply(250, "painted") if command.verb == "XPAINT" else None


async def test_what_an_entry_declares_is_offered_taken_and_listed() -> None:
    entry = Colour()
    async with Dialog(entry, Vouch()) as smtp:
        assert (await smtp.say("EHLO me")).keywords["COLOUR"] == "red blue"
        assert await smtp.say("MAIL FROM:<a@example.org> COLOUR=green") == 501
        assert await smtp.say("MAIL FROM:<a@example.org> COLOUR=red") == 250
        assert (await smtp.say("XPAINT it")).text == "painted"
        assert (await smtp.say("HELP")).lines[0].split()[-2:] == ["QUIT", "XPAINT"]
        assert await smtp.say("HELO me") == 250
        assert await smtp.say("MAIL FROM:<a@example.org> COLOUR=red") == 555
    assert entry.seen == ["red"]


@pytest.mark.parametrize("check", CONTRACT_CHECKS, ids=lambda check: check.__name__)
async def test_it_keeps_the_contract(check: Check) -> None:
    await check(Colour)


async def test_a_condition_holds_for_keyword_and_parameter() -> None:
    ours = predicate.client_in("192.0.2.0/24")
    for stack in (When(ours, Colour()), Unless(~ours, Colour())):
        for client, offered, answer in [("192.0.2.7", True, 250), ("198.51.100.7", False, 555)]:
            async with Dialog(Stack(stack, Vouch()), client=client) as smtp:
                assert ("COLOUR" in (await smtp.say("EHLO me")).keywords) is offered
                assert await smtp.say("MAIL FROM:<a@example.org> COLOUR=red") == answer


class Shy(Colour):
    """Its own `ehlo` has the last word."""

    name = "shy"

    @hookimpl
    def ehlo(self, verb: str, keywords: MutableMapping[str, str], hostname: str) -> None:
        self.seen.append((verb, keywords["COLOUR"], hostname))
        if hostname == "stranger":
            del keywords["COLOUR"]


class Waits(Colour):
    name = "waits"

    @hookimpl
    async def ehlo(self, keywords: MutableMapping[str, str], call_next: CallNext) -> Reply:
        self.seen.append(keywords["COLOUR"])
        return await call_next()


async def test_an_ehlo_of_its_own_finds_the_keyword_and_may_drop_it() -> None:
    shy = Shy()
    async with Dialog(Limit(shy, timeout="5s"), Vouch()) as smtp:
        assert "COLOUR" in (await smtp.say("EHLO me")).keywords
        assert "COLOUR" not in (await smtp.say("EHLO stranger")).keywords
        assert await smtp.say("MAIL FROM:<a@example.org> COLOUR=red") == 555
    assert shy.seen == [("EHLO", "red blue", "me"), ("EHLO", "red blue", "stranger")]
    waits = Waits()
    async with Dialog(waits, Vouch()) as smtp:
        assert (await smtp.say("EHLO me")).keywords["COLOUR"] == "red blue"
    assert waits.seen == ["red blue"]


async def test_a_keyword_alone_is_an_entry() -> None:
    class Notifies:
        keywords: ClassVar = {"DSN": ""}

    async with Dialog(Notifies(), Vouch()) as smtp:
        assert "DSN" in (await smtp.say("EHLO me")).keywords
        assert await smtp.say("MAIL FROM:<a@example.org> RET=HDRS") == 250


async def test_in_a_rehearsal_an_entry_that_promises_nothing_offers_nothing() -> None:
    class Careless(Colour):
        rehearsable = False

    for entry, offered in ((Careless(), False), (Colour(), True)):
        async with Dialog(entry, Vouch(), rehearsal=True) as smtp:
            assert ("COLOUR" in (await smtp.say("EHLO me")).keywords) is offered


# A parameter that fails.


class Breaks:
    name = "breaks"
    keywords: ClassVar = {"XROOM": ""}

    def __init__(self, error: Exception) -> None:
        self.error = error
        self.parameters = tuple(Parameter("XROOM", verb, "XROOM", self.parse) for verb in ("MAIL", "RCPT"))

    def parse(self, text: str | None) -> object:
        if text == "broken":
            raise self.error
        return text


async def test_a_parameter_that_fails_is_a_fault_of_its_entry_and_the_session_goes_on() -> None:
    counted.clear()
    async with Dialog(Breaks(KeyError("a secret")), Vouch()) as smtp:
        await smtp.say("EHLO me")
        answers = [
            await smtp.say("MAIL FROM:<a@example.org> XROOM=broken"),
            await smtp.say("MAIL FROM:<a@example.org> XROOM=1"),
            await smtp.say("RCPT TO:<b@example.org> XROOM=broken"),
            await smtp.say("RCPT TO:<b@example.org> XROOM=1"),
        ]
        assert [answer.code for answer in answers] == [451, 250, 451, 250]
        assert (answers[0].status, answers[0].text) == ("4.3.0", "temporary problem, try again later")
        found = [(each.who, each.phase, each.outcome, each.detail) for each in smtp.evidence]
        assert found == [
            ("breaks", "mail", "fault", "KeyError: 'a secret'"),
            ("breaks", "rcpt", "fault", "KeyError: 'a secret'"),
        ]
        assert "secret" not in "".join(smtp.said)
    assert counted == {("breaks", "mail"): 1, ("breaks", "rcpt"): 1}


async def test_a_parameter_may_answer_itself_and_nobody_is_blamed() -> None:
    async with Dialog(Breaks(CommandError(Reply(450, "not now"))), Vouch()) as smtp:
        await smtp.say("EHLO me")
        assert await smtp.say("MAIL FROM:<a@example.org> XROOM=broken") == 450
        assert not smtp.evidence


# What is refused.


def refused(*entries: object) -> ConfigError:
    with pytest.raises(ConfigError) as caught:
        build(Stack(*entries))
    assert caught.value.file == __file__
    assert caught.value.line
    assert caught.value.remedy
    return caught.value


def declaring(**declared: Any) -> object:
    return type("Odd", (Colour,), {"name": "odd", **declared})()


def parameter(name: str = "XCOLOUR", verb: str = "MAIL") -> Parameter:
    return Parameter(name, verb, "COLOUR", colour)


@pytest.mark.parametrize(
    ("declared", "words"),
    [
        ({"keywords": ["COLOUR"]}, "odd.keywords is not a dict"),
        ({"keywords": {"COLOUR": 7}}, "odd.keywords is not a dict"),
        ({"keywords": {"colour": ""}}, "its keyword is nothing that SMTP has words for: 'colour'"),
        ({"keywords": {"COLOUR": "red\r\nX"}}, "argument of COLOUR"),
        ({"keywords": {"COLOUR": " red"}}, "argument of COLOUR"),
        ({"parameters": {"XCOLOUR": parameter()}}, "odd.parameters is not a tuple of Parameter"),
        ({"parameters": (parameter("xcolour"),)}, "its parameter is nothing that SMTP has words for: 'xcolour'"),
        ({"parameters": (parameter(verb="DATA"),)}, "verb of XCOLOUR"),
        ({"parameters": (parameter("SIZE"),)}, "odd declares the MAIL parameter SIZE, which is the core's"),
        ({"verbs": "XPAINT"}, "odd.verbs is not a tuple of str"),
        ({"verbs": (7,)}, "odd.verbs is not a tuple of str"),
        ({"verbs": ("xpaint",)}, "its verb is nothing that SMTP has words for: 'xpaint'"),
        ({"verbs": ("XPAINT IT",)}, "its verb is nothing that SMTP has words for"),
        ({"verbs": ("QUIT",)}, "odd declares QUIT, which is the core's"),
        ({"verbs": ("BDAT",)}, "odd declares BDAT, which is the core's"),
    ],
)
def test_a_declaration_that_cannot_be_is_refused(declared: dict[str, Any], words: str) -> None:
    assert words in refused(declaring(**declared)).message


def test_a_verb_that_nobody_answers_is_refused() -> None:
    class Silent:
        name = "silent"
        verbs = ("XPAINT",)

        @hookimpl
        def connect(self) -> None: ...

    assert "silent declares XPAINT and has no `command`" in refused(Silent()).message


def test_two_that_declare_the_same_are_both_named() -> None:
    verbs = refused(Colour(), declaring(parameters=()))
    assert "odd declares XPAINT, and so does colour (" in verbs.message
    assert f"{__file__}:{verbs.line}" in verbs.message
    assert "odd declares the MAIL parameter COLOUR, and so does colour" in refused(Colour(), declaring()).message


def test_instances_of_one_class_may_declare_the_same_and_the_first_one_reads_it() -> None:
    first, second = Breaks(KeyError()), Breaks(OSError())
    pipeline = build(Stack(first, second, Colour(), Colour()))
    assert pipeline.verbs == ("XPAINT",)
    with pytest.raises(CommandError) as caught:
        pipeline.parameters["MAIL", "XROOM"].parse("broken")
    assert isinstance(caught.value.__cause__, KeyError)


async def test_a_verb_of_the_core_that_middleware_may_answer_is_listed_once() -> None:
    async with Dialog(declaring(verbs=("VRFY", "ETRN")), Vouch()) as smtp:
        words = (await smtp.say("HELP")).lines[0].split()
        assert words.count("VRFY") == 1
        assert words[-1] == "ETRN"


# What a listener may rely on.


class Opens:
    def __init__(self, *fulfils: object) -> None:
        self.fulfils = fulfils

    @hookimpl
    async def session(self, call_next: CallNext) -> None:
        await call_next()


def test_what_entries_see_to_before_the_banner_is_known_under_conditions_too() -> None:
    elsewhere = predicate.listener("elsewhere")
    assert build(Stack(Opens("tls"), When(elsewhere, Opens("proxy")))).fulfils == {"tls", "proxy"}
    assert build(Stack(Colour())).fulfils == set()


@pytest.mark.one_backend
async def test_who_sees_to_what_a_listener_wants_is_asked_at_such_listeners_alone() -> None:
    asked: list[str] = []

    class Notes:
        def __init__(self, *fulfils: str) -> None:
            self.fulfils = fulfils

        @hookimpl
        async def session(self, session: Session, call_next: CallNext) -> None:
            asked.append("+".join(self.fulfils) or "all")
            session.proxied(None, None)
            await call_next()

    stack = (Notes(), Notes("proxy"), When(predicate.listener("test"), Notes("tls")), Notes("tls", "proxy"))
    async with Dialog(*stack) as smtp:
        await smtp.say("QUIT")
    assert asked == ["all"]
    asked.clear()
    async with Dialog(*stack, proxy="192.0.2.0/24") as smtp:
        await smtp.say("QUIT")
    assert asked == ["all", "proxy", "tls+proxy"]


@pytest.mark.parametrize("fulfils", ["starttls", 7])
def test_nothing_else_can_be_fulfilled(fulfils: object) -> None:
    assert "fulfils is not" in str(refused(Opens(fulfils)))


@pytest.mark.parametrize(("fulfils", "starts"), [(("tls", "proxy"), True), (("tls",), False), (("proxy",), False)])
def test_a_server_needs_an_entry_for_what_its_listeners_want(fulfils: tuple[str, ...], starts: bool) -> None:
    server = Server(Stack(Opens(*fulfils)), [Listener("127.0.0.1:0", tls=True, proxy="192.0.2.1")])
    if starts:
        server.check()
    else:
        with pytest.raises(ConfigError, match="no entry of the stack sees to it"):
            server.check()
    server.in_memory().check()
