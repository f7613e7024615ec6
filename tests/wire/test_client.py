"""The client's side of the wire: which command an answer is for, and what may be said when."""

import itertools

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mailstack.wire.address import Address
from mailstack.wire.client import Answered, ClientProtocol, ClientState, EndOfData, ProtocolError
from mailstack.wire.command import AnyCommand, Bdat, Command, Data, Hello, Mail, Quit, Rcpt, Rset

A, B, C = (Rcpt(Address.parse(f"{name}@example.org")) for name in "abc")
MAIL = Mail(Address.parse("s@example.org"))
EHLO = Hello("EHLO", "me.example.org")
READY = b"220 mx\r\n250-mx\r\n250-PIPELINING\r\n250 SIZE 10\r\n"


def hear(protocol: ClientProtocol, octets: bytes) -> list[Answered]:
    protocol.receive(octets)
    events = []
    while (event := protocol.next_event()) is not None:
        events.append(event)
    return events


def greeted(*, lmtp: bool = False) -> ClientProtocol:
    protocol = ClientProtocol(lmtp=lmtp)
    hear(protocol, b"220 mx\r\n")
    protocol.send(EHLO)
    hear(protocol, READY.removeprefix(b"220 mx\r\n"))
    protocol.take_output()
    return protocol


def say(protocol: ClientProtocol, *commands: AnyCommand) -> bytes:
    for command in commands:
        protocol.send(command)
    return protocol.take_output()


def test_a_conversation_goes_from_the_banner_to_the_end() -> None:
    protocol = ClientProtocol()
    [(said, answer)] = hear(protocol, b"220 mx\r\n")
    assert (said, answer.code, protocol.state) == (None, 220, ClientState.HELLO)
    assert say(protocol, EHLO) == b"EHLO me.example.org\r\n"
    hear(protocol, READY.removeprefix(b"220 mx\r\n"))
    assert (protocol.state, protocol.keywords) == (ClientState.READY, {"PIPELINING": "", "SIZE": "10"})
    assert say(protocol, MAIL, A, B, Data()).count(b"\r\n") == 4
    events = hear(protocol, b"250 ok\r\n550 no\r\n250 ok\r\n354 go\r\n")
    assert [event.said for event in events] == [MAIL, A, B, Data()]
    assert (protocol.recipients, protocol.state) == ([B], ClientState.DATA)
    assert protocol.body(b".a") + protocol.end_body() == b"..a\r\n.\r\n"
    [(said, answer)] = hear(protocol, b"250 taken\r\n")
    assert (said, protocol.state, protocol.recipients) == (EndOfData(None), ClientState.READY, [])
    say(protocol, Quit())
    hear(protocol, b"221 bye\r\n")
    assert protocol.state is ClientState.CLOSED


@given(st.lists(st.integers(0, 200), max_size=12))
def test_however_it_is_cut_the_events_are_the_same(at: list[int]) -> None:
    wire = b"250 ok\r\n250-a\r\n250 b\r\n451-4.2.0 x\r\n451 4.2.0 y\r\n354\r\n"
    borders = [0, *sorted(min(place, len(wire)) for place in at), len(wire)]
    whole, pieces = greeted(), greeted()
    for protocol in (whole, pieces):
        say(protocol, MAIL, A, B, Data())
    found = [event for a, b in itertools.pairwise(borders) for event in hear(pieces, wire[a:b])]
    assert found == hear(whole, wire)
    assert (pieces.state, pieces.recipients) == (whole.state, whole.recipients) == (ClientState.DATA, [A])


def test_lmtp_answers_once_for_each_accepted_recipient() -> None:
    protocol = greeted(lmtp=True)
    say(protocol, MAIL, A, B, C, Data())
    hear(protocol, b"250 ok\r\n250 ok\r\n550 no\r\n250 ok\r\n354 go\r\n")
    protocol.end_body()
    events = hear(protocol, b"250 kept\r\n452 full\r\n")
    assert [(event.said, event.answer.code) for event in events] == [(EndOfData(A), 250), (EndOfData(C), 452)]
    assert protocol.state is ClientState.READY


@pytest.mark.parametrize("lmtp", [False, True])
def test_each_chunk_is_answered_and_the_last_as_the_end_of_data(lmtp: bool) -> None:
    protocol = greeted(lmtp=lmtp)
    say(protocol, MAIL, A, B)
    hear(protocol, b"250 ok\r\n" * 3)
    assert protocol.chunk(b"a\n\r", False) == b"BDAT 3\r\na\r\n"
    assert protocol.chunk(b"", False) == b""
    assert protocol.chunk(b"", True) == b"BDAT 2 LAST\r\n\r\n"
    wanted = [Bdat(3, False), *([EndOfData(A), EndOfData(B)] if lmtp else [EndOfData(None)])]
    assert [event.said for event in hear(protocol, b"250 ok\r\n" * len(wanted))] == wanted
    assert protocol.state is ClientState.READY


def test_binary_octets_go_as_they_are() -> None:
    protocol = greeted()
    say(protocol, MAIL, A)
    hear(protocol, b"250 ok\r\n" * 2)
    assert protocol.chunk(b"\n\r", True, binary=True) == b"BDAT 2 LAST\r\n\n\r"


@pytest.mark.parametrize(
    ("said", "answer"),
    [(MAIL, b"354 go\r\n"), (A, b"334 more\r\n"), (Data(), b"250 ok\r\n"), (Rset(), b"354 go\r\n")],
)
def test_a_success_of_the_wrong_kind_is_an_error(said: AnyCommand, answer: bytes) -> None:
    protocol = greeted()
    say(protocol, said)
    with pytest.raises(ProtocolError, match="does not answer"):
        hear(protocol, answer)


def test_a_command_of_any_verb_may_be_continued() -> None:
    protocol = greeted()
    protocol.say("AUTH LOGIN")
    [(said, answer)] = hear(protocol, b"334 VXNlcm5hbWU6\r\n")
    assert (said, answer.code) == (Command("AUTH", "LOGIN"), 334)
    protocol.say("eHg=")
    assert protocol.take_output() == b"AUTH LOGIN\r\neHg=\r\n"
    with pytest.raises(ValueError):
        protocol.say("NOOP\r\nQUIT")


def test_nothing_is_said_behind_what_ends_a_batch() -> None:
    for last in (EHLO, Data(), Quit(), Command("NOOP", "")):
        protocol = greeted()
        say(protocol, last)
        with pytest.raises(RuntimeError, match="before"):
            protocol.send(MAIL)


def test_nothing_is_said_out_of_turn() -> None:
    protocol = ClientProtocol()
    for call in (lambda: protocol.send(EHLO), lambda: protocol.body(b""), lambda: protocol.chunk(b"", True)):
        with pytest.raises(RuntimeError):
            call()
    with pytest.raises(RuntimeError):
        greeted().send(Bdat(1, True))


def test_after_421_nothing_is_awaited() -> None:
    protocol = greeted()
    say(protocol, MAIL, A, Data())
    events = hear(protocol, b"250 ok\r\n421 later\r\n503 what\r\n")
    assert [event.answer.code for event in events] == [250, 421]
    assert (protocol.state, len(protocol.awaited)) == (ClientState.CLOSED, 0)


def test_a_server_that_shuns_us_hears_only_quit() -> None:
    protocol = ClientProtocol()
    hear(protocol, b"554 no\r\n")
    assert protocol.state is ClientState.SHUNNED
    with pytest.raises(RuntimeError):
        protocol.send(EHLO)
    assert say(protocol, Quit()) == b"QUIT\r\n"


@pytest.mark.parametrize(("greeting", "state"), [(b"421 no\r\n", ClientState.CLOSED), (b"354 go\r\n", None)])
def test_a_banner_may_be_no_banner(greeting: bytes, state: ClientState | None) -> None:
    protocol = ClientProtocol()
    if state is None:
        with pytest.raises(ProtocolError, match="greeting"):
            hear(protocol, greeting)
    else:
        hear(protocol, greeting)
        assert protocol.state is state


def test_an_answer_to_nothing_is_an_error_unless_it_says_that_it_is_over() -> None:
    with pytest.raises(ProtocolError, match="answers nothing"):
        hear(greeted(), b"250 ok\r\n")
    protocol = greeted()
    assert [event.said for event in hear(protocol, b"421 shutting down\r\n")] == [None]
    assert protocol.state is ClientState.CLOSED


def test_a_refusal_while_the_body_goes_out_ends_the_conversation() -> None:
    protocol = greeted()
    say(protocol, MAIL, A, Data())
    hear(protocol, b"250 ok\r\n250 ok\r\n354 go\r\n")
    protocol.body(b"a")
    assert [(event.said, event.answer.code) for event in hear(protocol, b"552 too big\r\n")] == [(None, 552)]
    assert protocol.state is ClientState.CLOSED


def test_tls_makes_it_forget_and_rejects_what_came_before() -> None:
    protocol = greeted()
    protocol.say("STARTTLS")
    hear(protocol, b"220 go\r\n")
    protocol.restart()
    assert (protocol.keywords, protocol.state) == ({}, ClientState.HELLO)
    protocol = greeted()
    protocol.say("STARTTLS")
    hear(protocol, b"220 go\r\n250-forged")
    with pytest.raises(ProtocolError, match="STARTTLS"):
        protocol.restart()


def test_helo_has_no_keywords_and_ends_a_transaction() -> None:
    protocol = greeted()
    say(protocol, MAIL, A)
    hear(protocol, b"250 ok\r\n250 ok\r\n")
    say(protocol, Hello("HELO", "me"))
    hear(protocol, b"250-mx\r\n250 SIZE\r\n")
    assert (protocol.keywords, protocol.recipients, protocol.state) == ({}, [], ClientState.READY)
    say(protocol, MAIL)
    hear(protocol, b"250 ok\r\n")
    say(protocol, Rset())
    hear(protocol, b"250 ok\r\n")
    assert protocol.state is ClientState.READY
