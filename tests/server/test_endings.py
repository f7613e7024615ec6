"""How conversations end over real sockets: the client leaves, the server stops, a plugin closes; nothing is left."""

import os
import socket
from typing import Any

import anyio
import anyio.to_thread
import pytest
from anyio import sleep_forever

from mailstack import Limits, Message, Reply, Sender, Session, Transaction, hookimpl
from mailstack.contract.hookspec import LiveOn
from mailstack.testing.dialog import Collect, Vouch

from .kit import (
    BY_HAND,
    SMALL,
    SWEEP,
    Ear,
    Gate,
    client,
    house,
    later,
    nothing_left,
    on,
    only_connection,
    serving,
    sessions_over,
    until,
)

HELLO = b"EHLO client.test\r\nMAIL FROM:<a@client.test>\r\nRCPT TO:<b@mx.test>\r\n"
BY_DATA = HELLO + b"DATA\r\nSubject: x\r\n\r\nbody\r\n..\r\n.\r\nQUIT\r\n"
BY_BDAT = HELLO + b"BDAT 14\r\nSubject: x\r\n\r\nBDAT 9 LAST\r\nbody\r\n.\r\nQUIT\r\n"


class Counts:
    """How often things began and ended."""

    def __init__(self) -> None:
        self.began = 0
        self.sessions: list[str] = []
        self.transactions: list[Transaction] = []
        self.resets: list[Transaction] = []

    @hookimpl
    def connect(self, session: Session) -> None:
        self.began += 1
        self.sessions.append(session.id)

    @hookimpl
    def disconnect(self, session: Session) -> None:
        self.sessions.remove(session.id)

    @hookimpl
    def mail(self, session: Session, sender: Sender) -> None:
        assert session.transaction is not None
        self.transactions.append(session.transaction)

    @hookimpl
    def reset(self, transaction: Transaction) -> None:
        self.resets.append(transaction)


def descriptors() -> int:
    return len(os.listdir("/proc/self/fd"))


@pytest.mark.parametrize("rudely", [False, True], ids=["closes", "resets"])
@pytest.mark.parametrize("conversation", [BY_DATA, BY_BDAT], ids=["DATA", "BDAT"])
async def test_a_client_that_leaves_at_any_octet_delivers_all_or_nothing(conversation: bytes, rudely: bool) -> None:
    counts, end = Counts(), Collect()
    async with serving(counts, Vouch(), end, limits=Limits(memory_each=10, sweep=SWEEP)) as server:
        async with client(server) as smtp:
            await (await smtp.hello()).message()  # whatever is opened once is open now
        await sessions_over(server)
        before = descriptors()
        for cut in range(len(conversation) + 1):
            async with client(server) as smtp:
                await smtp.reply()
                await smtp.send(conversation[:cut])
                if not rudely:
                    await smtp.stream.close()
        await sessions_over(server)
        assert nothing_left(house(server))
        assert os.listdir(house(server).spool.path) == []
        await until(lambda: descriptors() == before)
    assert counts.sessions == []
    assert counts.began == len(conversation) + 2
    assert sorted(map(id, counts.resets)) == sorted(map(id, counts.transactions))
    bodies = {each.content.partition(b"Subject: x\r\n\r\n")[2] for each in end.messages[1:]}
    assert bodies <= {b"body\r\n.\r\n"}
    if not rudely:
        assert len(end.messages) > 1


# The client leaves.


@pytest.mark.parametrize("rudely", [False, True], ids=["closes", "resets"])
async def test_a_client_that_leaves_before_the_hand_over_gets_none(rudely: bool) -> None:
    """RFC 1047: it would hear no 250, and send the message again."""
    gate, ear, end = Gate(), Ear(), Collect()

    async def message() -> None:
        await gate()

    async with serving(ear, on(message=message), Vouch(), end) as server:
        async with client(server) as smtp:
            await (await smtp.hello()).opened()
            await smtp.send(SMALL + b".\r\n")
            await gate.reached.wait()
            connection = only_connection(server)
            if not rudely:
                await smtp.stream.close()
        await until(lambda: connection.stream.gone)
        gate.opened.set()
        await sessions_over(server)
    assert gate.left
    assert end.messages == []
    assert ear.only("reset", "queued", "disconnect") == ["reset disconnect", "disconnect"]


async def test_a_client_that_leaves_during_the_hand_over_has_delivered() -> None:
    gate, ear, end = Gate(), Ear(), Collect()

    async def queue() -> None:
        await gate()

    async with serving(ear, on(queue=queue), Vouch(), end) as server:
        async with client(server) as smtp:
            await (await smtp.hello()).opened()
            await smtp.send(SMALL + b".\r\n")
            await gate.reached.wait()
            connection = only_connection(server)
        await until(lambda: connection.stream.gone)
        gate.opened.set()
        await sessions_over(server)
    assert len(end.messages) == 1
    assert ear.only("reset", "disconnect") == ["reset done", "disconnect"]


@pytest.mark.parametrize("last", [b"GET / HTTP/1.0\r\n", b"BDAT none\r\n"])
async def test_who_is_sent_away_and_has_left_already_is_nobodys_fault(
    last: bytes, caplog: pytest.LogCaptureFixture
) -> None:
    """The answer to somebody who has closed resets the connection, which asyncio may find at its own end of file."""

    def visit(address: Any) -> None:
        with socket.create_connection(address, 30) as visitor:
            visitor.recv(1000)
            visitor.sendall(last)

    async with serving(Vouch(), Collect()) as server:
        for _ in range(10):
            await anyio.to_thread.run_sync(visit, server.addresses[0])
        await sessions_over(server)
    assert [record.getMessage() for record in caplog.records if record.levelname == "ERROR"] == []


async def test_who_says_quit_and_closes_his_side_is_present_until_it_is_read() -> None:
    gate, end = Gate(), Collect()

    async def message() -> None:
        await gate()

    async with serving(on(message=message), Vouch(), end) as server, client(server) as smtp:
        await (await smtp.hello()).opened()
        await smtp.send(SMALL + b".\r\nQUIT\r\n")
        await smtp.stream.send_eof()
        await gate.reached.wait()
        gate.opened.set()
        assert (await smtp.reply()).startswith("250 ")
        assert (await smtp.reply()).startswith("221 ")
        assert await smtp.rest() == ""
    assert len(end.messages) == 1


# The server stops.


async def test_a_hand_over_is_finished_and_answered_when_the_server_stops() -> None:
    gate, end = Gate(), Collect()

    async def queue() -> None:
        await gate()

    async with serving(on(queue=queue), Vouch(), end) as server, client(server) as smtp:
        await (await smtp.hello()).opened()
        await smtp.send(SMALL + b".\r\n")
        await gate.reached.wait()
        server.stop()
        gate.opened.set()
        assert (await smtp.reply()).startswith("250 2.0.0 ")
        assert (await smtp.rest()).startswith("421 4.3.2 ")
    assert len(end.messages) == 1


async def test_a_message_that_is_coming_in_is_taken_when_the_server_stops() -> None:
    end = Collect()
    async with serving(Vouch(), end) as server, client(server) as smtp:
        await (await smtp.hello()).opened()
        await smtp.send(b"Subject: long\r\n\r\n")
        running = house(server)
        server.stop()
        await until(lambda: running.closing)
        for _ in range(3):
            octets = only_connection(server).protocol
            await smtp.send(b"x" * 70 + b"\r\n")
            await until(lambda: not octets.unread)  # noqa: B023
        await smtp.send(b".\r\n")
        assert (await smtp.reply()).startswith("250 2.0.0 ")
        assert (await smtp.rest()).startswith("421 4.3.2 ")
    assert len(end.messages) == 1


async def test_between_two_chunks_the_server_stops_at_once() -> None:
    end = Collect()
    async with serving(Vouch(), end) as server, client(server) as smtp:
        await smtp.hello()
        await smtp.envelope()
        await smtp.send(b"BDAT 3\r\nabc")
        assert (await smtp.reply()).startswith("250 ")
        server.stop()
        assert (await smtp.rest()).startswith("421 4.3.2 ")
    assert end.messages == []


@pytest.mark.parametrize("phase", ["message", "command"])
async def test_what_outlives_the_grace_is_cut_with_421(phase: str) -> None:
    gate, end = Gate(), Collect()

    async def hook() -> None:
        await gate()

    chosen = Limits(shutdown=0, sweep=SWEEP)
    entries = (on("slow", **{phase: hook}), Vouch(), end)
    async with serving(*entries, limits=chosen) as server, client(server) as smtp:
        await smtp.hello()
        if phase == "message":
            await smtp.opened()
            await smtp.send(SMALL + b".\r\n")
        else:
            await smtp.send(b"NOOP\r\n")
        await gate.reached.wait()
        server.stop()
        assert (await smtp.rest()).startswith("421 4.3.2 ")
    assert not gate.left
    assert end.messages == []


async def test_replies_that_wait_for_a_slow_reader_are_not_lost_when_the_server_stops() -> None:
    async with serving(Collect()) as server, client(server) as smtp:
        await smtp.hello()
        connection = only_connection(server)
        async with anyio.create_task_group() as group:
            group.start_soon(smtp.send, b"HELP\r\n" * 100_000)
            await until(lambda: connection.waiting and not connection.reads)
            server.stop()
            await until(lambda: connection.house.closing)
            lines = (await smtp.rest()).splitlines()
            group.cancel_scope.cancel()
    help_lines = lines[:-1]
    assert len(help_lines) % 2 == 0
    assert all(line.startswith(("214-2.0.0 ", "214 2.0.0 ")) for line in help_lines)
    assert lines[-1].startswith("421 4.3.2 ")


class Hung:
    """An onion around the session that never comes to an end by itself."""

    def __init__(self, before: bool) -> None:
        self.before = before
        self.reached = anyio.Event()

    @hookimpl
    async def session(self, call_next: LiveOn) -> None:
        if not self.before:
            await call_next()
        self.reached.set()
        await sleep_forever()


@pytest.mark.parametrize("before", [True, False], ids=["before the conversation", "after it"])
async def test_an_onion_that_hangs_keeps_no_server_from_ending(before: bool) -> None:
    hung = Hung(before)
    chosen = Limits(shutdown=0, hand_over=0, sweep=SWEEP)
    async with serving(hung, Collect(), limits=chosen) as server, client(server) as smtp:
        if not before:
            await smtp.hello()
            await smtp.say("QUIT")
        await hung.reached.wait()


# Notices and background work.


async def test_queued_is_told_when_the_reply_is_written() -> None:
    gate = Gate()

    async def queued(message: Message) -> None:
        await gate()
        await message.read()

    async with serving(on(queued=queued), Vouch(), Collect()) as server, client(server) as smtp:
        await smtp.hello()
        assert (await smtp.message()).startswith("250 ")
        await gate.reached.wait()
        gate.opened.set()
        assert (await smtp.message()).startswith("250 ")


async def test_who_is_not_asked_at_connect_does_not_hear_of_the_end() -> None:
    async def session(session: Session, call_next: LiveOn) -> None:
        if session.client.port is None:
            await call_next()

    ear = Ear()
    async with serving(on(session=session), ear, Collect()) as server, client(server) as smtp:
        assert await smtp.rest() == ""
    assert ear.heard == []


async def test_a_connection_that_is_turned_away_is_no_session() -> None:
    ear = Ear()
    async with serving(ear, Collect(), limits=Limits(connections=1)) as server, client(server) as smtp:
        await smtp.hello()
        async with client(server) as other:
            await other.rest()
        await smtp.say("QUIT")
        await smtp.rest()
    assert ear.only("connect", "disconnect") == ["connect", "disconnect"]


@pytest.mark.parametrize("when", ["connect", "disconnect"])
async def test_background_work_ends_with_the_session_whenever_it_began(when: str) -> None:
    began, ended = anyio.Event(), anyio.Event()

    async def work() -> None:
        began.set()
        try:
            await sleep_forever()
        finally:
            ended.set()

    async def hook(session: Session) -> None:
        session.start(work)
        await began.wait()

    async with serving(on("begins", **{when: hook}), Collect()) as server:
        async with client(server) as smtp:
            await smtp.hello()
            await smtp.say("QUIT")
        await ended.wait()
        await sessions_over(server)


async def test_background_work_that_fails_harms_nobody() -> None:
    failed = anyio.Event()

    async def work() -> None:
        failed.set()
        raise ZeroDivisionError

    def connect(session: Session) -> None:
        session.start(work)

    async with serving(on(connect=connect), Vouch(), Collect()) as server, client(server) as smtp:
        await failed.wait()
        assert (await (await smtp.hello()).message()).startswith("250 ")


async def test_a_failing_notice_of_the_end_leaves_the_others_and_the_server() -> None:
    def disconnect() -> None:
        raise ZeroDivisionError

    ear = Ear()
    async with serving(on(disconnect=disconnect), ear, Collect()) as server:
        for _ in range(2):
            async with client(server) as smtp:
                await smtp.hello()
            await sessions_over(server)
    assert ear.only("disconnect") == ["disconnect"] * 2


# Waiting for what the client says, and closing.


def waits(answers: list[bool]) -> object:
    """Asks at connect and at data whether the client talks too early."""

    async def connect(session: Session) -> None:
        answers.append(await session.input_waits(30))

    return on(connect=connect)


async def test_who_talks_before_the_banner_is_noticed_and_what_he_said_is_kept() -> None:
    answers: list[bool] = []
    async with serving(waits(answers), Collect()) as server, client(server) as smtp:
        await smtp.send(b"EHLO early.test\r\nNOOP\r\n")
        assert (await smtp.reply()).startswith("220 ")
        assert (await smtp.reply()).startswith("250-")
        assert (await smtp.reply()).startswith("250 ")
    assert answers == [True]


async def test_who_talks_before_the_354_is_noticed_and_his_message_is_whole() -> None:
    asked, end = anyio.Event(), Collect()
    answers: list[bool] = []

    async def data(session: Session) -> None:
        asked.set()
        answers.append(await session.input_waits(30))

    async with serving(on(data=data), Vouch(), end) as server, client(server) as smtp:
        await smtp.hello()
        await smtp.envelope()
        await smtp.send(b"DATA\r\n")
        await asked.wait()
        await smtp.send(b"Subject: early\r\n\r\nhello\r\n.\r\n")
        assert (await smtp.reply()).startswith("354 ")
        assert (await smtp.reply()).startswith("250 ")
    assert answers == [True]
    assert end.messages[0].content.endswith(b"Subject: early\r\n\r\nhello\r\n")


async def test_who_waits_is_patient() -> None:
    answers: list[bool] = []

    async def connect(session: Session) -> None:
        answers.append(await session.input_waits(0.01))

    async with serving(on(connect=connect), Collect()) as server, client(server) as smtp:
        await smtp.hello()
    assert answers == [False]


async def test_who_leaves_while_somebody_waits_for_him_is_nobodys_fault() -> None:
    ear = Ear()
    found: list[str] = []

    def disconnect(session: Session) -> None:
        found.extend(each.outcome for each in session.evidence)

    async with serving(ear, waits([]), on("last", disconnect=disconnect), Collect()) as server:
        async with client(server) as smtp:
            await until(lambda: bool(house(server).connections))
            await smtp.stream.close()
        await sessions_over(server)
    assert found == []
    assert ear.heard == ["connect", "disconnect"]


async def test_who_is_waited_for_hears_when_the_server_stops() -> None:
    async with serving(waits([]), Collect()) as server, client(server) as smtp:
        await until(lambda: any(each.reads for each in house(server).connections))
        server.stop()
        assert (await smtp.rest()).startswith("421 ")


async def test_waiting_for_the_client_begins_a_new_idle_time() -> None:
    asked = anyio.Event()

    async def data(session: Session) -> None:
        asked.set()
        await session.input_waits(3000)

    chosen = Limits(idle=100, sweep=BY_HAND)
    async with serving(on(data=data), Vouch(), Collect(), limits=chosen) as server, client(server) as smtp:
        await smtp.hello()
        await smtp.envelope()
        house(server).now += 90
        await smtp.send(b"DATA\r\n")
        await asked.wait()
        connection = only_connection(server)
        await until(lambda: connection.reads)
        later(server, 110)
        await smtp.send(SMALL + b".\r\n")
        assert (await smtp.reply()).startswith("354 ")
        assert (await smtp.reply()).startswith("250 ")


GO = Reply(421, "go away", status="4.7.0")


async def test_a_session_closed_at_connect_has_its_banner_and_the_last_word() -> None:
    def connect(session: Session) -> None:
        session.close(GO)

    async with serving(on(connect=connect), Collect()) as server, client(server) as smtp:
        assert (await smtp.reply()).startswith("220 ")
        assert await smtp.rest() == "421 4.7.0 go away\r\n"


async def test_a_session_closed_in_a_command_has_its_reply_and_the_last_word_and_reads_no_more() -> None:
    def mail(session: Session) -> None:
        session.close(GO)

    ear = Ear()
    async with serving(ear, on(mail=mail), Collect()) as server, client(server) as smtp:
        await smtp.hello()
        await smtp.send(b"MAIL FROM:<a@client.test>\r\nNOOP\r\n" + b"NOOP\r\n" * 1000)
        assert (await smtp.reply()).startswith("250 2.1.0 ")
        assert await smtp.rest() == "421 4.7.0 go away\r\n"
    assert ear.only("reset", "disconnect") == ["reset disconnect", "disconnect"]
