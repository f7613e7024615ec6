"""From objects to entries: their names, what counts as a plugin, what it brings, and what is refused."""

import types
from dataclasses import dataclass
from functools import wraps
from typing import Any, cast

import pytest

from mailstack import (
    CallNext,
    Command,
    ConfigError,
    Limit,
    Message,
    Parameter,
    Recipient,
    Reply,
    Session,
    Stack,
    Unless,
    When,
    hookimpl,
)
from mailstack.contract.entry import Entry, Origin
from mailstack.contract.hookspec import LIVES, NOTICES, PHASES, Hooks
from mailstack.contract.load import HOOKS, Loader
from mailstack.contract.pipeline import Pipeline, build
from mailstack.testing import Dialog, Vouch
from mailstack.testing.message import make_message, make_session

TAKEN = Reply(250, "taken")


def loaded(*entries: object) -> list[Entry]:
    return build(Stack(*entries)).entries


def names(*entries: object) -> list[str]:
    return [entry.name for entry in loaded(*entries)]


def refused(plugin: object, *words: str) -> ConfigError:
    with pytest.raises(ConfigError) as caught:
        loaded(plugin)
    for word in words:
        assert word in str(caught.value)
    return caught.value


class Named:
    def __init__(self, name: str = "") -> None:
        self.name = name

    @hookimpl
    def connect(self) -> None: ...


class Greylist:
    """As a package brings it: its file's name is its own."""

    __module__ = "mailstack.middleware.greylist"

    @hookimpl
    def rcpt(self) -> None: ...


class Local:
    """As a configuration file writes it."""

    __module__ = "configuration"

    @hookimpl
    def rcpt(self) -> None: ...


# Names.


def test_an_entry_is_called_by_its_name_its_file_or_its_class() -> None:
    assert names(Named("dnsbl"), Greylist(), Local()) == ["dnsbl", "greylist", "Local"]


def test_an_empty_or_odd_name_is_no_name() -> None:
    class Odd(Greylist):
        name = 7

    assert names(Named(""), Odd())[0] != ""
    assert "7" not in names(Odd())


def test_entries_of_one_name_are_numbered() -> None:
    assert names(Greylist(), Greylist(), Named("greylist#2"), Greylist()) == [
        "greylist",
        "greylist#2",
        "greylist#2#2",
        "greylist#3",
    ]


def test_two_instances_keep_their_own_settings() -> None:
    heard: list[str] = []

    class Says:
        name = "says"

        def __init__(self, word: str) -> None:
            self.word = word

        @hookimpl
        def connect(self) -> None:
            heard.append(self.word)

    step = build(Stack(Says("one"), Says("two"))).chain("connect", lambda s, x: TAKEN, 30)
    step.call(make_session(), None)
    assert heard == ["one", "two"]


def test_an_instance_may_not_stand_twice() -> None:
    entry = Greylist()
    with pytest.raises(ConfigError, match="same object stands twice"):
        build(Stack(entry, Stack(entry)))


def test_dataclasses_may_be_plugins() -> None:
    @dataclass(eq=False)
    class Tag:
        text: str

        @hookimpl
        def connect(self) -> None: ...

    assert len(loaded(Tag("a"), Tag("a"))) == 2

    @dataclass
    class Unhashable:
        text: str

        @hookimpl
        def connect(self) -> None: ...

    assert len(loaded(Unhashable("a"), Unhashable("b"))) == 2


# What is a plugin.


def test_a_module_is_a_plugin() -> None:
    module = types.ModuleType("policies.house_rules")
    vars(module)["connect"] = hookimpl(_connect)
    [entry] = loaded(module)
    assert entry.name == "house_rules"
    assert list(entry.impls) == ["connect"]


def _connect(session: Session) -> Reply | None:
    return None


def test_static_and_class_methods_may_implement_hooks() -> None:
    class Both:
        name = "both"

        @staticmethod
        @hookimpl
        def connect(session: Session) -> Reply:
            return Reply(550, session.id)

        @classmethod
        @hookimpl
        def mail(cls, session: Session) -> Reply:
            return Reply(550, f"{cls.name} {session.id}")

        @hookimpl
        @staticmethod
        def rcpt(session: Session) -> Reply:
            return Reply(550, f"above {session.id}")

    pipeline, session = build(Stack(Both())), make_session()
    assert ask(pipeline, "connect", session).text == session.id
    assert ask(pipeline, "mail", session).text == f"both {session.id}"
    assert ask(pipeline, "rcpt", session).text == f"above {session.id}"


def ask(pipeline: Pipeline, hook: str, session: Session, subject: object = None) -> Reply:
    return cast(Reply, pipeline.chain(hook, lambda s, x: TAKEN, 30).call(session, subject))


def test_an_inherited_implementation_counts_and_may_be_replaced() -> None:
    class Heir(Greylist):
        @hookimpl
        def rcpt(self) -> Reply:  # type: ignore[override]
            return Reply(450)

    assert ask(build(Stack(Heir())), "rcpt", make_session()).code == 450
    assert list(loaded(type("Same", (Greylist,), {})())[0].impls) == ["rcpt"]


def test_a_property_that_cannot_be_asked_yet_stops_no_load() -> None:
    class Lazy(Greylist):
        @property
        def pool(self) -> object:
            raise RuntimeError("not open yet")

    assert len(loaded(Lazy())) == 1


def test_a_wrapped_function_keeps_its_arguments() -> None:
    def logged(function: Any) -> Any:
        @wraps(function)
        def wrapper(*given: Any) -> Any:
            return function(*given)

        return wrapper

    class Wraps:
        name = "wraps"

        @hookimpl
        @logged
        def rcpt(self, recipient: Recipient, session: Session) -> Reply:
            return Reply(550, f"{session.id} {recipient}")

    assert ask(build(Stack(Wraps())), "rcpt", make_session(), "b").text == "session1 b"


@pytest.mark.parametrize("wrong", ["greylist", 7, None, Greylist, object(), [Greylist()], types.ModuleType("empty")])
def test_what_is_no_plugin_is_refused(wrong: object) -> None:
    error = refused(wrong)
    assert error.file == __file__
    assert error.remedy


def test_only_a_stack_is_built() -> None:
    with pytest.raises(ConfigError, match="is not a stack"):
        build(cast(Stack, Greylist()))


# What an implementation may be.


def plugin(hook: str, function: Any) -> object:
    return type("Wrong", (), {"name": "wrong", hook: hookimpl(function)})()


def _unknown(self: object) -> None: ...
def _extra(self: object, sender: object) -> None: ...
def _default(self: object, session: object = None) -> None: ...
def _keyword(self: object, *, session: object) -> None: ...
def _many(self: object, *given: object) -> None: ...
def _annotated(self: object, session: int) -> None: ...
def _returns(self: object) -> str: ...  # type: ignore[empty-body]
def _plain_onion(self: object, call_next: Any) -> None: ...
async def _no_onion(self: object) -> None: ...


@pytest.mark.parametrize(
    ("hook", "function", "words"),
    [
        ("conect", _unknown, ("wrong.conect", "no hook 'conect'", "did you mean connect?")),
        ("wholly_other", _unknown, ("no hook 'wholly_other'",)),
        ("connect", _extra, ("wrong.connect", "no argument 'sender'", "session, call_next")),
        ("connect", _default, ("has a default value",)),
        ("connect", _keyword, ("is not a plain parameter",)),
        ("connect", _many, ("is not a plain parameter",)),
        ("connect", _annotated, ("session is annotated int", "Session")),
        ("connect", _returns, ("annotated to return str",)),
        ("connect", _plain_onion, ("plain def", "async def")),
        ("session", _no_onion, ("must take call_next",)),
        ("lifespan", _plain_onion, ("plain def",)),
        ("reset", _no_onion, ("is async",)),
    ],
)
def test_a_mistake_is_named_with_its_line(hook: str, function: Any, words: tuple[str, ...]) -> None:
    error = refused(plugin(hook, function), *words)
    assert (error.file, error.line) == (__file__, function.__code__.co_firstlineno)


def test_a_method_with_a_hooks_name_must_be_marked() -> None:
    class Forgot:
        name = "forgot"

        @hookimpl
        def connect(self) -> None: ...

        def rcpt(self) -> None: ...

    error = refused(Forgot(), "forgot.rcpt has a hook's name but is not marked")
    assert error.line == Forgot.rcpt.__code__.co_firstlineno


@pytest.mark.parametrize("option", ["tryfirst", "trylast", "wrapper", "hookwrapper"])
def test_the_order_is_the_stacks_alone(option: str) -> None:
    def connect(self: object) -> None: ...

    marked = hookimpl(**{option: True})(connect)  # type: ignore[call-overload]
    refused(type("Wrong", (), {"name": "wrong", "connect": marked})(), "takes no options")


def test_annotations_that_exist_for_type_checkers_only_are_no_matter() -> None:
    def connect(self: object, session: "OnlyForCheckers") -> "Also | None": ...  # type: ignore[name-defined]  # noqa: F821

    assert len(loaded(plugin("connect", connect))) == 1


def test_every_hook_of_the_contract_is_of_one_kind_and_documented() -> None:
    declared = [name for name in vars(Hooks) if not name.startswith("_")]
    assert sorted(declared) == sorted(HOOKS) == sorted(set(LIVES) | set(PHASES) | set(NOTICES))
    assert all((getattr(Hooks, name).__doc__ or "").strip() for name in declared)


def test_a_loader_tells_where_an_entry_was_made() -> None:
    origin = Origin("mx.py", 7)
    assert Loader().load(Greylist(), origin).origin is origin
    assert str(origin) == "mx.py:7"
    assert str(Origin()) == "?"


def test_each_entry_remembers_its_line() -> None:
    stack = Stack(
        Greylist(),
        When(
            lambda session: True,
            Local(),
            Limit(
                Named("limited"),
                timeout=3,
            ),
        ),
        Unless(lambda session: True, Stack(Named("inner"))),
    )
    first = test_each_entry_remembers_its_line.__code__.co_firstlineno
    found = {entry.name: entry.origin.line - first for entry in build(stack).entries}
    assert found == {"greylist": 2, "Local": 5, "limited": 7, "inner": 11}


# What an entry brings.


def _octets(value: str | None) -> int:
    return int(value or "")


class Brings:
    name = "brings"
    parameters = (Parameter("XWEIGHT", "MAIL", "XWEIGHT", _octets), Parameter("XROOM", "RCPT", "XWEIGHT", _octets))

    def __init__(self) -> None:
        self.seen: list[object] = []
        self.offers = True

    @hookimpl
    def ehlo(self, keywords: Any) -> None:
        if self.offers:
            keywords["XWEIGHT"] = "1000"

    @hookimpl
    def mail(self, session: Session) -> None:
        assert session.transaction is not None
        self.seen.append(session.transaction.sender.parameters.get("XWEIGHT"))

    @hookimpl
    def rcpt(self, recipient: Recipient) -> None:
        self.seen.append(recipient.parameters.get("XROOM"))

    @hookimpl
    def command(self, command: Command) -> Reply | None:
        return Reply(250, f"weighed {command.argument}") if command.verb == "XWEIGH" else None


async def test_an_entry_brings_keyword_parameters_and_verb() -> None:
    brings = Brings()
    async with Dialog(Vouch(), brings) as smtp:
        assert (await smtp.say("EHLO me")).keywords["XWEIGHT"] == "1000"
        assert await smtp.say("MAIL FROM:<a@example.org> XWEIGHT=7") == 250
        assert await smtp.say("RCPT TO:<b@example.org> XROOM=8") == 250
        assert await smtp.say("RCPT TO:<b@example.org> XROOM=heavy") == 501
        assert (await smtp.say("XWEIGH a lot")).text == "weighed a lot"
    assert brings.seen == [7, 8]


async def test_a_parameter_whose_keyword_was_not_offered_is_refused() -> None:
    brings = Brings()
    async with Dialog(Vouch(), brings) as smtp:
        await smtp.say("EHLO me")
        assert await smtp.say("MAIL FROM:<a@example.org> XWEIGHT=7") == 250
        brings.offers = False
        await smtp.say("EHLO me")
        assert await smtp.say("MAIL FROM:<a@example.org> XWEIGHT=7") == 555


@pytest.mark.parametrize("given", [{"a": 1}, "XWEIGHT", (1,), 7, None])
def test_an_attribute_called_parameters_that_is_something_else_is_refused(given: Any) -> None:
    class Other(Greylist):
        name = "other"
        parameters = given

    assert refused(Other(), "other.parameters").file == __file__


# A function at the end.


async def stored(message: Message) -> None:
    assert await message.read()


async def with_session(session: Session, message: Message) -> Reply:
    return Reply(250, f"{session.id} has {message.id}")


def plain(message: Message) -> None:
    assert message.size


async def queued(function: Any) -> Reply:
    session = make_session(sender="a@example.org")
    step = build(Stack(function)).chain("queue", lambda s, x: Reply(451, "nobody"), 30)
    reply = step.call(session, make_message(session=session))
    return cast(Reply, await reply if step.is_async else reply)


async def test_a_function_at_the_end_of_the_stack_takes_the_message() -> None:
    assert names(stored) == ["stored"]
    for function in (stored, plain):
        reply = await queued(function)
        assert (reply.code, reply.text) == (250, "queued as message1")
    assert (await queued(with_session)).text == "session1 has message1"


async def test_a_method_may_be_the_handler() -> None:
    class Application:
        def __init__(self) -> None:
            self.seen: list[str] = []

        async def receive(self, message: Message) -> None:
            self.seen.append(message.id)

    application = Application()
    assert names(application.receive) == ["receive"]
    assert (await queued(application.receive)).code == 250
    assert application.seen == ["message1"]


async def test_a_function_that_fails_leaves_the_message_with_the_client() -> None:
    async def fails(message: Message) -> None:
        raise OSError("disk full")

    reply = await queued(fails)
    assert (reply.code, reply.status) == (451, "4.3.0")
    assert "disk" not in reply.text


@pytest.mark.parametrize("value", [False, 0, "", True, "ok", 250])
async def test_what_a_function_returns_is_nothing_or_a_reply(value: object) -> None:
    """False must not mean that the message is safe."""

    async def waits(message: Message) -> Any:
        return value

    def at_once(message: Message) -> Any:
        return value

    for function in (waits, at_once):
        assert (await queued(function)).code == 451


async def test_a_plain_function_that_forgets_to_wait_does_not_take_the_message() -> None:
    def forgets(message: Message) -> Any:
        return stored(message)

    assert (await queued(forgets)).code == 451


def test_a_function_that_wants_something_else_is_refused() -> None:
    async def wrong(envelope: object) -> None: ...

    error = refused(wrong, "wrong(envelope) cannot be a handler", "message")
    assert error.line == wrong.__code__.co_firstlineno


async def test_an_onion_may_stand_around_a_function() -> None:
    class Around:
        name = "around"

        @hookimpl
        async def queue(self, call_next: CallNext) -> Reply:
            reply = await call_next()
            return Reply(reply.code, reply.text + ", and seen")

    step = build(Stack(Around(), stored)).chain("queue", lambda s, x: TAKEN, 30)
    session = make_session(sender="a@example.org")
    assert (await step.call(session, make_message(session=session))).text == "queued as message1, and seen"
