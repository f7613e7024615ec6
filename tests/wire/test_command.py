"""Commands: any octets are one typed command or one CommandError."""

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mailstack.wire.address import Address
from mailstack.wire.command import (
    AnyCommand,
    Bdat,
    Command,
    CommandError,
    Data,
    Hello,
    Mail,
    Quit,
    Rcpt,
    Rset,
    parse_command,
)
from mailstack.wire.parameter import PARAMETERS, OriginalRecipient, Parameter
from mailstack.wire.reply import Reply

ALL = frozenset({"SIZE", "8BITMIME", "BINARYMIME", "SMTPUTF8", "DSN", "AUTH", "CHUNKING"})
USER = Address("user", "example.org")

COMMANDS: list[tuple[bytes, AnyCommand]] = [
    (b"HELO mx.example.org", Hello("HELO", "mx.example.org")),
    (b"ehlo mx.example.org", Hello("EHLO", "mx.example.org")),  # verbs in any case
    (b"LHLO [192.0.2.1]", Hello("LHLO", "[192.0.2.1]")),
    (b"HELO  my host \t name ", Hello("HELO", "my", ("host", "name"))),  # the rest is kept
    (b"EHLO " + b"a" * 255, Hello("EHLO", "a" * 255)),
    (b"MAIL FROM:<user@example.org>", Mail(USER)),
    (b"mail from:<user@example.org>", Mail(USER)),
    (b"MAIL FROM: <user@example.org>", Mail(USER)),  # blanks after the colon are tolerated
    (b"MAIL FROM:<user@example.org> ", Mail(USER)),  # and at the end
    (b"MAIL  FROM:<user@example.org>", Mail(USER)),
    (b"MAIL FROM:<@a,@b:user@example.org>", Mail(USER)),  # source route dropped
    (b"MAIL FROM:<>", Mail(Address.NULL)),
    (b"MAIL FROM:<postmaster@example.org>", Mail(Address("postmaster", "example.org"))),
    (b'MAIL FROM:<"a b> SIZE=1"@example.org>', Mail(Address("a b> SIZE=1", "example.org"))),
    (b"MAIL FROM:<user@example.org> size=10", Mail(USER, {"SIZE": 10})),
    (b"MAIL FROM:<user@example.org>\tSIZE=10 \t BODY=8BITMIME ", Mail(USER, {"SIZE": 10, "BODY": "8BITMIME"})),
    (b"RCPT TO:<user@example.org>", Rcpt(USER)),
    (b"rcpt to: <user@example.org>", Rcpt(USER)),
    (b"RCPT TO:<Postmaster>", Rcpt(Address("postmaster", ""))),
    (b"RCPT TO:<user@example.org> NOTIFY=NEVER", Rcpt(USER, {"NOTIFY": frozenset({"NEVER"})})),
    (b"DATA", Data()),
    (b"data  ", Data()),  # blanks at the end are forgiven
    (b"RSET ", Rset()),
    (b"Quit \t", Quit()),
    (b"BDAT 0", Bdat(0, False)),
    (b"BDAT 86 LAST", Bdat(86, True)),
    (b"bdat 86  last ", Bdat(86, True)),
    (b"BDAT 00000000000000000086", Bdat(86, False)),
    (b"BDAT 9223372036854775807", Bdat(2**63 - 1, False)),
    (b"NOOP", Command("NOOP", "")),
    (b"noop whatever it is ", Command("NOOP", "whatever it is")),
    (b"AUTH PLAIN AGEAYg==", Command("AUTH", "PLAIN AGEAYg==")),
    (b"STARTTLS", Command("STARTTLS", "")),
    (b"VRFY <foo@bar>", Command("VRFY", "<foo@bar>")),
    (b"__init__"[2:6], Command("INIT", "")),  # a word like any other
    (b"X-" + b"a" * 18, Command("X-" + "A" * 18, "")),
]


@pytest.mark.parametrize(("line", "command"), COMMANDS)
def test_a_line_becomes_a_typed_command(line: bytes, command: AnyCommand) -> None:
    assert parse_command(line, ALL) == command
    assert parse_command(line, ALL).verb == line.split()[0].decode().upper()


MAIL_PARAMETERS: list[tuple[bytes, dict[str, Any]]] = [
    (b"SIZE=0", {"SIZE": 0}),
    (b"SIZE=99999999999999999999", {"SIZE": 99999999999999999999}),
    (b"BODY=7BIT", {"BODY": "7BIT"}),
    (b"body=8bitmime", {"BODY": "8BITMIME"}),
    (b"BODY=BINARYMIME", {"BODY": "BINARYMIME"}),
    (b"SMTPUTF8", {"SMTPUTF8": True}),
    (b"RET=FULL", {"RET": "FULL"}),
    (b"RET=hdrs", {"RET": "HDRS"}),
    (b"ENVID=QQ314159", {"ENVID": "QQ314159"}),
    (b"ENVID=a+20b+2B+3D", {"ENVID": "a b+="}),
    (b"ENVID=" + b"+2B" * 100, {"ENVID": "+" * 100}),  # a hundred once decoded
    (b"AUTH=<>", {"AUTH": Address.NULL}),
    (b"AUTH=e+3Dmc2@example.com", {"AUTH": Address("e=mc2", "example.com")}),  # RFC 4954 §5
    (b"AUTH=+C3+BC@example.com", {"AUTH": Address("ü", "example.com")}),
    (b"SIZE=1 BODY=7BIT RET=FULL ENVID=x", {"SIZE": 1, "BODY": "7BIT", "RET": "FULL", "ENVID": "x"}),
]

RCPT_PARAMETERS: list[tuple[bytes, dict[str, Any]]] = [
    (b"NOTIFY=never", {"NOTIFY": frozenset({"NEVER"})}),
    (b"NOTIFY=SUCCESS,FAILURE,DELAY", {"NOTIFY": frozenset({"SUCCESS", "FAILURE", "DELAY"})}),
    (b"NOTIFY=delay", {"NOTIFY": frozenset({"DELAY"})}),
    (b"ORCPT=rfc822;Bob@Example.COM", {"ORCPT": OriginalRecipient("rfc822", "Bob@Example.COM")}),
    (b"ORCPT=RFC822;a+2Bb@example.com", {"ORCPT": OriginalRecipient("rfc822", "a+b@example.com")}),
    (b"ORCPT=utf-8;\\x{FC}@example.com", {"ORCPT": OriginalRecipient("utf-8", "ü@example.com")}),  # RFC 6533 §3
    (b"ORCPT=utf-8;a\\x{2B}b@example.com", {"ORCPT": OriginalRecipient("utf-8", "a+b@example.com")}),
    (b"ORCPT=UTF-8;a@example.com", {"ORCPT": OriginalRecipient("utf-8", "a@example.com")}),
]


@pytest.mark.parametrize(("text", "values"), MAIL_PARAMETERS)
def test_mail_parameters_become_values(text: bytes, values: dict[str, Any]) -> None:
    assert parse_command(b"MAIL FROM:<user@example.org> " + text, ALL) == Mail(USER, values)


@pytest.mark.parametrize(("text", "values"), RCPT_PARAMETERS)
def test_rcpt_parameters_become_values(text: bytes, values: dict[str, Any]) -> None:
    assert parse_command(b"RCPT TO:<user@example.org> " + text, ALL) == Rcpt(USER, values)


REFUSED = [
    # not a command
    (b"", 500, "5.5.2"),
    (b" ", 500, "5.5.2"),
    (b" NOOP", 500, "5.5.2"),
    (b"A" * 21, 500, "5.5.2"),
    (b"1NOOP", 500, "5.5.2"),
    (b"NO_OP", 500, "5.5.2"),
    (b"__class__", 500, "5.5.2"),
    (b"-", 500, "5.5.2"),
    (b"HELO\tmx", 500, "5.5.2"),  # a blank ends the verb, a tab does not
    # octets that have no place in a command
    (b"NOOP \0", 501, "5.5.2"),
    (b"NOOP\x7f", 501, "5.5.2"),
    (b"RCPT TO:<a@b>\r", 501, "5.5.2"),
    (b"MAIL FROM:<a\n@b>", 501, "5.5.2"),
    (b"HELO \x1b[2J", 501, "5.5.2"),
    (b"NOOP \xc2\x85", 501, "5.5.2"),  # C1 control
    (b"NOOP \xff", 501, "5.5.2"),  # not UTF-8
    (b"MAIL FROM:<\xc0\xaf@b>", 501, "5.5.2"),  # overlong
    (b"MAIL FROM:<\xed\xa0\x80@b>", 501, "5.5.2"),  # surrogate
    ("NOOP ü".encode(), 501, "5.5.2"),
    ("EHLO bücher.example".encode(), 501, "5.5.2"),
    ("HELO mx ü".encode(), 501, "5.5.2"),
    ("Ü".encode(), 501, "5.5.2"),
    ("RſET".encode(), 501, "5.5.2"),  # its upper case is RSET
    # hellos
    (b"HELO", 501, "5.5.4"),
    (b"EHLO  \t", 501, "5.5.4"),
    (b"LHLO " + b"a" * 256, 501, "5.5.4"),
    # commands without argument
    (b"DATA now", 501, "5.5.4"),
    (b"RSET all", 501, "5.5.4"),
    (b"QUIT now", 501, "5.5.4"),
    # the shape of MAIL and RCPT
    (b"MAIL", 501, "5.5.4"),
    (b"RCPT", 501, "5.5.4"),
    (b"MAIL FROM", 501, "5.5.4"),
    (b"MAIL FROM :<a@b>", 501, "5.5.4"),  # no blank before the colon
    (b"MAIL FROM <a@b.c>", 501, "5.5.4"),
    (b"MAIL TO:<a@b>", 501, "5.5.4"),
    (b"RCPT FROM:<a@b>", 501, "5.5.4"),
    (b"MAIL <a@b>", 501, "5.5.4"),
    # addresses
    (b"MAIL FROM:", 501, "5.1.7"),  # null to the ancestor
    (b"MAIL FROM:a@b", 501, "5.1.7"),
    (b"MAIL FROM:user=name@example.net", 501, "5.1.7"),
    (b"MAIL FROM:<a b@c>", 501, "5.1.7"),
    (b"MAIL FROM:<user>", 501, "5.1.7"),
    (b"MAIL FROM:<postmaster>", 501, "5.1.7"),  # for RCPT only: RFC 5321 §4.1.1.3
    (b"MAIL FROM:<a@b>SIZE=10", 501, "5.1.7"),
    (b"RCPT TO:", 501, "5.1.3"),
    (b"RCPT TO:<>", 501, "5.1.3"),
    (b"RCPT TO:postmaster", 501, "5.1.3"),
    (b"RCPT TO:<a@b>c>", 501, "5.1.3"),
    (b"RCPT TO:<a@[1.2.3.999]>", 501, "5.1.3"),
    # the shape of parameters
    (b"MAIL FROM:<a@b> SIZE=", 501, "5.5.4"),
    (b"MAIL FROM:<a@b> =x", 501, "5.5.4"),
    (b"MAIL FROM:<a@b> bad=param=x", 501, "5.5.4"),
    (b"MAIL FROM:<a@b> SIZE = 1", 501, "5.5.4"),
    (b"MAIL FROM:<a@b> -SIZE=1", 501, "5.5.4"),
    (b"MAIL FROM:<a@b> <c@d>", 501, "5.5.4"),
    (b"MAIL FROM:<a@b> SIZE=1 size=1", 501, "5.5.4"),  # once each
    # values
    (b"MAIL FROM:<a@b> SIZE", 501, "5.5.4"),
    (b"MAIL FROM:<a@b> SIZE=-1", 501, "5.5.4"),
    (b"MAIL FROM:<a@b> SIZE=1e3", 501, "5.5.4"),
    (b"MAIL FROM:<a@b> SIZE=" + b"1" * 21, 501, "5.5.4"),
    ("MAIL FROM:<a@b> SMTPUTF8 SIZE=١".encode(), 501, "5.5.4"),
    (b"MAIL FROM:<a@b> BODY", 501, "5.5.4"),
    (b"MAIL FROM:<a@b> BODY=9BIT", 501, "5.5.4"),
    (b"MAIL FROM:<a@b> SMTPUTF8=yes", 501, "5.5.4"),
    (b"MAIL FROM:<a@b> RET=ALL", 501, "5.5.4"),
    ("MAIL FROM:<a@b> SMTPUTF8 RET=HDRſ".encode(), 501, "5.5.4"),
    (b"MAIL FROM:<a@b> ENVID", 501, "5.5.4"),
    (b"MAIL FROM:<a@b> ENVID=a+", 501, "5.5.4"),
    (b"MAIL FROM:<a@b> ENVID=a+zz", 501, "5.5.4"),
    (b"MAIL FROM:<a@b> ENVID=a+0D+0Ab", 501, "5.5.4"),  # a line end in disguise
    (b"MAIL FROM:<a@b> ENVID=+C3+BC", 501, "5.5.4"),
    (b"MAIL FROM:<a@b> ENVID=" + b"a" * 101, 501, "5.5.4"),
    (b"MAIL FROM:<a@b> AUTH", 501, "5.5.4"),
    (b"MAIL FROM:<a@b> AUTH=someone", 501, "5.5.4"),
    (b"MAIL FROM:<a@b> AUTH=+FF@b", 501, "5.5.4"),
    (b"MAIL FROM:<a@b> AUTH=a+0Ab@c", 501, "5.5.4"),
    (b"RCPT TO:<a@b> NOTIFY", 501, "5.5.4"),
    (b"RCPT TO:<a@b> NOTIFY=NEVER,DELAY", 501, "5.5.4"),  # NEVER stands alone
    (b"RCPT TO:<a@b> NOTIFY=DELAY,", 501, "5.5.4"),
    (b"RCPT TO:<a@b> NOTIFY=ALWAYS", 501, "5.5.4"),
    (b"RCPT TO:<a@b> ORCPT=a@b", 501, "5.5.4"),
    (b"RCPT TO:<a@b> ORCPT=;a@b", 501, "5.5.4"),
    (b"RCPT TO:<a@b> ORCPT=rfc822;", 501, "5.5.4"),
    (b"RCPT TO:<a@b> ORCPT=rfc822;a+0Ab", 501, "5.5.4"),
    (b"RCPT TO:<a@b> ORCPT=rfc822;+C3+BC", 501, "5.5.4"),
    (b"RCPT TO:<a@b> ORCPT=rfc822;" + b"a" * 501, 501, "5.5.4"),
    (b"RCPT TO:<a@b> ORCPT=utf-8;", 501, "5.5.4"),
    (b"RCPT TO:<a@b> ORCPT=utf-8;a+2B", 501, "5.5.4"),  # xtext is another encoding
    (b"RCPT TO:<a@b> ORCPT=utf-8;a\\x{0A}b", 501, "5.5.4"),
    (b"RCPT TO:<a@b> ORCPT=utf-8;a\\x{D800}b", 501, "5.5.4"),
    (b"RCPT TO:<a@b> ORCPT=utf-8;a\\x{110000}b", 501, "5.5.4"),
    (b"RCPT TO:<a@b> ORCPT=utf-8;a\\b", 501, "5.5.4"),
    # unknown parameters
    (b"MAIL FROM:<a@b> CORRECT-WITHOUT-ARG", 555, "5.5.4"),  # 250 by the ancestor
    (b"MAIL FROM:<a@b> X=1", 555, "5.5.4"),
    (b"MAIL FROM:<a@b> NOTIFY=NEVER", 555, "5.5.4"),  # RCPT's
    (b"RCPT TO:<a@b> SIZE=1", 555, "5.5.4"),  # MAIL's
]


def refusal(line: bytes, *arguments: Any, **keywords: Any) -> Reply:
    with pytest.raises(CommandError) as caught:
        parse_command(line, *arguments, **keywords)
    return caught.value.reply


@pytest.mark.parametrize(("line", "code", "status"), REFUSED)
def test_a_broken_line_is_refused_for_its_reason(line: bytes, code: int, status: str) -> None:
    reply = refusal(line, ALL)
    assert (reply.code, reply.status, reply.close) == (code, status, False)


LOST = [
    b"BDAT",
    b"BDAT ",
    b"BDAT x",
    b"BDAT -1",
    b"BDAT +1",
    b"BDAT 1.0",
    b"BDAT 0x10",
    b"BDAT 1_0",
    b"BDAT 9223372036854775808",  # 2**63
    b"BDAT 000000000000000000086",  # 21 digits
    b"BDAT 10 FIRST",
    b"BDAT 10 LAST LAST",
    b"BDAT 10 LAST extra",
    b"BDAT 10\0",
    b"bdat 10 \xff",
    b" BDAT 10 \xff",
    b"BDAT\t10\0",
    b"BDAT\t10",  # not the verb, and yet octets follow
    b" bdat 10",
    "BDAT\u00a010".encode(),
    "BDAT ١".encode(),
    "BDAT 10 laſt".encode(),
    "BDAT 10\u3000LAST".encode(),
]


@pytest.mark.parametrize("line", LOST)
def test_a_chunk_whose_octets_cannot_be_skipped_closes_the_connection(line: bytes) -> None:
    reply = refusal(line)
    assert (reply.code, reply.status, reply.close) == (501, "5.5.4", True)


NEEDS = [
    # a parameter, the keyword that brings it
    (b"MAIL FROM:<a@b> SIZE=1", {"SIZE"}),
    (b"MAIL FROM:<a@b> BODY=7BIT", {"8BITMIME"}),
    (b"MAIL FROM:<a@b> BODY=BINARYMIME", {"8BITMIME", "BINARYMIME"}),
    (b"MAIL FROM:<a@b> SMTPUTF8", {"SMTPUTF8"}),
    (b"MAIL FROM:<a@b> RET=FULL", {"DSN"}),
    (b"MAIL FROM:<a@b> ENVID=1", {"DSN"}),
    (b"MAIL FROM:<a@b> AUTH=<>", {"AUTH"}),
    (b"RCPT TO:<a@b> NOTIFY=NEVER", {"DSN"}),
    (b"RCPT TO:<a@b> ORCPT=rfc822;a@b", {"DSN"}),
]


@pytest.mark.parametrize(("line", "keywords"), NEEDS)
def test_a_parameter_is_understood_only_if_its_keyword_was_offered(line: bytes, keywords: set[str]) -> None:
    assert isinstance(parse_command(line, keywords), Mail | Rcpt)
    for keyword in keywords:
        assert refusal(line, ALL - {keyword}).code == 555
    assert refusal(line).code == 555


def test_non_ascii_in_mail_needs_smtputf8_given_and_offered() -> None:
    line = "MAIL FROM:<ü@bücher.example>".encode()
    command = parse_command(line + b" SMTPUTF8", ALL)
    assert command == Mail(Address("ü", "xn--bcher-kva.example"), {"SMTPUTF8": True})
    for refused in (
        refusal(line, ALL),
        refusal(line + b" BODY=8BITMIME", ALL),
        refusal(line + b" SMTPUTF8", ALL - {"SMTPUTF8"}),
        refusal("MAIL FROM:<a@b> AUTH=ü@x".encode()),
    ):
        assert (refused.code, refused.status) == (553, "5.6.7")


def test_non_ascii_in_rcpt_needs_a_transaction_with_smtputf8() -> None:
    line = "RCPT TO:<ü@bücher.example> ORCPT=utf-8;ü@bücher.example".encode()
    command = parse_command(line, ALL, utf8=True)
    assert command == Rcpt(
        Address("ü", "xn--bcher-kva.example"), {"ORCPT": OriginalRecipient("utf-8", "ü@bücher.example")}
    )
    refused = refusal(line, ALL)
    assert (refused.code, refused.status) == (553, "5.6.7")


def _priority(value: str | None) -> int:
    return int(value or "")


def _busy(value: str | None) -> None:
    raise CommandError(Reply(455, "not now"))


def test_middleware_brings_parameters_of_its_own() -> None:
    mine = {
        **PARAMETERS,
        ("MAIL", "MT-PRIORITY"): Parameter("MT-PRIORITY", "MAIL", "MT-PRIORITY", _priority),
        ("RCPT", "RRVS"): Parameter("RRVS", "RCPT", "RRVS", _busy),
    }
    line = b"MAIL FROM:<user@example.org> mt-priority=3"
    assert parse_command(line, {"MT-PRIORITY"}, mine) == Mail(USER, {"MT-PRIORITY": 3})
    assert refusal(line, ALL, mine).code == 555
    assert refusal(line, {"MT-PRIORITY"}).code == 555
    assert refusal(line + b"x", {"MT-PRIORITY"}, mine).code == 501
    assert refusal(b"RCPT TO:<a@b> RRVS", {"RRVS"}, mine) == Reply(455, "not now")


def test_parameters_cannot_be_changed() -> None:
    for line in (b"MAIL FROM:<a@b>", b"MAIL FROM:<a@b> SIZE=1"):
        command = parse_command(line, ALL)
        assert isinstance(command, Mail)
        with pytest.raises(TypeError):
            command.parameters["SIZE"] = 2  # type: ignore[index]
    assert Mail(USER).parameters == Rcpt(USER).parameters == {}


def test_an_error_does_not_remember_the_one_before() -> None:
    """A shared exception object would gather the traceback, and the frames, of every client's error."""
    errors = []
    for _ in range(2):
        with pytest.raises(CommandError) as caught:
            parse_command(b"")
        errors.append(caught.value)
    assert errors[0] is not errors[1]
    assert errors[0].reply is errors[1].reply


PIECES = st.sampled_from(
    [
        *(b"HELO EHLO LHLO MAIL RCPT DATA BDAT RSET QUIT NOOP AUTH FROM: TO: LAST".split()),
        *(b"<> <a@b> <postmaster> <a@[1.2.3.4]> <@a:b@c>".split()),
        *(b"SIZE=1 BODY=7BIT SMTPUTF8 RET=FULL ENVID=+41 AUTH=<> NOTIFY=DELAY ORCPT=utf-8;\\x{FC}".split()),
        *(b'< > @ : = + ; , " \\ [ ] 0 9 \t \r \n \0 \x7f \xff'.split(b" ")),
        "ü".encode(),
        b" ",
    ]
)
LINES = st.one_of(st.binary(), st.lists(st.one_of(PIECES, st.just(b" ")), max_size=12).map(b"".join))


@given(line=LINES, offered=st.frozensets(st.sampled_from(sorted(ALL))), utf8=st.booleans())
def test_any_octets_are_a_command_or_a_command_error(line: bytes, offered: frozenset[str], utf8: bool) -> None:
    try:
        command = parse_command(line, offered, utf8=utf8)
    except CommandError as error:
        reply = error.reply
    else:
        assert command.verb.isascii()
        assert command.verb.isupper()
        return
    assert reply.permanent
    assert reply.encode().count(b"\n") == 1


MARK = "zZqQxX"


@given(before=LINES, after=LINES)
def test_an_error_never_repeats_the_client(before: bytes, after: bytes) -> None:
    try:
        parse_command(before + MARK.encode() + after, ALL, utf8=True)
    except CommandError as error:
        reply = error.reply
    else:
        return
    assert MARK.lower() not in str(reply).lower()


def test_a_hostile_line_is_not_expensive() -> None:
    """Every pattern is linear: 128 KiB of what makes patterns backtrack are read at once."""
    for piece in (b"a", b"a.", b"-", b'"', b"\\", b'"\\', b"@a,", b"@", b"<", b"+", b"=", b" ", b" a=b"):
        for start in (b"", b"MAIL FROM:<", b'MAIL FROM:<"', b"MAIL FROM:<a@", b"RCPT TO:<a@b> ORCPT=utf-8;"):
            line = start + piece * (2**17 // len(piece))
            with pytest.raises(CommandError):
                parse_command(line, ALL)
