"""Configurations and plugins, found and loaded: the one place that imports by name.

    server = load("conf/mx.py")                  # a file; its module-level name `server`
    server = load("conf/mx.py:submission")       # another name in it
    server = load("package.module:server")       # an importable module

    greylist = plugin("greylist")                # a plugin's module by the name of its entry point
    for info in plugins(): print(info.name, info.error)

A configuration is a Python file. It runs as a module of its own with its folder first on sys.path meanwhile. Whatever
goes wrong is a `ConfigError` with the innermost line of the configuration that led there, and what to do about it.
"""

from __future__ import annotations

import ast
import difflib
import importlib
import importlib.util
import inspect
import linecache
import os
import pkgutil
import re
import sys
import traceback
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from importlib import metadata
from types import ModuleType

from .contract.load import HOOKS, is_marked
from .option import ConfigError
from .server.server import Server

# Entry point groups, in the order in which a name is looked up, and the packages of what is bundled.
GROUPS = {"mailstack.middleware": "mailstack.middleware", "mailstack.handlers": "mailstack.handlers"}


def load(source: str) -> Server:
    """The server that a configuration describes; not checked yet (`Server.check()`) and not running.

    source -- "conf/mx.py", "conf/mx.py:name", "package.module:name"; the name is `server` unless given.
    """
    place, name = _split(source)
    module = _from_file(place) if _is_path(place) else _from_module(place)
    return _server(module, place, name)


def _split(source: str) -> tuple[str, str]:
    place, colon, name = source.rpartition(":")
    return (place, name) if colon and name.isidentifier() else (source, "server")


def _is_path(place: str) -> bool:
    return place.endswith(".py") or os.sep in place or os.path.exists(place)


# Files -------------------------------------------------------------------------------------------------------------


def _from_file(path: str) -> ModuleType:
    """Run the file as a module of its own."""
    module = ModuleType("conf_" + re.sub(r"\W", "_", os.path.basename(path).removesuffix(".py")))
    module.__file__ = path
    linecache.checkcache(path)
    with _blaming(path), _first_on_path(os.path.dirname(os.path.abspath(path))):
        code = compile(_read(path), path, "exec", dont_inherit=True)
        sys.modules[module.__name__] = module  # dataclasses and pickle look for the module by name
        try:
            exec(code, vars(module))
        except BaseException:
            del sys.modules[module.__name__]
            raise
    return module


def _read(path: str) -> bytes:
    try:
        with open(path, "rb") as file:
            return file.read()
    except FileNotFoundError:
        raise ConfigError("there is no such file", remedy=_other_file(path), file=path) from None
    except OSError as error:
        words = f"the file cannot be read: {error.strerror}"
        raise ConfigError(words, remedy="name a Python file that this user may read", file=path) from error


def _other_file(path: str) -> str:
    folder, name = os.path.split(path)
    there = [each for each in os.listdir(folder or ".") if each.endswith(".py")] if os.path.isdir(folder or ".") else []
    return _did_you_mean(name, there) or f"look for it with `ls {folder or '.'}`"


@contextmanager
def _first_on_path(folder: str) -> Iterator[None]:
    sys.path.insert(0, folder)
    try:
        yield
    finally:
        sys.path.remove(folder)


# Modules -----------------------------------------------------------------------------------------------------------


def _from_module(name: str) -> ModuleType:
    """Import it, with the current folder first on sys.path, as `python -m` does."""
    if not all(part.isidentifier() for part in name.split(".")):
        remedy = 'write "conf/mx.py", "conf/mx.py:name" or "package.module:name"'
        raise ConfigError(f"{name!r} is neither a file nor a module", remedy=remedy)
    with _first_on_path(os.getcwd()):
        try:
            spec = importlib.util.find_spec(name)
        except ImportError:
            spec = None
        if spec is None:
            raise ConfigError(f"there is no module {name}", remedy="install it, or start where its package lies")
        with _blaming(spec.origin or name):
            return importlib.import_module(name)


def _server(module: ModuleType, place: str, name: str) -> Server:
    """The Server of that name."""
    file = module.__file__ or place
    found = getattr(module, name, None)
    if isinstance(found, Server):
        return found
    others = [each for each, value in vars(module).items() if isinstance(value, Server)]
    instead = f'name it: "{place}:{others[0]}"' if others else "write server = Server(Stack(…), …)"
    if found is None:
        raise ConfigError(f"it has no `{name}`", remedy=instead, file=file)
    problem = f"`{name}` is {_a(type(found).__name__)}, not a Server"
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


# Whose fault it is -------------------------------------------------------------------------------------------------


@contextmanager
def _blaming(path: str) -> Iterator[None]:
    """Make every failure a ConfigError at the innermost frame inside `path`."""
    try:
        yield
    except ConfigError as error:
        if error.file is None:
            error.file, error.line = path, _innermost(error, path)
        raise
    except SyntaxError as error:  # of the file, or of one that it imports
        text = "" if "'utf-8' codec" in error.msg else (error.text or "").strip()
        remedy = f"mend this line or the one before: {text}" if text else "save the file as Python in UTF-8"
        raise ConfigError(error.msg, remedy=remedy, file=error.filename or path, line=error.lineno or None) from error
    except (Exception, SystemExit) as error:
        words, remedy = _explained(error, path)
        raise ConfigError(words, remedy=remedy, file=path, line=_innermost(error, path)) from error


def _innermost(error: BaseException, path: str) -> int | None:
    lines = [frame.lineno for frame in traceback.extract_tb(error.__traceback__) if frame.filename == path]
    return lines[-1] if lines else None


def _explained(error: BaseException, path: str) -> tuple[str, str]:
    """What went wrong in Python's words, and a remedy as good as we have one."""
    words = "".join(traceback.TracebackException.from_exception(error).format_exception_only()).strip()
    if isinstance(error, ImportError):
        return words, remedy_for_import(error)
    frames = [each for each in traceback.extract_tb(error.__traceback__) if not each.filename.startswith("<")]
    if isinstance(error, TypeError) and (remedy := _options_of(error)):
        return words, remedy
    if isinstance(error, AttributeError) and (remedy := _did_you_mean(error.name or "", dir(error.obj))):
        return words, remedy
    if frames and frames[-1].filename != path:
        words += f" (raised at {frames[-1].filename}:{frames[-1].lineno})"
    return words, _REMEDIES.get(type(error), f"mend that line; `python {path}` shows the whole traceback")


_REMEDIES: dict[type, str] = {
    NameError: "import the name, or define it above that line",
    FileNotFoundError: "make the file, or correct its path",
    PermissionError: "let this user read it, or start as another one",
    SystemExit: "a configuration only describes: it must not exit",
}

_CALL = re.compile(r"(\w+)(?:\.__init__)?\(\) (?:got an unexpected keyword argument '(\w+)')?")


def _options_of(error: TypeError) -> str | None:
    """A call that does not fit: what its factory takes. It is looked for where the call failed."""
    match = _CALL.match(str(error))
    if match is None:
        return None
    *_, (frame, _line) = traceback.walk_tb(error.__traceback__)
    factory = _factory_in(frame.f_globals.values(), match[1])
    if factory is None:
        return None
    options = inspect.signature(factory).parameters
    return _did_you_mean(match[2] or "", options) or f"write {match[1]}({', '.join(options)})"


def _factory_in(values: Iterable[object], name: str) -> type | None:
    for value in values:
        found = getattr(value, name, None) if isinstance(value, ModuleType) else value
        if isinstance(found, type) and found.__name__ == name:
            return found
    return None


# Imports -----------------------------------------------------------------------------------------------------------

_NAME_OF = re.compile(r"cannot import name '(\w+)' from (?:partially initialized module )?'([\w.]+)'")


def remedy_for_import(error: ImportError) -> str:
    """What to do about an import that failed: another spelling, another package of ours, or an extra."""
    match = _NAME_OF.match(str(error))
    package, _, name = match.expand(r"\2.\1").rpartition(".") if match else (error.name or "").rpartition(".")
    if extra := _extra_for((error.name or "").partition(".")[0]):
        return f'pip install "{extra}"'
    for group, home in GROUPS.items():
        if package in GROUPS.values() and package != home and name in _entry_points(group):
            return f"{name} is in {home}"
    known = _names_in(package) if package else [each.name for each in pkgutil.iter_modules()]
    return _did_you_mean(name, known) or "correct the name, or install the package that has it"


def _names_in(package: str) -> list[str]:
    """What can be imported from a module that is already there: its names and its submodules."""
    module = sys.modules.get(package)
    if module is None:
        return []
    return [*dir(module), *(each.name for each in pkgutil.iter_modules(getattr(module, "__path__", ())))]


_EXTRA = re.compile(r"([\w.-]+)[^;]*;.*\bextra\s*==\s*['\"]([^'\"]+)['\"]")


def _extra_for(module: str) -> str | None:
    """ "mailstack[ldap]", if a distribution that brings plugins has an extra that requires this module."""
    for distribution in {point.dist.name for point in _points() if point.dist is not None} if module else ():
        for requirement in metadata.requires(distribution) or ():
            match = _EXTRA.match(requirement)
            if match is not None and _plain_name(match[1]) == _plain_name(module):
                return f"{distribution}[{match[2]}]"
    return None


def _plain_name(name: str) -> str:
    """A distribution's name as its module is likely to be called: python-ldap is ldap, PyMySQL is pymysql."""
    return re.sub(r"[-_.]+", "_", name.lower()).removeprefix("python_").removesuffix("_python")


def _did_you_mean(name: str, known: Iterable[str]) -> str | None:
    close = difflib.get_close_matches(name, sorted(set(known)), n=3)
    return f"did you mean {' or '.join(close)}?" if close else None


# Plugins -----------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Factory:
    """One thing in a plugin's `__all__` that makes an entry of a stack.

    options -- its signature as one writes it: "(wait='1s', *, reject=True)". hooks -- what its entries implement;
    empty for a function, whose product only a call would show.
    """

    name: str
    options: str
    hooks: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class PluginInfo:
    """One entry point, bundled or not.

    group -- "mailstack.middleware" or "mailstack.handlers". error -- why it cannot be imported, with the remedy; or "".
    """

    name: str
    group: str
    module: str
    distribution: str
    version: str
    summary: str = ""
    factories: tuple[Factory, ...] = ()
    error: str = ""

    @property
    def kind(self) -> str:
        """ "middleware" or "handlers"."""
        return self.group.rpartition(".")[2]


def plugin(name: str) -> ModuleType:
    """The module of the plugin with that entry point: `plugin("greylist").Greylist(delay="5m")`.

    ConfigError when there is none, when two distributions bring one, or when it cannot be imported.
    """
    found = [point for group in GROUPS for point in _entry_points(group).get(name, ())]
    if not found:
        names = {known for group in GROUPS for known in _entry_points(group)}
        remedy = _did_you_mean(name, names) or "`mailstack plugins` lists what is installed"
        raise ConfigError(f"there is no plugin {name!r}", remedy=remedy)
    if len(found) > 1:
        homes = ", ".join(point.value for point in found)
        raise ConfigError(f"plugin {name!r} is there {len(found)} times: {homes}", remedy="import the one you want")
    try:
        return importlib.import_module(found[0].value)
    except ImportError as error:
        raise ConfigError(f"plugin {name!r}: {error}", remedy=remedy_for_import(error)) from error


def plugins() -> list[PluginInfo]:
    """Every plugin that is installed, middleware first, by name; one that cannot be imported says why."""
    return [
        _info(point, group)
        for group in GROUPS
        for _, points in sorted(_entry_points(group).items())
        for point in points
    ]


def _points() -> Iterator[metadata.EntryPoint]:
    for group in GROUPS:
        yield from metadata.entry_points(group=group)


def _entry_points(group: str) -> Mapping[str, list[metadata.EntryPoint]]:
    found: dict[str, list[metadata.EntryPoint]] = {}
    for point in metadata.entry_points(group=group):
        found.setdefault(point.name, []).append(point)
    return found


def _info(point: metadata.EntryPoint, group: str) -> PluginInfo:
    name, version = (point.dist.name, point.dist.version) if point.dist is not None else ("", "")
    try:
        module = importlib.import_module(point.value)
        made = [(each, getattr(module, each)) for each in getattr(module, "__all__", ())]
    except Exception as error:
        words = f"{type(error).__name__}: {error}"
        remedy = f"; remedy: {remedy_for_import(error)}" if isinstance(error, ImportError) else ""
        return PluginInfo(point.name, group, point.value, name, version, error=words + remedy)
    summary = (inspect.getdoc(module) or "").partition("\n")[0]
    factories = tuple(_factory(each, what) for each, what in made if inspect.isclass(what) or inspect.isfunction(what))
    return PluginInfo(point.name, group, point.value, name, version, summary, factories)


class _AsWritten(str):
    """An annotation whose repr has no quotes."""

    __slots__ = ()

    __repr__ = str.__str__


def _factory(name: str, what: Callable[..., object]) -> Factory:
    marked = tuple(hook for hook in HOOKS if is_marked(inspect.getattr_static(what, hook, None)))
    signature = inspect.signature(what)
    options = [
        parameter.replace(annotation=_AsWritten(parameter.annotation))
        if isinstance(parameter.annotation, str)
        else parameter
        for parameter in signature.parameters.values()
    ]
    return Factory(name, str(inspect.Signature(options)), marked)
