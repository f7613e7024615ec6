"""DATA and BDAT decoders: what ends a message, what is faulty, and that the cutting never matters."""

import itertools

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from mailstack.wire.body import ChunkDecoder, DataDecoder

Outcome = tuple[bytes, str | None, bool, bytes, int]


def lines_of(octets: bytes, normalise: bool) -> tuple[bytes, str | None]:
    """The oracle's line-end rule, octet by octet: what is delivered, and the first fault."""
    out = bytearray()
    i = 0
    while i < len(octets):
        if octets[i : i + 2] == b"\r\n":
            out += b"\r\n"
            i += 2
            continue
        octet = octets[i : i + 1]
        if octet in (b"\r", b"\n", b"\0"):
            if not normalise:
                return bytes(out), {b"\r": "bare CR", b"\n": "bare LF", b"\0": "NUL"}[octet]
            out += b"" if octet == b"\0" else b"\r\n"
        else:
            out += octet
        i += 1
    return bytes(out), None


def data_oracle(stream: bytes, normalise: bool = False) -> Outcome:
    """RFC 5321 §4.5.2 read literally: real lines, one at a time, until the line that is a dot."""
    unstuffed = b""
    rest = stream
    while True:
        line, found, rest = rest.partition(b"\r\n")
        assert found, "the oracle wants a whole message"
        if line == b".":
            octets, fault = lines_of(unstuffed, normalise)
            return octets, fault, True, rest, len(octets)
        unstuffed += (line[1:] if line.startswith(b".") else line) + b"\r\n"


def decode(pieces: list[bytes], normalise: bool = False) -> Outcome:
    decoder = DataDecoder(normalise)
    out = b""
    while not decoder.done:
        if not pieces:
            return out, decoder.fault, False, decoder.trailing, decoder.size
        decoded = decoder.feed(pieces[0])
        assert decoder.fault is None or not decoded or len(out + decoded) == decoder.size
        out += decoded
        pieces = pieces[1:]
    return out, decoder.fault, True, decoder.trailing + b"".join(pieces), decoder.size


def cut(stream: bytes, at: list[int]) -> list[bytes]:
    borders = [0, *sorted(at), len(stream)]
    return [stream[a:b] for a, b in itertools.pairwise(borders)]


# What stands between "a" and the genuine end: does it end the message, what is delivered, what is the fault.
BETWEEN = {
    "CRLF . CRLF": (b"\r\n.\r\n", True, b"a\r\n", None),
    "LF . CRLF": (b"\n.\r\n", False, b"a", "bare LF"),
    "LF . LF": (b"\n.\n", False, b"a", "bare LF"),
    "CRLF . LF": (b"\r\n.\n", False, b"a\r\n", "bare LF"),
    "CRLF . CR": (b"\r\n.\r", False, b"a\r\n", "bare CR"),
    "CR . CRLF": (b"\r.\r\n", False, b"a", "bare CR"),
    "CR . CR": (b"\r.\r", False, b"a", "bare CR"),
    "LF . CR": (b"\n.\r", False, b"a", "bare LF"),
    "CR . LF": (b"\r.\n", False, b"a", "bare CR"),
    "CR x LF": (b"\rx\n", False, b"a", "bare CR"),
    "CRLF . CR CRLF": (b"\r\n.\r\r\n", False, b"a\r\n", "bare CR"),
    "CRLF . SP CRLF": (b"\r\n. \r\n", False, b"a\r\n \r\nb\r\n", None),
    "CRLF NUL . CRLF": (b"\r\n\0.\r\n", False, b"a\r\n", "NUL"),
    "CRLF . NUL CRLF": (b"\r\n.\0\r\n", False, b"a\r\n", "NUL"),
    "CR CRLF . CRLF": (b"\r\r\n.\r\n", True, b"a", "bare CR"),
    "CRLF .. CRLF": (b"\r\n..\r\n", False, b"a\r\n.\r\nb\r\n", None),
    "CRLF ... CRLF": (b"\r\n...\r\n", False, b"a\r\n..\r\nb\r\n", None),
    "CRLF .x CRLF": (b"\r\n.x\r\n", False, b"a\r\nx\r\nb\r\n", None),
    "CRLF CRLF": (b"\r\n\r\n", False, b"a\r\n\r\nb\r\n", None),
    "CR": (b"\r", False, b"a", "bare CR"),
    "LF": (b"\n", False, b"a", "bare LF"),
    "LF CR": (b"\n\r", False, b"a", "bare LF"),
    "NUL": (b"\0", False, b"a", "NUL"),
    "NUL LF": (b"\0\n", False, b"a", "NUL"),
}
GENUINE_END = b"b\r\n.\r\n"
SMUGGLED = b"MAIL FROM:<x@example.org>\r\n"


@pytest.mark.parametrize("trailing", [b"", SMUGGLED, b".\r\n", b"\n"], ids=["alone", "command", "dot", "LF"])
@pytest.mark.parametrize("name", BETWEEN)
def test_only_the_genuine_end_of_data_ends_it_however_it_is_cut(name: str, trailing: bytes) -> None:
    between, ends, octets, fault = BETWEEN[name]
    stream = b"a" + between + GENUINE_END + trailing
    rest = GENUINE_END + trailing if ends else trailing
    expected = (octets, fault, True, rest, len(octets))
    assert data_oracle(stream) == expected
    assert decode([stream]) == expected
    assert decode([stream[i : i + 1] for i in range(len(stream))]) == expected
    for at in itertools.combinations_with_replacement(range(len(stream) + 1), 2):
        assert decode(cut(stream, list(at))) == expected, at


@pytest.mark.parametrize("name", BETWEEN)
def test_normalised_data_ends_at_the_same_octet_and_is_never_faulty(name: str) -> None:
    between, ends, _, _ = BETWEEN[name]
    stream = b"a" + between + GENUINE_END
    expected = data_oracle(stream, normalise=True)
    assert expected[1] is None
    assert expected[3] == (GENUINE_END if ends else b"")
    assert decode([stream], normalise=True) == expected
    for at in itertools.combinations_with_replacement(range(len(stream) + 1), 2):
        assert decode(cut(stream, list(at)), normalise=True) == expected, at


NORMALISED = {
    b"a\nb\r\n.\r\n": b"a\r\nb\r\n",
    b"a\rb\r\n.\r\n": b"a\r\nb\r\n",
    b"a\0b\r\n.\r\n": b"ab\r\n",
    b"a\n\r\r\n.\r\n": b"a\r\n\r\n\r\n",
    b"a\n.\r\nb\r\n.\r\n": b"a\r\n.\r\nb\r\n",  # a terminator look-alike is data, and stays so
    b"a\n..b\r\n.\r\n": b"a\r\n..b\r\n",  # no line begins after a bare LF, so nothing is unstuffed
    b"a\r\n.\n.\r\n.\r\n": b"a\r\n\r\n.\r\n",  # unstuffed on the wire first, line ends mended after
    b"a\r\0\nb\r\n.\r\n": b"a\r\n\r\nb\r\n",  # NUL goes last: it cannot join a CR and a LF
    b"\r\n\0.\r\n.\r\n": b"\r\n.\r\n",
}


@pytest.mark.parametrize(("stream", "octets"), NORMALISED.items(), ids=repr)
def test_normalising_mends_line_ends_as_data(stream: bytes, octets: bytes) -> None:
    assert decode([stream], normalise=True) == (octets, None, True, b"", len(octets))


EMPTY_AND_EARLY = {
    b".\r\n": (b"", b""),
    b".\r\nQUIT\r\n": (b"", b"QUIT\r\n"),
    b".\r\n.\r\n": (b"", b".\r\n"),
    b"\r\n.\r\n": (b"\r\n", b""),
    b"..\r\n.\r\n": (b".\r\n", b""),
    b".x\r\n.\r\n": (b"x\r\n", b""),
    b"..x\r\n.\r\n": (b".x\r\n", b""),
    b"a\r\n..\r\n..\r\n.\r\n..\r\n": (b"a\r\n.\r\n.\r\n", b"..\r\n"),
}


@pytest.mark.parametrize(("stream", "expected"), EMPTY_AND_EARLY.items(), ids=repr)
def test_a_dot_at_the_very_start_counts_as_the_start_of_a_line(stream: bytes, expected: tuple[bytes, bytes]) -> None:
    octets, trailing = expected
    for pieces in ([stream], [stream[i : i + 1] for i in range(len(stream))]):
        assert decode(pieces) == (octets, None, True, trailing, len(octets))


@pytest.mark.parametrize("partial", [b"", b".", b".\r", b"a\r\n", b"a\r\n.", b"a\r\n.\r", b"a\r\n.\n", b"a\n.\r\n"])
def test_data_without_its_end_is_not_done(partial: bytes) -> None:
    decoder = DataDecoder()
    decoder.feed(partial)
    assert not decoder.done
    assert decoder.trailing == b""


def test_no_octet_is_delivered_after_a_fault_and_the_decoder_reads_to_the_end() -> None:
    decoder = DataDecoder()
    assert decoder.feed(b"good\r\nbad\nworse") == b"good\r\nbad"
    assert decoder.fault == "bare LF"
    assert decoder.feed(b"more\r\n\0\r\n.\r") == b""
    assert not decoder.done
    assert decoder.feed(b"\nRSET\r\n") == b""
    assert (decoder.done, decoder.trailing, decoder.fault, decoder.size) == (True, b"RSET\r\n", "bare LF", 9)


def test_all_octets_but_four_are_delivered_at_once() -> None:
    stream = b"a\r\n.b\r\n..\r\nlong line\r\n.\r"
    for length in range(1, len(stream) + 1):
        decoder = DataDecoder()
        assert len(data_oracle(stream[:length] + b"\r\n.\r\n")[0]) - len(decoder.feed(stream[:length])) <= 4 + 2


def test_feeding_data_after_its_end_is_a_mistake() -> None:
    decoder = DataDecoder()
    decoder.feed(b".\r\n")
    with pytest.raises(RuntimeError, match="ended"):
        decoder.feed(b"x")


# Streams thick with what matters: most random octets would test nothing.
thick = st.lists(st.sampled_from([b"\r", b"\n", b".", b"\0", b"a", b"\r\n", b"\r\n.", b"xyz", b"\r\n.\r\n"])).map(
    b"".join
)
borders = st.lists(st.integers(0, 60), max_size=12)


@given(thick, borders, st.booleans())
@example(b"\r", [0, 1, 2, 3], True)
def test_any_cutting_of_data_decodes_as_the_oracle_does(stream: bytes, at: list[int], normalise: bool) -> None:
    stream += b"\r\n.\r\n"
    assert decode(cut(stream, [i for i in at if i <= len(stream)]), normalise) == data_oracle(stream, normalise)


@given(st.binary(max_size=200), st.integers(1, 40))
def test_stuffed_octets_come_back_unstuffed(octets: bytes, length: int) -> None:
    text = octets.replace(b"\r", b"").replace(b"\n", b"\r\n").replace(b"\0", b"") + b"\r\n"
    wire = (b"\r\n" + text).replace(b"\r\n.", b"\r\n..")[2:] + b".\r\n"
    pieces = [wire[i : i + length] for i in range(0, len(wire), length)]
    assert decode(pieces) == (text, None, True, b"", len(text))


def chunked(
    chunks: list[bytes], length: int, normalise: bool = False, follow: bytes = b"", *, binary: bool = False
) -> tuple[bytes, str | None]:
    """Feed a message's chunks in pieces of `length` octets, the last followed at once by `follow`."""
    decoder = ChunkDecoder(normalise, binary=binary)
    out = b""
    for i, chunk in enumerate(chunks):
        last = i == len(chunks) - 1
        out += decoder.start(len(chunk), last)
        for j in range(0, len(chunk), length):
            assert not decoder.done
            out += decoder.feed(chunk[j : j + length] + (follow if j + length >= len(chunk) else b""))
        assert decoder.done
        assert decoder.trailing == (follow if chunk else b"")
    assert decoder.size == len(out)
    return out, decoder.fault


CHUNKED = {
    "one chunk": ([b"a\r\n.\r\nb\r\n"], b"a\r\n.\r\nb\r\n", None),
    "no dot handling": ([b"..\r\n", b".\r\n"], b"..\r\n.\r\n", None),
    "CRLF over the border": ([b"a\r", b"\nb\r\n"], b"a\r\nb\r\n", None),
    "CRLF over an empty chunk": ([b"a\r", b"", b"\n"], b"a\r\n", None),
    "empty last chunk": ([b"a\r\n", b""], b"a\r\n", None),
    "empty message": ([b""], b"", None),
    "no line end at the end": ([b"a"], b"a", None),
    "CR at the very end": ([b"a\r"], b"a", "bare CR"),
    "CR before an empty last chunk": ([b"a\r", b""], b"a", "bare CR"),
    "CR at the end of a chunk": ([b"a\r", b"b\r\n"], b"a", "bare CR"),
    "LF at the start of a chunk": ([b"a", b"\nb\r\n"], b"a", "bare LF"),
    "LF at the very start": ([b"\na\r\n"], b"", "bare LF"),
    "NUL": ([b"a\0b\r\n"], b"a", "NUL"),
    "two CR": ([b"a\r\r\n"], b"a", "bare CR"),
}


@pytest.mark.parametrize("length", [1, 2, 3, 100])
@pytest.mark.parametrize("name", CHUNKED)
def test_chunks_join_to_one_message_whatever_the_pieces(name: str, length: int) -> None:
    chunks, octets, fault = CHUNKED[name]
    assert chunked(chunks, length) == (octets, fault)
    assert chunked(chunks, length, follow=b"BDAT 5 LAST\r\n") == (octets, fault)


@given(st.lists(thick, min_size=1, max_size=5), st.integers(1, 9), st.booleans())
@example([b"\r", b""], 1, True)
@example([b"\r", b"\0", b"\n"], 1, True)
def test_any_chunking_decodes_as_the_oracle_does(chunks: list[bytes], length: int, normalise: bool) -> None:
    assert chunked(chunks, length, normalise) == lines_of(b"".join(chunks), normalise)


def binary_oracle(octets: bytes) -> tuple[bytes, str | None]:
    """RFC 3030 §3: lines up to the first empty one, and free octets below it."""
    blank = (b"\r\n" + octets).find(b"\r\n\r\n")
    head = octets if blank < 0 else octets[: blank + 2]
    lines, fault = lines_of(head, normalise=False)
    return (lines, fault) if fault else (octets, None)


BINARY = {
    "free below the empty line": ([b"A: b\r\n\r\n\r\n\0\n.\r\n\r"], None),
    "the empty line over borders": ([b"A: b\r", b"\n\r", b"", b"\n\0\r\n\n"], None),
    "an empty line at the start": ([b"\r\n\0"], None),
    "an empty line at the start, cut": ([b"\r", b"\n", b"\0"], None),
    "no empty line": ([b"A: b\r\n"], None),
    "nothing": ([b""], None),
    "CR at the end of the body": ([b"\r\nx\r", b""], None),
    "NUL in the header section": ([b"A: \0b\r\n\r\n\0"], "NUL"),
    "LF LF is no empty line": ([b"A: b\n\nx"], "bare LF"),
    "CR CRLF CRLF": ([b"A: b\r\r\n\r\nx"], "bare CR"),
    "CR at the end of the header section": ([b"A: b\r", b""], "bare CR"),
    "CRLF CR": ([b"A: b\r\n\rx"], "bare CR"),
}


@pytest.mark.parametrize("normalise", [False, True])
@pytest.mark.parametrize("length", [1, 2, 3, 100])
@pytest.mark.parametrize("name", BINARY)
def test_a_binary_message_has_a_sound_header_section_and_a_free_body(name: str, length: int, normalise: bool) -> None:
    chunks, fault = BINARY[name]
    expected = binary_oracle(b"".join(chunks))
    assert expected[1] == fault
    assert chunked(chunks, length, normalise, b"NOOP\r\n", binary=True) == expected


@given(st.lists(thick, min_size=1, max_size=5), st.integers(1, 9), st.booleans())
@example([b"\r\n", b"\r"], 1, True)
def test_any_chunking_of_a_binary_message_decodes_as_the_oracle_does(
    chunks: list[bytes], length: int, normalise: bool
) -> None:
    for lead in (b"", b"A: b\r\n"):
        assert chunked([lead, *chunks], length, normalise, binary=True) == binary_oracle(lead + b"".join(chunks))


def test_a_faulty_chunk_still_consumes_exactly_its_octets() -> None:
    decoder = ChunkDecoder()
    decoder.start(6, last=False)
    assert decoder.feed(b"a\nb") == b"a"
    assert (decoder.done, decoder.left) == (False, 3)
    assert decoder.feed(b"cdeQUIT\r\n") == b""
    assert (decoder.done, decoder.trailing, decoder.fault) == (True, b"QUIT\r\n", "bare LF")
    decoder.start(2, last=True)
    assert decoder.feed(b"\r\n.") == b""
    assert (decoder.done, decoder.trailing, decoder.size) == (True, b".", 1)


def test_octets_after_a_chunk_are_kept_whenever_they_come() -> None:
    decoder = ChunkDecoder()
    decoder.start(0, last=True)
    assert decoder.done
    assert decoder.feed(b"QU") == b""
    assert decoder.feed(b"IT\r\n") == b""
    assert decoder.trailing == b"QUIT\r\n"


def test_a_chunk_begins_only_when_the_one_before_is_consumed() -> None:
    decoder = ChunkDecoder()
    decoder.start(2, last=False)
    with pytest.raises(RuntimeError, match="unfinished"):
        decoder.start(1, last=True)
    decoder.feed(b"ab")
    decoder.start(1, last=True)
    decoder.feed(b"c")
    with pytest.raises(RuntimeError, match="last chunk"):
        decoder.start(1, last=True)
