"""The client against servers that follow a script: each that is right, and each way of going wrong in each state."""

import re
import tracemalloc
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import Any

import anyio
import pytest

from mailstack import Reply
from mailstack.services.client import Client, Content, Disconnected, Envelope, Outcome, Refused, Timeouts, Unsupported
from mailstack.services.client.content import LEAST, pieces, survey
from mailstack.services.memory import MemoryStream, memory_stream_pair
from mailstack.wire.address import Address
from mailstack.wire.command import Mail, Rcpt
from mailstack.wire.parameter import OriginalRecipient

MESSAGE = b"Subject: test\r\n\r\n.test\r\n"
EVERYTHING = ("PIPELINING", "SIZE 1000000", "8BITMIME", "SMTPUTF8", "DSN", "CHUNKING", "BINARYMIME")
BY_DATA = ("PIPELINING", "8BITMIME")


class Cut(Exception):
    """The script closes the connection."""


class Fake:
    """The server's end: it says what it is told to, and keeps what it heard."""

    def __init__(self, stream: MemoryStream) -> None:
        self.stream = stream
        self.heard: list[bytes] = []
        self.unread = b""
        self.body = b""

    async def fill(self) -> None:
        data = await self.stream.receive()
        if not data:
            raise Cut
        self.unread += data

    async def line(self) -> bytes:
        while b"\r\n" not in self.unread:
            await self.fill()
        line, _, self.unread = self.unread.partition(b"\r\n")
        self.heard.append(line)
        return line

    async def read(self, size: int) -> bytes:
        while len(self.unread) < size:
            await self.fill()
        octets, self.unread = self.unread[:size], self.unread[size:]
        return octets

    async def say(self, *lines: str) -> None:
        await self.stream.send("".join(f"{line}\r\n" for line in lines).encode())

    async def data(self) -> None:
        """The octets of DATA up to their end."""
        while not (b"\r\n" + self.unread).endswith(b"\r\n.\r\n"):
            await self.fill()
        self.body, self.unread = self.unread, b""

    async def hello(self, *keywords: str) -> None:
        await self.say("220 mx.test")
        await self.line()
        await self.say(*(f"250-{word}" for word in ("mx.test", *keywords)), "250 HELP")

    async def answers(self, **replies: Any) -> None:
        """Serve until QUIT. replies -- by verb: a reply or several in turn (the last is repeated), "" for none, or an
        exception; "." is the one after the data."""
        usual = {"MAIL": "250 ok", "RCPT": "250 ok", "DATA": "354 go", "END": "250 taken", "BDAT": "250 ok"}
        given = {**usual, "RSET": "250 reset", "NOOP": "250 noop", "QUIT": "221 bye", **replies}
        lists = {verb: list(reply) if isinstance(reply, list) else [reply] for verb, reply in given.items()}

        async def answer(verb: str) -> str:
            reply = lists[verb].pop(0) if len(lists[verb]) > 1 else lists[verb][0]
            if isinstance(reply, type):
                raise reply
            if reply:
                await self.say(*reply.split("|"))
            return str(reply)

        while True:
            line = await self.line()
            verb = re.split(rb"[ :]", line)[0].decode()
            if verb == "BDAT":
                self.body += await self.read(int(line.split()[1]))
                verb = "END" if line.endswith(b"LAST") else verb
            if (await answer(verb)).startswith("354"):
                await self.data()
                await answer("END")


Script = Callable[[Fake], Awaitable[None]]


@asynccontextmanager
async def talking(script: Script, **options: Any) -> AsyncIterator[tuple[Client, Fake]]:
    """A client over a connection in memory, and the server that follows the script, then closes."""
    there, here = memory_stream_pair()
    fake = Fake(there)

    async def run() -> None:
        try:
            await script(fake)
        except Cut:
            pass
        await there.close()

    with anyio.fail_after(30):
        async with anyio.create_task_group() as group:
            group.start_soon(run)
            client = Client(here, **options)
            try:
                yield client, fake
            finally:
                client.abort()
                group.cancel_scope.cancel()


def serving(*keywords: str, **replies: Any) -> Script:
    async def script(fake: Fake) -> None:
        await fake.hello(*keywords)
        await fake.answers(**replies)

    return script


async def opened(client: Client) -> Client:
    await client.greet()
    await client.hello("me.test")
    return client


@asynccontextmanager
async def ready(*keywords: str, options: Any = None, **replies: Any) -> AsyncIterator[tuple[Client, Fake]]:
    async with talking(serving(*keywords, **replies), **(options or {})) as (client, fake):
        yield await opened(client), fake


def to(*names: str) -> Envelope:
    return Envelope.of("s@example.org", [f"{name}@example.net" for name in names])


def large(size: int = 1024 * 1024, consumed: list[int] | None = None) -> Content:
    async def chunks() -> AsyncIterator[bytes]:
        for _ in range(size // 8192):
            if consumed is not None:
                consumed.append(8192)
            yield b"x" * 8190 + b"\r\n"

    return Content(chunks, size, False)


def codes(outcome: Outcome) -> list[int]:
    return [verdict.code for verdict in outcome.verdicts]


# What goes right ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("keywords", [(), ("PIPELINING",), ("CHUNKING",), ("PIPELINING", "CHUNKING")])
@pytest.mark.parametrize("content", [Content.of(MESSAGE), large(300_000)], ids=["small", "large"])
async def test_a_message_arrives_whatever_is_offered(keywords: tuple[str, ...], content: Content) -> None:
    async with ready(*keywords) as (client, fake):
        outcome = await client.transact(to("a", "b"), content)
        assert (codes(outcome), outcome.complete, outcome.taken) == ([250, 250], True, True)
        assert outcome.final == Reply(250, "taken")
        sent = b"".join([chunk async for chunk in content.chunks()])
        assert fake.body == sent if "CHUNKING" in keywords else sent.replace(b"\r\n.", b"\r\n..") + b".\r\n"
        assert client.usable
        await client.quit()
        assert [client.usable] == [False]
    assert fake.heard[-1] == b"QUIT"


async def test_commands_go_in_one_write_where_pipelining_is_offered() -> None:
    async def script(fake: Fake) -> None:
        await fake.hello(*BY_DATA)
        await fake.fill()
        assert fake.unread.endswith(b"DATA\r\n")
        await fake.answers()

    async with talking(script) as (client, _):
        assert (await (await opened(client)).transact(to("a", "b"), Content.of(MESSAGE))).complete


async def test_step_by_step_each_command_waits_for_its_answer() -> None:
    async with ready("8BITMIME", options={"pipelining": False}, RCPT=["550 no", "250 ok"]) as (client, fake):
        outcome = await client.transact(to("a", "b"), Content.of(MESSAGE))
        assert codes(outcome) == [550, 250]
        assert [line.split()[0] for line in fake.heard[1:]] == [b"MAIL", b"RCPT", b"RCPT", b"DATA"]


async def test_step_by_step_nothing_is_said_after_the_last_hope_is_gone() -> None:
    async with ready(MAIL="550 not you") as (client, fake):
        outcome = await client.transact(to("a", "b"), Content.of(MESSAGE))
        assert (codes(outcome), outcome.mail.code, outcome.final.code) == ([550, 550], 550, 550)
        assert len(fake.heard) == 2
    async with ready(RCPT=["450 later", "550 no"]) as (client, fake):
        outcome = await client.transact(to("a", "b"), Content.of(MESSAGE))
        assert (codes(outcome), outcome.final.code) == ([450, 550], 450)
        assert b"DATA" not in fake.heard


async def test_thousands_of_recipients_do_not_block_both_sides() -> None:
    long = "x" * 300

    async with ready("PIPELINING", RCPT=f"250 {long}") as (client, _):
        outcome = await client.transact(to(*(f"u{number}" for number in range(3000))), Content.of(MESSAGE))
        assert outcome.complete
        assert len(outcome.verdicts) == 3000


async def test_recipients_may_be_asked_one_at_a_time() -> None:
    async with ready(*BY_DATA, RCPT=["250 ok", "550 no", "250 ok"]) as (client, fake):
        assert (await client.mail(Mail(Address.parse("s@example.org"), {"SIZE": 5}))).code == 250
        assert [(await client.rcpt(rcpt)).code for rcpt in to("a", "b", "c").recipients] == [250, 550, 250]
        outcome = await client.data(Content.of(MESSAGE))
        assert [reply.code for reply in outcome.rcpt] == codes(outcome) == [250, 550, 250]
        assert fake.heard[1] == b"MAIL FROM:<s@example.org> BODY=8BITMIME"


@pytest.mark.parametrize(("stage", "unknown"), [("RCPT", False), ("DATA", False), ("END", True)])
async def test_in_steps_a_cut_tells_the_same(stage: str, unknown: bool) -> None:
    last: Any = ["250 ok", "550 no", Cut] if stage == "RCPT" else Cut
    async with ready(*BY_DATA, **{"RCPT": ["250 ok", "550 no", "250 ok"], stage: last}) as (client, _):
        await client.mail(Mail(Address.NULL))
        with pytest.raises(Disconnected) as caught:
            for rcpt in to("a", "b", "c").recipients:
                await client.rcpt(rcpt)
            await client.data(Content.of(MESSAGE))
        verdicts = [verdict and verdict.code for verdict in caught.value.verdicts]
        assert (caught.value.unknown, verdicts) == (unknown, [None, 550] + [None] * (stage != "RCPT"))


async def test_in_steps_a_transaction_is_over_after_its_data() -> None:
    async with ready(*BY_DATA) as (client, _):
        await client.mail(Mail(Address.NULL))
        await client.rcpt(to("a").recipients[0])
        assert (await client.data(Content.of(MESSAGE))).complete
        with pytest.raises(RuntimeError):
            await client.data(Content.of(MESSAGE))


async def test_steps_out_of_turn_are_the_callers_mistake() -> None:
    async with ready(*BY_DATA, MAIL=["550 no", "250 ok"]) as (client, _):
        for call in (client.rcpt(to("a").recipients[0]), client.data(Content.of(MESSAGE))):
            with pytest.raises(RuntimeError):
                await call
        assert (await client.mail(Mail(Address.NULL))).code == 550
        with pytest.raises(RuntimeError):
            await client.rcpt(to("a").recipients[0])
        await client.mail(Mail(Address.NULL))
        with pytest.raises(RuntimeError):
            await client.data(Content.of(MESSAGE))
        with pytest.raises(ValueError, match="recipients"):
            await client.transact(to(), Content.of(MESSAGE))


@pytest.mark.parametrize("by_hand", [False, True])
async def test_a_transaction_left_open_is_reset_before_the_next(by_hand: bool) -> None:
    async with ready(*BY_DATA, RCPT=["550 no", "250 ok"], DATA=["554 nobody", "354 go"]) as (client, fake):
        assert not (await client.transact(to("a"), Content.of(MESSAGE))).taken
        assert client.usable
        if by_hand:
            assert (await client.reset()).code == 250
        assert (await client.transact(to("b"), Content.of(MESSAGE))).complete
        assert fake.heard.count(b"RSET") == 1
        assert (await client.mail(Mail(Address.NULL))).code == 250
        assert (await client.mail(Mail(Address.NULL))).code == 250
        assert fake.heard.count(b"RSET") == 2


async def test_helo_is_tried_where_ehlo_is_refused_for_good() -> None:
    async def script(fake: Fake) -> None:
        await fake.say("220 old")
        await fake.line()
        await fake.say("500 what")
        assert await fake.line() == b"HELO me.test"
        await fake.say("250 hello")
        await fake.answers()

    async with talking(script) as (client, fake):
        assert (await (await opened(client)).transact(to("a"), Content.of(MESSAGE))).complete
        assert fake.heard[2] == b"MAIL FROM:<s@example.org>"
        assert not client.keywords


async def test_other_commands_are_answered_and_may_be_hidden() -> None:
    lines: list[str] = []

    def transcript(who: str, line: str) -> None:
        lines.append(f"{who}: {line}")

    async with ready(options={"transcript": transcript}, AUTH="334 more", **{"c2VjcmV0": "235 in"}) as (client, _):
        assert (await client.command("NOOP")).code == 250
        assert (await client.command("AUTH LOGIN")).code == 334
        assert (await client.command("c2VjcmV0", hidden=True)).code == 235
        with pytest.raises(ValueError):
            await client.command("NOOP\r\nQUIT")
    assert lines[-2:] == ["C: (hidden)", "S: 235 in"]


async def test_the_transcript_shows_all_but_bodies_and_nothing_a_terminal_obeys() -> None:
    lines: list[str] = []

    def transcript(who: str, line: str) -> None:
        lines.append(f"{who}: {line}")

    async with ready("CHUNKING", options={"transcript": transcript}, MAIL="250-\x1b[2J|250 " + "y" * 900) as (
        client,
        _,
    ):
        await client.transact(to("a"), Content.of(MESSAGE))
        await client.quit()
    assert "S: 250-\\x1b[2J" in lines
    assert any(line.endswith("… (904 characters)") for line in lines)
    assert lines[-5:] == ["C: BDAT 24 LAST", "C: (24 octets)", "S: 250 taken", "C: QUIT", "S: 221 bye"]


# Extensions --------------------------------------------------------------------------------------------------------

UTF8_SENDER = Mail(Address.parse("jörg@example.org"), {"SMTPUTF8": True})
RCPT = Rcpt(Address.parse("a@example.net"))
EIGHT_BIT = b"Subject: x\r\n\r\n\xe4\r\n"
UTF8_HEADER = "Subject: ä\r\n\r\n\r\n".encode()


def unknown(octets: bytes) -> Content:
    """A message that nothing is known of."""
    return Content(Content.of(octets).chunks)


@pytest.mark.parametrize(
    ("mail", "content", "keywords", "status"),
    [
        (UTF8_SENDER, Content.of(MESSAGE), "8BITMIME", "5.6.7"),
        (Mail(Address.NULL, {"SMTPUTF8": True}), Content.of(UTF8_HEADER), "8BITMIME", "5.6.7"),
        (Mail(Address.NULL), Content.of(EIGHT_BIT), "SIZE", "5.6.3"),
        (Mail(Address.NULL), unknown(EIGHT_BIT), "SIZE", "5.6.3"),
        (Mail(Address.NULL, {"BODY": "BINARYMIME"}), Content.of(MESSAGE), "CHUNKING", "5.6.1"),
        (Mail(Address.NULL, {"BODY": "BINARYMIME"}), Content.of(MESSAGE), "BINARYMIME", "5.6.1"),
    ],
)
async def test_mail_that_needs_more_than_is_offered_is_not_sent(
    mail: Mail, content: Content, keywords: str, status: str
) -> None:
    async with ready("PIPELINING", keywords) as (client, fake):
        with pytest.raises(Unsupported) as caught:
            await client.transact(Envelope(mail, (RCPT,)), content)
        assert (caught.value.reply.code, caught.value.reply.status) == (554, status)
        assert len(fake.heard) == 1
        assert client.usable
        assert (await client.transact(to("a"), Content.of(MESSAGE))).complete


async def test_in_steps_what_is_lacking_is_told_where_it_is_known() -> None:
    async with ready("PIPELINING") as (client, fake):
        with pytest.raises(Unsupported):
            await client.mail(UTF8_SENDER)
        await client.mail(Mail(Address.NULL))
        with pytest.raises(Unsupported):
            await client.rcpt(Rcpt(Address.parse("jörg@example.net")))
        await client.rcpt(RCPT)
        with pytest.raises(Unsupported):
            await client.data(unknown(EIGHT_BIT))
        assert fake.heard[1:] == [b"MAIL FROM:<>", b"RCPT TO:<a@example.net>"]


@pytest.mark.parametrize(
    ("parameters", "content", "line"),
    [
        ({}, Content.of(MESSAGE), b" SIZE=24"),
        ({}, Content.of(EIGHT_BIT), b" SIZE=17 BODY=8BITMIME"),
        ({"SIZE": 1, "BODY": "7BIT"}, Content.of(EIGHT_BIT), b" SIZE=17 BODY=8BITMIME"),
        ({"SIZE": 1}, unknown(MESSAGE), b" SIZE=1 BODY=8BITMIME"),
        ({"BODY": "BINARYMIME"}, Content.of(b"\n\r\0"), b" SIZE=3 BODY=BINARYMIME"),
        ({"SMTPUTF8": True}, Content.of(MESSAGE), b" SIZE=24 SMTPUTF8"),
        ({"RET": "HDRS", "ENVID": "x y"}, Content.of(MESSAGE), b" RET=HDRS ENVID=x+20y SIZE=24"),
        ({"AUTH": Address.NULL}, Content.of(MESSAGE), b" SIZE=24"),
    ],
)
async def test_mail_says_what_the_message_needs(parameters: dict[str, Any], content: Content, line: bytes) -> None:
    async with ready(*EVERYTHING) as (client, fake):
        rcpt = Rcpt(RCPT.recipient, {"ORCPT": OriginalRecipient("rfc822", "x@y"), "NOTIFY": frozenset({"NEVER"})})
        await client.transact(Envelope(Mail(Address.NULL, parameters), (rcpt,)), content)
        assert fake.heard[1] == b"MAIL FROM:<>" + line
        assert fake.heard[2] == b"RCPT TO:<a@example.net> ORCPT=rfc822;x@y NOTIFY=NEVER"
        assert fake.body == b"".join([chunk async for chunk in content.chunks()])


async def test_smtputf8_that_was_given_without_need_is_dropped() -> None:
    async with ready("8BITMIME") as (client, fake):
        content = Content.of(b"Subject: x\r\n\r\n\xc3\xa4\r\n")
        assert (await client.transact(Envelope(Mail(Address.NULL, {"SMTPUTF8": True}), (RCPT,)), content)).complete
        assert fake.heard[1] == b"MAIL FROM:<> BODY=8BITMIME"


# Refusals ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("replies", "verdicts", "final"),
    [
        ({"RCPT": ["250 ok", "550 no"]}, [250, 550], 250),
        ({"RCPT": "550 no", "DATA": "554 no valid recipients"}, [550, 550], 550),
        ({"RCPT": "550 no", "END": "554 no valid recipients"}, [550, 550], 550),
        ({"MAIL": "550 no", "RCPT": "503 mail", "DATA": "503 rcpt"}, [550, 550], 550),
        ({"DATA": "451 disk"}, [451, 451], 451),
        ({"END": "554 spam"}, [554, 554], 554),
        ({"RCPT": ["452 many", "250 ok"], "END": "451 later"}, [452, 451], 451),
    ],
)
async def test_refusals_go_to_those_whom_they_concern(replies: dict[str, Any], verdicts: list[int], final: int) -> None:
    async with ready(*BY_DATA, **replies) as (client, _):
        outcome = await client.transact(to("a", "b"), Content.of(MESSAGE))
        assert (codes(outcome), outcome.final.code) == (verdicts, final)
        assert outcome.taken == (250 in verdicts)
        assert not outcome.complete
        assert client.usable


async def test_where_data_was_granted_for_nobody_a_lone_dot_is_sent() -> None:
    async with ready(*BY_DATA, RCPT="550 no", END="554 nobody") as (client, fake):
        await client.transact(to("a"), Content.of(MESSAGE))
        assert fake.body == b".\r\n"


async def test_lmtp_that_grants_data_for_nobody_is_left() -> None:
    async with ready(*BY_DATA, options={"lmtp": True}, RCPT="550 no") as (client, _):
        outcome = await client.transact(to("a"), Content.of(MESSAGE))
        assert (codes(outcome), client.usable) == ([550], False)


async def test_lmtp_has_a_verdict_for_each() -> None:
    replies = {"RCPT": ["250 ok", "550 no", "250 ok"], "END": "250 kept|452 full"}
    async with ready(*EVERYTHING, options={"lmtp": True}, **replies) as (client, fake):
        outcome = await client.transact(to("a", "b", "c"), Content.of(MESSAGE))
        assert (codes(outcome), outcome.final.code) == ([250, 550, 452], 452)
        assert fake.heard[0] == b"LHLO me.test"
        assert fake.heard[-1] == b"DATA"


async def test_lmtp_sends_binary_in_chunks_one_at_a_time() -> None:
    async with ready(*EVERYTHING, options={"lmtp": True}, END="250 kept|452 full") as (client, fake):
        envelope = Envelope(Mail(Address.NULL, {"BODY": "BINARYMIME"}), to("a", "b").recipients)
        assert codes(await client.transact(envelope, large(200_000))) == [250, 452]
        assert fake.heard[-1].startswith(b"BDAT")


@pytest.mark.parametrize("pipelining", [True, False])
async def test_after_a_refused_chunk_the_rest_is_not_sent(pipelining: bool) -> None:
    consumed: list[int] = []
    options = {"pipelining": pipelining}
    async with ready("PIPELINING", "CHUNKING", options=options, BDAT="552 too big", END="503 no") as (client, _):
        outcome = await client.transact(to("a"), large(64 * 1024 * 1024, consumed))
        assert (codes(outcome), sum(consumed) < 8 * 1024 * 1024) == ([552], True)
        assert client.usable
        assert (await client.transact(to("a"), Content.of(MESSAGE))).final.code == 503


@pytest.mark.parametrize("reply", ["552 too big", "421 going down", "451 disk full"])
@pytest.mark.parametrize("closes", [True, False])
async def test_a_refusal_in_the_middle_of_the_data_is_heard(reply: str, closes: bool) -> None:
    async def script(fake: Fake) -> None:
        await fake.hello(*BY_DATA)
        for answer in ("250 ok", "250 ok", "354 go"):
            await fake.line()
            await fake.say(answer)
        await fake.fill()
        await fake.say(reply)
        if not closes:
            await anyio.sleep_forever()

    consumed: list[int] = []
    async with talking(script) as (client, _):
        outcome = await (await opened(client)).transact(to("a"), large(64 * 1024 * 1024, consumed))
        assert (codes(outcome), client.usable) == ([int(reply[:3])], False)
        assert sum(consumed) < 8 * 1024 * 1024
        assert (await client.reset()).code == int(reply[:3])  # as to everything from here on


@pytest.mark.parametrize("greeting", ["554 no", "421 busy", "450 later"])
async def test_a_server_that_does_not_serve_us_is_told_apart(greeting: str) -> None:
    async def script(fake: Fake) -> None:
        await fake.say(greeting)
        await fake.line()

    async with talking(script) as (client, _):
        with pytest.raises(Refused, match=greeting[:3]):
            await client.greet()
        assert not client.usable


@pytest.mark.parametrize(("reply", "lmtp"), [("450 later", False), ("500 what", True), ("421 no", False)])
async def test_a_refused_ehlo_is_told(reply: str, lmtp: bool) -> None:
    async def script(fake: Fake) -> None:
        await fake.say("220 mx")
        await fake.line()
        await fake.say(reply)
        await fake.line()

    async with talking(script, lmtp=lmtp) as (client, fake):
        with pytest.raises(Refused, match=reply[:3]):
            await opened(client)
        assert fake.heard[1:] in ([b"QUIT"], [])


# 421, cuts, silence, garbage ---------------------------------------------------------------------------------------

STAGES = ["MAIL", "RCPT", "DATA", "END"]
SHORT = Timeouts(mail=0.05, rcpt=0.05, data=0.05, final=0.05, greeting=0.05, hello=0.05, quit=0.05, block=0.05)


@pytest.mark.every_backend
@pytest.mark.parametrize(
    ("keywords", "stage"),
    [
        (keywords, stage)
        for keywords in [(), ("PIPELINING",), ("PIPELINING", "CHUNKING")]
        for stage in STAGES
        if not (stage == "DATA" and "CHUNKING" in keywords)
    ],
)
async def test_421_at_any_moment_is_everybodys_answer(keywords: tuple[str, ...], stage: str) -> None:
    async def script(fake: Fake) -> None:
        await fake.hello(*keywords)
        await fake.answers(**{stage: "421 4.3.2 shutting down"})

    async with talking(script) as (client, _):
        outcome = await (await opened(client)).transact(to("a", "b"), Content.of(MESSAGE))
        assert codes(outcome) == [421, 421]
        assert outcome.final == Reply(421, "shutting down", status="4.3.2")
        assert not client.usable
        assert codes(await client.transact(to("c"), Content.of(MESSAGE))) == [421]
        await client.quit()


@pytest.mark.every_backend
@pytest.mark.parametrize("stage", STAGES)
@pytest.mark.parametrize("trouble", ["cut", "silence", "garbage", "endless"])
@pytest.mark.parametrize("keywords", [(), ("PIPELINING",)])
async def test_what_breaks_off_says_where_and_whether_the_message_may_be_taken(
    stage: str, trouble: str, keywords: tuple[str, ...]
) -> None:
    last = {"cut": Cut, "silence": "", "garbage": "hello world", "endless": "250-" + "x" * 5000}[trouble]

    async with ready(*keywords, options={"timeouts": SHORT}, **{stage: last}) as (client, _):
        with pytest.raises(Disconnected) as caught:
            await client.transact(to("a", "b"), Content.of(MESSAGE))
        error = caught.value
        if trouble == "silence" and keywords and stage != "END":
            assert error.stage in STAGES  # the answers behind the missing one come too early
        else:
            assert error.stage == {"END": "end of data"}.get(stage, stage)
        assert error.unknown is (error.stage == "end of data")
        assert error.verdicts == (None, None)
        assert not client.usable
        with pytest.raises(Disconnected, match="closed"):
            await client.reset()
        await client.quit()


@pytest.mark.parametrize("greeting", [None, "", "hello", "SSH-2.0-OpenSSH_9.2"])
async def test_a_server_that_does_not_greet_is_no_server(greeting: str | None) -> None:
    async def script(fake: Fake) -> None:
        if greeting is None:
            return
        if greeting:
            await fake.say(greeting)
        await anyio.sleep_forever()

    async with talking(script, timeouts=SHORT) as (client, _):
        with pytest.raises(Disconnected) as caught:
            await client.greet()
        assert (caught.value.stage, caught.value.unknown) == ("greeting", False)


@pytest.mark.parametrize("keywords", [(), ("CHUNKING",), ("PIPELINING", "CHUNKING")])
async def test_a_cut_in_the_middle_of_the_data_is_certainly_no_delivery(keywords: tuple[str, ...]) -> None:
    async def script(fake: Fake) -> None:
        await fake.hello(*keywords)
        for answer in ("250 ok", "250 ok", *(() if keywords else ("354 go",))):
            await fake.line()
            await fake.say(answer)
        await fake.fill()

    async with talking(script) as (client, _):
        with pytest.raises(Disconnected) as caught:
            await (await opened(client)).transact(to("a"), large(16 * 1024 * 1024))
        assert (caught.value.stage, caught.value.unknown, caught.value.verdicts) == ("body", False, (None,))


async def test_a_server_that_stops_reading_is_given_up() -> None:
    async def script(fake: Fake) -> None:
        await fake.hello(*BY_DATA)
        for answer in ("250 ok", "250 ok", "354 go"):
            await fake.line()
            await fake.say(answer)
        await anyio.sleep_forever()

    async with talking(script, timeouts=SHORT) as (client, _):
        with pytest.raises(Disconnected, match="no answer within") as caught:
            await (await opened(client)).transact(to("a"), large(16 * 1024 * 1024))
        assert (caught.value.stage, caught.value.unknown) == ("body", False)


async def test_lmtp_verdicts_that_came_before_the_cut_are_kept() -> None:
    async def script(fake: Fake) -> None:
        await fake.hello(*BY_DATA)
        for answer in ("250 ok", "250 ok", "550 no", "250 ok", "354 go"):
            await fake.line()
            await fake.say(answer)
        await fake.data()
        await fake.say("250 kept")

    async with talking(script, lmtp=True) as (client, _):
        with pytest.raises(Disconnected) as caught:
            await (await opened(client)).transact(to("a", "b", "c"), Content.of(MESSAGE))
        assert caught.value.unknown
        assert [verdict and verdict.code for verdict in caught.value.verdicts] == [250, 550, None]


async def test_lmtp_421_answers_for_those_who_have_no_answer_yet() -> None:
    async with ready(*BY_DATA, options={"lmtp": True}, END="250 kept|421 down") as (client, _):
        outcome = await client.transact(to("a", "b", "c"), Content.of(MESSAGE))
        assert (codes(outcome), client.usable) == ([250, 421, 421], False)


async def test_a_server_that_says_goodbye_while_we_are_idle_is_heard() -> None:
    async def script(fake: Fake) -> None:
        await fake.hello(*BY_DATA)
        await fake.line()
        await fake.say("250 noop", "421 idle too long")

    async with talking(script) as (client, _):
        await (await opened(client)).command("NOOP")
        assert codes(await client.transact(to("a"), Content.of(MESSAGE))) == [421]


async def test_an_answer_too_many_is_never_taken_for_that_of_the_next_command() -> None:
    async with ready(*BY_DATA, NOOP="250 noop|250 noop") as (client, _):
        await client.command("NOOP")
        with pytest.raises(Disconnected, match="answers nothing"):
            await client.transact(to("a"), Content.of(MESSAGE))


async def test_a_content_that_fails_fails_as_itself_and_ends_the_connection() -> None:
    def failing(after: int) -> Content:
        async def chunks() -> AsyncIterator[bytes]:
            for _ in range(after):
                yield b"x" * LEAST
            raise TimeoutError("the disk sleeps")

        return Content(chunks, 10, False)

    for after in (0, 1, 3):
        async with ready(*BY_DATA) as (client, fake):
            with pytest.raises(TimeoutError, match="the disk sleeps"):
                await client.transact(to("a"), failing(after))
            assert not client.usable
            assert not fake.body


async def test_a_cancelled_client_is_of_no_use() -> None:
    async with ready(MAIL="") as (client, _):
        with anyio.move_on_after(0.05):
            await client.transact(to("a"), Content.of(MESSAGE))
        assert not client.usable


async def test_quit_waits_no_longer_than_it_is_told() -> None:
    async with ready(options={"timeouts": SHORT}, QUIT="") as (client, fake):
        await client.quit()
        await client.quit()
        assert fake.heard[1:] == [b"QUIT"]


async def test_as_a_context_it_quits_or_aborts() -> None:
    async with ready() as (client, fake):
        async with client:
            pass
        assert fake.heard[-1] == b"QUIT"
    async with ready() as (client, fake):
        with pytest.raises(KeyError):
            async with client:
                raise KeyError
        assert b"QUIT" not in fake.heard


# The octets --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "sizes", [[], [0], [1], [LEAST], [LEAST - 1, 1], [3 * 1024 * 1024 + 5], [10] * 20000, [LEAST, 1]]
)
async def test_pieces_are_of_a_good_size_and_lose_nothing(sizes: list[int]) -> None:
    async def chunks() -> AsyncIterator[bytes]:
        for number, size in enumerate(sizes):
            yield bytes([number % 251]) * size

    found = [piece async for piece in pieces(Content(chunks))]
    assert b"".join(piece for piece, _ in found) == b"".join([chunk async for chunk in chunks()])
    assert [last for _, last in found] == [False] * (len(found) - 1) + [True]
    assert all(LEAST <= len(piece) <= 512 * 1024 for piece, last in found if not last)


@pytest.mark.parametrize(
    ("octets", "eight_bit", "utf8"),
    [
        (MESSAGE, False, False),
        (EIGHT_BIT, True, False),
        (UTF8_HEADER, True, True),
        (b"a: b\n\n\xff", True, False),
        (b"\r\n\xff", True, True),
        (b"", False, False),
    ],
)
@pytest.mark.parametrize("size", [1, 3, 1000])
async def test_a_message_is_looked_through(octets: bytes, eight_bit: bool, utf8: bool, size: int) -> None:
    async def chunks() -> AsyncIterator[bytes]:
        for at in range(0, len(octets), size):
            yield octets[at : at + size]

    assert await survey(Content(chunks)) == (eight_bit, utf8)


@pytest.mark.slow
@pytest.mark.parametrize("keyword", ["PIPELINING", "CHUNKING"])
async def test_a_message_of_any_size_takes_the_same_memory(keyword: str) -> None:
    async def script(fake: Fake) -> None:
        await fake.hello(keyword)
        while not (line := await fake.line()).startswith((b"DATA", b"BDAT")):
            await fake.say("250 ok")
        if keyword == "PIPELINING":
            await fake.say("354 go")
            while not fake.unread.endswith(b"\r\n.\r\n"):
                fake.unread = fake.unread[-4:]
                await fake.fill()
        while line.startswith(b"BDAT"):
            await fake.read(int(line.split()[1]))
            if line.endswith(b"LAST"):
                break
            await fake.say("250 ok")
            line = await fake.line()
        await fake.say("250 taken")

    async with talking(script, pipelining=False) as (client, _):
        await opened(client)
        tracemalloc.start()
        try:
            assert (await client.transact(to("a"), large(64 * 1024 * 1024))).complete
            assert tracemalloc.get_traced_memory()[1] < 4 * 1024 * 1024
        finally:
            tracemalloc.stop()
