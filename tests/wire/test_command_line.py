"""Command lines as a client writes them: the server's parser reads back what was meant, and nothing is smuggled in."""

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mailstack.wire.address import Address
from mailstack.wire.command import (
    AnyCommand,
    Bdat,
    Command,
    Data,
    Hello,
    Mail,
    Quit,
    Rcpt,
    Rset,
    parse_command,
)
from mailstack.wire.command_line import encode_command, encode_line
from mailstack.wire.parameter import PARAMETERS, OriginalRecipient

ALL = dict.fromkeys([*(parameter.keyword for parameter in PARAMETERS.values()), "BINARYMIME", "CHUNKING"], "")
SENDER = Address.parse("a@example.org")
PRINTABLE = st.text(st.characters(min_codepoint=32, max_codepoint=0x2FFFF, exclude_categories=["C", "Zl", "Zp"]))


@pytest.mark.parametrize(
    ("command", "line"),
    [
        (Hello("EHLO", "mx.example.org"), b"EHLO mx.example.org\r\n"),
        (Mail(Address.NULL), b"MAIL FROM:<>\r\n"),
        (Mail(SENDER, {"SIZE": 12, "SMTPUTF8": True}), b"MAIL FROM:<a@example.org> SIZE=12 SMTPUTF8\r\n"),
        (Mail(SENDER, {"ENVID": "a+b c"}), b"MAIL FROM:<a@example.org> ENVID=a+2Bb+20c\r\n"),
        (Mail(SENDER, {"AUTH": Address.NULL}), b"MAIL FROM:<a@example.org> AUTH=<>\r\n"),
        (
            Rcpt(SENDER, {"NOTIFY": frozenset({"DELAY", "FAILURE"})}),
            b"RCPT TO:<a@example.org> NOTIFY=FAILURE,DELAY\r\n",
        ),
        (Data(), b"DATA\r\n"),
        (Bdat(3, True), b"BDAT 3 LAST\r\n"),
        (Rset(), b"RSET\r\n"),
        (Quit(), b"QUIT\r\n"),
        (Command("NOOP", ""), b"NOOP\r\n"),
        (Command("VRFY", "a"), b"VRFY a\r\n"),
    ],
)
def test_a_command_has_one_line(command: AnyCommand, line: bytes) -> None:
    assert encode_command(command, ALL) == line


def test_what_is_not_offered_is_left_out() -> None:
    mail = Mail(SENDER, {"SIZE": 1, "BODY": "8BITMIME", "SMTPUTF8": True, "RET": "HDRS", "ENVID": "x", "AUTH": SENDER})
    assert encode_command(mail) == b"MAIL FROM:<a@example.org>\r\n"
    assert encode_command(mail, {"DSN": ""}) == b"MAIL FROM:<a@example.org> RET=HDRS ENVID=x\r\n"
    assert encode_command(Mail(SENDER, {"BODY": "BINARYMIME"}), {"8BITMIME": ""}) == b"MAIL FROM:<a@example.org>\r\n"
    assert encode_command(Rcpt(SENDER, {"X-OURS": "1"}), {"X-OURS": ""}) == b"RCPT TO:<a@example.org>\r\n"


MAIL_PARAMETERS: dict[Any, Any] = {
    "SIZE": st.integers(0, 10**19),
    "BODY": st.sampled_from(["7BIT", "8BITMIME", "BINARYMIME"]),
    "SMTPUTF8": st.just(True),
    "RET": st.sampled_from(["FULL", "HDRS"]),
    "ENVID": st.text(st.characters(min_codepoint=32, max_codepoint=126), min_size=1, max_size=100),
    "AUTH": st.sampled_from([Address.NULL, SENDER, Address('"a b"=+', "example.org")]),
}
RCPT_PARAMETERS: dict[Any, Any] = {
    "NOTIFY": st.sampled_from([frozenset({"NEVER"}), frozenset({"SUCCESS", "DELAY"}), frozenset({"FAILURE"})]),
    "ORCPT": st.builds(OriginalRecipient, st.just("utf-8"), PRINTABLE.filter(lambda text: 0 < len(text) < 30))
    | st.builds(
        OriginalRecipient,
        st.just("rfc822"),
        st.text(st.characters(min_codepoint=32, max_codepoint=126), min_size=1, max_size=99),
    ),
}


@given(st.fixed_dictionaries({}, optional=MAIL_PARAMETERS), st.fixed_dictionaries({}, optional=RCPT_PARAMETERS))
def test_the_server_reads_what_the_client_meant(mail: dict[str, Any], rcpt: dict[str, Any]) -> None:
    for command in (Mail(SENDER, mail), Rcpt(Address("x y", "example.org"), rcpt)):
        line = encode_command(command, ALL)
        assert parse_command(line[:-2], ALL) == command


@given(st.text(max_size=30), st.text(max_size=30))
def test_no_line_ever_holds_a_second_one(text: str, other: str) -> None:
    for command in (
        Hello("EHLO", text),
        Command(text, other),
        Mail(Address(text, other), {"ENVID": text, "BODY": other, "RET": text}),
        Rcpt(Address(text, "example.org"), {"ORCPT": OriginalRecipient(text, other)}),
    ):
        try:
            line = encode_command(command, ALL)
        except ValueError:
            continue
        assert line.endswith(b"\r\n")
        assert not any(octet < 32 or octet == 127 for octet in line[:-2])


@pytest.mark.parametrize("text", ["NOOP\r\nQUIT", "NOOP\n", "a\0", "\x7f", "a\u2028b", "ä"])
def test_a_line_without_sound_characters_cannot_be_said(text: str) -> None:
    with pytest.raises(ValueError):
        encode_line(text)


@pytest.mark.parametrize("hostname", ["", "a b", "a\r\nb", "ä.example", "x" * 256])
def test_a_name_that_is_none_cannot_be_said(hostname: str) -> None:
    with pytest.raises(ValueError):
        encode_command(Hello("EHLO", hostname))


def test_an_address_with_non_ascii_needs_the_keyword() -> None:
    rcpt = Rcpt(Address.parse("jörg@example.org"))
    assert encode_command(rcpt, {"SMTPUTF8"}) == "RCPT TO:<jörg@example.org>\r\n".encode()
    with pytest.raises(ValueError, match="SMTPUTF8"):
        encode_command(rcpt)
