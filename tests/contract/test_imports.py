"""The floors of the house: imports point downward only, wherever in a file they stand.

The import statements are read, not run; those below `if TYPE_CHECKING` and inside functions count like the others.
"""

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]

# docs/architecture.md, "The floors".
FLOORS = {
    "wire": 0,
    "log": 0,
    "option": 0,
    "extra": 0,
    "session": 1,
    "contract": 2,
    "services": 2,
    "server": 3,
    "config": 4,
    "installed": 4,
    "plugins": 4,
    "predicate": 3,
    "remedy": 4,
    "source": 4,
    "testing": 4,
    "cli": 4,
    "__init__": 5,
    "__main__": 5,
}
PLUGINS = ("middleware", "handlers")
STRANGERS = {"contract": {"services"}, "services": {"contract"}}  # of one floor, and they do not know each other
PLUGINS_MAY = 2  # the highest floor that middleware and handlers import

BACKENDS = {"asyncio", "trio", "uvloop"}
KNOW_A_BACKEND = {
    "mailstack/services/transport/on_asyncio.py",
    "mailstack/services/transport/on_trio.py",
    "mailstack/server/backend.py",
}
IMPORT_BY_NAME = {
    "mailstack/__init__.py",
    "mailstack/config.py",
    "mailstack/extra.py",
    "mailstack/installed.py",
    "mailstack/plugins.py",
    "mailstack/services/lookup/named.py",
    "mailstack/testing/__init__.py",
}


def files() -> dict[str, Path]:
    """Every module, by its path as it is tracked; the two links inside mailstack/ are the plugins' second name."""
    core = [path for path in (ROOT / "mailstack").rglob("*.py") if path.relative_to(ROOT).parts[1] not in PLUGINS]
    plugins = [path for folder in PLUGINS for path in (ROOT / folder).rglob("*.py")]
    return {path.relative_to(ROOT).as_posix(): path for path in sorted(core + plugins)}


def module_of(file: str) -> str:
    """The name under which a file is imported."""
    name = file.removesuffix(".py").removesuffix("/__init__").replace("/", ".")
    return f"mailstack.{name}" if file.startswith(PLUGINS) else name


def exists(module: str) -> bool:
    """Whether there is a module or package of ours by this name."""
    path = ROOT.joinpath(*module.split("."))
    return path.with_suffix(".py").exists() or (path / "__init__.py").exists()


def imports(file: str, text: str) -> Iterator[tuple[int, str]]:
    """Line and module of each import; `from package import submodule` is an import of the submodule."""
    package = module_of(file) if file.endswith("__init__.py") else module_of(file).rpartition(".")[0]
    for node in ast.walk(ast.parse(text)):
        if isinstance(node, ast.Import):
            yield from ((node.lineno, alias.name) for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            above = package.split(".")[: -node.level + 1 or None] if node.level else []
            base = ".".join([*above, *filter(None, [node.module])])
            for alias in node.names:
                if alias.name == "__version__":  # the one fact that the package itself holds
                    continue
                inner = f"{base}.{alias.name}"
                yield node.lineno, inner if exists(inner) else base


def room(module: str) -> str:
    """The part of the house that a module belongs to: "wire", "option", "middleware.greylist"; "" when not ours."""
    package, *rest = module.split(".")
    if package in PLUGINS:  # the folder's name is no name to import it by; it counts all the same
        package, rest = "mailstack", [package, *rest]
    if package != "mailstack":
        return ""
    if not rest:
        return "__init__"
    return ".".join(rest[:2]) if rest[0] in PLUGINS else rest[0]


def fault(here: str, there: str) -> str | None:
    """What is wrong with `here` importing `there`, both rooms."""
    if here == there or not there:
        return None
    if there.startswith(PLUGINS):
        return "plugins do not import each other" if here.startswith(PLUGINS) else "the core knows no plugin"
    highest = PLUGINS_MAY if here.startswith(PLUGINS) else FLOORS[here]
    if FLOORS[there] > highest:
        return f"floor {FLOORS[there]} is above floor {highest}"
    return "they do not import each other" if there in STRANGERS.get(here, ()) else None


def faults(file: str, text: str) -> list[str]:
    """Every import of a file that breaks a rule, in words."""
    here = room(module_of(file))
    found = []
    for line, module in imports(file, text):
        if problem := fault(here, room(module)):
            found.append(f"{file}:{line} imports {module}: {problem}")
        if module.partition(".")[0] in BACKENDS and file not in KNOW_A_BACKEND:
            found.append(f"{file}:{line} imports {module}: only transport/on_* and server/backend know a backend")
        if module.partition(".")[0] == "importlib" and file not in IMPORT_BY_NAME | KNOW_A_BACKEND:
            found.append(f"{file}:{line} imports {module}: only config, plugins, extra and lookups import by name")
    return found


def test_imports_point_downward_only() -> None:
    assert [problem for file, path in files().items() for problem in faults(file, path.read_text())] == []


def test_every_room_has_its_floor_and_every_floor_its_room() -> None:
    rooms = {room(module_of(file)) for file in files() if file.startswith("mailstack/") and file.count("/") > 1}
    single = {path.stem for path in (ROOT / "mailstack").glob("*.py")}
    assert rooms | single == set(FLOORS)


@pytest.mark.parametrize(
    ("file", "text"),
    [
        ("mailstack/wire/reply.py", "from ..session.session import Session"),
        ("mailstack/wire/reply.py", "def f():\n    import mailstack.server.server"),
        ("mailstack/session/session.py", "from ..contract import hookspec"),
        ("mailstack/session/session.py", "from mailstack import Reply"),
        ("mailstack/contract/load.py", "from ..services.transport import Stream"),
        ("mailstack/services/transport/accept.py", "from ...contract import load"),
        ("mailstack/server/house.py", "if TYPE_CHECKING:\n    from ..config import load"),
        ("mailstack/server/house.py", "from ..middleware import recipients"),
        ("mailstack/config.py", "import mailstack.handlers.maildir"),
        ("mailstack/cli/check.py", "from handlers import maildir"),
        ("mailstack/cli/check.py", "import asyncio"),
        ("mailstack/services/transport/accept.py", "import trio"),
        ("mailstack/server/server.py", "from importlib import import_module"),
        ("middleware/recipients.py", "from mailstack.server.limits import Limits"),
        ("middleware/recipients.py", "from mailstack.middleware.subjecttag import SubjectTag"),
        ("middleware/recipients.py", "from . import subjecttag"),
        ("middleware/recipients.py", "from mailstack.handlers import maildir"),
        ("handlers/maildir.py", "from mailstack import Reply"),
        ("handlers/maildir.py", "from trio.lowlevel import checkpoint"),
    ],
)
def test_what_breaks_a_rule_is_found(file: str, text: str) -> None:
    assert len(faults(file, text)) == 1


@pytest.mark.parametrize(
    ("file", "text"),
    [
        ("mailstack/wire/reply.py", "from .address import Address\nimport ssl"),
        ("mailstack/log.py", "from mailstack import option"),
        ("mailstack/server/backend.py", "import trio, asyncio"),
        ("middleware/recipients.py", "from mailstack import log, option\nfrom mailstack.services import transport"),
        ("middleware/grown/__init__.py", "from .part import Part"),
        ("mailstack/cli/check.py", "from .. import __version__"),
    ],
)
def test_what_breaks_none_passes(file: str, text: str) -> None:
    assert faults(file, text) == []
