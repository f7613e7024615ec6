"""lmtp: a delivery server that answers for each recipient, behind LMTP and SMTP clients."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import anyio
import pytest

from mailstack import Listener, Server, Stack
from mailstack.handlers.lmtp import Lmtp
from mailstack.option import ConfigError
from mailstack.testing import Collect, Conversation, Dialog, Vouch
from tests.nexthop import Cut, NextHop

MESSAGE = b"Subject: test\r\n\r\n.test\r\n"
PLAIN = ("PIPELINING", "8BITMIME")
FULL = (*PLAIN, "CHUNKING", "BINARYMIME", "SMTPUTF8", "DSN")
ANN, BOB, CARL = "ann@example.org", "bob@example.org", "carl@example.org"


@asynccontextmanager
async def between(*hops: NextHop, lmtp: bool = False, **how: Any) -> AsyncIterator[Conversation]:
    """A client of a server that hands over to these."""
    handler = Lmtp(*(hop.address for hop in hops), **{"timeout": 5, "final": 5, **how})
    with anyio.fail_after(30):
        async with Dialog(Vouch(), handler=handler, lmtp=lmtp) as client:
            yield client


@pytest.mark.parametrize("keywords", [(), PLAIN, FULL])
@pytest.mark.parametrize("lmtp", [False, True])
async def test_each_recipient_gets_the_message(keywords: tuple[str, ...], lmtp: bool) -> None:
    async with NextHop(*keywords, lmtp=True) as hop, between(hop, lmtp=lmtp) as client:
        for count in (1, 2):
            answers = await client.deliver("a@example.net", [ANN, BOB], MESSAGE)
            assert [answer.code for answer in answers] == [250, 250][: len(answers)]
            assert len(answers) == (2 if lmtp else 1)
            assert [rcpts for _, rcpts, _ in hop.messages] == [
                [b"RCPT TO:<ann@example.org>"],
                [b"RCPT TO:<bob@example.org>"],
            ] * count
        assert hop.said("LHLO")[0] == "LHLO mx.test"
        assert hop.said("BDAT") == []


@pytest.mark.parametrize(
    ("rcpt", "end", "expected"),
    [
        ("250 ok", ["250 ok", "452 4.2.2 full", "250 ok"], [(250, "2.0.0"), (452, "4.2.2"), (250, "2.0.0")]),
        ("250 ok", ["550 5.2.1 shut", "250 ok"], [(550, "5.2.1"), (250, "2.0.0"), (250, "2.0.0")]),
        (
            ["250 ok", "550 5.1.1 nobody", "250 ok"],
            ["250 ok", "452 4.2.2 full"],
            [(250, "2.0.0"), (550, "5.1.1"), (452, "4.2.2")],
        ),
        (["550 5.1.1 nobody"], "250 ok", [(550, "5.1.1")] * 3),
    ],
)
async def test_an_lmtp_client_hears_the_verdict_on_each(rcpt: Any, end: Any, expected: list[tuple[int, str]]) -> None:
    async with NextHop(*PLAIN, lmtp=True, RCPT=rcpt, END=end) as hop, between(hop, lmtp=True) as client:
        answers = await client.deliver("a@example.net", [ANN, BOB, CARL], MESSAGE)
        assert [(answer.code, answer.status) for answer in answers] == expected
        assert len(hop.messages) == sum(code == 250 for code, _ in expected)


@pytest.mark.parametrize(
    ("end", "expected"),
    [
        (["250 ok", "452 4.2.2 full", "550 5.2.1 shut"], (452, "4.2.2")),
        (["250 ok", "550 5.2.1 shut", "250 ok"], (451, "4.5.3")),
        (["550 5.2.1 shut", "554 5.2.2 full", "552 5.2.2 full"], (550, "5.2.1")),
        (["421 4.3.2 going down"], (451, "4.4.1")),
    ],
)
async def test_an_smtp_client_hears_one_reply_that_loses_nothing(end: Any, expected: tuple[int, str]) -> None:
    async with NextHop(*PLAIN, lmtp=True, END=end) as hop, between(hop) as client:
        answer = await client.message("a@example.net", [ANN, BOB, CARL], MESSAGE)
        assert answer.code == expected[0]
        assert answer.status == expected[1] or answer.status == "4.3.2"


async def test_who_is_refused_at_rcpt_keeps_the_message_from_all_in_smtp() -> None:
    async with NextHop(*PLAIN, lmtp=True, RCPT=["250 ok", "550 5.1.1 nobody"]) as hop, between(hop) as client:
        answer = await client.message("a@example.net", [ANN, BOB], MESSAGE)
        assert (answer.code, answer.status) == (451, "4.5.3")
        assert hop.messages == []
        assert hop.said("DATA") == []


async def test_with_single_nobody_gets_a_message_twice() -> None:
    async with NextHop(*PLAIN, lmtp=True, END=["250 ok", "452 4.2.2 full"]) as hop, between(hop, single=True) as client:
        await client.say("EHLO client.example.org")
        await client.say("MAIL FROM:<a@example.net>")
        assert [(await client.say(f"RCPT TO:<{each}>")).code for each in (ANN, BOB)] == [250, 452]
        await client.say("RSET")
        assert await client.message("a@example.net", ANN, MESSAGE) == 250
        assert await client.message("a@example.net", BOB, MESSAGE) == 452
        assert len(hop.messages) == 1


@pytest.mark.parametrize("reply", [Cut, None, "nonsense"], ids=["cut", "silence", "garbage"])
async def test_answers_that_came_before_a_cut_are_final(reply: Any) -> None:
    replies = ["250 ok", "550 5.2.1 shut", reply]
    async with NextHop(*PLAIN, lmtp=True, END=replies) as bad, NextHop(*PLAIN, lmtp=True) as good:
        async with between(bad, good, lmtp=True, final=0.2) as client:
            answers = await client.deliver("a@example.net", [ANN, BOB, CARL], MESSAGE)
            assert [(answer.code, answer.status) for answer in answers] == [
                (250, "2.0.0"),
                (550, "5.2.1"),
                (451, "4.4.2"),
            ]
            assert good.messages == []


async def test_recipients_are_asked_for_at_rcpt() -> None:
    replies = ["250 ok", "452 4.2.2 full", "250 ok"]
    async with NextHop(*PLAIN, lmtp=True, RCPT=replies, END=["250 one", "250 three"]) as hop:
        async with between(hop, lmtp=True, ask_recipients=True) as client:
            await client.say("LHLO client.example.org")
            await client.say("MAIL FROM:<a@example.net>")
            assert [(await client.say(f"RCPT TO:<{each}>")).code for each in (ANN, BOB, CARL)] == [250, 452, 250]
            await client.say("DATA")
            await client.send(MESSAGE.replace(b"\r\n.", b"\r\n..") + b".\r\n")
            assert [answer.text for answer in await client.replies(2)] == ["one", "three"]
            assert len(hop.said("MAIL")) == 1


async def test_binarymime_goes_by_bdat() -> None:
    octets = b"Subject: x\r\n\r\n\0\r.\n\n.\r\r\n"
    async with NextHop(*FULL, lmtp=True) as hop, between(hop) as client:
        await client.say("EHLO client.example.org")
        await client.say("MAIL FROM:<a@example.net> BODY=BINARYMIME")
        await client.say(f"RCPT TO:<{ANN}>")
        await client.send(b"BDAT %d LAST\r\n" % len(octets) + octets)
        assert await client.reply() == 250
        assert hop.messages[0][2].endswith(octets)


async def test_a_unix_socket_is_a_server_too(tmp_path: Path) -> None:
    """Two of us in a row: what one hands over the other takes, octet for octet."""
    path = f"unix:{tmp_path}/lmtp"
    taken = Collect()
    delivery = Server(Stack(Vouch(), taken), listeners=[Listener(path, lmtp=True)], hostname="box.test")
    async with delivery, Dialog(Vouch(), handler=Lmtp(path)) as client:
        assert await client.message("a@example.net", [ANN, BOB], MESSAGE) == 250
    [arrived] = taken.messages
    assert arrived.content.endswith(MESSAGE)


@pytest.mark.parametrize(
    ("make", "complaint"),
    [
        (lambda: Lmtp(), "no server"),
        (lambda: Lmtp("127.0.0.1"), "no port"),
        (lambda: Lmtp("unix:/x", vouch=True), "ask_recipients"),
    ],
)
def test_wrong_options_stop_the_start(make: Any, complaint: str) -> None:
    with pytest.raises(ConfigError, match=complaint):
        make()
