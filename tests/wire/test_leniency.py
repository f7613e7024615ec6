"""Slips of clients are forgiven where somebody wishes so, and nowhere else."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mailstack.wire.command import CommandError, Mail, Rcpt, parse_command
from mailstack.wire.leniency import SLIPS, known_slips, mended
from mailstack.wire.reply import Reply
from mailstack.wire.server import NEED_DATA, Refused, ServerProtocol

ALL = frozenset(SLIPS)

# What the client says, the slips that must be forgiven for it, and what it means.
SAID = [
    (b"MAIL FROM:a@example.org", {"brackets"}, b"MAIL FROM:<a@example.org>"),
    (b"mail from: a@example.org", {"brackets"}, b"mail from:<a@example.org>"),
    (b"MAIL FROM:a@example.org SIZE=10 BODY=7BIT", {"brackets"}, b"MAIL FROM:<a@example.org> SIZE=10 BODY=7BIT"),
    (b"MAIL FROM:a@[192.0.2.1]", {"brackets"}, b"MAIL FROM:<a@[192.0.2.1]>"),
    (b"RCPT TO:a@[IPv6:2001:db8::1]", {"brackets"}, b"RCPT TO:<a@[IPv6:2001:db8::1]>"),
    (b"RCPT TO:postmaster", {"brackets"}, b"RCPT TO:<postmaster>"),
    (b"MAIL FROM <a@example.org>", {"colon"}, b"MAIL FROM:<a@example.org>"),
    (b"MAIL FROM<a@example.org>", {"colon"}, b"MAIL FROM:<a@example.org>"),
    (b"RCPT TO : <a@example.org>", {"colon"}, b"RCPT TO:<a@example.org>"),
    (b"RCPT \t TO <a@example.org> NOTIFY=NEVER", {"colon"}, b"RCPT TO:<a@example.org> NOTIFY=NEVER"),
    (b"MAIL FROM a@example.org", {"colon", "brackets"}, b"MAIL FROM:<a@example.org>"),
    (b"MAIL FROM:<#@[]>", {"null"}, b"MAIL FROM:<>"),
    (b"MAIL FROM:#@[]", {"null", "brackets"}, b"MAIL FROM:<>"),
    (b"MAIL FROM <#@[]> SIZE=1", {"null", "colon"}, b"MAIL FROM:<> SIZE=1"),
]


@pytest.mark.parametrize(("line", "slips", "meant"), SAID)
def test_a_slip_is_put_right_only_with_its_switches(line: bytes, slips: set[str], meant: bytes) -> None:
    offered = {"SIZE", "8BITMIME", "DSN"}
    assert parse_command(mended(line, frozenset(slips)), offered) == parse_command(meant, offered)
    for missing in slips:
        with pytest.raises(CommandError):
            parse_command(mended(line, ALL - {missing}), offered)


NOT_FORGIVEN = [
    b"RCPT TO:<#@[]>",
    b"MAIL FROM:",
    b"MAIL",
    b"MAIL FROM:<a@example.org",
    b"MAIL FROM:a@example.org>",
    b"MAIL FROM:<<a@example.org>>",
    b"MAIL FROM:a b@example.org",
    b'MAIL FROM:"a b"@example.org',
    b"MAIL FROM:a@example.org\0",
    b"MAIL FROM:a@example.org\r",
    b"MAIL FROM:a@example.org NONSENSE",
    b"MAIL FROM:a",
    b"MAIL FROM:<a@example.org>SIZE=10",
    b" MAIL FROM:<a@example.org>",
    b"MAILFROM:<a@example.org>",
    b"EHLO",
    b"BDAT x",
]


@pytest.mark.parametrize("line", NOT_FORGIVEN)
def test_what_means_nothing_is_refused_with_all_switches_on(line: bytes) -> None:
    assert refusal(line, leniency=ALL).code in (500, 501, 555)


def refusal(line: bytes, *, leniency: frozenset[str]) -> Reply:
    protocol = greeted(b"EHLO me\r\n", leniency)
    protocol.receive(line + b"\r\n")
    event = protocol.next_event()
    assert isinstance(event, Refused)
    return event.reply


def greeted(hello: bytes, leniency: frozenset[str], keywords: dict[str, str] | None = None) -> ServerProtocol:
    protocol = ServerProtocol()
    protocol.greet(Reply(220))
    protocol.leniency = leniency
    protocol.receive(hello)
    command = protocol.next_event()
    assert not isinstance(command, Refused)
    protocol.keywords = keywords or {}
    protocol.answer(command, Reply(250))  # type: ignore[arg-type]
    return protocol


def test_parameters_after_helo_are_two() -> None:
    protocol = greeted(b"HELO me\r\n", frozenset({"parameters"}))
    protocol.receive(b"MAIL FROM:<a@example.org> SIZE=10 BODY=8BITMIME\r\n")
    command = protocol.next_event()
    assert isinstance(command, Mail)
    assert command.parameters == {"SIZE": 10, "BODY": "8BITMIME"}
    for text in (b"RET=HDRS", b"BODY=BINARYMIME", b"SMTPUTF8", b"SIZE=x"):
        protocol.receive(b"MAIL FROM:<a@example.org> " + text + b"\r\n")
        assert isinstance(protocol.next_event(), Refused)


def test_parameters_that_ehlo_did_not_offer_are_refused_all_the_same() -> None:
    protocol = greeted(b"EHLO me\r\n", ALL, {"PIPELINING": ""})
    protocol.receive(b"MAIL FROM:<a@example.org> SIZE=10\r\n")
    event = protocol.next_event()
    assert isinstance(event, Refused)
    assert event.reply.code == 555


def test_a_name_that_is_no_slip_is_an_error() -> None:
    assert known_slips(["colon", "null"]) == {"colon", "null"}
    with pytest.raises(ValueError, match="no such slip: 'bracket'"):
        known_slips(["bracket"])


@given(st.binary(max_size=80).filter(lambda octets: b"\n" not in octets))
def test_what_is_forgiven_is_something_that_could_have_been_said_well(octets: bytes) -> None:
    for opening in (b"", b"MAIL FROM", b"RCPT TO:", b"MAIL FROM:<"):
        line = opening + octets
        better = mended(line, ALL)
        try:
            command = parse_command(better)
        except CommandError:
            continue
        if better != line:
            assert isinstance(command, (Mail, Rcpt))
            assert mended(better, ALL) == better


def test_blanks_without_end_take_no_time() -> None:
    for line in (b"MAIL FROM" + b" " * 200_000, b"MAIL" + b" " * 200_000, b"MAIL FROM:" + b" a" * 100_000):
        mended(line, ALL)


def test_lines_come_as_ever_after_one_that_was_forgiven() -> None:
    protocol = greeted(b"EHLO me\r\n", ALL)
    protocol.receive(b"MAIL FROM:a@example.org\r\nQUIT\r\n")
    command = protocol.next_event()
    assert isinstance(command, Mail)
    protocol.answer(command, Reply(250))
    assert type(protocol.next_event()).__name__ == "Quit"
    assert protocol.next_event() is NEED_DATA
