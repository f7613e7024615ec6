"""No pattern of ours has possessive quantifiers or atomic groups.

CPython 3.11.2, the python3 of Debian 12, matches with them what does not match: `a++(?:\\.a++)*+@` is found in "a.@"
there, so that <a.@example.org> would be an address on one machine and none on another. A pattern is linear on hostile
input when what may follow a repeat never begins like what it repeats; then it needs neither.
"""

import ast
import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
FOLDERS = ("mailstack", "middleware", "handlers", "conf")
SOURCES = sorted(path for folder in FOLDERS for path in (ROOT / folder).rglob("*.py"))

# What is no quantifier: escaped characters and sets.
_LITERAL = re.compile(r"\\.|\[\^?(?:\\.|\])?(?:\\.|[^\]\\])*\]", re.DOTALL)
_POSSESSIVE = re.compile(r"[*+?}]\+|\(\?>")


def is_possessive(pattern: str) -> bool:
    return _POSSESSIVE.search(_LITERAL.sub("x", pattern)) is not None


def strings(tree: ast.Module) -> list[tuple[int, str]]:
    """Line and text of each string and bytes literal that is no docstring."""
    docs = {id(node.value) for node in ast.walk(tree) if isinstance(node, ast.Expr)}
    return [
        (node.lineno, node.value if isinstance(node.value, str) else node.value.decode("latin-1"))
        for node in ast.walk(tree)
        if isinstance(node, ast.Constant) and isinstance(node.value, (str, bytes)) and id(node) not in docs
    ]


@pytest.mark.parametrize("pattern", ["a++", "a*+", "(?:a)?+", "[a]{1,3}+", "(?>a)", r"[\]]*+", "[]a]++", r"\+++"])
def test_what_is_possessive_is_seen(pattern: str) -> None:
    assert is_possessive(pattern)


@pytest.mark.parametrize("pattern", ["a+b*", "[*+]+", r"[!#$%&'*+/=?^_`{|}~-]+", r"\++", r"\*+", "[^]*+]", "(?:a)+"])
def test_what_is_not_possessive_passes(pattern: str) -> None:
    assert not is_possessive(pattern)


def test_no_pattern_is_possessive() -> None:
    assert len(SOURCES) > 20
    found = [
        f"{path.relative_to(ROOT)}:{line}: {text!r}"
        for path in SOURCES
        for line, text in strings(ast.parse(path.read_bytes()))
        if is_possessive(text)
    ]
    assert found == []
