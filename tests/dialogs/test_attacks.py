"""What a hostile client does, through the real protocol, and the one right answer to it.

Each test is an attack that worked on some mail server once. The numbers of the CVEs stand where there is one.
"""

import logging
import re
import string

import pytest
from anyio import create_task_group, sleep
from anyio.lowlevel import checkpoint

from mailstack import Limits, Reply, Sender, Session, hookimpl
from mailstack.server.connection import Connection
from mailstack.testing import Conversation, Dialog, Vouch

ENVELOPE = (
    b"MAIL FROM:<evil@example.org>\r\nRCPT TO:<victim@example.org>\r\nDATA\r\nSubject: smuggled\r\n\r\nboo\r\n.\r\n"
)

# What looks like the end of the data to some server, and is none: all of it has a bare CR, a bare LF or a NUL.
FAULTY_ENDS = {
    "LF . CRLF": b"\n.\r\n",
    "LF . LF": b"\n.\n",
    "CRLF . LF": b"\r\n.\n",
    "CRLF . CR": b"\r\n.\r",
    "CR . CRLF": b"\r.\r\n",
    "CR . CR": b"\r.\r",
    "LF . CR": b"\n.\r",
    "CR . LF": b"\r.\n",
    "CRLF . CR CRLF": b"\r\n.\r\r\n",
    "CRLF NUL . CRLF": b"\r\n\0.\r\n",
    "CRLF . NUL CRLF": b"\r\n.\0\r\n",
    "LF CR . CRLF": b"\n\r.\r\n",
    "CR CRLF CR . CRLF": b"\r\r\n\r.\r\n",
}
# What is none either, and is sound: data.
SOUND_ENDS = {
    "CRLF . SP CRLF": b"\r\n. \r\n",
    "CRLF .. CRLF": b"\r\n..\r\n",
    "CRLF SP . CRLF": b"\r\n .\r\n",
    "CRLF . TAB CRLF": b"\r\n.\t\r\n",
}


def by_name(table: dict[str, bytes]) -> pytest.MarkDecorator:
    return pytest.mark.parametrize("end", table.values(), ids=table.keys())


async def opened(smtp: Conversation, sender: str = "a@example.org") -> None:
    """A transaction with one recipient."""
    await smtp.say("EHLO client.example.org")
    assert await smtp.say(f"MAIL FROM:<{sender}>") == 250
    assert await smtp.say("RCPT TO:<b@example.org>") == 250


async def in_data(smtp: Conversation) -> None:
    await opened(smtp)
    assert await smtp.say("DATA") == 354


async def octet_by_octet(smtp: Conversation, octets: bytes) -> None:
    for index in range(len(octets)):
        await smtp.send(octets[index : index + 1])
        await checkpoint()


def connection_of(smtp: Conversation) -> Connection:
    house = smtp.dialog.server._house
    assert house is not None
    [connection] = [each for each in house.connections if each.session is smtp.session]
    return connection


# 1: SMTP smuggling (CVE-2023-51764, CVE-2023-51765, CVE-2023-51766, CVE-2023-52354, CVE-2024-27305).


@by_name(FAULTY_ENDS)
@pytest.mark.parametrize("cut", [False, True], ids=["whole", "cut"])
async def test_a_false_end_of_data_is_refused_once_and_the_second_envelope_never_heard(end: bytes, cut: bool) -> None:
    async with Dialog(Vouch()) as smtp:
        await in_data(smtp)
        octets = b"Subject: x\r\n\r\nbody" + end + ENVELOPE
        await (octet_by_octet(smtp, octets) if cut else smtp.send(octets))
        assert (answer := await smtp.reply()) == 554
        assert answer.status == "5.6.0"
        await smtp.closed()
        assert smtp.messages == []


@by_name(FAULTY_ENDS)
async def test_a_false_end_of_data_is_data_where_the_server_normalises(end: bytes) -> None:
    async with Dialog(Vouch(), normalise=True) as smtp:
        await in_data(smtp)
        await smtp.send(b"Subject: x\r\n\r\nbody" + end + ENVELOPE)
        assert await smtp.reply() == 250
        assert await smtp.say("NOOP") == 250
        [delivery] = smtp.messages
        assert delivery.sender == "a@example.org"
        assert b"\r\nMAIL FROM:<evil@example.org>\r\n" in delivery.content


@by_name(SOUND_ENDS)
@pytest.mark.parametrize("normalise", [False, True])
async def test_a_line_that_only_resembles_the_end_is_data(end: bytes, normalise: bool) -> None:
    async with Dialog(Vouch(), normalise=normalise) as smtp:
        await in_data(smtp)
        await smtp.send(b"Subject: x\r\n\r\nbody" + end + ENVELOPE)
        assert await smtp.reply() == 250
        assert await smtp.say("NOOP") == 250
        [delivery] = smtp.messages
        assert delivery.sender == "a@example.org"
        assert delivery.content.endswith(b"DATA\r\nSubject: smuggled\r\n\r\nboo\r\n")


async def test_a_stray_cr_before_a_true_end_is_refused_and_nothing_behind_it_is_heard() -> None:
    async with Dialog(Vouch()) as smtp:
        await in_data(smtp)
        await smtp.send(b"Subject: x\r\n\r\nbody\r\r\n.\r\n" + ENVELOPE)
        assert await smtp.reply() == 554
        await smtp.closed()
        assert smtp.messages == []


async def test_a_stray_cr_before_a_true_end_is_a_line_end_where_the_server_normalises() -> None:
    async with Dialog(Vouch(), normalise=True) as smtp:
        await in_data(smtp)
        await smtp.send(b"Subject: x\r\n\r\nbody\r\r\n.\r\nNOOP\r\n")
        assert await smtp.replies(2) == [250, 250]
        assert smtp.messages[0].content.endswith(b"\r\n\r\nbody\r\n\r\n")


@by_name({**FAULTY_ENDS, **SOUND_ENDS})
async def test_a_chunk_is_as_long_as_it_says_whatever_is_in_it(end: bytes) -> None:
    octets = b"Subject: x\r\n\r\nbody" + end + ENVELOPE
    async with Dialog(Vouch()) as smtp:
        await opened(smtp)
        await smtp.send(b"BDAT %d LAST\r\n" % len(octets) + octets)
        sound = end in SOUND_ENDS.values()
        assert await smtp.reply() == (250 if sound else 554)
        if sound:
            assert await smtp.say("NOOP") == 250
            assert smtp.messages[0].content.endswith(octets)
        else:
            await smtp.closed()
            assert smtp.messages == []


# 2: smuggling to the next server (CVE-2023-51764 seen from its other side).


@by_name(FAULTY_ENDS)
async def test_what_is_handed_over_has_no_line_end_that_the_next_server_could_misread(end: bytes) -> None:
    async with Dialog(Vouch(), normalise=True) as smtp:
        await in_data(smtp)
        await smtp.send(b"Subject: x\r\n\r\nbody" + end + b"more\r\n.\r\n")
        assert await smtp.reply() == 250
        content = smtp.messages[0].content
        assert content.count(b"\r") == content.count(b"\n") == content.count(b"\r\n")
        assert b"\0" not in content


# 3: back in command mode too early, after data that is too large or too long.


@pytest.mark.parametrize("filler", [b"x" * 70 + b"\r\n", b"x"], ids=["lines", "one line"])
async def test_too_much_data_is_read_to_its_true_end_before_the_refusal(filler: bytes) -> None:
    async with Dialog(Vouch(), limits=Limits(message_size=1000)) as smtp:
        await in_data(smtp)
        await smtp.send(b"Subject: x\r\n\r\n" + filler * (300_000 // len(filler)) + b"\r\n")
        await smtp.send(b"QUIT\r\nMAIL FROM:<evil@example.org>\r\n.\r\n")
        assert (await smtp.reply()).status == "5.3.4"
        assert await smtp.say("RCPT TO:<victim@example.org>") == 503
        assert smtp.messages == []


async def test_a_fault_behind_too_much_data_still_ends_the_connection() -> None:
    async with Dialog(Vouch(), limits=Limits(message_size=1000)) as smtp:
        await in_data(smtp)
        await smtp.send(b"\r\n" + b"x" * 5000 + b"\n.\r\n" + ENVELOPE)
        assert await smtp.reply() == 554
        await smtp.closed()


# 7: BDAT (CVE-2017-16943, CVE-2017-16944).


@pytest.mark.parametrize(
    "argument",
    ["", "x", "-1", "+1", "0x10", "1e3", "1.0", "9" * 19, "9" * 21, "9" * 400, "1 FIRST", "1 LAST LAST", "1,2", "١"],
)
async def test_a_chunk_whose_size_cannot_be_read_ends_the_connection(argument: str) -> None:
    async with Dialog(Vouch()) as smtp:
        await opened(smtp)
        await smtp.send(f"BDAT {argument}\r\n".encode() + ENVELOPE)
        assert await smtp.reply() == 501
        await smtp.closed()
        assert smtp.messages == []


@pytest.mark.parametrize("line", [b"BDAT\t6", b" BDAT 6", b"bdat\xa06", b"BDAT 6\0", b"BDAT \x1b6"])
async def test_what_merely_looks_like_a_chunk_ends_the_connection(line: bytes) -> None:
    async with Dialog(Vouch()) as smtp:
        await opened(smtp)
        await smtp.send(line + b"\r\nQUIT\r\n")
        assert (await smtp.reply()).code >= 500
        await smtp.closed()


async def test_a_huge_chunk_is_refused_without_being_kept() -> None:
    async with Dialog(Vouch(), limits=Limits(message_size=1000)) as smtp:
        await opened(smtp)
        await smtp.send(b"BDAT 2000000\r\n")
        for _ in range(20):
            await smtp.send(b"QUIT\r\n" + b"x" * 99_994)
        assert (await smtp.reply()).status == "5.3.4"
        assert await smtp.say("BDAT 0 LAST") == 503
        assert await smtp.say("RSET") == 250


async def test_the_sizes_of_all_chunks_count_together() -> None:
    async with Dialog(Vouch(), limits=Limits(message_size=1000)) as smtp:
        await opened(smtp)
        await smtp.send(b"BDAT 600\r\n" + b"x" * 600)
        assert await smtp.reply() == 250
        await smtp.send(b"BDAT 600 LAST\r\n" + b"x" * 600)
        assert (await smtp.reply()).status == "5.3.4"
        assert smtp.messages == []


async def test_a_chunk_after_the_last_one_is_consumed_and_out_of_turn() -> None:
    async with Dialog(Vouch()) as smtp:
        await opened(smtp)
        await smtp.send(b"BDAT 2 LAST\r\n\r\nBDAT 6 LAST\r\nQUIT\r\nNOOP\r\n")
        assert await smtp.replies(3) == [250, 503, 250]
        assert len(smtp.messages) == 1


# 8: one octet at a time (slow loris).


async def drip(smtp: Conversation) -> None:
    """Send an octet every few milliseconds until the server has had enough."""
    for _ in range(10_000):
        try:
            await smtp.send(b"x")
        except AssertionError:
            return
        await sleep(0.005)


async def test_a_command_that_never_ends_is_cut_by_the_idle_limit_though_octets_come() -> None:
    async with Dialog(Vouch(), limits=Limits(idle=0.1, sweep=0.02)) as smtp, create_task_group() as group:
        await smtp.say("EHLO client.example.org")
        group.start_soon(drip, smtp)
        answer = await smtp.reply()
        assert (answer.code, answer.status) == (421, "4.4.2")
        await smtp.closed()


async def test_data_that_drips_is_cut_by_the_least_rate() -> None:
    limits = Limits(data_grace=0.1, data_rate=100_000, idle=60, sweep=0.02)
    async with Dialog(Vouch(), limits=limits) as smtp, create_task_group() as group:
        await in_data(smtp)
        group.start_soon(drip, smtp)
        answer = await smtp.reply()
        assert (answer.code, answer.text) == (421, "data comes too slowly")
        await smtp.closed()
        assert smtp.messages == []


async def test_a_session_has_an_end_however_busy_it_is() -> None:
    async with Dialog(Vouch(), limits=Limits(session=0.1, sweep=0.02)) as smtp:
        await smtp.say("EHLO client.example.org")
        answer = await smtp.reply()
        assert (answer.code, answer.text) == (421, "session is over its time")
        await smtp.closed()


async def test_a_client_that_does_not_read_is_cut_by_the_idle_limit() -> None:
    async with Dialog(Vouch(), limits=Limits(idle=0.1, sweep=0.02)) as smtp:
        await smtp.banner()
        await smtp.send(b"HELP\r\n" * 20_000)
        await smtp.finished()


# 10: floods of commands.


async def test_a_flood_of_commands_in_one_piece_is_answered_command_by_command() -> None:
    async with Dialog(Vouch()) as smtp:
        await smtp.say("EHLO client.example.org")
        await smtp.send(b"NOOP\r\n" * 20_000)
        assert await smtp.replies(20_000) == [250] * 20_000


async def test_a_flood_of_refused_chunks_takes_no_stack() -> None:
    async with Dialog(Vouch(), limits=Limits(errors=100_000)) as smtp:
        await smtp.say("EHLO client.example.org")
        await smtp.send(b"BDAT 1\r\nx" * 10_000)
        assert await smtp.replies(10_000) == [503] * 10_000


async def test_the_error_budget_holds_within_one_piece() -> None:
    async with Dialog(Vouch(), limits=Limits(errors=5)) as smtp:
        await smtp.say("EHLO client.example.org")
        await smtp.send(b"RCPT TO:<b@example.org>\r\n" * 1000)
        assert await smtp.replies(6) == [503] * 5 + [421]
        await smtp.closed()
        assert smtp.session.error_count == 5


async def test_recipients_beyond_the_limit_are_deferred_and_the_others_kept() -> None:
    async with Dialog(Vouch(), limits=Limits(recipients=100)) as smtp:
        await smtp.say("EHLO client.example.org")
        await smtp.say("MAIL FROM:<a@example.org>")
        await smtp.send(b"".join(b"RCPT TO:<u%d@example.org>\r\n" % number for number in range(1000)))
        answers = await smtp.replies(1000)
        assert answers == [250] * 100 + [452] * 900
        assert answers[-1].status == "4.5.3"
        assert await smtp.say("DATA") == 354


# 11: who talks before the banner, or does not talk SMTP.


class Impatience:
    @hookimpl
    async def connect(self, session: Session) -> Reply | None:
        early = await session.input_waits(0.05)
        return Reply(554, "you talk before you are greeted", close=True) if early else None


async def test_who_talks_before_the_banner_is_turned_away() -> None:
    async with Dialog(Impatience(), Vouch()) as smtp:
        await smtp.send(b"EHLO client.example.org\r\n" + ENVELOPE)
        assert await smtp.reply() == 554
        await smtp.closed()


async def test_who_waits_for_the_banner_is_served() -> None:
    async with Dialog(Impatience(), Vouch()) as smtp:
        assert await smtp.message("a@example.org", "b@example.org") == 250


@pytest.mark.parametrize(
    "line",
    [
        "GET / HTTP/1.1",
        "POST /mail HTTP/1.1",
        "post /mail HTTP/1.1",
        "HEAD / HTTP/1.0",
        "PUT / HTTP/1.1",
        "CONNECT mx:25 HTTP/1.1",
        "OPTIONS * HTTP/1.1",
        "PRI * HTTP/2.0",
        "Host: mx.example.org",
        "User-Agent: me",
        "Content-Length: 17",
    ],
)
async def test_another_protocol_is_answered_once_and_its_body_never_read_as_commands(line: str) -> None:
    async with Dialog(Vouch()) as smtp:
        await smtp.banner()
        await smtp.send(f"{line}\r\nEHLO x\r\n".encode() + ENVELOPE)
        assert await smtp.reply() == 554
        await smtp.closed()


# 12 and 24: control characters, on their way into headers and logs (GHSA-4gxg-q43p-hfr2, CVE-2020-28021).

CONTROLS = [bytes([octet]) for octet in (*range(9), 11, 12, *range(14, 32), 127)] + [b"\xc2\x85", b"\r"]


@pytest.mark.parametrize("octet", CONTROLS, ids=repr)
async def test_a_control_character_in_a_command_is_refused_and_reaches_nothing(octet: bytes) -> None:
    async with Dialog(Vouch()) as smtp:
        assert await smtp.say(b"EHLO client" + octet + b".example.org") == 501
        assert smtp.session.helo is None
        await smtp.say("EHLO client.example.org")
        assert await smtp.say(b"MAIL FROM:<a" + octet + b"@example.org>") == 501
        assert await smtp.say(b'MAIL FROM:<"a\\' + octet + b'"@example.org>') == 501
        assert smtp.session.transaction is None
        await smtp.say("MAIL FROM:<a@example.org>")
        assert await smtp.say(b"RCPT TO:<b" + octet + b"@example.org>") == 501
        assert await smtp.say(b"NOOP " + octet) == 501


@pytest.mark.parametrize("name", ["x(y)z", "a;b", "<script>", "a,b", '"quoted"', "a\\b", "=?utf-8?q?x?=", "%0d%0aX:1"])
async def test_a_strange_name_of_the_client_cannot_change_the_received_field(name: str) -> None:
    async with Dialog(Vouch(), hostname="mx.test") as smtp:
        await smtp.say(f"EHLO {name}")
        assert await smtp.message("a@example.org", "b@example.org") == 250
        first, second, *_ = smtp.messages[0].content.split(b"\r\n")
        assert first.startswith(b"Received: from ")
        assert first.endswith(b" ([192.0.2.1])")
        assert set(first.decode()[len("Received: from ") : -len(" ([192.0.2.1])")]) <= set(
            string.ascii_letters + string.digits + ".-_:[]?"
        )
        assert second.startswith(b"\tby mx.test with ESMTP id ")


async def test_a_client_cannot_fill_the_log_with_its_refusals(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO, "mailstack")
    async with Dialog(Vouch(), limits=Limits(recipients=100)) as smtp:
        await smtp.say("EHLO me")
        await smtp.say("MAIL FROM:<a@example.org>")
        await smtp.send(b"".join(b"RCPT TO:<%d@example.org>\r\n" % number for number in range(5000)))
        codes = [(await smtp.reply()).code for _ in range(5000)]
        assert codes == [250] * 100 + [452] * 4900
        await smtp.say("QUIT")
        await smtp.finished()
    lines = [record.getMessage() for record in caplog.records]
    refused = [line for line in lines if line.startswith("refused ")]
    assert len(refused) == 100
    assert "sender=a@example.org recipient=100@example.org" in refused[0]
    assert "refused=4900" in lines[-1]


async def test_a_refusal_is_logged_with_what_was_refused(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO, "mailstack")
    async with Dialog() as smtp:
        for line in ("MAIL FROM:<a@example.org>", "EHLO me", "MAIL FROM:<no>", "WHAT?", "TURN x"):
            await smtp.say(line)
        await smtp.say("MAIL FROM:<a@example.org> SIZE=99999999999")
        await smtp.say("MAIL FROM:<a@example.org>")
        await smtp.say("RCPT TO:<b@example.net>")
    lines = [line for record in caplog.records if (line := record.getMessage()).startswith("refused ")]
    seen = [" ".join(re.findall(r"(?:phase|verb|sender|recipient)=(?!null)\S+", line)) for line in lines]
    assert seen == [
        "phase=syntax verb=MAIL",
        "phase=syntax verb=MAIL",
        "phase=syntax verb=WHAT",
        "phase=command verb=TURN",
        "phase=mail sender=a@example.org",
        "phase=rcpt sender=a@example.org recipient=b@example.net",
    ]


async def test_the_log_keeps_to_one_printable_line_whatever_the_client_says(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO, "mailstack")
    async with Dialog(Vouch()) as smtp:
        await smtp.say("EHLO client.example.org")
        await smtp.say("MAIL FROM:<a@example.org> SMTPUTF8")
        await smtp.say('RCPT TO:<"b\u202e\\\u2066"@example.org>')
        await smtp.say(b"NOOP \x1b[2J")
        await smtp.say("DATA")
        await smtp.send("Message-ID: <\u202e\x1b[2J>\r\n\r\n.\r\n".encode())
        await smtp.reply()
    assert caplog.records
    assert [each.getMessage() for each in caplog.records if not each.getMessage().isprintable()] == []


async def test_a_nul_in_the_data_is_refused_at_its_true_end() -> None:
    async with Dialog(Vouch()) as smtp:
        await in_data(smtp)
        await smtp.send(b"Subject: x\r\n\r\na\0b\r\nQUIT\r\n.\r\nNOOP\r\n")
        assert await smtp.reply() == 554
        await smtp.closed()
        assert smtp.messages == []


# 20: header bombs.


@pytest.mark.parametrize(
    "header",
    [
        b"X-Many: x\r\n" * 400,
        b"X-Long: " + b"x" * 3000 + b"\r\n",
        b"X-Folded: x\r\n" + b" x\r\n" * 1000,
    ],
    ids=["many fields", "a long line", "many folds"],
)
@pytest.mark.parametrize("chunked", [False, True], ids=["DATA", "BDAT"])
async def test_a_header_section_that_is_too_large_is_refused_at_the_end_of_the_data(
    header: bytes, chunked: bool
) -> None:
    limits = Limits(header_section=4000, header_line=2000)
    async with Dialog(Vouch(), limits=limits) as smtp:
        await opened(smtp)
        octets = header + b"\r\nbody\r\n" * 1000
        if chunked:
            await smtp.send(b"BDAT %d LAST\r\n" % len(octets) + octets)
        else:
            assert await smtp.say("DATA") == 354
            await smtp.send(octets + b".\r\n")
        answer = await smtp.reply()
        assert (answer.code, answer.status) == (552, "5.3.4")
        assert await smtp.say("NOOP") == 250
        assert smtp.messages == []


async def test_a_mail_loop_is_cut_by_its_received_fields() -> None:
    async with Dialog(Vouch(), limits=Limits(received_fields=30)) as smtp:
        trace = b"Received: from a by b; Thu, 1 Jan 1970 00:00:00 +0000\r\n"
        assert await smtp.message("a@example.org", "b@example.org", trace * 29 + b"\r\n") == 250
        answer = await smtp.message("a@example.org", "b@example.org", trace * 30 + b"\r\n")
        assert (answer.code, answer.status) == (554, "5.4.6")
        answer = await smtp.message("a@example.org", "b@example.org", trace.lower() * 3000 + b"\r\n")
        assert answer == 554
        assert len(smtp.messages) == 1


# 23: lines without end, to fill the memory.


async def test_a_command_line_without_end_is_forgotten_while_it_comes() -> None:
    async with Dialog(Vouch()) as smtp:
        await smtp.banner()
        for _ in range(20):
            await smtp.send(b"x" * 100_000)
            assert len(connection_of(smtp).protocol._buffer) <= 256 * 1024
        assert await smtp.say(b"") == 500
        assert await smtp.say("NOOP") == 250


async def test_a_body_line_of_any_length_leaves_the_memory_as_it_is() -> None:
    async with Dialog(Vouch(), limits=Limits(memory_each=10_000)) as smtp:
        await in_data(smtp)
        await smtp.send(b"\r\n")
        for _ in range(30):
            await smtp.send(b"x" * 100_000)
            house = connection_of(smtp).house
            assert house.spool.in_memory <= 700_000
        await smtp.send(b"\r\n.\r\n")
        assert await smtp.reply() == 250
        assert smtp.messages[0].content.endswith(b"\r\n\r\n" + b"x" * 3_000_000 + b"\r\n")


async def test_bodies_of_all_sessions_together_have_a_limit_in_memory() -> None:
    limits = Limits(memory_each=100_000, memory_total=100_000)
    async with Dialog(Vouch(), limits=limits) as smtp:
        for other in (smtp, *await smtp.several(4)):
            await in_data(other)
            await other.send(b"\r\n" + b"x" * 50_000 + b"\r\n")
            await other.send(b".\r\n")
            assert await other.reply() == 250
            assert connection_of(other).house.spool.in_memory <= 200_000


# 25: characters that resemble others, or are none.


@pytest.mark.parametrize(
    "line",
    [b"MAIL FROM:<a\xff@example.org> SMTPUTF8", b"MAIL FROM:<a\xc0\x80@example.org> SMTPUTF8", b"NOOP \xed\xa0\x80"],
    ids=["no UTF-8", "overlong NUL", "surrogate"],
)
async def test_octets_that_are_no_utf8_are_refused(line: bytes) -> None:
    async with Dialog(Vouch()) as smtp:
        await smtp.say("EHLO client.example.org")
        answer = await smtp.say(line)
        assert (answer.code, answer.status) == (501, "5.5.2")


@pytest.mark.parametrize("verb", ["\u017fTARTTLS", "DAT\u0391", "\uff31UIT", "RSE\u0422", "\u0130NOOP"])
async def test_a_verb_in_letters_that_only_look_like_it_is_no_verb(verb: str) -> None:
    async with Dialog(Vouch()) as smtp:
        await smtp.say("EHLO client.example.org")
        assert (await smtp.say(verb)).code in (500, 501)
        assert smtp.session.helo == "client.example.org"


async def test_both_spellings_of_an_international_domain_are_one() -> None:
    async with Dialog(Vouch()) as smtp:
        await smtp.say("EHLO client.example.org")
        await smtp.say("MAIL FROM:<a@B\u00dcCHER.example> SMTPUTF8")
        assert smtp.session.transaction is not None
        first = smtp.session.transaction.sender.address
        await smtp.say("RSET")
        await smtp.say("MAIL FROM:<a@xn--bcher-kva.EXAMPLE>")
        assert smtp.session.transaction.sender.address == first


# 26: addresses that two readers read in two ways.


class OurDomain:
    @hookimpl
    def mail(self, sender: Sender) -> Reply | None:
        return None if sender.address.domain == "example.org" else Reply(550, "only example.org")


@pytest.mark.parametrize(
    ("path", "local"),
    [
        ("<user@example.org>", "user"),
        ('<"user"@example.org>', "user"),
        ('<"a@evil.example"@example.org>', "a@evil.example"),
        ('<"a@evil.example>"@example.org>', "a@evil.example>"),
        ("<@evil.example:user@example.org>", "user"),
        ("<user@EXAMPLE.org>", "user"),
    ],
)
async def test_policy_sees_the_one_domain_of_an_address(path: str, local: str) -> None:
    async with Dialog(OurDomain(), Vouch()) as smtp:
        await smtp.say("EHLO client.example.org")
        assert await smtp.say(f"MAIL FROM:{path}") == 250
        assert smtp.session.transaction is not None
        assert smtp.session.transaction.sender.address.local == local


@pytest.mark.parametrize(
    "path",
    [
        "<a@evil.example@example.org>",
        "<user(comment)@example.org>",
        "<user@example.org(comment)>",
        "<user @example.org>",
        "<user@example.org",
        "user@example.org>",
        "<<user@example.org>>",
        "<user@example.org><evil@example.org>",
        "<user@example.org>,<evil@example.org>",
        '<"a"b"@example.org>',
        "<a..b@example.org>",
        "<user@example..org>",
        "<user@-example.org>",
        "<user@[999.1.1.1]>",
        "<user@[IPv6:::1]x>",
        "<%s@example.org>" % ("x" * 65),
    ],
)
async def test_an_address_that_could_be_read_in_two_ways_is_refused(path: str) -> None:
    async with Dialog(Vouch()) as smtp:
        await smtp.say("EHLO client.example.org")
        assert await smtp.say(f"MAIL FROM:{path}") == 501
        await smtp.say("MAIL FROM:<a@example.org>")
        assert await smtp.say(f"RCPT TO:{path}") == 501


# 31: what went wrong inside is nobody's business.

SECRET = "password=hunter2 in /etc/secret.conf"
PHASES = ["connect", "ehlo", "mail", "rcpt", "data", "headers", "message", "queue", "command", "replied", "reset"]


def broken(phase: str, *, waits: bool) -> object:
    def fail(self: object) -> None:
        raise RuntimeError(SECRET)

    async def fail_later(self: object) -> None:
        await checkpoint()
        raise RuntimeError(SECRET)

    function = fail_later if waits and phase not in ("replied", "reset") else fail
    return type("Broken", (), {"name": "broken", phase: hookimpl(function)})()


@pytest.mark.parametrize("waits", [False, True], ids=["plain", "async"])
async def test_a_failure_before_the_banner_is_421_and_not_a_word_more(waits: bool) -> None:
    async with Dialog(broken("connect", waits=waits), Vouch()) as smtp:
        banner = await smtp.banner()
        assert str(banner) == "421 temporary problem, try again later"
        await smtp.closed()


@pytest.mark.parametrize("waits", [False, True], ids=["plain", "async"])
@pytest.mark.parametrize("phase", [phase for phase in PHASES if phase != "connect"])
async def test_a_failure_inside_is_never_told_to_the_client(phase: str, waits: bool) -> None:
    async with Dialog(broken(phase, waits=waits), Vouch()) as smtp:
        await smtp.banner()
        await smtp.send(b"EHLO client.example.org\r\nNOOP\r\n")
        await smtp.send(b"MAIL FROM:<a@example.org>\r\nRCPT TO:<b@example.org>\r\nDATA\r\n")
        answers = await smtp.replies(5)
        if answers[-1] == 354:
            await smtp.send(b"Subject: x\r\n\r\n.\r\n")
            answers.append(await smtp.reply())
        answers.append(await smtp.say("QUIT"))
        await smtp.closed()
        told = "\n".join(map(str, answers))
        assert not any(word in told for word in ("hunter2", "secret", "RuntimeError", "Traceback", "broken"))
        notice = phase in ("replied", "reset")
        assert bool(smtp.messages) is (notice or phase == "command")
        assert notice or any(answer == 451 for answer in [await smtp.banner(), *answers])


# 32: names of our own in the client's mouth.


@pytest.mark.parametrize(
    "verb",
    ["__init__", "__class__", "handle", "other", "serve", "constructor", "toString", "__proto__", "smtp_MAIL", "NEXT"],
)
async def test_a_verb_is_looked_up_in_a_table_and_nowhere_else(verb: str) -> None:
    async with Dialog(Vouch()) as smtp:
        await smtp.say("EHLO client.example.org")
        assert await smtp.say(verb) == 500
        assert await smtp.say(f"MAIL FROM:<a@example.org> {verb.replace('_', '')}=1") == 555
        assert (await smtp.say(f"MAIL FROM:<a@example.org> {verb}=1")).code in (501, 555)
        assert await smtp.say(f"EHLO {verb}") == 250
        assert smtp.session.helo == verb
