"""Replies as a client reads them: lenient where RFC 5321 §4.2 lets it be, and the cutting never matters."""

import itertools

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mailstack.wire.answer import Answer, AnswerReader, ProtocolError
from mailstack.wire.reply import Reply


def read(*pieces: bytes, strict: bool = False) -> list[Answer]:
    reader = AnswerReader(strict=strict)
    answers = []
    for piece in pieces:
        reader.feed(piece)
        while (answer := reader.next_answer()) is not None:
            answers.append(answer)
    assert not reader.midway
    return answers


def cut(octets: bytes, at: list[int]) -> list[bytes]:
    borders = [0, *sorted(at), len(octets)]
    return [octets[a:b] for a, b in itertools.pairwise(borders)]


@pytest.mark.parametrize(
    ("octets", "code", "lines"),
    [
        (b"250 ok\r\n", 250, ("ok",)),
        (b"250\r\n", 250, ("",)),
        (b"250 \r\n", 250, ("",)),
        (b"250 ok\n", 250, ("ok",)),
        (b"250-a\r\n250-\r\n250 b\r\n", 250, ("a", "", "b")),
        (b"250-a\r\n250\r\n", 250, ("a", "")),
        (b"550 \xc3\xa4\xff\r\n", 550, ("ä\ufffd",)),
        (b"550 a\rb\r\n", 550, ("a\rb",)),
    ],
)
def test_a_reply_is_read_with_leniency(octets: bytes, code: int, lines: tuple[str, ...]) -> None:
    assert read(octets) == [Answer(code, lines)]


@pytest.mark.parametrize(
    ("octets", "why"),
    [
        (b"hello\r\n", "no reply"),
        (b"HTTP/1.1 400 Bad Request\r\n", "no reply"),
        (b"\r\n", "no reply"),
        (b"25 ok\r\n", "no reply"),
        (b"2500 ok\r\n", "no reply"),
        (b"\xd9\xa2\xd9\xa5\xd9\xa0 ok\r\n", "no reply"),  # digits, but not ASCII's
        (b"150 ok\r\n", "no reply"),
        (b"650 ok\r\n", "no reply"),
        (b"250_ok\r\n", "no reply"),
        (b"250-a\r\n251 b\r\n", "code changes"),
        (b"250-a\r\n", None),
        (b"250 " + b"x" * 4093, "more than 4096"),
        (b"250 " + b"x" * 4093 + b"\r\n", "4099 octets"),
        (b"250-x\r\n" * 129, "129 lines"),
        (b"250-" + b"x" * 4000 + b"\r\n", None),
        ((b"250-" + b"x" * 4000 + b"\r\n") * 17, "without end"),
    ],
)
def test_what_is_no_reply_is_an_error(octets: bytes, why: str | None) -> None:
    reader = AnswerReader()
    reader.feed(octets)
    if why is None:
        assert reader.next_answer() is None
        assert reader.midway
    else:
        with pytest.raises(ProtocolError, match=why):
            reader.next_answer()


def test_an_error_shows_nothing_unprintable() -> None:
    with pytest.raises(ProtocolError) as caught:
        read(b"\x1b[31m\0\xff\r\n")
    assert str(caught.value).isascii()
    assert str(caught.value).isprintable()


LINE = st.binary(max_size=20).map(lambda octets: octets.replace(b"\n", b"").replace(b"\r", b""))
REPLIES = st.lists(st.tuples(st.integers(200, 599), st.lists(LINE, min_size=1, max_size=4)), max_size=5)


@given(REPLIES, st.lists(st.integers(0, 400), max_size=20))
def test_however_it_is_cut_the_answers_are_the_same(replies: list[tuple[int, list[bytes]]], at: list[int]) -> None:
    wire = b""
    for code, (*lines, last) in replies:
        wire += b"".join(b"%d-%s\r\n" % (code, line) for line in lines) + b"%d %s\r\n" % (code, last)
    answers = read(*cut(wire, [min(place, len(wire)) for place in at]))
    wanted = [Answer(code, tuple(line.decode("utf-8", "replace") for line in lines)) for code, lines in replies]
    assert answers == wanted


@given(st.integers(200, 599), st.text(max_size=300))
def test_what_a_server_of_ours_says_passes_strictly_and_comes_back(code: int, text: str) -> None:
    reply = Reply(code, text)
    [answer] = read(reply.encode(), strict=True)
    assert answer.reply().encode() == reply.encode()


def test_the_status_counts_when_all_lines_have_it_and_it_fits_the_code() -> None:
    assert Answer(550, ("5.1.1 no", "5.1.1 user")).status == "5.1.1"
    assert Answer(550, ("5.1.1",)).status == "5.1.1"
    assert Answer(550, ("5.1.1 no", "user")).status is None
    assert Answer(550, ("4.1.1 no",)).status is None
    assert Answer(550, ("5.01.1 no",)).status is None


def test_an_answer_becomes_a_reply_that_can_be_passed_on() -> None:
    assert Answer(550, ("5.1.1 no", "5.1.1 user")).reply() == Reply(550, "no\nuser", status="5.1.1")
    assert Answer(250, ("fine",)).reply() == Reply(250, "fine")
    assert Answer(354, ("go",)).reply() == Reply(354, "go")
    assert Answer(599, ("",)).reply().status == "5.0.0"


def test_keywords_are_in_upper_case_and_the_old_form_of_auth_counts() -> None:
    lines = ("mx", "size 1000", "AUTH=LOGIN PLAIN", "AUTH PLAIN CRAM-MD5", "Pipelining ", "")
    assert Answer(250, lines).keywords == {"SIZE": "1000", "AUTH": "LOGIN PLAIN PLAIN CRAM-MD5", "PIPELINING": ""}


def test_what_was_not_read_can_be_discarded() -> None:
    reader = AnswerReader()
    reader.feed(b"250-a\r\n250-b")
    assert reader.next_answer() is None
    reader.discard()
    assert (reader.midway, reader.unread) == (False, b"")
