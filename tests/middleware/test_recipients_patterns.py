"""Expressions: which are taken, which could keep the server busy, and that those that are taken cannot."""

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mailstack import ConfigError
from mailstack.services.lookup.pattern import compiled


@pytest.mark.parametrize(
    "text",
    [
        "ann@example\\.org",
        ".*@example\\.org",
        ".*-.*@example\\.org",
        "[a-z0-9.]{1,64}@(news|lists)\\.example\\.(org|com)",
        "^(?:info|sales)(?:-[0-9]{4})?@example\\.org$",
        "(abc){3}@x\\.example",
        "\\w+?@\\w+\\.example",
        "a*@x",
        "(?:ab)*@x",
    ],
)
def test_usual_ones_are_taken(text: str) -> None:
    assert compiled(text, re.IGNORECASE).pattern == text


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("(", "no regular expression"),
        ("[", "no regular expression"),
        ("a{2,1}", "no regular expression"),
        ("(?P<x>a)(?P<x>b)", "no regular expression"),
        ("(a+)+@x", "several ways"),
        ("(a*)*@x", "several ways"),
        ("(a?){50}@x", "several ways"),
        ("(ab|a)*@x", "several ways"),
        ("([a-z]+\\.)+x", "several ways"),
        (".*.*.*@x", "too many ways"),
        ("a?" * 21 + "@x", "too many ways"),
        ("(a|aa)" * 21 + "@x", "too many ways"),
        ("(a)\\1@x", "not known here"),
        ("(?=a)a@x", "not known here"),
        ("(?<!a)b@x", "not known here"),
        ("(a)(?(1)b|c)@x", "not known here"),
    ],
)
def test_what_is_none_or_could_take_too_long_is_refused(text: str, words: str) -> None:
    with pytest.raises(ConfigError, match=words) as raised:
        compiled(text, re.IGNORECASE)
    assert raised.value.remedy


PIECES = st.recursive(
    st.sampled_from(["a", "b", "[ab]", ".", "\\w", "a*", "a+", "b?", "(?:a|b)", "(?:ab|a)", "a{2,5}"]),
    lambda inner: st.one_of(
        st.tuples(inner, inner).map("".join),
        st.tuples(inner, inner).map(lambda two: f"(?:{two[0]}|{two[1]})"),
        st.tuples(inner, st.sampled_from("*+?")).map(lambda two: f"(?:{two[0]}){two[1]}"),
    ),
    max_leaves=8,
)


@given(PIECES)
def test_whatever_is_taken_is_answered_soon(text: str) -> None:
    """Without the limit some would take ages, and the test's own time would be over."""
    try:
        pattern = compiled(text, re.RegexFlag(0))
    except ConfigError:
        return
    for hostile in ("a" * 253 + "!", "ab" * 126 + "!", "b" * 253 + "!"):
        assert pattern.fullmatch(hostile) is None or "." in text
