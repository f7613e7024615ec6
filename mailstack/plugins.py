"""Plugins, found by name: installed ones by their entry points, house-made ones in a folder.

    greylist = plugin("greylist")                     # the module of that entry point
    house = plugin("house", folder="plugins")         # plugins/house.py beside the file that asks
    for info in plugins(): print(info.name, info.error)

A plugin is a module whose `__all__` lists its factories: what a configuration makes entries of. Bundled ones are found
like all others. Whatever is wrong with one is a `ConfigError` that says whose it is.

A folder's files are Python that the server runs: who may write them is the server. What others than its owner may write
is warned of in the log.
"""

from __future__ import annotations

import importlib
import inspect
import os
import re
import stat
import sys
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from functools import partial
from importlib import metadata
from types import ModuleType

from . import log
from .contract.load import HOOKS, is_marked
from .installed import GROUPS, entry_points, home, missing
from .option import ConfigError
from .remedy import did_you_mean
from .source import explained, run


def plugin(name: str, *, folder: str | os.PathLike[str] | None = None) -> ModuleType:
    """The module of a plugin: `plugin("greylist").Greylist(delay="5m")`.

    name -- its entry point's; with a folder, its file's without ".py".
    folder -- where its file lies; a relative one is beside the file that calls this. Files are read anew each time.

    ConfigError when there is none, when two distributions bring one, when it cannot be imported, when it has no
    `__all__`.
    """
    if folder is not None:
        return _from_folder(name, _beside(sys._getframe(1).f_code.co_filename, folder))
    return _imported(_only(name))


# Installed ones.


def _only(name: str) -> metadata.EntryPoint:
    """The one entry point of that name."""
    found = [point for group in GROUPS for point in entry_points(group).get(name, ())]
    if not found:
        names = {known for group in GROUPS for known in entry_points(group)}
        remedy = did_you_mean(name, names) or "`mailstack plugins` lists what is installed"
        raise ConfigError(f"there is no plugin {name!r}", remedy=remedy)
    if len(found) > 1:
        homes = ", ".join(f"{point.value} of {' '.join(home(point))}" for point in found)
        remedy = "import the module that you want, or remove the other distribution"
        raise ConfigError(f"plugin {name!r} is there {len(found)} times: {homes}", remedy=remedy)
    return found[0]


def _imported(point: metadata.EntryPoint) -> ModuleType:
    name, whose = point.name, " ".join(home(point))
    if point.attr:
        words = f"plugin {name!r} of {whose} is announced as {point.value}, which is no module"
        raise ConfigError(words, remedy=f"its author should write: {name} = {point.module!r}")
    try:
        module = importlib.import_module(point.module)
    except Exception as error:
        words, remedy = _why(error, point.module)
        raise ConfigError(f"plugin {name!r} of {whose} cannot be imported: {words}", remedy=remedy) from error
    _factories(module, f"plugin {name!r} of {whose}")
    return module


def _why(error: Exception, module: str) -> tuple[str, str]:
    if isinstance(error, ConfigError):
        return error.message, error.remedy
    words, remedy = explained(error, "")
    shows = f"`python -c 'import {module}'` shows the whole traceback"
    return words, remedy if isinstance(error, ImportError) else shows


def _factories(module: ModuleType, who: str) -> dict[str, object]:
    """What `__all__` lists, by name."""
    names = getattr(module, "__all__", None)
    file = module.__file__
    if names is None:
        remedy = 'list what a configuration makes of it: __all__ = ["Greylist"]'
        raise ConfigError(f"{who} has no __all__", remedy=remedy, file=file)
    if absent := [each for each in names if not hasattr(module, each)]:
        remedy = did_you_mean(absent[0], vars(module)) or "correct __all__"
        raise ConfigError(f"{who} has no {absent[0]}, which its __all__ lists", remedy=remedy, file=file)
    return {each: getattr(module, each) for each in names}


# Those in a folder.


def _beside(file: str, folder: str | os.PathLike[str]) -> str:
    return os.path.join(os.path.dirname(os.path.abspath(file)), os.path.expanduser(folder))


def _from_folder(name: str, folder: str) -> ModuleType:
    known = list(_names_in(folder))
    if name not in known:  # also whatever is a path and no name
        remedy = did_you_mean(name, known) or f"it has {', '.join(known) or 'no plugins'}"
        raise ConfigError(f"there is no plugin {name!r} in {folder}", remedy=remedy)
    path = os.path.join(folder, f"{name}.py")
    for each in (folder, path):
        if _others_may_write(os.stat(each)):
            log.warning("others may change this plugin", plugin=name, path=each, remedy=f"chmod go-w {each}")
    # The entry's name in logs is what follows the last dot.
    module = run(path, f"{re.sub(r'[^A-Za-z0-9]', '_', folder.strip(os.sep))}.{name}")
    _factories(module, f"plugin {name!r}")
    return module


def _names_in(folder: str) -> Iterator[str]:
    try:
        files = sorted(os.listdir(folder))
    except OSError as error:
        words = f"the plugin folder {folder} cannot be read: {error.strerror}"
        raise ConfigError(words, remedy="make it, or name another one beside this file") from error
    for file in files:
        stem, extension = os.path.splitext(file)
        if extension == ".py" and stem.isidentifier() and not stem.startswith("_"):
            yield stem


def _others_may_write(found: os.stat_result) -> bool:
    """The group of a user alone, which many systems make, is no other."""
    group = found.st_mode & stat.S_IWGRP and found.st_gid != found.st_uid
    return bool(group or found.st_mode & stat.S_IWOTH)


# What there is.


@dataclass(frozen=True, slots=True)
class Option:
    """One argument of a factory. type -- its annotation as written, or "". default -- as written, "" when required."""

    name: str
    type: str
    default: str


@dataclass(frozen=True, slots=True)
class Factory:
    """One thing in a plugin's `__all__` that makes an entry of a stack.

    signature -- as one writes it: "(wait='1s', *, reject=True)". hooks -- what its entries implement; empty for a
    function, whose product only a call would show. manual -- its docstring.
    """

    name: str
    signature: str
    options: tuple[Option, ...]
    hooks: tuple[str, ...]
    manual: str


@dataclass(frozen=True, slots=True)
class PluginInfo:
    """One plugin, bundled or not.

    kind -- "middleware", "handlers", or "folder" for one in a folder. manual -- its docstring.
    missing -- the extras that it names in `EXTRAS` and that are not installed: "mailstack[ldap]".
    error -- why it cannot be used, with the remedy; or "".
    """

    name: str
    kind: str
    module: str
    distribution: str = ""
    version: str = ""
    manual: str = ""
    factories: tuple[Factory, ...] = ()
    missing: tuple[str, ...] = ()
    error: str = ""

    @property
    def summary(self) -> str:
        """The first line of its manual."""
        return self.manual.partition("\n")[0]


def plugins(folder: str | os.PathLike[str] | None = None) -> list[PluginInfo]:
    """Every plugin that is installed, middleware first, by name, and those of a folder (relative to the current one).

    One that cannot be used says why and stops none of the others.
    """
    found = [
        _info(point.name, group.rpartition(".")[2], point.value, partial(_imported, point), *home(point))
        for group in GROUPS
        for _, points in sorted(entry_points(group).items())
        for point in points
    ]
    if folder is not None:
        path = os.path.abspath(os.path.expanduser(folder))
        for name in _names_in(path):
            file = os.path.join(path, f"{name}.py")
            found.append(_info(name, "folder", file, partial(_from_folder, name, path)))
    return found


def _info(
    name: str, kind: str, module: str, get: Callable[[], ModuleType], distribution: str = "", version: str = ""
) -> PluginInfo:
    try:
        found = get()
    except ConfigError as error:
        words = str(error).replace("\n  remedy: ", "; remedy: ")
        return PluginInfo(name, kind, module, distribution, version, error=words)
    factories = _described(_factories(found, name).items())
    lacks = [f"{distribution}[{extra}]" for extra in getattr(found, "EXTRAS", ()) if missing(distribution, extra)]
    manual = inspect.getdoc(found) or ""
    return PluginInfo(name, kind, module, distribution, version, manual, tuple(factories), tuple(lacks))


def _described(made: Iterable[tuple[str, object]]) -> Iterator[Factory]:
    for name, what in made:
        if inspect.isclass(what) or inspect.isfunction(what):
            yield _factory(name, what)


class _AsWritten(str):
    """An annotation whose repr has no quotes."""

    __slots__ = ()

    __repr__ = str.__str__


def _factory(name: str, what: Callable[..., object]) -> Factory:
    marked = tuple(hook for hook in HOOKS if is_marked(inspect.getattr_static(what, hook, None)))
    parameters = [
        parameter.replace(annotation=_AsWritten(parameter.annotation))
        if isinstance(parameter.annotation, str)
        else parameter
        for parameter in inspect.signature(what).parameters.values()
    ]
    options = tuple(map(_option, parameters))
    return Factory(name, str(inspect.Signature(parameters)), options, marked, inspect.getdoc(what) or "")


def _option(parameter: inspect.Parameter) -> Option:
    empty = inspect.Parameter.empty
    stars = str(parameter).partition(parameter.name)[0]  # "*", "**" or none
    written = "" if parameter.annotation is empty else inspect.formatannotation(parameter.annotation)
    default = "" if parameter.default is empty else repr(parameter.default)
    return Option(stars + parameter.name, written, default)
