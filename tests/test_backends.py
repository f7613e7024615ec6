"""How tests are dealt to the backends: every case runs somewhere, every value meets every backend."""

from itertools import product

import pytest

pytest_plugins = ["pytester"]

CONFTEST = """
import pytest
from tests.backends import dealt

@pytest.fixture(params=["asyncio", "uvloop", "trio"], scope="module")
def anyio_backend(request):
    return request.param

@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(items):
    items[:] = dealt(items)
"""
BACKENDS = ("asyncio", "uvloop", "trio")


def run(pytester: pytest.Pytester, source: str, *arguments: str) -> list[str]:
    """The names of the tests that ran."""
    pytester.makeconftest(CONFTEST)
    pytester.makepyfile(test_it=f"import pytest\n\n{source}")
    passed, skipped, failed = pytester.inline_run("-p", "no:asyncio", *arguments).listoutcomes()
    assert not skipped
    assert not failed
    return [report.nodeid.partition("::")[2] for report in passed]


def test_a_small_table_runs_everywhere(pytester: pytest.Pytester) -> None:
    source = "@pytest.mark.parametrize('a', range(3))\ndef test_it(a, anyio_backend): pass\ndef test_plain(): pass"
    names = run(pytester, source)
    assert sorted(names) == sorted([*(f"test_it[{b}-{a}]" for a, b in product(range(3), BACKENDS)), "test_plain"])


def test_a_large_table_runs_each_case_somewhere_and_the_first_everywhere(pytester: pytest.Pytester) -> None:
    names = run(pytester, "@pytest.mark.parametrize('a', range(9))\ndef test_it(a, anyio_backend): pass")
    assert len(names) == 9 + 2
    assert {f"test_it[{b}-0]" for b in BACKENDS} <= set(names)
    assert {name.rpartition("-")[2] for name in names} == {f"{a}]" for a in range(9)}
    assert all(sum(b in name for name in names) in (3, 4) for b in BACKENDS)


def test_each_value_of_each_parameter_meets_every_backend(pytester: pytest.Pytester) -> None:
    source = (
        "@pytest.mark.parametrize('a', range(3))\n"
        "@pytest.mark.parametrize(('b', 'c', 'd'), [(i,) * 3 for i in range(6)])\n"
        "def test_it(a, b, c, d, anyio_backend): pass"
    )
    names = run(pytester, source)
    assert len(names) == 3 * 6 + 2
    for backend, a in product(BACKENDS, range(3)):
        assert any(backend in name and name.endswith(f"-{a}]") for name in names)
    for backend, b in product(BACKENDS, range(6)):
        assert any(f"[{backend}-{b}-" in name for name in names)


def test_what_may_fail_anywhere_in_its_own_way_is_not_dealt(
    pytester: pytest.Pytester, monkeypatch: pytest.MonkeyPatch
) -> None:
    table = "@pytest.mark.parametrize('a', range(9))\ndef test_it(a, anyio_backend): pass"
    assert len(run(pytester, f"@pytest.mark.every_backend\n{table}")) == 27
    monkeypatch.setenv("MAILSTACK_EVERY_BACKEND", "1")
    assert len(run(pytester, table)) == 27


@pytest.mark.parametrize("mark", ["interop", "one_backend"])
def test_counterparts_are_met_by_one_backend_after_the_other(pytester: pytest.Pytester, mark: str) -> None:
    tests = "\n".join(f"def test_{number}(anyio_backend): pass" for number in range(4))
    names = run(pytester, f"pytestmark = pytest.mark.{mark}\n{tests}")
    assert sorted(names) == ["test_0[asyncio]", "test_1[uvloop]", "test_2[trio]", "test_3[asyncio]"]


def test_a_case_that_is_named_runs_where_it_is_told(pytester: pytest.Pytester) -> None:
    source = "@pytest.mark.parametrize('a', range(9))\n@pytest.mark.interop\ndef test_it(a, anyio_backend): pass"
    for backend in BACKENDS:
        assert run(pytester, source, f"test_it.py::test_it[{backend}-4]") == [f"test_it[{backend}-4]"]
