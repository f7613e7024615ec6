"""Bodies on their way out: what a strict and a lenient server read, and that the cutting never matters."""

import itertools
import re

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from mailstack.wire.body import ChunkDecoder, DataDecoder
from mailstack.wire.outgoing import DotStuffer, LineEnds, chunk_line

OCTETS = st.lists(
    st.sampled_from([b"\r", b"\n", b"\r\n", b".", b"..", b"a", b"\0", b"\xff", b"\r\n.\r\n", b"\n.\n"]), max_size=40
).map(b"".join)
PLACES = st.lists(st.integers(0, 60), max_size=10)


def cut(octets: bytes, at: list[int]) -> list[bytes]:
    borders = [0, *sorted(min(place, len(octets)) for place in at), len(octets)]
    return [octets[a:b] for a, b in itertools.pairwise(borders)]


def stuff(pieces: list[bytes]) -> bytes:
    stuffer = DotStuffer()
    wire = b"".join(map(stuffer.feed, pieces)) + stuffer.end()
    assert stuffer.size == len(wire)
    return wire


def canonical(octets: bytes) -> bytes:
    """The oracle: each CRLF, CR or LF is one line end."""
    return re.sub(rb"\r\n|\r|\n", b"\r\n", octets)


def oracle(octets: bytes) -> bytes:
    *lines, rest = canonical(octets).split(b"\r\n")
    if rest:
        lines.append(rest)
    return b"".join((b"." + line if line.startswith(b".") else line) + b"\r\n" for line in lines) + b".\r\n"


@given(OCTETS, PLACES)
@example(b"\r", [])
@example(b"a\r\n.", [2, 3])
@example(b".\r\n", [1])
@example(b"", [0])
def test_each_line_that_begins_with_a_dot_gets_another_however_it_is_cut(octets: bytes, at: list[int]) -> None:
    assert stuff(cut(octets, at)) == oracle(octets)


@given(OCTETS, PLACES)
def test_a_server_reads_the_same_message_back(octets: bytes, at: list[int]) -> None:
    decoder = DataDecoder()
    sound = octets.replace(b"\0", b"")
    read = decoder.feed(stuff(cut(sound, at)))
    wanted = canonical(sound)
    assert read == wanted + (b"" if not wanted or wanted.endswith(b"\r\n") else b"\r\n")
    assert (decoder.done, decoder.fault, decoder.trailing) == (True, None, b"")


@given(OCTETS, PLACES)
def test_no_lenient_server_finds_an_end_before_the_end(octets: bytes, at: list[int]) -> None:
    wire = b"\r\n" + stuff(cut(octets, at))
    assert not re.search(rb"(?<!\r)\n|\r(?!\n)", wire), "a line end of its own kind"
    assert [found.end() for found in re.finditer(rb"[\r\n]\.[\r\n]+", wire)] == [len(wire)]


@given(OCTETS, PLACES)
def test_chunks_have_sound_line_ends_however_they_are_cut(octets: bytes, at: list[int]) -> None:
    ends = LineEnds()
    wire = b"".join(map(ends.feed, cut(octets, at))) + ends.end()
    assert wire == canonical(octets)
    assert ends.size == len(wire)
    assert ends.end() == b""


def test_a_chunk_says_its_size() -> None:
    assert chunk_line(5, False) == b"BDAT 5\r\n"
    assert chunk_line(0, True) == b"BDAT 0 LAST\r\n"
    decoder = ChunkDecoder()
    assert decoder.start(2, True) + decoder.feed(b"ab") == b"ab"


@pytest.mark.parametrize("octets", [b"a", b"a\r\n", b"a\n", b"a\r"])
def test_a_line_end_is_added_only_where_it_is_missing(octets: bytes) -> None:
    assert stuff([octets]) == b"a\r\n.\r\n"
