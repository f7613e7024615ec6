"""Whole conversations: however the octets are cut, the same events, and nothing delivered but whole messages."""

from itertools import pairwise
from random import Random

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from mailstack.wire.order import State

from . import protocol
from .octets import ENVELOPE, FRAGMENTS, compose, split
from .protocol import LMTP, NORMALISE, RUDE, play
from .session import ABRUPT, HASTY, converse, judge

# What a client might say, with damage between.
SESSIONS = st.lists(st.one_of(st.sampled_from(FRAGMENTS), st.binary(max_size=8)), max_size=12).map(b"".join)
CUTS = st.lists(st.integers(0, 2000), max_size=12)
FLAGS = st.sampled_from([each | lmtp for each in range((NORMALISE | RUDE) + 1) for lmtp in (0, LMTP)])


def cut(octets: bytes, at: list[int]) -> list[bytes]:
    edges = [0, *sorted(at), len(octets)]
    return [octets[start:end] for start, end in pairwise(edges) if start < end]


@given(octets=SESSIONS, at=CUTS, flags=FLAGS)
@example(octets=ENVELOPE + b"BDAT 2\r\na\rBDAT 0 LAST\r\n", at=[], flags=NORMALISE)
def test_any_cutting_gives_the_same_events_and_the_same_replies(octets: bytes, at: list[int], flags: int) -> None:
    assert play(cut(octets, at), flags) == play([octets], flags)


@given(octets=SESSIONS, flags=FLAGS)
def test_one_octet_at_a_time_gives_the_same(octets: bytes, flags: int) -> None:
    octets = octets[:3000]
    assert play([octets[at : at + 1] for at in range(len(octets))], flags) == play([octets], flags)


def test_the_player_takes_messages() -> None:
    """The tests above would say nothing about messages if it did not."""
    outcome = play([ENVELOPE + b"DATA\r\n..a\r\n.\r\n" + ENVELOPE + b"BDAT 1\r\nbBDAT 1 LAST\r\ncQUIT\r\n"])
    assert outcome.messages == [b".a\r\n", b"bc"]
    assert outcome.state is State.CLOSED


@pytest.mark.parametrize("seed", range(20))
def test_the_fuzzer_s_own_inputs_pass(seed: int) -> None:
    protocol.check(compose(Random(seed)))


def test_an_input_of_no_octets_is_one_too() -> None:
    for data in (b"", b"\0", b"\0\0"):
        assert split(data) == (0, [])
        protocol.check(data)


@settings(max_examples=30, deadline=None)
@given(
    octets=SESSIONS,
    at=CUTS,
    flags=st.sampled_from([0, HASTY, ABRUPT, HASTY | ABRUPT]),
    kind=st.sampled_from([0, NORMALISE, LMTP]),
)
@example(octets=ENVELOPE + b"BDAT 5 LAST\r\nhelloNOOP\r\n", at=[], flags=0, kind=0)
async def test_what_was_delivered_is_what_the_client_was_told(
    octets: bytes, at: list[int], flags: int, kind: int
) -> None:
    flags |= kind
    pieces = cut(octets, at)
    judge(*await converse(pieces, flags), pieces, flags)


async def test_a_message_that_was_cut_off_is_not_delivered() -> None:
    whole = ENVELOPE + b"DATA\r\nA: b\r\n\r\nhello\r\n.\r\n"
    for end in range(len(ENVELOPE), len(whole) + 1):
        deliveries, output = await converse([whole[:end], b""])
        judge(deliveries, output, [whole[:end]], 0)
        assert [delivery.content for delivery in deliveries] == [b"A: b\r\n\r\nhello\r\n"] * (end == len(whole))
