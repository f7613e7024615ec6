"""Replies: whatever their text, what leaves is a legal reply."""

import copy
import pickle
import re
import ssl

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mailstack.wire.reply import Reply

ENCODED = [
    # one line, status by the code
    (Reply(250, "done"), b"250 2.0.0 done\r\n"),
    # a status of its own
    (Reply(550, "no such user", status="5.1.1"), b"550 5.1.1 no such user\r\n"),
    # no text: the usual one
    (Reply(250), b"250 2.0.0 ok\r\n"),
    # a code that the table does not know
    (Reply(299), b"299 2.0.0 ok\r\n"),
    (Reply(599), b"599 5.0.0 refused\r\n"),
    # 3xx has no status
    (Reply(354, "go"), b"354 go\r\n"),
    # AUTH's empty challenge (RFC 4954 §4)
    (Reply(334), b"334 \r\n"),
    # every kind of line break, the status in every line (RFC 2034 §4)
    (Reply(250, "a\r\nb\nc\rd"), b"250-2.0.0 a\r\n250-2.0.0 b\r\n250-2.0.0 c\r\n250 2.0.0 d\r\n"),
    # line breaks around the text make no empty lines, those within it do
    (Reply(250, "\na\n\nb\r\n"), b"250-2.0.0 a\r\n250-2.0.0 \r\n250 2.0.0 b\r\n"),
    # a text of line breaks is no text
    (Reply(250, "\r\n"), b"250 2.0.0 ok\r\n"),
    # controls, non-ASCII, and what only Unicode holds for a line break
    (Reply(550, "a\0b\x7f\té\x85\u2028"), b"550 5.7.1 a?b?????\r\n"),
    # a long line is cut at a blank
    (Reply(550, "x" * 400 + " " + "y" * 400), b"550-5.7.1 " + b"x" * 400 + b"\r\n550 5.7.1 " + b"y" * 400 + b"\r\n"),
    # and in mid-word when there is none
    (Reply(550, "x" * 600), b"550-5.7.1 " + b"x" * 496 + b"\r\n550 5.7.1 " + b"x" * 104 + b"\r\n"),
]


@pytest.mark.parametrize(("reply", "octets"), ENCODED)
def test_a_reply_is_encoded_as_rfc_5321_and_2034_say(reply: Reply, octets: bytes) -> None:
    assert reply.encode() == octets


def test_the_status_is_left_out_where_it_is_not_wanted() -> None:
    reply = Reply(250, "mx.example.org\nSIZE 1000")
    assert reply.encode(enhanced=False) == b"250-mx.example.org\r\n250 SIZE 1000\r\n"
    assert reply.encode(enhanced=True) == b"250-2.0.0 mx.example.org\r\n250 2.0.0 SIZE 1000\r\n"
    assert reply.encode(enhanced=False) == b"250-mx.example.org\r\n250 SIZE 1000\r\n"


def test_the_octets_are_made_once() -> None:
    reply = Reply(250, "done")
    assert reply.encode() is reply.encode()
    assert reply.encode(False) is reply.encode(False)


STATUSES = [
    (250, "2.0.0"),
    (421, "4.3.2"),
    (450, "4.2.0"),
    (451, "4.3.0"),
    (452, "4.3.1"),
    (500, "5.5.2"),
    (501, "5.5.4"),
    (502, "5.5.1"),
    (503, "5.5.1"),
    (504, "5.5.4"),
    (530, "5.7.0"),
    (535, "5.7.8"),
    (550, "5.7.1"),
    (498, "4.0.0"),  # not in the table
    (354, None),
    (399, None),
]


@pytest.mark.parametrize(("code", "status"), STATUSES)
def test_a_code_has_a_usual_status(code: int, status: str | None) -> None:
    assert Reply(code).status == status


CONTRADICTIONS = [
    (199, None),  # below
    (600, None),  # above
    (250, "5.0.0"),  # another class
    (550, "4.7.1"),  # another class
    (354, "2.0.0"),  # 3xx has none
    (550, "5.7"),  # two parts
    (550, "5.7.1000"),  # four digits
    (550, "5.07.1"),  # leading zero
    (550, "5.7.1 x"),  # trailing text
    (550, "5.7.1\n"),  # trailing line break
    (550, ""),  # empty
    (550, "٥.7.1"),  # digits of another script
]


@pytest.mark.parametrize(("code", "status"), CONTRADICTIONS)
def test_a_reply_that_contradicts_itself_is_not_made(code: int, status: str | None) -> None:
    with pytest.raises(ValueError):
        Reply(code, status=status)


KINDS = [
    # code, positive, temporary, permanent, refused
    (220, True, False, False, False),
    (399, True, False, False, False),
    (400, False, True, False, True),
    (499, False, True, False, True),
    (500, False, False, True, True),
    (599, False, False, True, True),
]


@pytest.mark.parametrize(("code", "positive", "temporary", "permanent", "refused"), KINDS)
def test_a_reply_tells_its_kind(code: int, positive: bool, temporary: bool, permanent: bool, refused: bool) -> None:
    reply = Reply(code)
    assert (reply.positive, reply.temporary, reply.permanent, reply.refused) == (
        positive,
        temporary,
        permanent,
        refused,
    )


def test_replies_are_compared_by_value_and_not_by_what_was_encoded() -> None:
    sent, fresh = Reply(550, "no"), Reply(550, "no")
    sent.encode()
    assert sent == fresh
    assert hash(sent) == hash(fresh)
    assert repr(sent) == repr(fresh)
    assert sent != Reply(550, "no", close=True)
    assert sent != Reply(550, "no", status="5.1.1")
    assert Reply(250) == Reply(250, "ok", status="2.0.0")


def test_a_reply_with_a_tls_context_is_a_value_too() -> None:
    context = ssl.create_default_context()
    assert Reply(220, start_tls=context) == Reply(220, start_tls=context)
    assert len({Reply(220, start_tls=context), Reply(220)}) == 2


def test_a_reply_survives_copying_and_pickling() -> None:
    reply = Reply(550, "no")
    reply.encode()
    assert pickle.loads(pickle.dumps(reply)) == copy.copy(reply) == reply


LOGGED = [
    (Reply(550, "no such user"), "550 5.7.1 no such user"),
    (Reply(354, "go"), "354 go"),
    (Reply(334), "334"),
    (Reply(250, "a\r\nb\0é"), r"250 2.0.0 a\r\nb\x00\xe9"),
]


@pytest.mark.parametrize(("reply", "line"), LOGGED)
def test_the_log_form_is_one_line(reply: Reply, line: str) -> None:
    assert str(reply) == line


def test_a_reply_of_many_lines_is_cut_at_a_hundred() -> None:
    lines = Reply(250, "x\n" * 500).encode().splitlines()
    assert len(lines) == 100
    assert lines[-1].startswith(b"250 ")


def test_an_enormous_text_costs_no_more_than_it_sends() -> None:
    lines = Reply(250, "x" * 50_000_000).encode().splitlines()
    assert len(lines) == 100


CODES = st.integers(200, 599)
TEXTS = st.one_of(
    st.text(),
    st.text(alphabet="ab \r\n\0é\t", max_size=2000),
    st.integers(0, 3000).map(lambda n: "word " * n),
)


@given(code=CODES, text=TEXTS, enhanced=st.booleans())
def test_whatever_the_text_what_leaves_is_a_legal_reply(code: int, text: str, enhanced: bool) -> None:
    reply = Reply(code, text)
    octets = reply.encode(enhanced)
    assert octets.endswith(b"\r\n")
    lines = octets[:-2].split(b"\r\n")
    assert 1 <= len(lines) <= 100
    status = re.escape(f"{reply.status} ").encode() if enhanced and reply.status else b""
    for number, line in enumerate(lines, 1):
        assert len(line) + 2 <= 512
        separator = b" " if number == len(lines) else b"-"
        assert re.fullmatch(rb"%d%s%s[ -~]*" % (code, separator, status), line)
    assert str(reply).isprintable()


@given(status=st.text(max_size=12))
def test_only_well_formed_statuses_are_taken(status: str) -> None:
    try:
        reply = Reply(550, status=status)
    except ValueError:
        return
    assert re.fullmatch(rb"550 5\.[0-9]{1,3}\.[0-9]{1,3} refused\r\n", reply.encode())
