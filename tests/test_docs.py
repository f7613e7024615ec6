"""What the documents show is run: a reader who copies a block gets what the text promises.

The Python blocks of one document share one module, as if he typed them one after the other, in an empty folder; then
every `test_…` function that they define is run. `<!-- not run -->` on the line above a block says that it is only to be
read. TOML blocks are parsed, and the conversations of `smtp` blocks lie in `tests/dialogs` of that folder.
"""

import ast
import inspect
import re
import sys
import textwrap
import tomllib
from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

from mailstack.testing import Mailbox

ROOT = Path(__file__).parents[1]
DOCUMENTS = [path for path in (ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md"))) if path.exists()]

_BLOCK = re.compile(
    r"^(?P<skip><!-- not run -->\s*\n)?[ \t]*```[ \t]*(?P<language>\w+)[^\n]*\n(?P<text>.*?)^[ \t]*```[ \t]*$",
    re.MULTILINE | re.DOTALL,
)


def blocks(document: Path, language: str) -> list[tuple[int, str]]:
    """The blocks that are to be run: how many lines stand before each, and its text."""
    text = document.read_text()
    return [
        (text.count("\n", 0, found.start("text")), textwrap.dedent(found["text"]))
        for found in _BLOCK.finditer(text)
        if found["language"] == language and not found["skip"]
    ]


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda path: str(path.relative_to(ROOT)))
async def test_its_python_runs(document: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    module = ModuleType(f"document_{document.stem.replace('-', '_')}")  # docs/dns.md must not be taken for `dns`
    monkeypatch.setitem(sys.modules, module.__name__, module)
    for line, text in blocks(document, "smtp"):
        (tmp_path / "tests/dialogs").mkdir(parents=True, exist_ok=True)
        (tmp_path / f"tests/dialogs/line-{line}.smtp").write_text(text)
    for line, text in blocks(document, "python"):
        await run("\n" * line + text, document, module)
    for name, value in list(vars(module).items()):
        if name.startswith("test_"):
            await run_test(value)


async def run_test(test: Callable[..., Any]) -> None:
    """Run a test of the document; it may want a mailbox, as the plugin gives it."""
    if "mailbox" not in inspect.signature(test).parameters:
        outcome = test()
        if inspect.isawaitable(outcome):
            await outcome
    elif inspect.iscoroutinefunction(test):
        async with Mailbox() as mailbox:
            await test(mailbox)
    else:
        with Mailbox() as mailbox:
            test(mailbox)


async def run(text: str, document: Path, module: ModuleType) -> None:
    """Run a block, which may await at its top; its line numbers are those of the document."""
    code = compile(text, str(document), "exec", flags=ast.PyCF_ALLOW_TOP_LEVEL_AWAIT, dont_inherit=True)
    outcome = eval(code, vars(module))
    if inspect.isawaitable(outcome):
        await outcome


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda path: str(path.relative_to(ROOT)))
def test_its_toml_can_be_read(document: Path) -> None:
    for _, text in blocks(document, "toml"):
        tomllib.loads(text)


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda path: str(path.relative_to(ROOT)))
def test_its_links_lead_somewhere(document: Path) -> None:
    for target in re.findall(r"\]\(([^)#\s]+)[^)]*\)", document.read_text()):
        if not re.match(r"[a-z]+:", target):
            assert (document.parent / target).exists(), f"{document.name} links to {target}"


def test_the_tutorial_shows_its_example_as_it_is() -> None:
    assert (ROOT / "middleware" / "subjecttag.py").read_text() in (ROOT / "docs" / "writing-middleware.md").read_text()
