"""What check warns of: entries that nobody ever asks."""

import pytest

from mailstack import CallNext, Limit, Message, Observe, Reply, Session, Stack, Unless, When, hookimpl
from mailstack.contract.pipeline import build
from mailstack.handlers import discard, maildir
from mailstack.middleware import recipients


class Takes:
    name = "takes"

    @hookimpl
    def queue(self) -> Reply:
        return Reply(250)


class MayTake:
    name = "maytake"

    @hookimpl
    def queue(self) -> Reply | None:
        return None


class SaysNothing:
    name = "saysnothing"

    @hookimpl
    async def queue(self):  # type: ignore[no-untyped-def]
        return Reply(250)


class Around:
    name = "around"

    @hookimpl
    async def queue(self, call_next: CallNext) -> Reply:
        return await call_next()


async def store(message: Message) -> None:
    pass


def yes(session: Session) -> bool:
    return True


def warned(*entries: object) -> list[str]:
    """What is warned of, without the place."""
    return [warning.partition(": ")[2] for warning in build(Stack(*entries)).warnings]


@pytest.mark.parametrize(
    "first", [Takes, discard.Discard, lambda: maildir.Maildir("/tmp/nowhere"), lambda: store, lambda: Limit(Takes())]
)
def test_what_stands_behind_an_entry_that_always_answers_is_told(first: object) -> None:
    entry = first()  # type: ignore[operator]
    [warning] = warned(Around(), MayTake(), entry, recipients.Domains("example.org"), SaysNothing())
    assert warning.startswith("saysnothing is never asked in queue: ")
    assert "always answers there" in warning


def test_the_places_of_both_are_told() -> None:
    [warning] = build(
        Stack(
            Takes(),
            When(yes, Around()),
        )
    ).warnings
    assert warning.count("test_reach.py:") == 2


@pytest.mark.parametrize(
    "first", [MayTake, SaysNothing, Around, lambda: Limit(Takes(), on_fault="pass"), lambda: When(yes, Takes())]
)
def test_what_may_pass_the_message_on_is_no_matter(first: object) -> None:
    assert warned(first(), Takes()) == []  # type: ignore[operator]


def test_a_condition_holds_what_is_inside_it() -> None:
    assert warned(When(yes, Takes(), MayTake()), Unless(yes, Takes()), Takes()) == [
        "maytake is never asked in queue: takes ("
        + _origin(Takes, "When(yes, Takes(), MayTake())")
        + ") always answers there"
    ]


def _origin(kind: type, line: str) -> str:
    with open(__file__) as file:
        number = next(number for number, text in enumerate(file, 1) if line in text)
    return f"{__file__}:{number}"


def test_what_is_observed_answers_nobody() -> None:
    class Refuses:
        name = "refuses"

        @hookimpl
        def rcpt(self) -> Reply:
            return Reply(550)

    assert warned(Observe(Refuses()), recipients.Domains("example.org")) == []
    [warning] = warned(Refuses(), recipients.Domains("example.org"))
    assert warning.startswith("recipients is never asked in rcpt: refuses (")
