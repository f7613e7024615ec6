"""Header sections: where they end, what they say, and that an edit touches nothing else."""

import itertools
import re
from email import message_from_bytes, policy

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from mailstack.wire.header import Field, Header, HeaderSplitter, authserv_id, format_field

RECEIVED = b"Received: from a.example by b.example\r\n\twith ESMTP; Sun, 22 Nov 2026 10:00:00 +0000\r\n"
SUBJECT = b"SUBJECT : =?utf-8?q?caf=C3=A9?=   and\r\n \r\n  more  \r\n"
JUNK = b"this line is no field\r\n\tnor is its continuation: no\r\n"
FROM = b"From:a@example.org\r\n"
SUBJECT_2 = b"subject: second\r\n"
RAW = RECEIVED + SUBJECT + JUNK + FROM + SUBJECT_2
HEADER = Header(RAW)


def test_fields_are_seen_in_order_as_written_and_lines_without_a_name_are_not() -> None:
    assert HEADER.fields == (
        Field("Received", RECEIVED),
        Field("SUBJECT", SUBJECT),
        Field("From", FROM),
        Field("subject", SUBJECT_2),
    )
    assert b"".join(part.raw for part in HEADER.parts) == HEADER.raw == RAW
    assert len(HEADER) == 4


def test_names_are_found_without_case() -> None:
    assert HEADER.get("Subject") == "=?utf-8?q?caf=C3=A9?=   and   more"
    assert HEADER.get_all("subject") == ["=?utf-8?q?caf=C3=A9?=   and   more", "second"]
    assert HEADER.count("Subject") == 2
    assert "FROM" in HEADER
    assert "Fro" not in HEADER
    assert "" not in HEADER
    assert HEADER.get("To") is None
    assert HEADER.get("To", "nobody") == "nobody"
    assert HEADER.get_all("To") == []


def test_an_empty_section_has_nothing() -> None:
    assert not Header()
    assert Header().fields == ()
    assert Header().remove("From") == Header(b"")
    assert Header().append("A", "b").raw == b"A: b\r\n"


def test_equal_octets_are_equal_headers_whether_parsed_or_not() -> None:
    assert Header(RAW) == HEADER
    assert hash(Header(RAW)) == hash(HEADER)


VALUES = {
    b"A: plain\r\n": "plain",
    b"A:\r\n": "",
    b"A:\r\n \r\n": "",
    b"A: \t x \r\n\t y \t\r\n": "x \t y",
    b"A: last line without its end": "last line without its end",
    b"A: b: c\r\n": "b: c",
    "A: é\r\n".encode(): "é",
    b"A: \xe9!\r\n": "\ufffd!",
    b"A: bare\rCR\r\n": "bare\rCR",
}


@pytest.mark.parametrize(("raw", "value"), VALUES.items(), ids=repr)
def test_a_value_is_unfolded_stripped_and_read_as_utf_8(raw: bytes, value: str) -> None:
    header = Header(raw)
    assert header.get("a") == value
    assert header.fields == (Field("A", raw),)


DECODED = {
    "plain": "plain",
    "=?utf-8?q?caf=C3=A9_noir?= bar": "café noir bar",
    "=?ISO-8859-1?B?6Q?=": "é",  # missing padding
    "=?utf-8?b?w6k=?= =?utf-8?b?w6k=?= x": "éé x",
    "=?utf-8?b?w6k=?=\t  =?iso-8859-1?q?=E9?=": "éé",
    "=?utf-8?b?ww==?= =?utf-8?b?qQ==?=": "é",  # one character cut in two
    "=?utf-8*fr?q?caf=C3=A9?=": "café",
    "=?utf-8?q?=C3?=": "\ufffd",
    "=?no-such?q?x?=": "=?no-such?q?x?=",
    "=?hex?q?41?=": "=?hex?q?41?=",  # a codec, but no charset
    "=?punycode?q?a-b?=": "=?punycode?q?a-b?=",
    "=?utf-8?b?x?=": "=?utf-8?b?x?=",  # no base64
    "=?utf-8?x?x?=": "=?utf-8?x?x?=",
    "=?utf-8?q?x?": "=?utf-8?q?x?",
    "\u4e2d =?koi8-u?q?=C1?= \\u0041": "\u4e2d а \\u0041",
    "=?utf-8?q?a=0D=0AB:_c?=": "a\r\nB: c",
}


@pytest.mark.parametrize(("value", "decoded"), DECODED.items(), ids=repr)
def test_encoded_words_are_decoded_and_what_is_unreadable_stays(value: str, decoded: str) -> None:
    assert Field("Subject", f"Subject: {value}\r\n".encode()).decoded == decoded


@given(st.binary(max_size=60), st.sampled_from(["q", "b"]), st.text(max_size=10))
def test_decoding_never_fails(octets: bytes, encoding: str, charset: str) -> None:
    for word in (b"=?utf-8?" + encoding.encode() + b"?" + octets + b"?=", f"=?{charset}?q?=41?=".encode()):
        assert isinstance(Field("A", b"A: " + word + b"\r\n").decoded, str)


def test_prepend_puts_a_field_on_top() -> None:
    assert HEADER.prepend("X-Flag", "YES").raw == b"X-Flag: YES\r\n" + RAW
    assert HEADER.raw == RAW


def test_append_puts_a_field_at_the_end_and_ends_the_last_line_first() -> None:
    assert HEADER.append("X-Flag", "YES").raw == RAW + b"X-Flag: YES\r\n"
    assert Header(b"A: b").append("C", "d").raw == b"A: b\r\nC: d\r\n"


def test_replace_takes_the_place_of_the_first_or_appends() -> None:
    assert HEADER.replace("Subject", "x").raw == RECEIVED + b"Subject: x\r\n" + JUNK + FROM + SUBJECT_2
    assert HEADER.replace("X-Flag", "x").raw == RAW + b"X-Flag: x\r\n"
    assert Header(b"A: b").replace("a", "c").raw == b"a: c\r\n"


def test_what_is_put_in_front_leaves_the_octets_of_the_value() -> None:
    odd = Header(b"A: b\r\nsubject:  \xff\r\n\tb\r\nSubject: c\r\n")
    assert odd.put_in_front("Subject", "[x]").raw == b"A: b\r\nSubject: [x] \xff\r\n\tb\r\nSubject: c\r\n"
    assert Header(b"A: b\r\n").put_in_front("Subject", "ü").raw == b"A: b\r\nSubject: =?utf-8?b?w7w=?=\r\n"
    with pytest.raises(ValueError, match="control"):
        odd.put_in_front("Subject", "a\nb")


def test_replace_of_one_of_two_equal_fields_touches_only_the_first() -> None:
    assert Header(b"A: b\r\nA: b\r\n").replace("A", "c").raw == b"A: c\r\nA: b\r\n"


REMOVED = {
    None: RECEIVED + JUNK + FROM,
    0: RECEIVED + JUNK + FROM + SUBJECT_2,
    1: RECEIVED + SUBJECT + JUNK + FROM,
    -1: RECEIVED + SUBJECT + JUNK + FROM,
    -2: RECEIVED + JUNK + FROM + SUBJECT_2,
    2: RAW,
    -3: RAW,
}


@pytest.mark.parametrize("index", REMOVED)
def test_remove_takes_all_or_the_one_that_is_meant(index: int | None) -> None:
    assert HEADER.remove("Subject", index).raw == REMOVED[index]


def test_removing_what_is_not_there_changes_nothing() -> None:
    assert HEADER.remove("To") is HEADER
    assert HEADER.remove("this line is no field") is HEADER
    assert HEADER.remove("") is HEADER


def test_rename_changes_the_name_and_no_other_octet() -> None:
    renamed = HEADER.rename("Subject", "X-Old-Subject").raw
    assert (
        renamed == RECEIVED + SUBJECT.replace(b"SUBJECT", b"X-Old-Subject") + JUNK + FROM + b"X-Old-Subject: second\r\n"
    )
    with pytest.raises(ValueError, match="not a header field name"):
        HEADER.rename("Subject", "X: y")


def test_a_formatted_block_goes_on_top_as_it_is() -> None:
    assert Header(FROM).prepend_raw(RECEIVED).raw == RECEIVED + FROM


@pytest.mark.parametrize(
    "block",
    [
        b"",
        b"A: b",
        b"A: b\n",
        b"A: b\r\n\r\n",
        b"\r\n",
        b" A: b\r\n",
        b"no name\r\n",
        b"A: b\nC: d\r\n",
        b"A: b\rC: d\r\n",
        b"A: \0\r\n",
        b"A: b\r x \nC\r\n",
    ],
    ids=repr,
)
def test_a_block_that_is_not_whole_fields_is_refused(block: bytes) -> None:
    with pytest.raises(ValueError, match="not a block"):
        HEADER.prepend_raw(block)


names = st.sampled_from(["A", "Subject", "X-Long-Name", "b"])
lines = st.binary(max_size=12).map(lambda octets: octets.replace(b"\r", b"").replace(b"\n", b""))
spaced_names = st.tuples(names, st.sampled_from([b":", b" :", b": ", b":\t"])).map(lambda it: it[0].encode() + it[1])
folds = st.lists(st.tuples(st.sampled_from([b" ", b"\t"]), lines).map(b"".join), max_size=3)
field_octets = st.tuples(spaced_names, lines, folds).map(lambda it: b"\r\n".join([it[0] + it[1], *it[2]]) + b"\r\n")
junk_octets = st.tuples(st.sampled_from([b"junk", b"(", b"a b: c"]), folds).map(
    lambda it: b"\r\n".join([it[0], *it[1]]) + b"\r\n"
)
sections = st.lists(st.one_of(field_octets, junk_octets), max_size=8)


@given(sections)
def test_parsing_finds_exactly_the_parts_that_were_joined(parts: list[bytes]) -> None:
    assert [part.raw for part in Header(b"".join(parts)).parts] == parts


@given(sections, names, st.integers(-3, 3))
def test_edits_never_change_the_octets_of_other_fields(parts: list[bytes], name: str, index: int) -> None:
    header = Header(b"".join(parts))
    of_name = [i for i, part in enumerate(header.parts) if part.name.lower() == name.lower()]
    new = b"%s: new\r\n" % name.encode()

    def without(*gone: int) -> bytes:
        return b"".join(part for i, part in enumerate(parts) if i not in gone)

    assert header.prepend(name, "new").raw == new + header.raw
    assert header.append(name, "new").raw == header.raw + new
    assert header.remove(name).raw == without(*of_name)
    assert header.remove(name, index).raw == without(*of_name[index:][: -len(of_name) <= index])
    replaced = [new if i in of_name[:1] else part for i, part in enumerate(parts)]
    assert header.replace(name, "new").raw == b"".join(replaced) + (b"" if of_name else new)
    renamed = [b"New" + part[len(name) :] if i in of_name else part for i, part in enumerate(parts)]
    assert header.rename(name, "New").raw == b"".join(renamed)
    assert header.raw == b"".join(parts)


FORMATTED = {
    ("A", "b"): b"A: b\r\n",
    ("A", ""): b"A:\r\n",
    ("A", "  b \t"): b"A: b\r\n",
    ("A", "b\r\n\tc"): b"A: b\r\n\tc\r\n",
    ("A", "b\r\n c\r\n d"): b"A: b\r\n c\r\n d\r\n",
    ("A", "\r\n b"): b"A:\r\n b\r\n",
    ("A", "b\tc"): b"A: b\tc\r\n",
    ("A" * 90, "b"): b"A" * 90 + b": b\r\n",
    ("A" * 90, "\r\n b"): b"A" * 90 + b":\r\n b\r\n",
    ("A", "x" * 90): b"A: " + b"x" * 90 + b"\r\n",
    ("A", "x" * 74 + " y z"): b"A: " + b"x" * 74 + b"\r\n y z\r\n",
    ("A", "x" * 75 + " \ty" + " z" * 40): b"A: " + b"x" * 75 + b"\r\n \ty" + b" z" * 37 + b"\r\n" + b" z" * 3 + b"\r\n",
    ("A", "b" * 70 + "  c d e f   \r\n g"): b"A: " + b"b" * 70 + b"  c d\r\n e f   \r\n g\r\n",
    ("Subject", "café"): b"Subject: =?utf-8?b?Y2Fmw6k=?=\r\n",
}


@pytest.mark.parametrize(("name", "value"), FORMATTED, ids=repr)
def test_a_field_is_folded_at_blanks_and_keeps_its_own_folding(name: str, value: str) -> None:
    assert format_field(name, value) == FORMATTED[name, value]


@pytest.mark.parametrize("name", ["", "A:", "A B", "A\r\nB", "Ä", "A\0", "A\n", " A"], ids=repr)
def test_a_name_that_is_not_ftext_is_refused(name: str) -> None:
    with pytest.raises(ValueError, match="not a header field name"):
        format_field(name, "x")


@pytest.mark.parametrize(
    "value",
    [
        "a\r\nB: c",
        "a\nb",
        "a\rb",
        "a\n b",
        "a\r b",
        "a\0",
        "a\x7f",
        "a\x85b",
        "a\u2028b",
        "é\r\nB: c",
        "a\r\n",
        "a\r\n \r\n b",  # a line of blanks only ends the section for some readers
        "a\r\n \r\nB: c",
        "a\r\n\r\n b",
        "a\r\r\n b",
        "\r\n",
        "a\x1b[2J",
    ],
    ids=repr,
)
@pytest.mark.parametrize("utf8", [False, True])
def test_a_value_that_would_be_more_than_one_field_is_refused(value: str, utf8: bool) -> None:
    with pytest.raises(ValueError, match="control character"):
        format_field("A", value, utf8)


def test_a_line_that_cannot_be_folded_below_998_octets_is_refused() -> None:
    assert len(format_field("A", "x" * 995)) == 1000
    for value in ("x" * 996, "a " + "x" * 998, "é" * 498):
        with pytest.raises(ValueError, match="exceed 998"):
            format_field("A", value, utf8=True)


def test_what_is_not_ascii_is_utf_8_only_where_allowed() -> None:
    assert format_field("Subject", "café", utf8=True) == "Subject: café\r\n".encode()
    long = "Grüße, " * 40
    encoded = format_field("Subject", long)
    assert encoded.isascii()
    assert max(map(len, encoded.split(b"\r\n"))) <= 78
    assert Field("Subject", encoded).decoded == long.strip()
    assert Field("Subject", format_field("Subject", "é\r\n x")).decoded == "é x"
    for utf8 in (False, True):
        with pytest.raises(ValueError, match="surrogate"):
            format_field("Subject", "\udce9", utf8)


printable = st.text(st.characters(exclude_categories=["Cc", "Cs", "Zl", "Zp"]), max_size=200)


@given(st.one_of(st.lists(printable.filter(str.isascii), max_size=9).map("  ".join), printable), st.booleans())
@example("x " * 100, False)
def test_a_built_field_reads_back_as_one_field_with_its_value(value: str, utf8: bool) -> None:
    value = value.strip(" \t")
    raw = format_field("Subject", value, utf8)
    header = Header(raw + FROM)
    assert [part.name for part in header.parts] == ["Subject", "From"]
    if utf8 or value.isascii():
        assert header.get("Subject") == value
    else:
        assert header.parts[0].decoded == value
    assert message_from_bytes(raw + FROM, policy=policy.compat32)["From"] == "a@example.org"
    assert not any(re.fullmatch(rb"[ \t]*", line) for line in raw[:-2].split(b"\r\n"))


# --- where the section ends


def split(pieces: list[bytes], **limits: int) -> tuple[bytes, bytes, bool, bool, str | None]:
    splitter = HeaderSplitter(**limits)
    body = b"".join([*map(splitter.feed, pieces), splitter.finish()])
    return splitter.raw, body, splitter.separator, splitter.complete, splitter.fault


# Message: section, body, whether the empty line was there.
SPLIT = {
    b"A: b\r\n\r\nbody": (b"A: b\r\n", b"body", True),
    b"A: b\r\n\r\n": (b"A: b\r\n", b"", True),
    b"A: b\r\n\r\n\r\nbody\r\n\r\n": (b"A: b\r\n", b"\r\nbody\r\n\r\n", True),
    b"A: b\r\n \r\nC: d\r\n\r\nbody": (b"A: b\r\n \r\nC: d\r\n", b"body", True),
    b"A: b\r\nno field\r\n\r\nbody": (b"A: b\r\nno field\r\n", b"body", True),
    b"A: b\r\n": (b"A: b\r\n", b"", False),
    b"A: b": (b"A: b", b"", False),
    b"A: b\r\n\r": (b"A: b\r\n\r", b"", False),
    b"A :b\r\n\r\nc": (b"A :b\r\n", b"c", True),
    b"\r\nbody: x\r\n\r\n": (b"", b"body: x\r\n\r\n", True),
    b"\r\n": (b"", b"", True),
    b"": (b"", b"", False),
    b"\r": (b"", b"\r", False),
    b"\rA: b\r\n\r\n": (b"", b"\rA: b\r\n\r\n", False),
    b"\n\r\n\r\n": (b"", b"\n\r\n\r\n", False),
    b"Hello\r\n\r\nbody": (b"", b"Hello\r\n\r\nbody", False),
    b"Hello": (b"", b"Hello", False),
    b"Hello ": (b"", b"Hello ", False),
    b" A: b\r\n\r\nbody": (b"", b" A: b\r\n\r\nbody", False),
    b"\tA: b\r\n\r\nbody": (b"", b"\tA: b\r\n\r\nbody", False),
    b": b\r\n\r\nbody": (b"", b": b\r\n\r\nbody", False),
    b"From a@example.org Sun Nov 22 10:00:00 2026\r\nA: b\r\n\r\n": (
        b"",
        b"From a@example.org Sun Nov 22 10:00:00 2026\r\nA: b\r\n\r\n",
        False,
    ),
    "Ä: b\r\n\r\n".encode(): (b"", "Ä: b\r\n\r\n".encode(), False),
}


@pytest.mark.parametrize("message", SPLIT, ids=repr)
def test_a_section_ends_before_the_first_empty_line_however_it_is_cut(message: bytes) -> None:
    raw, body, separator = SPLIT[message]
    expected = (raw, body, separator, True, None)
    assert split([message]) == expected
    assert split([message[i : i + 1] for i in range(len(message))]) == expected
    for a, b in itertools.combinations_with_replacement(range(len(message) + 1), 2):
        assert split([message[:a], message[a:b], message[b:]]) == expected


def test_a_name_that_does_not_end_in_a_line_is_no_field() -> None:
    for length, named in ((997, True), (998, False), (5000, False)):
        message = b"a" * length + b": b\r\n\r\n"
        expected = (message[:-2], b"", True) if named else (b"", message, False)
        for size in (1, 1000, len(message)):
            pieces = [message[i : i + size] for i in range(0, len(message), size)]
            assert split(pieces)[:3] == expected


def test_octets_after_the_section_pass_as_they_are() -> None:
    splitter = HeaderSplitter()
    splitter.feed(b"A: b\r\n\r\n")
    body = b"more"
    assert splitter.feed(body) is body
    assert splitter.finish() == b""


LIMITED = {
    b"A: b\r\n\r\nbody": None,  # 6 octets of 6
    b"A: bc\r\n\r\nbody": "header section too large",
    b"A: b\r\n": None,
    b"A: bc\r\n": "header section too large",
    b"A: bc\r\n" * 9: "header section too large",
    b"\r\nbody body body": None,
    b"body body body": None,
}


@pytest.mark.parametrize("message", LIMITED, ids=repr)
def test_a_section_that_is_too_large_is_a_fault_and_nothing_is_kept(message: bytes) -> None:
    for size in range(1, len(message) + 1):
        pieces = [message[i : i + size] for i in range(0, len(message), size)]
        raw, body, separator, complete, fault = split(pieces, max_size=6)
        assert fault == LIMITED[message]
        if fault:
            assert (raw, body, separator, complete) == (b"", b"", False, False)


def test_a_line_that_is_too_long_is_a_fault_and_folding_makes_two_lines_of_one() -> None:
    assert split([b"A: bc\r\n def\r\n\r\nbody"], max_line=5)[4] is None
    for message in (b"A: bcd\r\n\r\nbody", b"A: b\r\n 12345\r\n\r\nbody", b"A: bcd"):
        for pieces in ([message], [message[i : i + 1] for i in range(len(message))]):
            assert split(pieces, max_line=5) == (b"", b"", False, False, "header line too long")


thick = st.lists(
    st.sampled_from([b"\r", b"\n", b"\r\n", b"\r\n\r\n", b" ", b":", b"A: b\r\n", b"From ", b"x", b"\xff"]), max_size=12
).map(b"".join)


@given(thick, st.lists(st.integers(0, 40), max_size=8), st.integers(1, 40), st.integers(1, 20))
def test_any_cutting_splits_alike(message: bytes, at: list[int], max_size: int, max_line: int) -> None:
    borders = [0, *sorted(i for i in at if i <= len(message)), len(message)]
    pieces = [message[a:b] for a, b in itertools.pairwise(borders)]
    whole = split([message], max_size=max_size, max_line=max_line)
    assert split(pieces, max_size=max_size, max_line=max_line) == whole
    raw, body, separator, _, fault = whole
    if fault is None:
        assert raw + (b"\r\n" if separator else b"") + body == message
        assert b"\r\n\r\n" not in raw


# --- Authentication-Results

OURS = "mx.example.org"
CLAIMS = {
    "mx.example.org; spf=pass smtp.mailfrom=a": OURS,
    "mx.example.org 1; none": OURS,
    "mx.example.org": OURS,
    "mx.example.org;none": OURS,
    "MX.Example.ORG; none": OURS,
    "(a comment) mx.example.org; none": OURS,
    "(a (nested \\) one) here)\t(and another)mx.example.org(x); none": OURS,
    '"mx.example.org"; none': OURS,
    '"mx.ex\\ample.org" 1; none': OURS,
    '(x) " mx.example.org "; none': OURS,
    "\x0b mx.example.org; none": OURS,
    "mx.example.org/1; none": OURS,
    "other.example; mx.example.org=pass": "other.example",
    "mx.example.org.example; none": "mx.example.org.example",
    "xmx.example.org; none": "xmx.example.org",
    "müll.example; none": "müll.example",
    "(mx.example.org) other.example; none": "other.example",
    "": "",
    "; none": "",
    "(not closed mx.example.org; none": "",
    "(not closed \\)": "",
    '"not closed mx.example.org; none': "",
    ") mx.example.org": "",
    "\\(mx.example.org": "",
}


@pytest.mark.parametrize("value", CLAIMS, ids=repr)
def test_the_authserv_id_is_found_behind_comments_folding_and_quotes(value: str) -> None:
    assert authserv_id(value) == CLAIMS[value]


@given(st.text(alphabet='()\\" ;ab.\t'))
def test_reading_an_authserv_id_never_fails(value: str) -> None:
    found = authserv_id(value)
    assert found == found.strip().lower()


FORGED = [
    b"Authentication-Results: mx.example.org; spf=pass\r\n",
    b"AUTHENTICATION-results :\r\n\t(hidden)\r\n\tmx.EXAMPLE.org\r\n\t; spf=pass\r\n",
    b'Authentication-Results: "mx.example.\\org"; dkim=pass\r\n',
    b"Authentication-Results: mx.example.org.; spf=pass\r\n",
    b"Authentication-Results: (open mx.example.org; spf=pass\r\n",
]
GENUINE = [
    b"Authentication-Results: other.example; spf=pass\r\n\tsmtp.mailfrom=mx.example.org\r\n",
    b"Authentication-Results: (open; spf=pass\r\n",
    b"ARC-Authentication-Results: i=1; mx.example.org; spf=pass\r\n",
    b"X-Authentication-Results: mx.example.org; spf=pass\r\n",
    b"Subject: Authentication-Results: mx.example.org\r\n",
]


@pytest.mark.parametrize("hostname", ["mx.example.org", "MX.example.ORG", "mx.example.org."])
def test_results_that_claim_to_be_ours_are_removed_and_no_others(hostname: str) -> None:
    mixed = [octets for pair in zip(FORGED, GENUINE, strict=True) for octets in pair]
    assert Header(b"".join(mixed)).without_results_of(hostname).raw == b"".join(GENUINE)


@pytest.mark.parametrize("name", ["bücher.example", "BÜCHER.example.", "bu\u0308cher.example", "xn--bcher-kva.example"])
def test_results_that_claim_to_be_ours_in_either_form_of_an_international_name_are_removed(name: str) -> None:
    forged = Header(f"Authentication-Results: {name}; spf=pass\r\n".encode())
    assert forged.without_results_of("xn--bcher-kva.example").raw == b""
    assert forged.without_results_of("xn--mll-hoa.example") is forged


@pytest.mark.parametrize("name", ["ü" * 70_000, "a\ud800b"])
def test_results_of_a_name_that_is_none_stay(name: str) -> None:
    header = Header(b"Authentication-Results: " + name.encode("utf-8", "surrogatepass") + b"; spf=pass\r\n")
    assert header.without_results_of(OURS) is header


def test_a_section_without_forged_results_stays_the_same_object() -> None:
    for header in (HEADER, Header(b"".join(GENUINE))):
        assert header.without_results_of(OURS) is header


@pytest.mark.parametrize(
    "piece", [b"a", b" ", b"a ", b"a:", b"\r", b"\n", b"\r\n", b"\r\n ", b"\r\n\t:", b"a\r\n", b"\r\r\n"]
)
@pytest.mark.parametrize("start", [b"", b"a", b"A:", b"A "])
def test_a_hostile_section_is_not_expensive_and_keeps_its_octets(start: bytes, piece: bytes) -> None:
    """64 KiB of what makes patterns backtrack."""
    raw = start + piece * (2**16 // len(piece))
    assert b"".join(part.raw for part in Header(raw).parts) == raw
    assert all(part.raw for part in Header(raw).parts)
