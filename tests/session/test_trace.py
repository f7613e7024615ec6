"""The trace fields that the core writes, whatever the client said."""

import email.policy
import locale
import re
import time
from collections.abc import Iterator
from email import message_from_bytes
from email.utils import parsedate_to_datetime
from typing import Any

import pytest

from mailstack import Session, Transaction
from mailstack.session.lookup import ReverseName
from mailstack.session.session import Peer
from mailstack.session.trace import authentication_results, date_now, protocol_of, received
from mailstack.testing.message import make_session
from mailstack.wire.header import Header, authserv_id


def field_of(session: Session) -> bytes:
    assert session.transaction is not None
    field = received(session, session.transaction)
    assert len(Header(field)) == 1
    assert field.endswith(b"\r\n")
    assert re.search(rb"[^\r]\n|\r[^\n]|\r\n[^ \t]", field) is None
    assert max(map(len, field.split(b"\r\n"))) <= 998
    assert b"\0" not in field
    return field


def words_of(session: Session) -> str:
    """The field unfolded, without its date."""
    value = Header(field_of(session)).get("Received")
    assert value is not None
    words, semicolon, date = value.rpartition(";")
    assert semicolon
    assert abs(parsedate_to_datetime(date.strip()).timestamp() - time.time()) < 3600
    return words.replace("\t", " ")


def test_received_says_who_gave_it_to_whom() -> None:
    session = make_session(sender="a@example.org", recipients=["b@example.org"])
    wanted = "from client.example.org ([192.0.2.1]) by mx.test with ESMTP id message1 for <b@example.org>"
    assert words_of(session) == wanted


def test_received_is_readable_by_others() -> None:
    session = make_session(sender="a@example.org", recipients=["b@example.org"])
    parsed = message_from_bytes(field_of(session) + b"\r\n", policy=email.policy.default)
    assert len(parsed.items()) == 1
    assert parsed.defects == []


@pytest.mark.parametrize(
    ("client", "port", "seen"),
    [
        ("192.0.2.7", 4, "([192.0.2.7])"),
        ("2001:db8::7", 4, "([IPv6:2001:db8::7])"),
        ("/run/mail.sock", None, "(local)"),
        ("", None, "(local)"),
    ],
)
def test_received_names_the_client_by_its_address(client: str, port: int | None, seen: str) -> None:
    assert f"from client.example.org {seen} by" in words_of(make_session(client, port=port, sender=""))


@pytest.mark.parametrize(
    ("name", "result", "seen"),
    [
        ("mail.example.org", "pass", "(mail.example.org [192.0.2.7])"),
        ("mail.example.org", "fail", "(mail.example.org [192.0.2.7] (may be forged))"),
        ("a)\r\nb", "pass", "(a???b [192.0.2.7])"),
        ("a" * 2000, "pass", f"({'a' * 256} [192.0.2.7])"),
        (None, "permerror", "(unknown [192.0.2.7])"),
        (None, "temperror", "(unknown [192.0.2.7])"),
    ],
)
def test_received_names_the_client_as_far_as_it_is_known(name: str | None, result: Any, seen: str) -> None:
    session = make_session(sender="")
    session.client = Peer("192.0.2.7", 4, ReverseName(name, result))
    assert f"from client.example.org {seen} by" in words_of(session)


@pytest.mark.parametrize(
    ("helo", "written"),
    [
        ("[192.0.2.1]", "[192.0.2.1]"),
        ("[IPv6:2001:db8::1]", "[IPv6:2001:db8::1]"),
        ("host_1.example.org", "host_1.example.org"),
        (None, "unknown"),
        ("", "unknown"),
        ("a;b", "a?b"),
        ("(comment)", "?comment?"),
        ("x\r\nEvil: 1", "x??Evil:?1"),
        ("a\tb\0c\x7f", "a?b?c?"),
        ('"quoted" <a@b>', "?quoted???a?b?"),
        ("bücher\u2028.example", "b?cher?.example"),
        ("x" * 255, "x" * 255),
    ],
)
@pytest.mark.parametrize("utf8", [False, True])
def test_a_hostile_greeting_cannot_forge_a_field(helo: str | None, written: str, utf8: bool) -> None:
    session = make_session(helo=helo, sender="")
    assert session.transaction is not None
    if utf8:
        session.transaction.sender.parameters = {"SMTPUTF8": True}
    assert words_of(session).startswith(f"from {written} ([192.0.2.1]) by mx.test ")


def test_several_recipients_are_nobodys_business() -> None:
    for recipients in ([], ["b@example.org", "c@example.org"]):
        assert "for" not in words_of(make_session(sender="a@example.org", recipients=recipients))


def test_the_recipient_is_named_as_the_client_said() -> None:
    session = make_session(sender="a@example.org", recipients=['"b \\"x\\" (y) ;z"@example.org'])
    assert words_of(session).endswith('for <"b \\"x\\" (y) ;z"@example.org>')
    assert session.transaction is not None
    session.transaction.recipients[0].rewrite(session.transaction.sender.address)
    assert "<a@example.org>" not in words_of(session)


def test_an_international_recipient_is_written_only_where_smtputf8_was_asked_for() -> None:
    session = make_session(sender="a@example.org", recipients=["jürgen@example.org"])
    assert session.transaction is not None
    assert "for <j?rgen@example.org>" in words_of(session)
    session.transaction.sender.parameters = {"SMTPUTF8": True}
    assert "for <jürgen@example.org>" in words_of(session)


@pytest.mark.parametrize(
    ("facts", "utf8", "word"),
    [
        ({"esmtp": False}, False, "SMTP"),
        ({}, False, "ESMTP"),
        ({"secure": True}, False, "ESMTPS"),
        ({"user": "alice"}, False, "ESMTPA"),
        ({"secure": True, "user": "alice"}, False, "ESMTPSA"),
        ({}, True, "UTF8SMTP"),
        ({"secure": True}, True, "UTF8SMTPS"),
        ({"user": "alice"}, True, "UTF8SMTPA"),
        ({"secure": True, "user": "alice"}, True, "UTF8SMTPSA"),
        ({"lmtp": True}, False, "LMTP"),
        ({"lmtp": True, "secure": True}, False, "LMTPS"),
        ({"lmtp": True, "user": "alice"}, False, "LMTPA"),
        ({"lmtp": True, "secure": True, "user": "alice"}, False, "LMTPSA"),
        ({"lmtp": True}, True, "UTF8LMTP"),
        ({"lmtp": True, "secure": True, "user": "alice"}, True, "UTF8LMTPSA"),
    ],
)
def test_the_protocol_word(facts: dict[str, Any], utf8: bool, word: str) -> None:
    session = make_session(sender="", **facts)
    assert session.transaction is not None
    assert protocol_of(session, utf8=utf8) == word
    session.transaction.sender.parameters = {"SMTPUTF8": True} if utf8 else {}
    assert f" with {word} id " in words_of(session)


@pytest.fixture
def foreign_locale() -> Iterator[None]:
    """Whatever other locale this machine has."""
    before = locale.setlocale(locale.LC_ALL)
    for name in ("de_DE.UTF-8", "fr_FR.UTF-8", "ja_JP.UTF-8", "C.UTF-8"):
        try:
            locale.setlocale(locale.LC_ALL, name)
            break
        except locale.Error:
            continue
    yield
    locale.setlocale(locale.LC_ALL, before)


@pytest.mark.parametrize("month", range(1, 13))
def test_the_date_is_english_in_every_locale(month: int, foreign_locale: None, monkeypatch: pytest.MonkeyPatch) -> None:
    then = int(time.mktime((2024, month, 3, 4, 5, 6, 0, 0, -1)))
    monkeypatch.setattr(time, "time", lambda: then + 0.9)
    date = date_now()
    days, months = "Mon|Tue|Wed|Thu|Fri|Sat|Sun", "Jan|Feb|Mar|Apr|May|Jun|Jul|Aug|Sep|Oct|Nov|Dec"
    assert re.fullmatch(rf"({days}), 03 ({months}) 2024 04:05:06 [+-]\d{{4}}", date)
    assert parsedate_to_datetime(date).timestamp() == then


def test_the_date_moves_with_the_second(monkeypatch: pytest.MonkeyPatch) -> None:
    dates = []
    for second in (1_700_000_000.0, 1_700_000_000.9, 1_700_000_001.0):
        monkeypatch.setattr(time, "time", lambda second=second: second)
        dates.append(date_now())
    assert dates[0] == dates[1] != dates[2]


# Authentication-Results.


def with_results(*results: tuple[Any, ...]) -> Transaction:
    transaction = make_session(sender="a@example.org").transaction
    assert transaction is not None
    for method, result, properties, reason in results:
        transaction.results.add(method, result, properties, reason=reason)
    return transaction


def results_of(*results: tuple[Any, ...]) -> str:
    field = authentication_results("mx.example.org", with_results(*results))
    assert len(Header(field)) == 1
    assert re.search(rb"[^\r]\n|\r[^\n]|\r\n[^ \t]", field) is None
    assert max(map(len, field.split(b"\r\n"))) <= 998
    value = Header(field).get("Authentication-Results")
    assert value is not None
    assert authserv_id(value) == "mx.example.org"
    return value.replace("\t", " ")


def test_where_nothing_was_found_there_is_no_field() -> None:
    assert authentication_results("mx.example.org", with_results()) == b""


def test_results_are_written_in_the_order_in_which_they_were_found() -> None:
    value = results_of(
        ("spf", "pass", {"smtp.mailfrom": "a@example.org"}, ""),
        ("dkim", "fail", {"header.d": "example.org", "header.s": "s1"}, "bad signature"),
    )
    wanted = (
        "mx.example.org; spf=pass smtp.mailfrom=a@example.org;"
        ' dkim=fail reason="bad signature" header.d=example.org header.s=s1'
    )
    assert value == wanted


HOSTILE = [
    "a; dkim=pass",
    'a" ; dkim=pass',
    "a\\",
    'a\\" ; dkim=pass header.d=evil',
    "a\r\nEvil: 1",
    "a\r\n b",
    "a\0b\x7f\x1b[2J",
    "bücher\u2028",
    "",
    " ",
    "(comment",
    "x" * 5000,
    "a b " * 2000,
    '"' * 3000,
]


@pytest.mark.parametrize("text", HOSTILE)
def test_what_the_client_said_cannot_forge_a_result(text: str) -> None:
    for results in (
        ("spf", "pass", {"smtp.mailfrom": text}, ""),
        ("spf", "pass", {}, text),
        ("spf", text, {}, ""),
        ("spf", "pass", {text: "x"}, ""),
        (text, "pass", {}, ""),
    ):
        value = results_of(results)
        outside = re.sub(r'"(?:[^"\\]|\\.)*"', '""', value)
        assert '"' not in outside.replace('""', "")
        assert outside.count(";") == 1
        assert outside.count("(") == 0
