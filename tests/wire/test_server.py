"""The server's protocol: the order of commands, bodies, limits, and what leaves.

Whole random conversations are in tests/fuzz/test_wire.py.
"""

from collections.abc import Callable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mailstack.wire.address import Address
from mailstack.wire.command import AnyCommand, Bdat, Command, Data, Hello, Mail, Quit, Rcpt, Rset
from mailstack.wire.order import LEGAL, State
from mailstack.wire.reply import Reply
from mailstack.wire.server import NEED_DATA, Body, EndOfBody, Event, Refused, ServerProtocol

OK = Reply(250)
POSITIVE = {Data: Reply(354), Quit: Reply(221, close=True)}
HELLO = b"EHLO client.example.org\r\n"
ENVELOPE = HELLO + b"MAIL FROM:<a@example.org>\r\nRCPT TO:<b@example.org>\r\n"


def greeted(
    normalise: bool = False, line_limit: int = 2048, auth_limit: int = 12288, *, lmtp: bool = False
) -> ServerProtocol:
    protocol = ServerProtocol(normalise=normalise, lmtp=lmtp, line_limit=line_limit, auth_limit=auth_limit)
    protocol.greet(Reply(220, "mx.test ESMTP"))
    protocol.take_output()
    return protocol


def talk(
    protocol: ServerProtocol, data: bytes = b"", *, to: Callable[[AnyCommand], Reply] | None = None
) -> list[Event]:
    """All that comes of some octets; every command is answered, positively unless `to` says otherwise."""
    events: list[Event] = []
    protocol.receive(data)
    while (event := protocol.next_event()) is not NEED_DATA:
        events.append(event)
        if isinstance(event, Refused):
            protocol.say(event.reply)
        elif isinstance(event, EndOfBody):
            protocol.say(OK)
        elif not isinstance(event, (Body, Bdat)):
            protocol.answer(event, to(event) if to else POSITIVE.get(type(event), OK))
    return events


def codes(protocol: ServerProtocol) -> list[int]:
    return [int(line[:3]) for line in protocol.take_output().splitlines() if line[3:4] == b" "]


def join(events: list[Event]) -> bytes:
    return b"".join(event.data for event in events if isinstance(event, Body))


# The order of commands.


def in_state(state: State) -> ServerProtocol:
    """A conversation that has come as far as this."""
    protocol = ServerProtocol()
    if state is not State.GREETING:
        protocol.greet(Reply(554) if state is State.SHUNNED else Reply(220))
    talk(protocol, WAYS.get(state, b""))
    if state is State.SPOILT:
        protocol.spoil()
    protocol.take_output()
    assert protocol.state is state
    return protocol


WAYS = {
    State.READY: HELLO,
    State.MAIL: HELLO + b"MAIL FROM:<a@example.org>\r\n",
    State.RCPT: ENVELOPE,
    State.DATA: ENVELOPE + b"DATA\r\n",
    State.CHUNK: ENVELOPE + b"BDAT 1000\r\n",
    State.CHUNKED: ENVELOPE + b"BDAT 0\r\n",
    State.SPOILT: ENVELOPE + b"BDAT 0\r\n",
    State.CLOSED: b"QUIT\r\n",
}

LINES: dict[str, AnyCommand] = {
    "EHLO b.example": Hello("EHLO", "b.example"),
    "HELO b.example": Hello("HELO", "b.example"),
    "MAIL FROM:<c@example.org>": Mail(Address("c", "example.org")),
    "RCPT TO:<d@example.org>": Rcpt(Address("d", "example.org")),
    "DATA": Data(),
    "BDAT 0 LAST": Bdat(0, True),
    "RSET": Rset(),
    "QUIT": Quit(),
    "NOOP": Command("NOOP", ""),
    "XYZZY now": Command("XYZZY", "now"),
}

# What may be said where: + is heard, - is 503, . is not read as a command at all.
TURNS = """
                HELLO READY MAIL RCPT CHUNKED SPOILT SHUNNED DATA CHUNK GREETING CLOSED
EHLO b.example    +     +    +    +      +      +       -     .     .      .       .
HELO b.example    +     +    +    +      +      +       -     .     .      .       .
MAIL FROM:<c@…>   -     +    -    -      -      -       -     .     .      .       .
RCPT TO:<d@…>     -     -    +    +      -      -       -     .     .      .       .
DATA              -     -    -    +      -      -       -     .     .      .       .
BDAT 0 LAST       -     -    -    +      +      -       -     .     .      .       .
RSET              +     +    +    +      +      +       -     .     .      .       .
QUIT              +     +    +    +      +      +       +     .     .      .       .
NOOP              +     +    +    +      +      +       -     .     .      .       .
XYZZY now         +     +    +    +      +      +       -     .     .      .       .
"""


def turns() -> list[tuple[State, str, str]]:
    head, *rows = TURNS.strip().splitlines()
    states = [State[name] for name in head.split()]
    marks = [row.split()[-len(states) :] for row in rows]
    return [
        (state, line, mark)
        for line, row in zip(LINES, marks, strict=True)
        for state, mark in zip(states, row, strict=True)
    ]


@pytest.mark.parametrize(("state", "line", "mark"), turns())
def test_each_command_is_heard_in_its_turn_and_503_out_of_it(state: State, line: str, mark: str) -> None:
    protocol = in_state(state)
    protocol.receive(line.encode() + b"\r\n")
    event = protocol.next_event()
    if mark == "+":
        assert event == LINES[line]
        return
    if mark == "-":
        assert isinstance(event, Refused)
        assert (event.verb, event.reply.code) == (LINES[line].verb, 503)
    else:
        assert isinstance(event, Body) or event is NEED_DATA
    assert protocol.state is state


def test_the_table_of_turns_is_whole() -> None:
    assert {type(command) for command in LINES.values()} == set(LEGAL)
    assert {state for state, _, _ in turns()} == set(State)


@pytest.mark.parametrize(
    ("state", "line", "then"),
    [
        (State.HELLO, "EHLO b.example", State.READY),
        (State.MAIL, "EHLO b.example", State.READY),
        (State.RCPT, "HELO b.example", State.READY),
        (State.CHUNKED, "EHLO b.example", State.READY),
        (State.SPOILT, "EHLO b.example", State.READY),
        (State.READY, "MAIL FROM:<c@example.org>", State.MAIL),
        (State.MAIL, "RCPT TO:<d@example.org>", State.RCPT),
        (State.RCPT, "RCPT TO:<d@example.org>", State.RCPT),
        (State.RCPT, "DATA", State.DATA),
        (State.HELLO, "RSET", State.HELLO),
        (State.READY, "RSET", State.READY),
        (State.RCPT, "RSET", State.READY),
        (State.CHUNKED, "RSET", State.READY),
        (State.SPOILT, "RSET", State.READY),
        (State.RCPT, "NOOP", State.RCPT),
        (State.CHUNKED, "NOOP", State.CHUNKED),
        (State.RCPT, "QUIT", State.CLOSED),
        (State.SHUNNED, "QUIT", State.CLOSED),
    ],
)
def test_a_positive_answer_moves_the_state_and_a_refusal_does_not(state: State, line: str, then: State) -> None:
    protocol = in_state(state)
    assert talk(protocol, line.encode() + b"\r\n") == [LINES[line]]
    assert protocol.state is then
    for refusal in (Reply(451), Reply(550)):
        protocol = in_state(state)
        talk(protocol, line.encode() + b"\r\n", to=lambda command, refusal=refusal: refusal)  # type: ignore[misc]
        assert protocol.state is state
        assert codes(protocol) == [refusal.code]


def test_nested_mail_hears_what_is_wrong() -> None:
    protocol = in_state(State.RCPT)
    assert talk(protocol, b"MAIL FROM:<>\r\n") == [Refused("MAIL", Reply(503, "sender already given"))]


def test_a_transaction_follows_the_one_before() -> None:
    protocol = greeted()
    transaction = ENVELOPE[len(HELLO) :] + b"DATA\r\n.\r\n"
    events = talk(protocol, HELLO + transaction * 3)
    assert [type(event) for event in events] == [Hello, *[Mail, Rcpt, Data, EndOfBody] * 3]
    assert codes(protocol) == [250, *[250, 250, 354, 250] * 3]
    assert protocol.state is State.READY


def test_the_grammar_follows_the_keywords_that_were_offered() -> None:
    protocol = greeted()
    line = b"MAIL FROM:<a@example.org> SIZE=5\r\n"
    talk(protocol, HELLO)
    assert talk(protocol, line) == [Refused("MAIL", Reply(555, "a parameter is not recognised"))]
    protocol.keywords = {"SIZE": ""}
    assert talk(protocol, line) == [Mail(Address("a", "example.org"), {"SIZE": 5})]


LMTP_TURNS = {True: ("LHLO",), False: ("HELO", "EHLO")}


@pytest.mark.parametrize("lmtp", [False, True])
@pytest.mark.parametrize("state", [State.HELLO, State.READY, State.MAIL, State.RCPT, State.CHUNKED, State.SPOILT])
def test_lmtp_is_greeted_with_lhlo_and_smtp_never(lmtp: bool, state: State) -> None:
    right, wrong = LMTP_TURNS[lmtp], LMTP_TURNS[not lmtp]
    for verb in right + wrong:
        protocol = in_state(state)
        protocol.lmtp = lmtp
        protocol.receive(f"{verb} b.example\r\n".encode())
        event = protocol.next_event()
        if verb in right:
            assert event == Hello(verb, "b.example")
        else:
            assert isinstance(event, Refused)
            assert (event.verb, event.reply.code, event.reply.status) == (verb, 500, "5.5.1")
            assert right[-1] in event.reply.text
        assert protocol.state is state


def test_who_was_shunned_hears_503_to_any_greeting() -> None:
    for verb in (b"EHLO", b"LHLO"):
        protocol = in_state(State.SHUNNED)
        (refused,) = talk(protocol, verb + b" b.example\r\n")
        assert isinstance(refused, Refused)
        assert refused.reply.code == 503


# BINARYMIME.

BINARY_MAIL = b"MAIL FROM:<a@example.org> BODY=BINARYMIME\r\n"
TO_B = b"RCPT TO:<b@example.org>\r\n"


def in_binary(normalise: bool = False) -> ServerProtocol:
    """A BINARYMIME transaction with a recipient."""
    protocol = greeted(normalise)
    protocol.keywords = {"CHUNKING": "", "8BITMIME": "", "BINARYMIME": ""}
    assert isinstance(talk(protocol, HELLO + BINARY_MAIL + TO_B)[-1], Rcpt)
    protocol.take_output()
    return protocol


def test_a_binary_message_comes_by_bdat_alone() -> None:
    protocol = in_binary()
    (refused,) = talk(protocol, b"DATA\r\n")
    assert isinstance(refused, Refused)
    assert (refused.reply.code, refused.reply.status) == (503, "5.5.1")
    assert "BDAT" in refused.reply.text
    events = talk(protocol, b"BDAT 16 LAST\r\nA: b\r\n\r\n\0\r\n.\r\n\n\rNOOP\r\n")
    assert join(events) == b"A: b\r\n\r\n\0\r\n.\r\n\n\r"
    assert events[-2:] == [EndOfBody(True, None), Command("NOOP", "")]


@pytest.mark.parametrize("between", [b"RSET\r\n", HELLO, b"BDAT 0 LAST\r\n", b"BDAT 0\r\nRSET\r\n"])
def test_binarymime_is_the_transaction_s(between: bytes) -> None:
    protocol = in_binary()
    events = talk(protocol, between + b"MAIL FROM:<a@example.org> BODY=8BITMIME\r\n" + TO_B + b"DATA\r\na\nb\r\n.\r\n")
    assert Data() in events
    assert events[-1] == EndOfBody(True, "bare LF")
    events = talk(protocol, b"MAIL FROM:<a@example.org>\r\n" + TO_B + b"BDAT 6 LAST\r\n\r\na\0b\n")
    assert events[-1] == EndOfBody(True, "NUL")


@pytest.mark.parametrize("normalise", [False, True])
@pytest.mark.parametrize("fault", [(b"\r", "bare CR"), (b"\n", "bare LF"), (b"\0", "NUL")])
def test_the_header_section_of_a_binary_message_is_lines(normalise: bool, fault: tuple[bytes, str]) -> None:
    protocol = in_binary(normalise)
    events = talk(protocol, b"BDAT 10 LAST\r\nA:" + fault[0] + b"b\r\n\r\n\0\0NOOP\r\n")
    assert events[1:] == [Body(b"A:"), EndOfBody(True, fault[1]), Command("NOOP", "")]


@given(st.lists(st.binary(max_size=20), min_size=1, max_size=4), st.integers(1, 9))
def test_a_binary_conversation_is_the_same_however_it_is_cut(chunks: list[bytes], step: int) -> None:
    stream = b"BDAT 8\r\nA: b\r\n\r\n" + b"".join(b"BDAT %d\r\n%s" % (len(chunk), chunk) for chunk in chunks)
    stream += b"BDAT 0 LAST\r\nNOOP\r\n"
    protocol = in_binary()
    events = [event for at in range(0, len(stream), step) for event in talk(protocol, stream[at : at + step])]
    assert join(events) == b"A: b\r\n\r\n" + b"".join(chunks)
    assert [event for event in events if not isinstance(event, Body)] == [
        Bdat(8, False),
        EndOfBody(False, None),
        *(event for chunk in chunks for event in (Bdat(len(chunk), False), EndOfBody(False, None))),
        Bdat(0, True),
        EndOfBody(True, None),
        Command("NOOP", ""),
    ]


UTF8_MAIL = b"MAIL FROM:<a@example.org> SMTPUTF8\r\n"
UTF8_RCPT = "RCPT TO:<ü@example.org>\r\n".encode()


@pytest.mark.parametrize(
    "between",
    [
        b"RSET\r\n",
        HELLO,
        b"RCPT TO:<b@example.org>\r\nDATA\r\n.\r\n",
        b"RCPT TO:<b@example.org>\r\nBDAT 0 LAST\r\n",
    ],
)
def test_smtputf8_is_the_transaction_s(between: bytes) -> None:
    protocol = greeted()
    protocol.keywords = {"SMTPUTF8": ""}
    (*_, rcpt) = talk(protocol, HELLO + UTF8_MAIL + UTF8_RCPT)
    assert isinstance(rcpt, Rcpt)
    (*_, refused) = talk(protocol, between + b"MAIL FROM:<a@example.org>\r\n" + UTF8_RCPT)
    assert isinstance(refused, Refused)
    assert refused.reply.status == "5.6.7"


# Bodies.


@pytest.mark.parametrize("step", [1, 2, 3, 1000])
def test_data_ends_with_its_dot_and_what_follows_are_commands(step: int) -> None:
    stream = ENVELOPE + b"DATA\r\n..a\r\n.b\r\n\r\n.\r\nNOOP\r\n"
    protocol = greeted()
    events = [event for at in range(0, len(stream), step) for event in talk(protocol, stream[at : at + step])]
    assert join(events) == b".a\r\nb\r\n\r\n"
    assert events[-2:] == [EndOfBody(True, None), Command("NOOP", "")]


@pytest.mark.parametrize("step", [1, 2, 3, 1000])
def test_a_chunk_ends_with_its_last_octet(step: int) -> None:
    stream = ENVELOPE + b"BDAT 6\r\n.\r\nQUI" + b"BDAT 3 LAST\r\nT\r\n" + b"NOOP\r\n"
    protocol = greeted()
    events = [event for at in range(0, len(stream), step) for event in talk(protocol, stream[at : at + step])]
    assert join(events) == b".\r\nQUIT\r\n"
    rest = [event for event in events if not isinstance(event, Body)][3:]
    assert rest == [
        Bdat(6, False),
        EndOfBody(False, None),
        Bdat(3, True),
        EndOfBody(True, None),
        Command("NOOP", ""),
    ]


def test_an_empty_last_chunk_ends_the_message_at_once() -> None:
    protocol = greeted()
    assert talk(protocol, ENVELOPE + b"BDAT 0 LAST\r\n")[3:] == [Bdat(0, True), EndOfBody(True, None)]


@pytest.mark.parametrize(
    ("normalise", "end"),
    [
        (True, [Bdat(0, True), Body(b"\r\n"), EndOfBody(True, None)]),
        (False, [Bdat(0, True), EndOfBody(True, "bare CR")]),
    ],
)
@pytest.mark.parametrize("cut", [False, True])
def test_a_cr_before_an_empty_last_chunk_is_not_lost(normalise: bool, end: list[Event], cut: bool) -> None:
    protocol = greeted(normalise)
    first, last = ENVELOPE + b"BDAT 2\r\na\r", b"BDAT 0 LAST\r\n"
    events = [*talk(protocol, first), *talk(protocol, last)] if cut else talk(protocol, first + last)
    assert events[4:] == [Body(b"a"), EndOfBody(False, None), *end]


@pytest.mark.parametrize(("octet", "fault"), [(b"\r", "bare CR"), (b"\n", "bare LF"), (b"\0", "NUL")])
def test_a_faulty_body_is_read_to_its_end(octet: bytes, fault: str) -> None:
    for start, end in ((b"DATA\r\n", b"\r\n.\r\n"), (b"BDAT 11 LAST\r\n", b"")):
        protocol = greeted()
        events = talk(protocol, ENVELOPE + start + b"hello" + octet + b"world" + end + b"NOOP\r\n")
        assert join(events) == b"hello"
        assert events[-2:] == [EndOfBody(True, fault), Command("NOOP", "")]


@pytest.mark.parametrize(("octet", "mended"), [(b"\r", b"\r\n"), (b"\n", b"\r\n"), (b"\0", b"")])
def test_a_normalised_body_is_sound(octet: bytes, mended: bytes) -> None:
    protocol = greeted(normalise=True)
    events = talk(protocol, ENVELOPE + b"DATA\r\nhello" + octet + b"world\r\n.\r\n")
    assert join(events) == b"hello" + mended + b"world\r\n"
    assert events[-1] == EndOfBody(True, None)


@pytest.mark.parametrize("state", [State.HELLO, State.READY, State.MAIL, State.SPOILT, State.SHUNNED])
@pytest.mark.parametrize("cut", [None, 4, 14, 20])
def test_the_octets_of_a_bdat_out_of_turn_are_consumed(state: State, cut: int | None) -> None:
    protocol = in_state(state)
    stream = b"BDAT 12 LAST\r\nMAIL FROM:\r\nRSET\r\n"
    expected = [Refused("BDAT", Reply(503, "")), Rset() if state is not State.SHUNNED else Refused("RSET", OK)]
    events = [*talk(protocol, stream[:cut]), *(talk(protocol, stream[cut:]) if cut else ())]
    assert list(map(type, events)) == list(map(type, expected))
    assert codes(protocol)[0] == 503


def test_a_refused_bdat_of_nothing_is_answered_at_once() -> None:
    protocol = in_state(State.READY)
    events = talk(protocol, b"BDAT 0\r\nBDAT 0 LAST\r\n")
    assert [event.reply.code for event in events if isinstance(event, Refused)] == [503, 503]


def test_a_spoilt_transaction_ends_with_rset() -> None:
    protocol = in_state(State.SPOILT)
    events = talk(protocol, b"BDAT 6\r\nQUIT\r\nBDAT 6 LAST\r\nQUIT\r\nMAIL FROM:<>\r\nRSET\r\nMAIL FROM:<>\r\n")
    assert [type(event) for event in events] == [Refused, Refused, Refused, Rset, Mail]
    assert codes(protocol) == [503, 503, 503, 250, 250]


def test_a_refused_data_is_followed_by_a_new_transaction() -> None:
    protocol = in_state(State.RCPT)
    talk(protocol, b"DATA\r\n", to=lambda command: Reply(550))
    protocol.reset()
    assert talk(protocol, b"MAIL FROM:<>\r\n") == [Mail(Address.NULL)]


@pytest.mark.parametrize("state", [State.HELLO, State.SHUNNED, State.CLOSED])
def test_a_reset_opens_no_door(state: State) -> None:
    protocol = in_state(state)
    protocol.reset()
    assert protocol.state is state


# What cannot be read.


@pytest.mark.parametrize(
    "line", [b"BDAT", b"BDAT x", b"bdat -1 LAST", b"BDAT 1 FIRST", b"BDAT\t5", b"BDAT \xff", b" BDAT 5"]
)
@pytest.mark.parametrize("state", [State.HELLO, State.RCPT, State.CHUNKED, State.SPOILT])
def test_a_bdat_that_cannot_be_read_ends_the_conversation(line: bytes, state: State) -> None:
    """Its octets would be taken for commands."""
    protocol = in_state(state)
    (event,) = talk(protocol, line + b"\r\nMAIL FROM:<smuggled@example.org>\r\n")
    assert isinstance(event, Refused)
    assert (event.reply.code, event.reply.close) == (501, True)
    assert protocol.state is State.CLOSED


@pytest.mark.parametrize("line", [b"BDAT 50\n", b"bdat 50 LAST\n", b"BDAT 50" + b" " * 3000 + b"LAST\r\n"])
@pytest.mark.parametrize("step", [1, 5000])
def test_a_bdat_with_a_wrong_end_or_too_long_does_so_too(line: bytes, step: int) -> None:
    protocol = in_state(State.RCPT)
    stream = line + b"RSET\r\nMAIL FROM:<smuggled@example.org>\r\n"
    events = [event for at in range(0, len(stream), step) for event in talk(protocol, stream[at : at + step])]
    assert [event.verb for event in events if isinstance(event, Refused)] == [line[:4].decode().upper()]
    assert codes(protocol) == [500]
    assert protocol.state is State.CLOSED


def test_a_line_that_ends_with_lf_is_refused_unless_normalised() -> None:
    assert talk(greeted(), b"NOOP\nNOOP\r\n") == [
        Refused("NOOP", Reply(500, "command lines end with CRLF")),
        Command("NOOP", ""),
    ]
    assert talk(greeted(normalise=True), b"NOOP\nNOOP\r\n") == [Command("NOOP", "")] * 2


@pytest.mark.parametrize(("verb", "limit"), [(b"NOOP ", 2048), (b"AUTH ", 12288), (b"auth ", 12288), (b"AUTHX", 2048)])
@pytest.mark.parametrize("step", [1000, 20000])
@pytest.mark.parametrize("end", [b"\r\n", b"\n"])
def test_a_line_has_its_limit_with_its_end(verb: bytes, limit: int, step: int, end: bytes) -> None:
    def events_of(length: int) -> list[Event]:
        line = verb + b"a" * (length - len(verb) - len(end)) + end
        protocol = greeted(normalise=True)
        return [event for at in range(0, length, step) for event in talk(protocol, line[at : at + step])]

    (event,) = events_of(limit)
    assert isinstance(event, Command) or verb == b"AUTHX"  # that verb itself is too long
    assert events_of(limit + 1) == [Refused(verb[:4].upper().decode(), Reply(500, "command line too long"))]


def test_limits_are_options() -> None:
    protocol = greeted(line_limit=20, auth_limit=30)
    events = talk(protocol, b"NOOP 1234567890123\r\nNOOP 12345678901234\r\nAUTH 12345678901234\r\n")
    assert [type(event) for event in events] == [Command, Refused, Command]


@pytest.mark.parametrize(("piece", "pieces"), [(1, 2**16), (100, 10**4), (4096, 256)])
def test_a_megabyte_without_a_line_end_is_thrown_away_and_refused_once(piece: int, pieces: int) -> None:
    protocol = greeted(line_limit=512)
    for _ in range(pieces):
        protocol.receive(b"a" * piece)
        assert protocol.next_event() is NEED_DATA
        assert len(protocol._buffer) <= 512 + piece
        assert len(protocol._overlong) <= 512
    assert protocol.take_output() == b""
    assert talk(protocol, b"\r\nNOOP\r\n") == [
        Refused("AAAA", Reply(500, "command line too long")),
        Command("NOOP", ""),
    ]
    assert not protocol._overlong


def test_a_hundred_thousand_commands_at_once_are_as_many_events() -> None:
    protocol = greeted()
    assert talk(protocol, b"NOOP\r\n" * 100_000) == [Command("NOOP", "")] * 100_000
    assert not protocol.unread
    assert len(protocol.take_output()) == 100_000 * len(OK.encode())


def test_many_tiny_chunks_at_once_are_not_copied_again_and_again() -> None:
    protocol = greeted()
    events = talk(protocol, ENVELOPE + b"BDAT 1\r\nx" * 30_000 + b"BDAT 0 LAST\r\n")
    assert join(events) == b"x" * 30_000
    assert events[-1] == EndOfBody(True, None)


@pytest.mark.parametrize(
    "line",
    [
        b"GET / HTTP/1.1",
        b"post /mail HTTP/1.1",
        b"HEAD / HTTP/1.0",
        b"PUT /x HTTP/1.1",
        b"CONNECT mx.test:25 HTTP/1.1",
        b"OPTIONS * HTTP/1.1",
        b"PRI * HTTP/2.0",
        b"Host: mx.test",
        b"User-Agent: curl",
        b"Content-Type: text/plain",
        b"GET /\xff HTTP/1.1",
        b"GET /" + b"a" * 3000 + b" HTTP/1.1",
    ],
)
@pytest.mark.parametrize("state", [State.HELLO, State.RCPT, State.SHUNNED])
@pytest.mark.parametrize("end", [b"\r\n", b"\n"])
def test_a_lured_browser_is_sent_away(line: bytes, state: State, end: bytes) -> None:
    protocol = in_state(state)
    (event,) = talk(protocol, line + end + b"EHLO a\r\nMAIL FROM:<>\r\n")
    assert isinstance(event, Refused)
    assert event.reply.close
    assert protocol.take_output() == b"554 5.5.1 this is a mail server\r\n"


@given(octets=st.binary().filter(lambda octets: b"\n" not in octets))
def test_any_line_is_one_command_or_one_refusal(octets: bytes) -> None:
    protocol = greeted()
    events = talk(protocol, octets + b"\r\n")
    assert sum(not isinstance(event, (Body, EndOfBody)) for event in events) <= 1
    assert events or protocol.state is State.CHUNK


# What leaves.


def test_replies_leave_as_one_piece_and_once() -> None:
    protocol = greeted()
    talk(protocol, HELLO + b"NOOP\r\nNOOP\r\n")
    assert protocol.take_output() == b"250 ok\r\n250 2.0.0 ok\r\n250 2.0.0 ok\r\n"
    assert protocol.take_output() == b""


@pytest.mark.parametrize("verb", ["HELO", "EHLO", "LHLO"])
def test_the_answer_to_a_greeting_has_no_enhanced_code(verb: str) -> None:
    for reply in (OK, Reply(550), Reply(450, close=True)):
        protocol = greeted(lmtp=verb == "LHLO")
        talk(protocol, f"{verb} a.example\r\n".encode(), to=lambda command, reply=reply: reply)  # type: ignore[misc]
        assert protocol.take_output()[3:6] not in (b" 2.", b" 4.", b" 5.")


@pytest.mark.parametrize(
    ("reply", "octets", "state"),
    [
        (Reply(220, "mx.test ESMTP"), b"220 mx.test ESMTP\r\n", State.HELLO),
        (Reply(554, "go away"), b"554 go away\r\n", State.SHUNNED),
        (Reply(450, "later"), b"450 later\r\n", State.SHUNNED),
        (Reply(554, "go away", close=True), b"554 go away\r\n", State.CLOSED),
        (Reply(450, "later", close=True), b"421 later\r\n", State.CLOSED),
    ],
)
def test_the_banner_has_no_enhanced_code_and_decides_what_follows(reply: Reply, octets: bytes, state: State) -> None:
    protocol = ServerProtocol()
    protocol.greet(reply)
    assert protocol.take_output() == octets
    assert protocol.state is state


def test_before_the_banner_nothing_has_an_enhanced_code() -> None:
    protocol = ServerProtocol()
    protocol.say(Reply(421, "too busy"))
    assert protocol.take_output() == b"421 too busy\r\n"
    protocol.greet(Reply(220, "mx.test"))
    protocol.say(Reply(451, "a fault"))
    assert protocol.take_output() == b"220 mx.test\r\n451 4.3.0 a fault\r\n"


@pytest.mark.parametrize(
    ("reply", "code"),
    [
        (Reply(421, close=True), 421),
        (Reply(451, close=True), 421),
        (Reply(454, status="4.7.1", close=True), 421),
        (Reply(550, close=True), 550),
        (Reply(250, close=True), 250),
        (Reply(451), 451),
    ],
)
def test_a_temporary_refusal_that_closes_leaves_as_421(reply: Reply, code: int) -> None:
    protocol = in_state(State.READY)
    talk(protocol, b"MAIL FROM:<>\r\nNOOP\r\n", to=lambda command: reply if isinstance(command, Mail) else OK)
    first, *others = codes(protocol)
    assert first == code
    assert (protocol.state is State.CLOSED) is reply.close is (not others)


def test_after_the_end_nothing_is_heard() -> None:
    protocol = in_state(State.CLOSED)
    assert talk(protocol, b"NOOP\r\ngarbage \xff\r\nBDAT 5\r\nhello") == []


def test_before_the_banner_nothing_is_heard_and_nothing_is_lost() -> None:
    protocol = ServerProtocol()
    assert talk(protocol, b"NOOP\r\n") == []
    assert protocol.unread
    protocol.greet(Reply(220))
    assert talk(protocol) == [Command("NOOP", "")]


def test_what_was_not_read_can_be_thrown_away() -> None:
    """STARTTLS: what was injected before the handshake must never be heard after it (RFC 3207 §4.2)."""
    protocol = in_state(State.READY)
    protocol.receive(b"STARTTLS\r\nMAIL FROM:<injected@example.org>\r\n")
    assert protocol.next_event() == Command("STARTTLS", "")
    protocol.discard()
    assert not protocol.unread
    assert talk(protocol, HELLO) == [Hello("EHLO", "client.example.org")]
