"""What a client may take, over real sockets: each limit has its reply, and the session goes on where it can.

Where a clock decides, the test itself looks at it as if the time had passed (`later`), so that nothing depends on how
fast the machine is.
"""

import socket

import anyio
import pytest
from anyio import sleep_forever

from mailstack import ConfigError, Limits, Recipient, Reply, Server, Session, Stack
from mailstack.testing.dialog import Collect, Vouch

from .kit import (
    BY_HAND,
    SMALL,
    SWEEP,
    client,
    house,
    later,
    on,
    only_connection,
    reset_and_close,
    serving,
    sessions_over,
    until,
)

LINE = b"x" * 998 + b"\r\n"


def clocked(**chosen: float) -> Limits:
    """Limits whose clocks are looked at by hand."""
    return Limits(**{"sweep": BY_HAND, **chosen})  # type: ignore[arg-type]


def sized(**chosen: int) -> Limits:
    return Limits(**{"sweep": SWEEP, **chosen})  # type: ignore[arg-type]


# Time.


async def test_who_says_nothing_is_told_and_closed() -> None:
    """The one test in which the server looks at its clocks by itself."""
    async with serving(Collect(), limits=Limits(idle=0.1, sweep=SWEEP)) as server, client(server) as smtp:
        await smtp.reply()
        assert await smtp.rest() == "421 4.4.2 idle too long\r\n"


async def test_each_reply_winds_the_idle_clock_up_again() -> None:
    async with serving(Collect(), limits=clocked(idle=100)) as server, client(server) as smtp:
        await smtp.hello()
        house(server).now += 90
        later(server, 90)
        assert (await smtp.say("NOOP")).startswith("250 ")
        later(server, 180)
        assert (await smtp.say("NOOP")).startswith("250 ")
        later(server, 200)
        assert await smtp.rest() == "421 4.4.2 idle too long\r\n"


async def test_octets_of_a_command_that_does_not_end_do_not_count() -> None:
    async with serving(Collect(), limits=clocked(idle=100)) as server, client(server) as smtp:
        await smtp.hello()
        connection = only_connection(server)
        house(server).now += 90
        for count in (1, 2, 3):
            await smtp.send(b"N")
            await until(lambda: len(connection.protocol._buffer) == count)  # noqa: B023
        later(server, 101)
        assert await smtp.rest() == "421 4.4.2 idle too long\r\n"


async def test_octets_of_a_body_do_count_until_they_stop() -> None:
    end = Collect()
    async with serving(Vouch(), end, limits=clocked(idle=100, data_rate=0)) as server, client(server) as smtp:
        await (await smtp.hello()).opened()
        connection = only_connection(server)
        house(server).now += 90
        await smtp.send(SMALL)
        await until(lambda: connection.dialog.reception is not None and connection.dialog.reception.octets > 0)
        later(server, 180)
        assert connection.why == "closed"
        later(server, 200)
        assert await smtp.rest() == "421 4.4.2 idle too long\r\n"
    assert end.messages == []


async def test_a_body_that_trickles_is_too_slow() -> None:
    end = Collect()
    chosen = clocked(idle=1000, data_grace=60, data_rate=1)
    async with serving(Vouch(), end, limits=chosen) as server, client(server) as smtp:
        await (await smtp.hello()).opened()
        connection = only_connection(server)
        await smtp.send(SMALL * 4)
        await until(lambda: connection.dialog.reception is not None and connection.dialog.reception.octets > 80)
        later(server, 59)
        later(server, 61)
        later(server, 200)
        assert await smtp.rest() == "421 4.4.2 data comes too slowly\r\n"
    assert end.messages == []


async def test_a_session_has_an_end_however_lively_it_is() -> None:
    async with serving(Collect(), limits=clocked(idle=1000, session=500)) as server, client(server) as smtp:
        await smtp.hello()
        later(server, 499)
        assert (await smtp.say("NOOP")).startswith("250 ")
        later(server, 501)
        assert await smtp.rest() == "421 4.4.2 session is over its time\r\n"


class Hangs:
    """Never comes back from one phase; `began` tells that it was asked."""

    def __init__(self) -> None:
        self.began = anyio.Event()

    async def __call__(self) -> None:
        began, self.began = self.began, anyio.Event()
        began.set()
        await sleep_forever()


async def test_a_check_that_hangs_is_451_and_the_session_goes_on() -> None:
    hangs, end = Hangs(), Collect()

    async def rcpt(recipient: Recipient) -> None:
        if recipient.address.local == "slow":
            await hangs()

    async with serving(on(rcpt=rcpt), Vouch(), end, limits=clocked(envelope=100)) as server, client(server) as smtp:
        await smtp.hello()
        for _ in range(2):
            assert (await smtp.say("MAIL FROM:<a@client.test>")).startswith("250 ")
            began = hangs.began
            await smtp.send(b"RCPT TO:<slow@mx.test>\r\n")
            await began.wait()
            later(server, 99)
            later(server, 101)
            assert (await smtp.reply()).startswith("451 4.3.0 ")
            assert (await smtp.say("RCPT TO:<quick@mx.test>")).startswith("250 ")
            assert (await smtp.say("DATA")).startswith("354 ")
            await smtp.send(SMALL + b".\r\n")
            assert (await smtp.reply()).startswith("250 ")
    assert [each.recipients for each in end.messages] == [["quick@mx.test"]] * 2


@pytest.mark.parametrize("phase", ["message", "queue"])
async def test_a_hand_over_that_hangs_is_451_and_the_session_goes_on(phase: str) -> None:
    hangs = Hangs()

    async def hook() -> None:
        await hangs()

    entries = (on("slow", **{phase: hook}), Vouch(), Collect())
    async with serving(*entries, limits=clocked(hand_over=100)) as server, client(server) as smtp:
        await smtp.hello()
        for _ in range(2):
            began = hangs.began
            await smtp.opened()
            await smtp.send(SMALL + b".\r\n")
            await began.wait()
            later(server, 101)
            assert (await smtp.reply()).startswith("451 4.3.0 ")
        assert (await smtp.say("NOOP")).startswith("250 ")


async def test_message_and_queue_share_one_limit() -> None:
    hangs = Hangs()

    def message(session: Session) -> None:
        session.hand_over_by -= 60  # as if it had taken a minute

    async def queue() -> None:
        await hangs()

    entries = (on(message=message, queue=queue), Vouch(), Collect())
    async with serving(*entries, limits=clocked(hand_over=100)) as server, client(server) as smtp:
        await (await smtp.hello()).opened()
        began = hangs.began
        await smtp.send(SMALL + b".\r\n")
        await began.wait()
        later(server, 41)
        assert (await smtp.reply()).startswith("451 ")


# Numbers.


async def test_a_connection_too_many_is_turned_away_and_the_place_comes_back() -> None:
    async with serving(Collect(), limits=sized(connections=2)) as server:
        async with client(server) as first, client(server) as second:
            await first.hello()
            await second.hello()
            for _ in range(3):
                async with client(server) as third:
                    assert await third.rest() == "421 too many connections, try again later\r\n"
            assert (await first.say("QUIT")).startswith("221 ")
            await first.rest()
            await until(lambda: len(house(server).connections) == 1)
            async with client(server) as third:
                await third.hello()


async def test_who_resets_while_he_is_turned_away_harms_nobody() -> None:
    async with serving(Collect(), limits=sized(connections=1)) as server, client(server) as smtp:
        await smtp.hello()
        address = server.addresses[0]
        for _ in range(50):
            rude = socket.socket()
            rude.connect(address)
            reset_and_close(rude)
        async with client(server) as third:
            assert (await third.reply()).startswith("421 ")
        assert (await smtp.say("NOOP")).startswith("250 ")


async def test_who_resets_at_once_leaves_nothing_behind() -> None:
    async with serving(Collect()) as server:
        for _ in range(50):
            rude = socket.socket()
            rude.connect(server.addresses[0])
            reset_and_close(rude)
        async with client(server) as smtp:
            await smtp.hello()
            await until(lambda: len(house(server).connections) == 1)


async def test_errors_end_the_session_and_a_message_pardons_them() -> None:
    async with serving(Vouch(), Collect(), limits=sized(errors=3)) as server, client(server) as smtp:
        await smtp.hello()
        for _ in range(2):
            assert (await smtp.say("BOGUS")).startswith("500 ")
        assert (await smtp.message()).startswith("250 ")
        for _ in range(2):
            assert (await smtp.say("DATA")).startswith("503 ")
        await smtp.send(b"BOGUS\r\nNOOP\r\nNOOP\r\n")
        assert (await smtp.reply()).startswith("500 ")
        assert await smtp.rest() == "421 4.7.0 too many errors\r\n"


async def test_temporary_refusals_are_no_errors() -> None:
    def rcpt() -> Reply:
        return Reply(450, "later")

    async with serving(on(rcpt=rcpt), Collect(), limits=sized(errors=3)) as server, client(server) as smtp:
        await smtp.hello()
        await smtp.say("MAIL FROM:<a@client.test>")
        for _ in range(10):
            assert (await smtp.say("RCPT TO:<b@mx.test>")).startswith("450 ")


async def test_recipients_beyond_the_limit_are_452_and_the_others_get_the_message() -> None:
    end = Collect()
    async with serving(Vouch(), end, limits=sized(recipients=100)) as server, client(server) as smtp:
        await smtp.hello()
        await smtp.envelope(recipients=100)
        assert (await smtp.say("RCPT TO:<over@mx.test>")).startswith("452 4.5.3 ")
        await smtp.say("DATA")
        await smtp.send(SMALL + b".\r\n")
        assert (await smtp.reply()).startswith("250 ")
    assert len(end.messages[0].recipients) == 100


# Sizes.


async def test_a_size_that_is_announced_too_large_is_552_at_once() -> None:
    async with serving(Vouch(), Collect(), limits=sized(message_size=1000)) as server, client(server) as smtp:
        await smtp.reply()
        assert "250-SIZE 1000\n" in await smtp.say("EHLO client.test")
        assert (await smtp.say("MAIL FROM:<a@client.test> SIZE=1001")).startswith("552 5.3.4 ")
        assert (await smtp.say("MAIL FROM:<a@client.test> SIZE=1000")).startswith("250 ")


@pytest.mark.parametrize("octets", [SMALL + LINE * 3000, b"Subject: " + b"x" * 3_000_000 + b"\r\n\r\n"])
async def test_too_much_data_is_read_to_its_true_end_and_kept_nowhere(octets: bytes) -> None:
    end = Collect()
    chosen = sized(message_size=100_000)
    async with serving(Vouch(), end, limits=chosen) as server, client(server) as smtp:
        await (await smtp.hello()).opened()
        await smtp.send(octets)
        await until(lambda: house(server).spool.in_memory == 0 == house(server).spool.files)
        await smtp.send(b"MAIL FROM:<evil@client.test>\r\n.\r\nNOOP\r\n")
        assert (await smtp.reply()).startswith("552 5.3.4 ")
        assert await smtp.reply() == "250 2.0.0 ok"
        assert (await smtp.message()).startswith("250 ")
    assert len(end.messages) == 1


async def test_chunks_that_are_too_much_together_are_552_at_the_end_of_the_chunk() -> None:
    end = Collect()
    async with serving(Vouch(), end, limits=sized(message_size=1500)) as server, client(server) as smtp:
        await smtp.hello()
        await smtp.envelope()
        await smtp.send(b"BDAT 1000\r\n" + LINE)
        assert (await smtp.reply()).startswith("250 ")
        await smtp.send(b"BDAT 1000\r\n" + LINE + b"BDAT 1000 LAST\r\n" + LINE + b"RSET\r\n")
        assert (await smtp.reply()).startswith("552 5.3.4 ")
        assert (await smtp.reply()).startswith("503 ")
        assert (await smtp.reply()).startswith("250 ")
        assert (await smtp.message()).startswith("250 ")
    assert len(end.messages) == 1


@pytest.mark.parametrize(
    ("octets", "answer"),
    [
        (b"X-Many: x\r\n" * 1000 + b"\r\nbody\r\n", "552 5.3.4 header"),
        (b"X-Long: " + b"x" * 3000 + b"\r\n\r\nbody\r\n", "552 5.3.4 header"),
        (b"Received: by a\r\n" * 30 + b"\r\nbody\r\n", "554 5.4.6 "),
        (b"Received: by a\r\n" * 29 + b"\r\nbody\r\n", "250 "),
    ],
    ids=["section", "line", "loop", "no loop"],
)
async def test_the_header_section_has_its_limits(octets: bytes, answer: str) -> None:
    chosen = sized(header_section=8000, header_line=2000, received_fields=30)
    async with serving(Vouch(), Collect(), limits=chosen) as server, client(server) as smtp:
        await smtp.hello()
        assert (await smtp.message(octets)).startswith(answer)
        assert (await smtp.message()).startswith("250 ")


async def test_everybody_may_leave_before_the_server_does() -> None:
    async with serving(Collect()) as server:
        async with client(server) as smtp:
            await smtp.hello()
        await sessions_over(server)


def test_a_sweeper_that_never_rests_is_refused() -> None:
    with pytest.raises(ConfigError, match=r"Limits\(message_size\): 0 is out of range"):
        Limits(message_size=0)  # SIZE 0 would be no limit at all
    with pytest.raises(ConfigError, match=r"Limits\(header_line\): '100' is out of range"):
        Limits(header_line="100")
    with pytest.raises(ConfigError, match=r"Limits\(sweep\): 0 is too short"):
        Limits(sweep=0)


@pytest.mark.parametrize(("own", "name"), [("MX.example.org", "mx.example.org"), ("my_laptop", "localhost")])
def test_a_machine_whose_name_is_no_domain_serves_as_localhost(
    monkeypatch: pytest.MonkeyPatch, own: str, name: str
) -> None:
    monkeypatch.setattr("socket.gethostname", lambda: own)
    assert Server(Stack()).hostname == name
