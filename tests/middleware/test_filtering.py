"""The filters together: what is asked for a session is asked at the same time, and nothing is left of a session."""

from __future__ import annotations

from typing import Any

from anyio import Event, create_task_group, wait_all_tasks_blocked
from anyio.lowlevel import checkpoint

from mailstack.services.resolver import Resolver
from mailstack.services.resolver.message import Reading
from mailstack.services.resolver.name import Question
from mailstack.testing import Conversation, Dialog, FakeResolver
from tests import filtering

MESSAGE = b"Subject: hi\r\n\r\nsee http://pills.test/ and https://shop.other.test/ for more\r\n"


class Rounds:
    """A name server that is as slow as one can be: it answers when everybody waits, then all at once.

    So a question has an answer one round later, whatever that is in milliseconds. rounds -- what was asked in each.
    """

    def __init__(self, records: dict[str, Any]) -> None:
        self._answers = FakeResolver(records)._source
        self._waiting: list[tuple[str, Event]] = []
        self.rounds: list[list[str]] = []

    async def fetch(self, question: Question) -> Reading:
        answered = Event()
        self._waiting.append((f"{question.name} {question.type}", answered))
        await answered.wait()
        return await self._answers.fetch(question)

    async def serve(self) -> None:
        while True:
            await wait_all_tasks_blocked()
            waiting, self._waiting = self._waiting, []
            if waiting:
                self.rounds.append([name for name, _ in waiting])
            for _, answered in waiting:
                answered.set()
            await checkpoint()


class Count:
    """How many rounds went by for each step of a session."""

    def __init__(self, smtp: Conversation, source: Rounds) -> None:
        self._smtp = smtp
        self._source = source
        self.steps: dict[str, int] = {}

    async def say(self, line: str | bytes, code: int) -> None:
        before = len(self._source.rounds)
        answer = await self._smtp.say(line)
        assert answer == code, answer
        words = line.split(None, 1)[0] if isinstance(line, str) else "body"
        self.steps[words] = len(self._source.rounds) - before


async def session_of(client: str, *entries: object, hello: str = "c20.mail.test", refused: int = 0) -> Count:
    """One session, and what it waited for."""
    source = Rounds(filtering.table())
    resolver = Resolver(source=source)
    stack = entries or filtering.stack()
    async with create_task_group() as group, Dialog(*stack, resolver=resolver, client=client) as smtp:
        count = Count(smtp, source)
        await smtp.banner()
        assert source.rounds == []
        group.start_soon(source.serve)
        await count.say(f"EHLO {hello}", 250)
        await count.say("MAIL FROM:<ann@mail.test>", 250)
        await count.say("RCPT TO:<bob@example.test>", refused or 250)
        if not refused:
            await count.say("DATA", 354)
            await count.say(MESSAGE + b".", 550)
        asked = [name for each in source.rounds for name in each]
        assert len(asked) == len(set(asked))
        group.cancel_scope.cancel()
    return count


async def test_a_session_waits_for_the_longest_chain_of_lookups_and_not_for_their_sum() -> None:
    """PTR and address of the client, MX and address of the sender: two answers, one after the other, before RCPT."""
    count = await session_of(filtering.CLEAN)
    assert count.steps == {"EHLO": 0, "MAIL": 0, "RCPT": 2, "DATA": 0, "body": 2}  # a list's A, then its TXT
    first, second, _, _ = count._source.rounds
    assert len(first) >= 8, first
    assert {"20.2.0.192.in-addr.arpa PTR", "mail.test MX", "c20.mail.test AAAA", "mail.test.dbl.test A"} < set(first)
    assert {"mx.mail.test A", "mx2.mail.test AAAA"} < set(second)


async def test_a_client_that_is_listed_waits_no_longer() -> None:
    count = await session_of(filtering.LISTED, refused=550)
    assert count.steps == {"EHLO": 0, "MAIL": 0, "RCPT": 2}


async def test_a_list_of_names_is_asked_when_the_name_has_led_back_and_no_later() -> None:
    stack = filtering.stack(which=("sender", "helo", "ptr"))
    count = await session_of(filtering.CLEAN, *stack, hello="bare.mail.test")
    assert count.steps["RCPT"] == 3  # PTR, its address, the list
    assert count._source.rounds[2] == ["c20.mail.test.dbl.test A"]


async def test_who_has_many_names_waits_for_two_answers_all_the_same() -> None:
    records = filtering.table()
    reverse = "20.2.0.192.in-addr.arpa"
    records[reverse] = {"PTR": [f"n{number}.mail.test." for number in range(50)]}
    records["n4.mail.test"] = {"A": [filtering.CLEAN]}
    source = Rounds(records)
    stack = filtering.stack()
    resolver = Resolver(source=source)
    async with create_task_group() as group, Dialog(*stack, resolver=resolver, client=filtering.CLEAN) as smtp:
        group.start_soon(source.serve)
        await smtp.say("EHLO c20.mail.test")
        assert await smtp.message("ann@mail.test", "bob@example.test") == 250
        assert smtp.session.client_name == "n4.mail.test"
        assert [sum(name.startswith("n") for name in each) for each in source.rounds] == [0, 5]
        group.cancel_scope.cancel()


async def test_a_second_message_asks_for_what_is_new_alone() -> None:
    source = Rounds(filtering.table())
    resolver = Resolver(source=source)
    stack = filtering.stack()
    async with create_task_group() as group, Dialog(*stack, resolver=resolver, client=filtering.TRUSTED) as smtp:
        group.start_soon(source.serve)
        await smtp.say("EHLO c20.mail.test")
        assert await smtp.message("ann@mail.test", "bob@example.test") == 250
        before = len(source.rounds)
        assert await smtp.message("ann@mail.test", "eve@example.test") == 250
        assert len(source.rounds) == before == 2
        assert await smtp.message("ann@bare.mail.test", "bob@example.test") == 250
        assert [sorted(each) for each in source.rounds[2:]] == [
            ["bare.mail.test MX", "bare.mail.test.dbl.test A"],
            ["bare.mail.test A", "bare.mail.test AAAA"],
        ]
        group.cancel_scope.cancel()
