"""Configurations, found and loaded.

    server = load("conf/mx.py")                  # a file; its module-level name `server`
    server = load("conf/mx.py:submission")       # another name in it
    server = load("package.module:server")       # an importable module
    users = load_lookup("conf/mx.py:users")      # a lookup in one of them

A configuration is a Python file. It runs as a module of its own with its folder first on sys.path meanwhile. Whatever
goes wrong is a `ConfigError` with the innermost line of the configuration that led there, and what to do about it.
"""

from __future__ import annotations

import ast
import importlib
import importlib.util
import linecache
import os
import re
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from types import ModuleType
from typing import Any

from .option import ConfigError
from .server.server import Server
from .services.lookup import Source
from .source import blaming, run


def load(source: str) -> Server:
    """The server that a configuration describes; not checked yet (`Server.check()`) and not running.

    source -- "conf/mx.py", "conf/mx.py:name", "package.module:name"; the name is `server` unless given.
    """
    found: Server = _load(source, Server, "server", "write server = Server(Stack(…), …)")
    return found


def load_lookup(source: str) -> Source:
    """A lookup that has a name in a Python file: "conf/mx.py:users", "package.module:users"."""
    found: Source = _load(source, Source, "lookup", f"give it a name in {source.partition(':')[0]}, at the left margin")
    return found


def names_python(source: str) -> bool:
    """Whether the text is a name in a Python file or module, as above."""
    place, colon, name = source.rpartition(":")
    return bool(colon) and name.isidentifier() and (_is_path(place) or _is_dotted(place))


def _load(source: str, kind: type, name: str, instead: str) -> Any:
    place, name = _split(source, name)
    module = _from_file(place) if _is_path(place) else _from_module(place)
    return _named(module, place, name, kind, instead)


def _split(source: str, default: str) -> tuple[str, str]:
    place, colon, name = source.rpartition(":")
    return (place, name) if colon and name.isidentifier() else (source, default)


def _is_path(place: str) -> bool:
    return place.endswith(".py") or os.sep in place or os.path.exists(place)


# Files and modules.


def _from_file(path: str) -> ModuleType:
    name = "conf_" + re.sub(r"\W", "_", os.path.basename(path).removesuffix(".py"))
    with _first_on_path(os.path.dirname(os.path.abspath(path))):
        return run(path, name)


@contextmanager
def _first_on_path(folder: str) -> Iterator[None]:
    sys.path.insert(0, folder)
    try:
        yield
    finally:
        sys.path.remove(folder)


def _is_dotted(name: str) -> bool:
    return all(part.isidentifier() for part in name.split("."))


def _from_module(name: str) -> ModuleType:
    """Import it, with the current folder first on sys.path, as `python -m` does."""
    if not _is_dotted(name):
        remedy = 'write "conf/mx.py", "conf/mx.py:name" or "package.module:name"'
        raise ConfigError(f"{name!r} is neither a file nor a module", remedy=remedy)
    with _first_on_path(os.getcwd()):
        try:
            spec = importlib.util.find_spec(name)
        except ImportError:
            spec = None
        if spec is None:
            raise ConfigError(f"there is no module {name}", remedy="install it, or start where its package lies")
        with blaming(spec.origin or name):
            return importlib.import_module(name)


def _named(module: ModuleType, place: str, name: str, kind: type, instead: str) -> Any:
    """What has that name, and is of that kind."""
    file = module.__file__ or place
    found = getattr(module, name, None)
    if isinstance(found, kind):
        return found
    others = [each for each, value in vars(module).items() if isinstance(value, kind)]
    instead = f'name it: "{place}:{others[0]}"' if others else instead
    if found is None:
        raise ConfigError(f"it has no `{name}`", remedy=instead, file=file)
    problem = f"`{name}` is {_a(type(found).__name__)}, not a {kind.__name__}"
    raise ConfigError(problem, remedy=instead, file=file, line=_assigned(file, name))


def _a(word: str) -> str:
    return f"{'an' if word[0] in 'aeiouAEIOU' else 'a'} {word}"


def _assigned(file: str, name: str) -> int | None:
    """The line that binds a name last."""
    tree = ast.parse("".join(linecache.getlines(file)))
    lines = [node.lineno for node in ast.walk(tree) if isinstance(node, ast.Name) and _binds(node, name)]
    return max(lines, default=None)


def _binds(node: ast.Name, name: str) -> bool:
    return node.id == name and isinstance(node.ctx, ast.Store)
