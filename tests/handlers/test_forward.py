"""forward: every way in which a next server can answer, fail or leave, and what the client hears of it."""

import re
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import anyio
import pytest

from mailstack import Message, Reply, Session, hookimpl
from mailstack.handlers.forward import Forward
from mailstack.option import ConfigError
from mailstack.testing import Conversation, Dialog, Vouch
from tests.nexthop import LENIENT, Cut, NextHop

MESSAGE = b"Subject: test\r\n\r\n.test\r\n..\r\n"
FULL = ("PIPELINING", "SIZE 100000000", "8BITMIME", "SMTPUTF8", "DSN", "CHUNKING", "BINARYMIME")
PLAIN = ("PIPELINING", "8BITMIME")
ANN, BOB, CARL = "ann@example.org", "bob@example.org", "carl@example.org"


@asynccontextmanager
async def between(*hops: NextHop, above: Any = (), options: Any = None, **how: Any) -> AsyncIterator[Conversation]:
    """A client of a server that forwards to these."""
    handler = Forward(*(hop.address for hop in hops), **{"timeout": 20, "final": 20, **how})
    with anyio.fail_after(30):
        async with Dialog(*above, Vouch(), handler=handler, **(options or {})) as smtp:
            yield smtp


def bodies(hop: NextHop) -> list[bytes]:
    """What arrived, without our Received field."""
    return [re.sub(rb"\AReceived:.*?\r\n(?=\S)", b"", octets, flags=re.DOTALL) for _, _, octets in hop.messages]


# What arrives.


@pytest.mark.parametrize("keywords", [(), PLAIN, FULL])
async def test_a_message_is_passed_on_with_the_reply(keywords: tuple[str, ...]) -> None:
    async with NextHop(*keywords, END="250 2.6.0 as 4711") as hop, between(hop) as smtp:
        answer = await smtp.message("a@example.net", ANN, MESSAGE)
        assert (answer.code, answer.status, answer.text) == (250, "2.6.0", "as 4711")
        [(mail, rcpts, octets)] = hop.messages
        assert mail.startswith(b"MAIL FROM:<a@example.net>")
        assert rcpts == [b"RCPT TO:<ann@example.org>"]
        assert octets.startswith(b"Received: ")
        assert hop.said("EHLO")[0] == "EHLO mx.test"
        wanted = MESSAGE if "CHUNKING" in keywords else MESSAGE.replace(b"\r\n.", b"\r\n..")
        assert bodies(hop) == [wanted]


async def test_bounces_and_several_recipients_are_passed_on() -> None:
    async with NextHop(*PLAIN) as hop, between(hop, hostname="edge.example.org") as smtp:
        assert await smtp.message("", [ANN, BOB], MESSAGE) == 250
        [(mail, rcpts, _)] = hop.messages
        assert mail.startswith(b"MAIL FROM:<>")
        assert rcpts == [b"RCPT TO:<ann@example.org>", b"RCPT TO:<bob@example.org>"]
        assert hop.said("EHLO")[0] == "EHLO edge.example.org"


async def test_what_policy_rewrote_is_what_is_sent() -> None:
    class Rewrite:
        @hookimpl
        def message(self, session: Session, message: Message) -> None:
            assert session.transaction is not None
            session.transaction.recipients[0].rewrite(session.transaction.recipients[0].address.parse(BOB))
            message.replace_header("Subject", "changed")

    async with NextHop(*PLAIN) as hop, between(hop, above=[Rewrite()]) as smtp:
        assert await smtp.message("a@example.net", ANN, MESSAGE) == 250
        assert hop.messages[0][1] == [b"RCPT TO:<bob@example.org>"]
        assert b"Subject: changed\r\n" in hop.messages[0][2]


async def test_who_was_answered_by_another_entry_is_left_out() -> None:
    class Mine:
        @hookimpl
        def queue(self, session: Session) -> None:
            assert session.transaction is not None
            session.transaction.recipients[0].answer(Reply(250, "mine"))

    async with NextHop(*PLAIN) as hop, between(hop, above=[Mine()]) as smtp:
        assert await smtp.message("a@example.net", [ANN, BOB], MESSAGE) == 250
        assert hop.messages[0][1] == [b"RCPT TO:<bob@example.org>"]
        assert await smtp.message("a@example.net", [ANN], MESSAGE) == 250
        assert len(hop.messages) == 1


async def test_dsn_is_offered_while_the_next_server_offers_it_and_its_parameters_arrive() -> None:
    async with NextHop(*FULL) as hop, between(hop) as smtp:
        assert await smtp.message("a@example.net", ANN, MESSAGE) == 250  # from here on it is known
        assert "DSN" in (await smtp.say("EHLO client.example.org")).text.split()
        hop.messages.clear()
        await smtp.say("MAIL FROM:<a@example.net> RET=HDRS ENVID=id+2B1 BODY=8BITMIME SIZE=100")
        await smtp.say(f"RCPT TO:<{ANN}> NOTIFY=SUCCESS,FAILURE ORCPT=rfc822;x+40example.org")
        await smtp.say("DATA")
        await smtp.send(MESSAGE.replace(b"\r\n.", b"\r\n..") + b".\r\n")
        assert await smtp.reply() == 250
        [(mail, [rcpt], _)] = hop.messages
        words = mail.decode().split()
        assert {"RET=HDRS", "ENVID=id+2B1", "BODY=8BITMIME"} <= set(words)
        assert [word for word in words if word.startswith("SIZE=")] != ["SIZE=100"]  # what is really sent
        assert "ORCPT=rfc822;x@example.org" in rcpt.decode().split()
        assert b"NOTIFY=" in rcpt


async def test_dsn_is_not_offered_when_one_of_the_servers_does_not_offer_it() -> None:
    async with NextHop(*FULL) as one, NextHop(*PLAIN) as other, between(one, other, pool=0) as smtp:
        await one.reached("QUIT")
        await other.reached("QUIT")
        assert "DSN" not in (await smtp.say("EHLO client.example.org")).text.split()


@pytest.mark.parametrize(
    ("parameters", "octets", "status"),
    [
        (" SMTPUTF8", b"Subject: hallo\r\n\r\n", "5.6.7"),
        ("", "Subject: hallo\r\n\r\ngrüße\r\n".encode(), "5.6.3"),
        (" SMTPUTF8", "Subject: grüße\r\n\r\n\r\n".encode(), "5.6.7"),
    ],
)
async def test_what_the_next_server_cannot_take_is_refused_for_good(
    parameters: str, octets: bytes, status: str
) -> None:
    async with NextHop("PIPELINING") as hop, between(hop) as smtp:
        await smtp.say("EHLO client.example.org")
        sender = "ü@example.net" if status == "5.6.7" and octets.isascii() else "a@example.net"
        await smtp.say(f"MAIL FROM:<{sender}>{parameters}")
        await smtp.say(f"RCPT TO:<{ANN}>")
        await smtp.say("DATA")
        await smtp.send(octets + b".\r\n")
        answer = await smtp.reply()
        assert (answer.code, answer.status) == (554, status)
        assert hop.messages == []
        assert hop.said("MAIL") == []


async def test_binarymime_arrives_or_is_refused() -> None:
    octets = b"Subject: x\r\n\r\n\0\r.\n\n.\r\r\n.\r\n\xff"
    for keywords, expected in ((FULL, 250), (PLAIN, 554)):
        async with NextHop(*keywords) as hop, between(hop) as smtp:
            await smtp.say("EHLO client.example.org")
            await smtp.say("MAIL FROM:<a@example.net> BODY=BINARYMIME")
            await smtp.say(f"RCPT TO:<{ANN}>")
            await smtp.send(b"BDAT %d LAST\r\n" % len(octets) + octets)
            answer = await smtp.reply()
            assert answer.code == expected
            assert bodies(hop) == ([octets] if expected == 250 else [])
            assert answer.status == ("2.0.0" if expected == 250 else "5.6.1")


# No message can end, or say anything, before its end.

ENDS = [
    before + b"." + after
    for before in (b"\n", b"\r", b"\r\n", b"\0", b"\r\n\0", b"\n\0", b"\r\r\n", b"\n\r", b"\r\n.\n", b"\n.\r")
    for after in (b"\n", b"\r", b"\r\n", b"\0\r\n", b"\r\r\n", b"\r\0\n", b"\n\r\n", b"\n.\n")
    if b"\r\n.\r\n" not in before + b"." + after  # that is one
]
SECOND = b"MAIL FROM:<evil@example.net>\r\nRCPT TO:<victim@example.org>\r\nDATA\r\nSubject: evil\r\n\r\nevil\r\n"


@pytest.mark.parametrize("chunked", [False, True], ids=["data", "bdat"])
@pytest.mark.parametrize("normalise", [False, True], ids=["strict", "normalise"])
@pytest.mark.parametrize("keywords", [PLAIN, FULL], ids=["DATA", "BDAT"])
async def test_a_lenient_next_server_never_sees_a_second_message(
    keywords: tuple[str, ...], normalise: bool, chunked: bool
) -> None:
    """Whatever anybody has ever taken for an end of data stands in the middle; by DATA and by BDAT, in and out."""
    taken = 0
    async with NextHop(*keywords, end=LENIENT) as hop, between(hop, options={"normalise": normalise}) as smtp:
        for end in ENDS:
            [other] = await smtp.several(1)
            code = await smuggle(other, b"Subject: good\r\n\r\ngood" + end + SECOND, chunked)
            assert code in (250, 554), end
            taken += code == 250
            assert len(hop.messages) == taken, end
            assert not any(b"evil" in mail or b"good" not in octets for mail, _, octets in hop.messages), end
            assert not any(b"evil" not in octets for _, _, octets in hop.messages), end
            await other.hang_up()
    assert taken == (len(ENDS) if normalise else 0)


async def smuggle(smtp: Conversation, octets: bytes, chunked: bool) -> int:
    """Send it as one message; the code of the answer."""
    await smtp.say("EHLO client.example.org")
    await smtp.say("MAIL FROM:<a@example.net>")
    await smtp.say(f"RCPT TO:<{ANN}>")
    if chunked:
        await smtp.send(b"BDAT %d LAST\r\n" % len(octets) + octets)
    else:
        assert await smtp.say("DATA") == 354
        await smtp.send(octets + b".\r\n")
    return (await smtp.reply()).code


# What the next server answers.


@pytest.mark.parametrize("verb", ["MAIL", "RCPT", "DATA", "END"])
@pytest.mark.parametrize(
    ("reply", "heard"),
    [
        ("550 5.7.1 no", (550, "5.7.1", "no")),
        ("452 4.3.1 full", (452, "4.3.1", "full")),
        ("554 no status", (554, "5.0.0", "no status")),
    ],
)
async def test_a_refusal_is_passed_on(verb: str, reply: str, heard: tuple[int, str, str]) -> None:
    async with NextHop(*PLAIN, **at(verb, [reply, USUAL[verb]])) as hop, between(hop) as smtp:
        answer = await smtp.message("a@example.net", ANN, MESSAGE)
        assert (answer.code, answer.status, answer.text) == heard
        assert hop.messages == []
        assert await smtp.message("a@example.net", ANN, MESSAGE) == 250
        assert len(hop.messages) == 1


USUAL = {"MAIL": "250 ok", "RCPT": "250 ok", "DATA": "354 go", "END": "250 ok"}


def at(verb: str, reply: Any) -> dict[str, Any]:
    return {verb: reply}


async def test_a_421_never_closes_the_clients_connection() -> None:
    for verb in ("banner", "MAIL", "RCPT", "DATA", "END"):
        async with NextHop(*PLAIN, **at(verb, "421 4.3.2 going down")) as hop, between(hop) as smtp:
            answer = await smtp.message("a@example.net", ANN, MESSAGE)
            assert answer.code == 451
            assert await smtp.say("NOOP") == 250
            assert hop.messages == []


async def test_nothing_in_a_reply_gets_out_unescaped() -> None:
    async with NextHop(*PLAIN, END="250-a\x1b[31m\t|250 b\xff") as hop, between(hop) as smtp:
        answer = await smtp.message("a@example.net", ANN, MESSAGE)
        assert answer.code == 250
        assert all(line.isascii() and line.isprintable() for line in answer.text.splitlines())
        assert hop.messages


@pytest.mark.parametrize(
    ("replies", "expected"),
    [
        (["250 ok", "550 5.1.1 nobody"], (451, "4.5.3")),
        (["250 ok", "452 4.2.2 full"], (452, "4.2.2")),
        (["550 5.1.1 nobody", "452 4.2.2 full"], (452, "4.2.2")),
        (["550 5.1.1 nobody", "553 5.1.3 odd"], (550, "5.1.1")),
    ],
)
@pytest.mark.parametrize("keywords", [(), PLAIN, FULL])
async def test_what_is_refused_for_some_goes_to_none(
    keywords: tuple[str, ...], replies: list[str], expected: tuple[int, str]
) -> None:
    async with NextHop(*keywords, RCPT=[*replies, "250 ok"]) as hop, between(hop) as smtp:
        answer = await smtp.message("a@example.net", [ANN, BOB], MESSAGE)
        assert (answer.code, answer.status) == expected
        assert hop.messages == []
        assert hop.said("DATA") == hop.said("BDAT") == []
        assert await smtp.message("a@example.net", [CARL], MESSAGE) == 250
        assert hop.messages[0][1] == [b"RCPT TO:<carl@example.org>"]


async def test_an_lmtp_client_hears_the_verdict_on_each() -> None:
    options = {"lmtp": True}
    async with NextHop(*PLAIN, RCPT=["250 ok", "550 5.1.1 nobody", "250 ok"]) as hop:
        async with between(hop, options=options) as lmtp:
            answers = await lmtp.deliver("a@example.net", [ANN, BOB, CARL], MESSAGE)
            assert [answer.code for answer in answers] == [250, 550, 250]
            assert hop.messages[0][1] == [b"RCPT TO:<ann@example.org>", b"RCPT TO:<carl@example.org>"]


async def test_one_recipient_per_message_where_that_was_said() -> None:
    async with NextHop(*PLAIN) as hop, between(hop, single=True) as smtp:
        await smtp.say("EHLO client.example.org")
        await smtp.say("MAIL FROM:<a@example.net>")
        assert await smtp.say(f"RCPT TO:<{ANN}>") == 250
        answer = await smtp.say(f"RCPT TO:<{BOB}>")
        assert (answer.code, answer.status) == (452, "4.5.3")
        await smtp.say("RSET")
        assert await smtp.message("a@example.net", BOB, MESSAGE) == 250
        assert hop.messages[0][1] == [b"RCPT TO:<bob@example.org>"]


# A next server that is not there, or leaves.


async def test_nobody_there_is_451() -> None:
    async with NextHop() as hop:
        gone = hop.address
    handler = Forward(gone)
    async with Dialog(Vouch(), handler=handler) as smtp:
        answer = await smtp.message("a@example.net", ANN, MESSAGE)
        assert (answer.code, answer.status) == (451, "4.4.1")


@pytest.mark.parametrize("keywords", [(), PLAIN])
@pytest.mark.parametrize("reply", [Cut, None, "garbage", "999 what", "421 bye"], ids=lambda each: str(each)[:5])
@pytest.mark.parametrize("verb", ["banner", "HELLO", "MAIL", "RCPT", "DATA"])
async def test_who_fails_before_the_message_is_replaced_by_the_next(
    keywords: tuple[str, ...], verb: str, reply: Any
) -> None:
    patience = 0.2 if reply is None else 20
    async with NextHop(*keywords, **at(verb, reply)) as bad:
        async with NextHop(*keywords) as good, between(bad, good, timeout=patience) as smtp:
            for _ in range(1 if reply is None else 2):
                assert await smtp.message("a@example.net", ANN, MESSAGE) == 250
            assert len(good.messages) == (1 if reply is None else 2)
            assert bad.messages == []
        async with between(bad, timeout=patience) as smtp:
            answer = await smtp.message("a@example.net", ANN, MESSAGE)
            assert answer.code == 451
            assert answer.status in ("4.4.1", "4.0.0", "4.3.2")


@pytest.mark.parametrize("banner", ["554 5.3.2 not us", "450 later"])
async def test_a_server_that_does_not_serve_us_is_no_server(banner: str) -> None:
    async with NextHop(banner=banner) as bad, NextHop() as good:
        async with between(bad, good) as smtp:
            assert await smtp.message("a@example.net", ANN, MESSAGE) == 250
        async with between(bad) as smtp:
            answer = await smtp.message("a@example.net", ANN, MESSAGE)
            assert (answer.code, answer.status) == (451, "4.4.1")


@pytest.mark.parametrize("keywords", [(), PLAIN, FULL])
@pytest.mark.parametrize("reply", [Cut, None, "nonsense"], ids=["cut", "silence", "garbage"])
async def test_a_missing_answer_to_the_message_is_451_and_nobody_else_is_tried(
    keywords: tuple[str, ...], reply: Any
) -> None:
    async with NextHop(*keywords, END=reply) as bad, NextHop(*keywords) as good:
        async with between(bad, good, final=0.2) as smtp:
            answer = await smtp.message("a@example.net", ANN, MESSAGE)
            assert (answer.code, answer.status) == (451, "4.4.2")
            assert len(bad.said("MAIL")) == 1
            assert good.messages == []


@pytest.mark.parametrize("keywords", [PLAIN, FULL])
async def test_a_cut_in_the_middle_of_the_message_is_replaced_by_the_next(keywords: tuple[str, ...]) -> None:
    large = b"Subject: large\r\n\r\n" + b"0123456789\r\n" * 100_000

    async with NextHop(*keywords, cut_after=100_000) as bad, NextHop(*keywords) as good, between(bad, good) as smtp:
        assert await smtp.message("a@example.net", ANN, large) == 250
        assert len(good.messages) == 1
        assert bodies(good) == [large]
        assert bad.messages == []
        assert bad.said("MAIL")


# Connections.


async def test_connections_are_used_again() -> None:
    async with NextHop(*PLAIN) as hop, between(hop) as smtp:
        for _ in range(5):
            assert await smtp.message("a@example.net", ANN, MESSAGE) == 250
        assert len(hop.messages) == 5
        assert hop.connections <= 2  # the first message may meet the probe


async def test_a_connection_that_died_meanwhile_is_replaced_in_silence() -> None:
    replies = ["250 ok", Cut, "250 ok", "421 4.3.2 idle too long", "250 ok"]
    async with NextHop(*PLAIN, MAIL=replies) as hop, between(hop) as smtp:
        for _ in range(3):
            assert await smtp.message("a@example.net", ANN, MESSAGE) == 250
        assert len(hop.messages) == 3


async def test_a_connection_carries_so_many_messages() -> None:
    async with NextHop(*PLAIN) as hop, between(hop, messages=2) as smtp:
        for _ in range(6):
            assert await smtp.message("a@example.net", ANN, MESSAGE) == 250
        await hop.reached("QUIT")
        assert hop.connections >= 3


async def test_no_more_connections_than_allowed_and_the_others_wait() -> None:
    async with NextHop(*PLAIN) as hop, between(hop, connections=2, pool=1) as smtp:
        lines = await smtp.several(8)
        async with anyio.create_task_group() as group:
            for line in lines:
                group.start_soon(line.message, "a@example.net", ANN, MESSAGE)
        assert len(hop.messages) == 8
        assert hop.most_open <= 3  # one more may be saying goodbye


async def test_who_waits_too_long_for_a_connection_hears_451() -> None:
    async with (
        NextHop(*PLAIN, END=[None, "250 ok"]) as hop,
        between(hop, connections=1, timeout=0.1, final=0.3) as smtp,
    ):
        [other] = await smtp.several(1)
        async with anyio.create_task_group() as group:
            group.start_soon(other.message, "a@example.net", ANN, MESSAGE)
            await hop.reached("END")
            answer = await smtp.message("a@example.net", ANN, MESSAGE)
            assert (answer.code, answer.status) == (451, "4.4.1")
            group.cancel_scope.cancel()


async def test_idle_connections_are_closed_after_their_time_and_at_the_end() -> None:
    async with NextHop(*PLAIN) as hop, between(hop, idle=0.05) as smtp:
        assert await smtp.message("a@example.net", ANN, MESSAGE) == 250
        await hop.reached("QUIT")
        assert await smtp.message("a@example.net", ANN, MESSAGE) == 250
    async with NextHop(*PLAIN) as hop:
        async with between(hop) as smtp:
            assert await smtp.message("a@example.net", ANN, MESSAGE) == 250
        await hop.reached("QUIT")


async def test_servers_take_turns() -> None:
    async with NextHop() as one, NextHop() as other, between(one, other, policy="rotate") as smtp:
        for _ in range(4):
            assert await smtp.message("a@example.net", ANN, MESSAGE) == 250
        assert (len(one.messages), len(other.messages)) == (2, 2)


async def test_a_server_that_failed_is_tried_last_for_a_while() -> None:
    async with NextHop(banner=Cut) as bad, NextHop() as good, between(bad, good) as smtp:
        for _ in range(4):
            assert await smtp.message("a@example.net", ANN, MESSAGE) == 250
        assert bad.connections <= 2  # the probe, and the first message


# Asking.


async def test_recipients_are_asked_for_and_the_message_follows_on_the_same_connection() -> None:
    replies = ["250 ok", "550 5.1.1 nobody", "450 4.2.1 later", "250 ok"]
    async with NextHop(*PLAIN, RCPT=replies) as hop, between(hop, ask_recipients=True) as smtp:
        await smtp.say("EHLO client.example.org")
        await smtp.say("MAIL FROM:<a@example.net>")
        answers = [await smtp.say(f"RCPT TO:<{name}@example.org>") for name in ("ann", "bob", "carl", "dora")]
        assert [(answer.code, answer.status) for answer in answers][1:3] == [(550, "5.1.1"), (450, "4.2.1")]
        assert [answer.code for answer in answers] == [250, 550, 450, 250]
        await smtp.say("DATA")
        await smtp.send(MESSAGE.replace(b"\r\n.", b"\r\n..") + b".\r\n")
        assert await smtp.reply() == 250
        assert hop.messages[0][1] == [b"RCPT TO:<ann@example.org>", b"RCPT TO:<dora@example.org>"]
        assert len(hop.said("RCPT")) == 4
        assert len(hop.said("MAIL")) == 1
        assert await smtp.message("b@example.net", ANN, MESSAGE) == 250
        assert hop.messages[1][0].startswith(b"MAIL FROM:<b@example.net>")


async def test_nobodys_recipients_are_not_asked_for() -> None:
    async with NextHop(*PLAIN) as hop:
        async with Dialog(handler=Forward(hop.address, ask_recipients=True)) as smtp:
            assert await smtp.message("a@example.net", ANN, MESSAGE) == 550
            assert hop.said("RCPT") == []


async def test_the_next_servers_word_is_enough_where_that_was_said() -> None:
    async with NextHop(*PLAIN, RCPT=["550 5.7.1 not mine", "250 ok"]) as hop:
        async with Dialog(handler=Forward(hop.address, ask_recipients=True, vouch=True)) as smtp:
            assert (await smtp.message("a@example.net", ANN, MESSAGE)).text == "not mine"
            await smtp.say("RSET")
            assert await smtp.message("a@example.net", ANN, MESSAGE) == 250


@pytest.mark.parametrize("how", ["RSET", "hang up"])
async def test_a_transaction_that_comes_to_nothing_leaves_the_connection_to_others(how: str) -> None:
    async with NextHop(*PLAIN) as hop, between(hop, ask_recipients=True, connections=1) as smtp:
        await smtp.say("EHLO client.example.org")
        await smtp.say("MAIL FROM:<a@example.net>")
        assert await smtp.say(f"RCPT TO:<{ANN}>") == 250
        if how == "RSET":
            await smtp.say("RSET")
        else:
            await smtp.hang_up()
            await smtp.finished()
        [other] = await smtp.several(1)
        assert await other.message("b@example.net", BOB, MESSAGE) == 250
        assert hop.messages[0][1] == [b"RCPT TO:<bob@example.org>"]
        assert hop.connections == 1


async def test_who_only_asks_cannot_keep_others_from_sending() -> None:
    async with NextHop(*PLAIN) as hop, between(hop, ask_recipients=True, connections=1) as smtp:
        await smtp.say("EHLO client.example.org")
        await smtp.say("MAIL FROM:<a@example.net>")
        assert await smtp.say(f"RCPT TO:<{ANN}>") == 250
        [other] = await smtp.several(1)
        assert await other.message("b@example.net", BOB, MESSAGE) == 250  # on the connection that was parked
        assert await smtp.say(f"RCPT TO:<{CARL}>") == 250
        await smtp.say("DATA")
        await smtp.send(MESSAGE.replace(b"\r\n.", b"\r\n..") + b".\r\n")
        assert await smtp.reply() == 250
        assert hop.messages[1][1] == [b"RCPT TO:<ann@example.org>", b"RCPT TO:<carl@example.org>"]


async def test_a_recipient_that_later_policy_refused_does_not_get_the_message() -> None:
    class Later:
        @hookimpl
        def rcpt(self) -> None: ...

        @hookimpl
        def message(self, session: Session) -> None:
            assert session.transaction is not None
            session.transaction.recipients.pop(0)

    async with NextHop(*PLAIN) as hop, between(hop, above=[Later()], ask_recipients=True) as smtp:
        assert await smtp.message("a@example.net", [ANN, BOB], MESSAGE) == 250
        assert hop.messages[0][1] == [b"RCPT TO:<bob@example.org>"]


@pytest.mark.parametrize("reply", [Cut, "421 bye", "nonsense"])
async def test_a_connection_lost_after_asking_is_made_good(reply: Any) -> None:
    async with NextHop(*PLAIN, DATA=[reply, "354 go"]) as hop, between(hop, ask_recipients=True) as smtp:
        assert await smtp.message("a@example.net", [ANN, BOB], MESSAGE) == 250
        assert hop.messages[0][1] == [b"RCPT TO:<ann@example.org>", b"RCPT TO:<bob@example.org>"]
        assert len(hop.messages) == 1


@pytest.mark.parametrize("reply", [Cut, "421 bye"])
async def test_asking_moves_on_to_a_server_that_answers(reply: Any) -> None:
    async with NextHop(*PLAIN, RCPT=reply) as bad, NextHop(*PLAIN) as good:
        async with between(bad, good, ask_recipients=True) as smtp:
            assert await smtp.message("a@example.net", [ANN, BOB], MESSAGE) == 250
            assert len(good.messages) == 1
        async with between(bad, ask_recipients=True) as smtp:
            assert (await smtp.message("a@example.net", ANN, MESSAGE)).code == 451


async def test_a_refused_sender_is_told_at_rcpt() -> None:
    async with NextHop(*PLAIN, MAIL="550 5.7.1 not you") as hop, between(hop, ask_recipients=True) as smtp:
        answer = await smtp.message("a@example.net", ANN, MESSAGE)
        assert (answer.code, answer.text) == (550, "not you")


async def test_the_end_unknown_after_asking_is_451() -> None:
    replies = ["550 5.1.1 nobody", "250 ok"]
    async with NextHop(*PLAIN, RCPT=replies, END=Cut) as hop, between(hop, ask_recipients=True) as smtp:
        await smtp.say("EHLO client.example.org")
        await smtp.say("MAIL FROM:<a@example.net>")
        assert [(await smtp.say(f"RCPT TO:<{who}>")).code for who in (ANN, BOB, CARL)] == [550, 250, 250]
        await smtp.say("DATA")
        await smtp.send(MESSAGE.replace(b"\r\n.", b"\r\n..") + b".\r\n")
        answer = await smtp.reply()
        assert (answer.code, answer.status) == (451, "4.4.2")
        assert len(hop.said("MAIL")) == 1


# Options.


@pytest.mark.parametrize(
    ("make", "complaint"),
    [
        (lambda: Forward(), "no server"),
        (lambda: Forward("127.0.0.1:0"), "port 0"),
        (lambda: Forward("nowhere at all"), "cannot exist"),
        (lambda: Forward("127.0.0.1", policy="best"), r"Forward\(policy\)"),
        (lambda: Forward("127.0.0.1", pool=-1), r"Forward\(pool\)"),
        (lambda: Forward("127.0.0.1", connections=0), r"Forward\(connections\)"),
        (lambda: Forward("127.0.0.1", timeout="soon"), r"Forward\(timeout\)"),
        (lambda: Forward("127.0.0.1", hostname="not a name"), r"Forward\(hostname\)"),
        (lambda: Forward("127.0.0.1", vouch=True), "ask_recipients"),
    ],
)
def test_wrong_options_stop_the_start(make: Any, complaint: str) -> None:
    with pytest.raises(ConfigError, match=complaint):
        make()
