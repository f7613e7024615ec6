"""When and Unless: one question per phase, asked of a predicate that must know the answer by then."""

from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any, cast

import pytest
from anyio.lowlevel import checkpoint

from mailstack import (
    Address,
    CallNext,
    ConfigError,
    Recipient,
    Reply,
    Session,
    Stack,
    Unless,
    When,
    hookimpl,
    known,
    lookup,
    predicate,
)
from mailstack.contract.chain import Step
from mailstack.contract.pipeline import build
from mailstack.predicate import (
    Predicate,
    as_predicate,
    authenticated,
    client_in,
    client_named,
    listener,
    recipient_in,
    secure,
    sender_in,
)
from mailstack.session.journal import Journal
from mailstack.session.session import Link, Peer
from mailstack.session.transaction import Sender, Transaction
from mailstack.testing import Dialog, Vouch

END = Reply(250, "the end")


def end(session: Session, subject: object) -> Reply:
    return END


def new_session(client: str = "192.0.2.1", port: int | None = 40000, name: str = "mx") -> Session:
    return Session("s1", Peer(client, port), Peer("192.0.2.2", 25), link=cast(Link, None), listener=name)


def compiled(*entries: object, hook: str = "connect") -> Step:
    return build(Stack(*entries)).chain(hook, end, 30.0)


async def asked(step: Step, session: Session | None = None, subject: object = None) -> Reply:
    reply = step.call(session or new_session(), subject)
    return cast(Reply, await reply if step.is_async else reply)


def recipient(text: str) -> Recipient:
    return Recipient(Address.parse(text) if text else Address.NULL, {}, Journal())


def from_sender(text: str) -> Session:
    session = new_session()
    sender = Sender(Address.parse(text) if text else Address.NULL, {}, Journal())
    session.transaction = Transaction("t1", sender, Journal())
    return session


class Entry:
    """Hears connect, mail, rcpt and every notice, and writes down what it heard."""

    def __init__(self, name: str, heard: list[str]) -> None:
        self.name = name
        self.heard = heard

    @hookimpl
    def connect(self) -> None:
        self.heard.append(self.name)

    @hookimpl
    async def mail(self) -> None:
        await checkpoint()
        self.heard.append(self.name)


class Question:
    """A predicate that counts how often it was asked."""

    def __init__(self, *answers: bool) -> None:
        self.answers = list(answers)
        self.asked = 0

    def predicate(self, phase: str = "connect") -> Predicate:
        @known(phase)
        def question(session: Session) -> bool:
            return self.ask(session)

        return question

    def ask(self, session: Session) -> bool:
        self.asked += 1
        return self.answers[min(self.asked, len(self.answers)) - 1]


# Choosing.


@pytest.mark.parametrize("answer", [True, False])
@pytest.mark.parametrize("hook", ["connect", "mail"])
async def test_when_and_unless_choose_the_opposite(answer: bool, hook: str) -> None:
    heard: list[str] = []
    question = Question(answer).predicate()
    step = compiled(
        Entry("a", heard),
        When(question, Entry("b", heard)),
        Unless(question, Entry("c", heard)),
        Entry("d", heard),
        hook=hook,
    )
    assert await asked(step) is END
    assert heard == ["a", "b" if answer else "c", "d"]


async def test_several_entries_under_one_condition_are_one_question() -> None:
    question, heard = Question(True), list[str]()
    await asked(compiled(When(question.predicate(), *(Entry(name, heard) for name in "abc"))))
    assert heard == ["a", "b", "c"]
    assert question.asked == 1


async def test_the_question_is_asked_in_each_phase_that_somebody_inside_implements() -> None:
    question = Question(True)
    pipeline = build(Stack(When(question.predicate(), Entry("a", []))))
    session = new_session()
    for hook, times in (("connect", 1), ("ehlo", 1), ("mail", 2), ("rcpt", 2)):
        await asked(pipeline.chain(hook, end, 30), session)
        assert question.asked == times


async def test_conditions_nest() -> None:
    for outer, inner, wanted in ((True, True, ""), (True, False, "x"), (False, True, ""), (False, False, "")):
        heard: list[str] = []
        inside = Unless(Question(inner).predicate(), Entry("x", heard))
        await asked(compiled(When(Question(outer).predicate(), inside)))
        assert "".join(heard) == wanted


async def test_an_inner_question_is_not_asked_when_the_outer_says_no() -> None:
    inner = Question(True)
    await asked(compiled(When(Question(False).predicate(), When(inner.predicate(), Entry("x", [])))))
    assert inner.asked == 0


async def test_an_onion_under_a_condition_wraps_what_stands_below_the_condition() -> None:
    heard: list[str] = []

    class Onion:
        name = "onion"

        @hookimpl
        async def connect(self, call_next: CallNext) -> Reply:
            heard.append("in")
            reply = await call_next()
            heard.append("out")
            return reply

    await asked(compiled(When(Question(True).predicate(), Onion(), Entry("a", heard)), Entry("b", heard)))
    assert heard == ["in", "a", "b", "out"]
    heard.clear()
    await asked(compiled(When(Question(False).predicate(), Onion(), Entry("a", heard)), Entry("b", heard)))
    assert heard == ["b"]


async def test_a_stack_and_limits_may_stand_under_a_condition() -> None:
    heard: list[str] = []
    await asked(compiled(When(Question(True).predicate(), Stack(Entry("a", heard), Entry("b", heard)))))
    assert heard == ["a", "b"]


# Combining.

TABLE = [(left, right) for left in (True, False) for right in (True, False)]


@pytest.mark.parametrize(("left", "right"), TABLE)
def test_predicates_combine(left: bool, right: bool) -> None:
    a, b, session = Question(left).predicate(), Question(right).predicate(), new_session()
    assert (a & b)(session) is (left and right)
    assert (a | b)(session) is (left or right)
    assert (~a)(session) is (not left)
    assert (~(a & ~b) | a)(session) is (not (left and not right) or left)


def test_a_predicate_combines_with_a_plain_function() -> None:
    combined = secure | (lambda session: True)
    assert combined(new_session())
    assert str(combined) == "(secure | <lambda>)"


def test_what_is_combined_is_known_when_both_are() -> None:
    assert (secure & authenticated).known == "auth"
    assert (sender_in("example.org") | authenticated).known == "mail"
    assert (~authenticated).known == "auth"
    both = client_in("192.0.2.0/24") | recipient_in("example.org")
    assert (both.known, both.only) == ("rcpt", "rcpt")
    assert (~both).only == "rcpt"


def test_and_or_not_between_predicates_is_refused() -> None:
    """Python would take one of the two and forget the other without a word."""
    for wrong in (lambda: secure or authenticated, lambda: secure and authenticated, lambda: not secure):
        with pytest.raises(ConfigError, match=r"with & \| ~"):
            cast(Callable[[], object], wrong)()


def test_a_predicate_says_what_it_asks() -> None:
    words = str(client_in("192.0.2.0/24", "2001:db8::/32") & ~authenticated | listener("mx"))
    assert words == "((client_in(192.0.2.0/24, 2001:db8::/32) & ~authenticated) | listener(mx))"


# Plain functions.


async def test_a_plain_function_is_asked_once_per_session() -> None:
    question, heard = Question(True, False), list[str]()
    pipeline = build(Stack(When(question.ask, Entry("a", heard)), Unless(question.ask, Entry("b", heard))))
    session = new_session()
    for hook in ("connect", "mail", "connect"):
        await asked(pipeline.chain(hook, end, 30), session)
    assert question.asked == 1
    assert heard == ["a", "a", "a"]
    await asked(pipeline.chain("connect", end, 30), new_session())
    assert question.asked == 2
    assert heard == ["a", "a", "a", "b"]


async def test_a_declared_predicate_is_asked_anew() -> None:
    question, heard = Question(True, False), list[str]()
    step = compiled(When(question.predicate(), Entry("a", heard)))
    session = new_session()
    await asked(step, session)
    await asked(step, session)
    assert question.asked == 2
    assert heard == ["a"]


def test_what_is_callable_may_stand_for_a_function() -> None:
    class Asks:
        __hash__ = None  # type: ignore[assignment]

        def __call__(self, session: Session) -> bool:
            return True

    assert as_predicate(Asks())(new_session()) is True
    assert as_predicate(partial(lambda wanted, session: wanted, True))(new_session()) is True


@pytest.mark.parametrize("wrong", ["trusted", 1, None, lambda: True, lambda s: True, lambda session, sender: True])
def test_what_cannot_be_asked_is_refused(wrong: Any) -> None:
    with pytest.raises(ConfigError, match="predicate"):
        When(wrong, Entry("a", []))


def test_known_names_a_phase() -> None:
    with pytest.raises(ConfigError, match="there is no such phase"):
        known("helo")


# What goes wrong.


@pytest.mark.parametrize("hook", ["connect", "mail"])
async def test_a_predicate_that_raises_is_a_fault_of_the_condition(hook: str, caplog: pytest.LogCaptureFixture) -> None:
    @known("connect")
    def trusted(session: Session) -> bool:
        raise ValueError("hunter2")

    heard: list[str] = []
    session = new_session()
    reply = await asked(compiled(Unless(trusted, Entry("a", heard)), Entry("b", heard), hook=hook), session)
    assert (reply.code, reply.status) == (451, "4.3.0")
    assert "hunter2" not in str(reply)
    [finding] = session.evidence
    assert (finding.who, finding.phase, finding.outcome) == ("unless trusted", hook, "fault")
    assert session.answered_by == "unless trusted"
    assert heard == []
    assert len(caplog.records) == 1


class Early:
    name = "early"

    @hookimpl
    def connect(self) -> None:
        pass


class OnlyMessage:
    name = "onlymessage"

    @hookimpl
    def message(self) -> None:
        pass


class OnlyRcpt:
    name = "onlyrcpt"

    @hookimpl
    def rcpt(self) -> None:
        pass


class OnlyCommand:
    name = "onlycommand"

    @hookimpl
    def command(self) -> None:
        pass


def test_when_around_an_entry_that_listens_before_it_is_known_is_refused() -> None:
    with pytest.raises(
        ConfigError, match=r"early listens in connect, but authenticated is known only from auth on"
    ) as caught:
        build(
            Stack(
                OnlyMessage(),
                When(authenticated, Early()),
            )
        )
    assert caught.value.file == __file__
    line = caught.value.line
    assert line is not None
    with open(__file__) as file:
        assert "When(authenticated, Early())" in file.readlines()[line - 1]


def test_unless_around_an_entry_that_listens_before_it_is_known_is_a_warning() -> None:
    pipeline = build(Stack(Unless(authenticated, Early())))
    [warning] = pipeline.warnings
    assert "early listens in connect" in warning
    assert "test_condition.py" in warning


def test_an_entry_that_only_begins_its_work_early_is_no_matter() -> None:
    class Begins:
        name = "begins"

        @hookimpl
        def connect(self) -> None: ...

        @hookimpl
        def rcpt(self) -> Reply | None:
            return None

    assert build(Stack(Unless(authenticated, Begins()))).warnings == []


def test_a_condition_that_is_known_in_time_is_no_matter() -> None:
    for fine in (secure, client_in("192.0.2.1"), listener("mx"), lambda session: True):
        assert build(Stack(When(fine, Early()), Unless(fine, Early()))).warnings == []
    assert build(Stack(When(authenticated, OnlyRcpt(), OnlyCommand()))).warnings == []


@pytest.mark.parametrize("kind", [Early, OnlyMessage, OnlyCommand])
@pytest.mark.parametrize("condition", [When, Unless])
def test_a_question_about_the_recipient_is_asked_in_rcpt_alone(kind: Any, condition: Any) -> None:
    for about in (recipient_in("example.org"), client_in("192.0.2.1") & ~recipient_in("example.org"), _wanted):
        build(Stack(condition(about, OnlyRcpt())))
        with pytest.raises(ConfigError, match="can be asked only in rcpt"):
            build(Stack(condition(about, OnlyRcpt(), kind())))


def _wanted(recipient: Recipient) -> bool:
    return recipient.address.local == "wanted"


async def test_a_function_of_the_recipient_is_asked_for_each() -> None:
    heard: list[str] = []

    class Hears:
        name = "hears"

        @hookimpl
        def rcpt(self, recipient: Recipient) -> None:
            heard.append(str(recipient))

    step = compiled(When(_wanted, Hears()), hook="rcpt")
    for text in ("wanted@example.org", "other@example.org", "wanted@example.net"):
        await asked(step, subject=recipient(text))
    assert heard == ["wanted@example.org", "wanted@example.net"]


def test_a_condition_inside_is_checked_too() -> None:
    with pytest.raises(ConfigError, match="early listens in connect"):
        build(Stack(When(secure, Unless(secure, When(authenticated, Early())))))


# What is never conditional, and what is asked once.


async def test_notices_and_the_servers_life_are_never_conditional() -> None:
    heard: list[str] = []

    class Cleans:
        name = "cleans"

        @hookimpl
        async def lifespan(self, call_next: Callable[[], Any]) -> None:
            heard.append("lifespan")
            await call_next()

        @hookimpl
        def reset(self) -> None:
            heard.append("reset")

        @hookimpl
        async def queued(self) -> None:
            heard.append("queued")

        @hookimpl
        def replied(self, phase: str) -> None:
            heard.append(f"replied {phase}")

        @hookimpl
        async def disconnect(self) -> None:
            heard.append("disconnect")

    async with Dialog(Vouch(), When(lambda session: False, Cleans())) as smtp:
        assert await smtp.message("a@example.org", "b@example.org") == 250
    assert {"lifespan", "reset", "queued", "replied queue", "disconnect"} <= set(heard)


async def test_a_condition_around_a_session_is_asked_once_before_it_begins() -> None:
    heard: list[str] = []

    class Around:
        def __init__(self, name: str) -> None:
            self.name = name

        @hookimpl
        async def session(self, call_next: Callable[[], Any]) -> None:
            heard.append(f"{self.name} in")
            await call_next()
            heard.append(f"{self.name} out")

    question = Question(True, False)
    stack = (
        Around("a"),
        When(question.predicate(), Around("b"), Around("c")),
        Unless(question.ask, Around("d")),
        Around("e"),
    )
    async with Dialog(*stack) as smtp:
        await smtp.say("NOOP")
        await smtp.say("QUIT")
        await smtp.finished()
    assert question.asked == 2  # once for each of the two conditions
    assert heard == ["a in", "b in", "c in", "d in", "e in", "e out", "d out", "c out", "b out", "a out"]


# The predicates that are there.


@pytest.mark.parametrize(
    ("networks", "client", "port", "wanted"),
    [
        (["192.0.2.0/24"], "192.0.2.7", 1, True),
        (["192.0.2.0/24"], "192.0.3.7", 1, False),
        (["192.0.2.7"], "192.0.2.7", 1, True),
        (["198.51.100.0/24", "2001:db8::/32"], "2001:db8:1::9", 1, True),
        (["2001:db8::/32"], "2001:db9::9", 1, False),
        (["0.0.0.0/0"], "2001:db8::1", 1, False),
        (["::/0"], "192.0.2.7", 1, False),
        (["::ffff:192.0.2.0/120"], "192.0.2.7", 1, True),
        (["0.0.0.0/0", "::/0"], "/run/mail.sock", None, False),
        (["0.0.0.0/0", "::/0"], "", None, False),
        ([], "192.0.2.7", 1, False),
    ],
)
def test_client_in(networks: list[str], client: str, port: int | None, wanted: bool) -> None:
    assert client_in(*networks)(new_session(client, port)) is wanted


def test_client_in_refuses_what_is_no_network() -> None:
    with pytest.raises(ConfigError, match="client_in"):
        client_in("192.0.2.1/24")


def test_listener_in() -> None:
    assert listener("mx", "lan")(new_session(name="lan"))
    assert not listener("mx", "lan")(new_session(name="submission"))
    assert not listener("mx")(new_session(name=""))


ADDRESSES = [
    ("example.org", "a@example.org", True),
    ("example.org", "a@EXAMPLE.org", True),
    ("EXAMPLE.ORG", "a@example.org", True),
    ("example.org", "a@mail.example.org", False),
    ("example.org", "a@notexample.org", False),
    (".example.org", "a@mail.example.org", True),
    (".example.org", "a@b.c.example.org", True),
    (".example.org", "a@example.org", False),
    (".example.org", "a@notexample.org", False),
    ("bücher.example", "a@xn--bcher-kva.example", True),
    ("xn--bcher-kva.example", "a@bücher.example", True),
    ("a@example.org", "a@example.org", True),
    ("a@EXAMPLE.org", "a@example.org", True),
    ("a@example.org", "b@example.org", False),
    ("example.org", "", False),
    (".org", "", False),
]


@pytest.mark.parametrize(("given", "address", "wanted"), ADDRESSES)
def test_sender_in_and_recipient_in(given: str, address: str, wanted: bool) -> None:
    assert sender_in(given)(from_sender(address)) is wanted
    assert recipient_in(given)(new_session(), recipient(address)) is wanted


def test_sender_in_takes_the_null_sender() -> None:
    assert sender_in("", "example.org")(from_sender(""))
    assert not sender_in("")(from_sender("a@example.org"))


def test_sender_in_asks_for_the_address_as_rewritten() -> None:
    session = from_sender("a@example.org")
    assert session.transaction is not None
    session.transaction.sender.rewrite(Address.parse("a@example.net"))
    assert sender_in("example.net")(session)


def test_sender_in_is_false_outside_a_transaction() -> None:
    assert not sender_in("example.org", "")(new_session())


def test_the_lists_of_predicates_may_be_lookups_that_answer_at_once(tmp_path: Path) -> None:
    (tmp_path / "list").write_text("postmaster@\n@example.net\n")
    asks = sender_in(lookup.File(tmp_path / "list"), lookup.Regexps("/x+@example\\.org/"))
    assert str(asks) == f"sender_in({tmp_path}/list, Regexps)"
    wanted = {"postmaster@example.org": True, "a@example.net": True, "xx@example.org": True, "a@example.org": False}
    assert {address: asks(from_sender(address)) for address in wanted} == wanted
    assert not client_in(lookup.Not("192.0.2.0/24"))(new_session("192.0.2.1"))
    assert client_in(lookup.Not("192.0.2.0/24"))(new_session("192.0.3.1"))


@pytest.mark.parametrize("make", [client_in, client_named, sender_in, recipient_in])
def test_a_lookup_that_waits_is_a_mistake_in_a_predicate(make: Any) -> None:
    async def ask(key: str) -> None: ...

    for waits in (lookup.Function(ask), lookup.Not(lookup.Function(ask)), lookup.HTTPFile("https://list.example/")):
        with pytest.raises(ConfigError, match=f"{make.__name__} takes lists and files") as raised:
            make(waits)
        assert "lookup.File" in raised.value.remedy


@pytest.mark.parametrize("wrong", ["a@b@", "@a@example.org", "exa mple.org", "a b@example.org"])
def test_addresses_that_make_no_sense_are_refused(wrong: str) -> None:
    for make in (sender_in, recipient_in):
        with pytest.raises(ConfigError, match=make.__name__):
            make(wrong)


def test_authenticated_and_secure() -> None:
    session = new_session()
    assert not authenticated(session)
    assert not secure(session)
    session.user, session.secure = "alice", True
    assert authenticated(session)
    assert secure(session)


def test_every_predicate_of_the_module_knows_when_it_is_known() -> None:
    made = [client_in("::1"), listener("x"), sender_in("x.org"), recipient_in("x.org"), authenticated, secure]
    assert [each.known for each in made] == ["session", "session", "mail", "rcpt", "auth", "connect"]
    assert set(predicate.ORDER) >= {each.known for each in made}
