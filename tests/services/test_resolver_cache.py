"""The cache of the resolver and the budget of a session, by the clock."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mailstack.services.resolver import Answer, Budget, Keep
from mailstack.services.resolver.cache import Cache
from mailstack.services.resolver.name import Question, canonical, host
from mailstack.services.resolver.outcome import Outcome, no_records, no_such_name, trouble

A = Question("example.org", "A")


def answer(ttl: int, question: Question = A) -> Outcome:
    return Answer(question.name, ("record",), question.name, ttl)


@pytest.mark.parametrize(
    ("outcome", "seconds"),
    [
        (answer(300), 300),
        (answer(0), 5),
        (answer(10**9), 86_400),
        (no_records(A, 60), 60),
        (no_such_name(A, 10**6), 900),
        (no_such_name(A, 0), 5),
        (trouble(A, "SERVFAIL"), 5),
        (trouble(A, "too many questions", 0), 0),
    ],
)
def test_an_outcome_is_kept_as_long_as_it_holds_within_bounds(outcome: Outcome, seconds: float) -> None:
    cache = Cache(10, 10**6, Keep())
    cache.put(A, outcome, 100, 1000.0)
    assert cache.get(A, 1000.0 + seconds) is None
    cache.put(A, outcome, 100, 1000.0)
    assert cache.get(A, 1000.0 + seconds - 0.1) == (outcome if seconds else None)


def test_the_least_recently_used_goes_first() -> None:
    cache = Cache(2, 10**6, Keep())
    one, two, three = (Question(name, "A") for name in ("one", "two", "three"))
    cache.put(one, answer(60, one), 100, 0)
    cache.put(two, answer(60, two), 100, 0)
    assert cache.get(one, 1)
    cache.put(three, answer(60, three), 100, 1)
    assert [cache.get(each, 2) is not None for each in (one, two, three)] == [True, False, True]


@given(st.lists(st.tuples(st.integers(0, 20), st.integers(0, 70_000), st.integers(0, 20)), max_size=60))
def test_the_cache_never_holds_more_than_it_may(puts: list[tuple[int, int, int]]) -> None:
    cache = Cache(5, 100_000, Keep(least=0))
    for now, (name, octets, ttl) in enumerate(puts):
        cache.put(Question(f"{name}", "A"), answer(ttl), octets, now)
        assert len(cache) <= 5
        assert 0 <= cache.octets <= 100_000
        cache.get(Question(f"{name + 1}", "A"), now)
    cache.clear()
    assert (len(cache), cache.octets) == (0, 0)


def test_a_name_that_does_not_exist_is_one_entry() -> None:
    cache = Cache(10, 10**6, Keep())
    cache.put(A, no_such_name(A, 60), 100, 0)
    cache.put(Question("example.org", "MX"), no_such_name(A, 60), 100, 0)
    assert len(cache) == 1
    assert cache.get(Question("example.org", "TXT"), 1)


class Clock:
    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.now = 100.0
        monkeypatch.setattr("mailstack.session.budget.time.monotonic", lambda: self.now)


def test_waiting_at_the_same_time_is_counted_once(monkeypatch: pytest.MonkeyPatch) -> None:
    clock = Clock(monkeypatch)
    budget = Budget(100, 10)
    assert budget.begin() == 10
    clock.now += 3
    assert budget.begin() == 7
    clock.now += 2
    budget.end()
    budget.end()
    clock.now += 1000  # between two questions nothing is spent
    assert budget.begin() == 5
    clock.now += 5
    assert budget.begin() == 0
    budget.end()
    budget.end()
    assert budget.begin() == 0
    budget.end()
    budget.renew()
    assert budget.begin() == 10


def test_a_budget_that_is_renewed_while_a_question_runs_counts_from_then(monkeypatch: pytest.MonkeyPatch) -> None:
    clock = Clock(monkeypatch)
    budget = Budget(2, 10)
    budget.begin()
    clock.now += 9
    budget.renew()
    clock.now += 1
    budget.end()
    assert budget.begin() == 9
    assert budget.begin() == 9
    assert budget.begin() == 0


@given(st.text())
def test_any_text_is_a_canonical_name_or_none(text: str) -> None:
    name = canonical(text)
    if name is not None:
        assert name.isascii()
        assert name == name.lower()
        assert len(name) <= 253
        assert all(0 < len(label) <= 63 for label in name.split("."))
        assert canonical(name) == name


@given(st.lists(st.binary(min_size=1, max_size=63), max_size=6).map(lambda labels: (*labels, b"")))
def test_the_name_of_a_host_holds_nothing_that_hurts(labels: tuple[bytes, ...]) -> None:
    name = host(labels)
    if name:
        assert set(name) <= set("abcdefghijklmnopqrstuvwxyz0123456789-_.")
        assert len(name.split(".")) == len(labels) - 1
