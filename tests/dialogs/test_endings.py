"""How a conversation may end, and what is still done then."""

from collections.abc import Callable

import pytest
from anyio import Event, create_task_group, sleep_forever
from anyio.lowlevel import checkpoint

from mailstack import Hangup, Later, Limits, Message, Reply, Session, hookimpl
from mailstack.contract.hookspec import LiveOn
from mailstack.testing import Dialog, Vouch


class Log:
    """Writes down which notices came."""

    def __init__(self) -> None:
        self.heard: list[str] = []

    @hookimpl
    def reset(self, why: str) -> None:
        self.heard.append(f"reset {why}")

    @hookimpl
    async def queued(self, message: Message, reply: Reply) -> None:
        self.heard.append(f"queued {reply.code} {len(await message.read())}")

    @hookimpl
    async def disconnect(self) -> None:
        self.heard.append("disconnect")


class Gate:
    """Holds the message phase until it is opened."""

    def __init__(self) -> None:
        self.reached = Event()
        self.opened = Event()

    @hookimpl
    async def message(self) -> None:
        self.reached.set()
        await self.opened.wait()


class SlowHandler(Gate):
    """Holds the hand-over."""

    @hookimpl
    async def queue(self) -> Reply:
        self.reached.set()
        await self.opened.wait()
        return Reply(250, "have it")

    @hookimpl
    async def message(self) -> None:
        await checkpoint()


@pytest.mark.parametrize(
    ("lines", "heard"),
    [
        ([], ["disconnect"]),
        (["EHLO me", "MAIL FROM:<a@example.org>"], ["reset disconnect", "disconnect"]),
        (["EHLO me", "MAIL FROM:<a@example.org>", "RSET"], ["reset RSET", "disconnect"]),
        (["EHLO me", "MAIL FROM:<a@example.org>", "EHLO me"], ["reset EHLO", "disconnect"]),
        (
            ["EHLO me", "MAIL FROM:<a@example.org>", "RCPT TO:<b@example.org>", "DATA"],
            ["reset disconnect", "disconnect"],
        ),
    ],
)
async def test_every_transaction_is_reset_once_and_every_session_disconnected(
    lines: list[str], heard: list[str]
) -> None:
    log = Log()
    async with Dialog(log, Vouch()) as smtp:
        await smtp.banner()
        for line in lines:
            await smtp.say(line)
        await smtp.hang_up()
        await smtp.finished()
    assert log.heard == heard


async def test_who_listens_hears_that_a_message_was_taken_and_can_still_read_it() -> None:
    log = Log()
    async with Dialog(log, Vouch(), limits=Limits(memory_each=0)) as smtp:
        await smtp.message("a@example.org", "b@example.org", b"Subject: x\r\n\r\n" + b"y" * 100_000)
        await smtp.message("a@example.org", "b@example.org", b"Subject: x\r\n\r\n" + b"z" * 100_000)
        await smtp.say("QUIT")
        await smtp.closed()
        assert log.heard == [
            "reset done",
            f"queued 250 {len(smtp.messages[0].content)}",
            "reset done",
            f"queued 250 {len(smtp.messages[1].content)}",
            "disconnect",
        ]


async def test_a_message_whose_client_has_left_is_not_handed_over() -> None:
    gate = Gate()
    async with Dialog(gate, Vouch()) as smtp:
        await smtp.say("EHLO me")
        await smtp.send(b"MAIL FROM:<a@example.org>\r\nRCPT TO:<b@example.org>\r\nDATA\r\n")
        await smtp.replies(3)
        await smtp.send(b".\r\n")
        await gate.reached.wait()
        await smtp.hang_up()
        gate.opened.set()
        await smtp.finished()
        assert smtp.messages == []
        assert [each for each in smtp.evidence if each.outcome != "accepted"] == []


async def test_a_hand_over_that_has_begun_is_finished_though_the_client_leaves() -> None:
    handler, log = SlowHandler(), Log()
    async with Dialog(log, Vouch(), handler=handler) as smtp:
        await smtp.say("EHLO me")
        await smtp.send(b"MAIL FROM:<a@example.org>\r\nRCPT TO:<b@example.org>\r\nDATA\r\n")
        await smtp.replies(3)
        await smtp.send(b".\r\n")
        await handler.reached.wait()
        await smtp.hang_up()
        handler.opened.set()
        await smtp.finished()
    assert log.heard[0] == "reset done"
    assert log.heard[-1] == "disconnect"


async def test_a_server_that_stops_tells_who_is_idle_and_finishes_what_runs() -> None:
    handler = SlowHandler()
    async with Dialog(Vouch(), handler=handler) as smtp:
        [idle] = await smtp.several(1)
        await idle.banner()
        async with create_task_group() as group:
            await smtp.say("EHLO me")
            await smtp.send(b"MAIL FROM:<a@example.org>\r\nRCPT TO:<b@example.org>\r\nDATA\r\n")
            await smtp.replies(3)
            await smtp.send(b".\r\n")
            await handler.reached.wait()
            smtp.dialog.server.stop()
            answer = await idle.reply()
            assert (answer.code, answer.status) == (421, "4.3.2")
            await idle.closed()
            group.start_soon(smtp.reply)
            handler.opened.set()
        assert await smtp.reply() == 421
        await smtp.closed()
        assert any("250 2.0.0 have it" in line for line in smtp.said)


async def test_a_command_that_outlives_the_grace_is_cut_with_421() -> None:
    gate, log = Gate(), Log()
    async with Dialog(gate, log, Vouch(), limits=Limits(shutdown=0.05, sweep=0.02)) as smtp:
        await smtp.say("EHLO me")
        await smtp.send(b"MAIL FROM:<a@example.org>\r\nRCPT TO:<b@example.org>\r\nDATA\r\n")
        await smtp.replies(3)
        await smtp.send(b".\r\n")
        await gate.reached.wait()
        smtp.dialog.server.stop()
        assert await smtp.reply() == 421
        await smtp.closed()
        assert smtp.messages == []
        assert [each for each in smtp.evidence if each.outcome != "accepted"] == []
    assert log.heard == ["reset disconnect", "disconnect"]


# Lives.


class Life:
    """A `session` onion that does as it is told."""

    def __init__(self, *, before: bool = False, after: bool = False, skip: bool = False) -> None:
        self.before, self.after, self.skip = before, after, skip
        self.ended = False

    @hookimpl
    async def session(self, call_next: LiveOn) -> None:
        if self.before:
            raise RuntimeError("not today")
        if not self.skip:
            await call_next()
        self.ended = True
        if self.after:
            raise RuntimeError("too late")


@pytest.mark.parametrize("end", ["QUIT", "nothing", "idle"])
async def test_the_onions_of_a_session_see_a_normal_end_whatever_ended_it(end: str) -> None:
    life = Life()
    async with Dialog(life, Vouch(), limits=Limits(idle=0.05 if end == "idle" else 60, sweep=0.02)) as smtp:
        await smtp.banner()
        if end == "QUIT":
            await smtp.say("QUIT")
        elif end == "nothing":
            await smtp.hang_up()
        else:
            assert await smtp.reply() == 421
        await smtp.closed()
        assert life.ended


async def test_an_onion_that_does_not_go_on_closes_without_a_word() -> None:
    log = Log()
    async with Dialog(Life(skip=True), log) as smtp:
        await smtp.closed()
    assert log.heard == []


async def test_an_onion_that_fails_before_the_banner_ends_the_session_with_421() -> None:
    async with Dialog(Life(before=True)) as smtp:
        answer = await smtp.reply()
        assert (answer.code, answer.text) == (421, "temporary problem, try again later")
        await smtp.closed()


async def test_an_onion_that_fails_afterwards_harms_nobody() -> None:
    log = Log()
    async with Dialog(Life(after=True), log, Vouch()) as smtp:
        assert await smtp.message("a@example.org", "b@example.org") == 250
        await smtp.say("QUIT")
        await smtp.closed()
    assert log.heard[-1] == "disconnect"


# What a plugin may do.


class Starter:
    """Begins work in the background at EHLO and looks at it in `command`."""

    def __init__(self, work: Callable[[str], object]) -> None:
        self.work = work
        self.later: Later[object] | None = None
        self.outcome: object = None

    @hookimpl
    def ehlo(self, session: Session, hostname: str) -> None:
        self.later = session.start(self.work, hostname)  # type: ignore[arg-type]

    @hookimpl
    async def command(self) -> None:
        assert self.later is not None
        try:
            self.outcome = await self.later.get()
        except ZeroDivisionError as error:
            self.outcome = error


async def _word(word: str) -> str:
    await checkpoint()
    return word


async def _failure(word: str) -> str:
    raise ZeroDivisionError


async def _forever(word: str) -> None:
    await sleep_forever()


async def test_background_work_gives_its_result_when_it_is_asked_for() -> None:
    starter = Starter(_word)
    async with Dialog(starter) as smtp:
        await smtp.say("EHLO me")
        assert await smtp.say("NOOP") == 250
        assert starter.outcome == "me"
        assert await smtp.say("NOOP") == 250


async def test_background_work_that_fails_keeps_its_failure_until_asked() -> None:
    starter = Starter(_failure)
    async with Dialog(starter) as smtp:
        assert await smtp.say("EHLO me") == 250
        assert await smtp.say("NOOP") == 250
        assert isinstance(starter.outcome, ZeroDivisionError)


async def test_background_work_ends_with_its_session() -> None:
    starter = Starter(_forever)
    async with Dialog(starter) as smtp:
        await smtp.say("EHLO me")
        await smtp.hang_up()
        await smtp.finished()
        assert starter.later is not None
        with pytest.raises(RuntimeError, match="session ended"):
            await starter.later.get()


class Farewell:
    @hookimpl
    def command(self, session: Session) -> None:
        session.close(Reply(550, "enough"))

    @hookimpl
    def ehlo(self, session: Session) -> None:
        session.close()


async def test_a_check_may_end_the_session_after_the_reply_that_is_due() -> None:
    async with Dialog(Farewell()) as smtp:
        await smtp.banner()
        await smtp.send(b"NOOP\r\nNOOP\r\n")
        assert await smtp.replies(2) == [250, 550]
        await smtp.closed()


async def test_a_check_that_ends_the_session_without_words_says_421() -> None:
    async with Dialog(Farewell()) as smtp:
        assert await smtp.say("EHLO me") == 250
        assert await smtp.reply() == 421
        await smtp.closed()


class FarewellInside:
    """Ends the session from within a body."""

    @hookimpl
    def headers(self, session: Session) -> None:
        session.close(Reply(421, "that was it"))


@pytest.mark.parametrize("chunked", [False, True])
async def test_a_check_that_ends_the_session_within_a_body_waits_for_its_end(chunked: bool) -> None:
    async with Dialog(FarewellInside(), Vouch()) as smtp:
        for line in ("EHLO me", "MAIL FROM:<a@example.org>", "RCPT TO:<b@example.org>"):
            await smtp.say(line)
        if chunked:
            await smtp.send(b"BDAT 20 LAST\r\nA: b\r\n\r\n")
            await smtp.send(b"0123456789\r\n")
        else:
            assert await smtp.say("DATA") == 354
            await smtp.send(b"A: b\r\n\r\n")
            await smtp.send(b"0123456789\r\n.\r\n")
        assert await smtp.replies(2) == [250, 421]
        await smtp.closed()
        assert smtp.messages[0].content.endswith(b"0123456789\r\n")


class LastWords:
    @hookimpl
    def command(self, session: Session) -> Reply:
        session.close()
        return Reply(554, "and that is all", close=True)


async def test_there_is_nothing_behind_the_last_reply() -> None:
    async with Dialog(LastWords()) as smtp:
        assert await smtp.say("NOOP") == 554
        await smtp.closed()


class Grouped:
    """Waits for the client inside a task group of its own, so that a Hangup comes out wrapped."""

    def __init__(self, *, failing: bool = False) -> None:
        self.failing = failing
        self.waits = Event()

    @hookimpl
    async def mail(self, session: Session) -> None:
        async with create_task_group() as outer, create_task_group() as group:
            outer.start_soon(sleep_forever)
            group.start_soon(self._wait, session)

    async def _wait(self, session: Session) -> None:
        self.waits.set()
        try:
            await session.input_waits(60)
        except Hangup:
            if self.failing:
                raise RuntimeError("it left me") from None
            raise


@pytest.mark.parametrize("failing", [False, True])
async def test_the_clients_leaving_is_nobodys_fault_even_inside_a_task_group(failing: bool) -> None:
    grouped = Grouped(failing=failing)
    async with Dialog(grouped, Vouch()) as smtp:
        await smtp.say("EHLO me")
        await smtp.send(b"MAIL FROM:<a@example.org>\r\n")
        await grouped.waits.wait()
        await smtp.hang_up()
        await smtp.finished()
        assert [each.outcome for each in smtp.evidence] == (["fault"] if failing else [])


class OneAtATime:
    """A session onion that does not go on, and says why."""

    @hookimpl
    async def session(self, session: Session, call_next: object) -> None:
        session.close(Reply(421, "one at a time"))


async def test_an_onion_that_does_not_go_on_may_say_why() -> None:
    async with Dialog(OneAtATime(), Vouch()) as smtp:
        assert str(await smtp.banner()) == "421 one at a time"
        await smtp.closed()
