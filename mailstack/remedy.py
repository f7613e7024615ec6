"""Remedies: the closest name, the package to install, the options that a call takes."""

from __future__ import annotations

import difflib
import inspect
import pkgutil
import re
import sys
import traceback
from collections.abc import Iterable
from types import ModuleType

from .installed import GROUPS, entry_points, extra_for


def did_you_mean(name: str, known: Iterable[str]) -> str | None:
    """ "did you mean greylist?", if one of the known names is close."""
    close = difflib.get_close_matches(name, sorted(set(known)), n=3)
    return f"did you mean {' or '.join(close)}?" if close else None


def names_of(owner: object) -> list[str]:
    """What may be meant of an object: all that a module says it offers, else whatever is there."""
    return list(getattr(owner, "__all__", None) or dir(owner))


# Calls.

_CALL = re.compile(r"(\w+)(?:\.__init__)?\(\) (?:got an unexpected keyword argument '(\w+)')?")


def remedy_for_call(error: TypeError) -> str | None:
    """A call that does not fit: what its factory takes. It is looked for where the call failed."""
    match = _CALL.match(str(error))
    if match is None:
        return None
    *_, (frame, _line) = traceback.walk_tb(error.__traceback__)
    told = re.findall(r"'(\w+)'", str(error))
    for factory in _factories_in(frame.f_globals.values(), match[1]):
        options = inspect.signature(factory).parameters
        if match[2] or all(each in options for each in told):  # several classes may have the name
            break
    else:
        return None
    return did_you_mean(match[2] or "", options) or f"write {match[1]}({', '.join(options)})"


def _factories_in(values: Iterable[object], name: str) -> list[type]:
    """Classes of that name, those first that a module says are its own."""
    found: list[type] = []
    for value in values:
        owner = value if isinstance(value, ModuleType) else None
        each = value if owner is None else getattr(owner, name, None)
        if isinstance(each, type) and each.__name__ == name and each not in found:
            found.insert(0 if owner is None or name in names_of(owner) else len(found), each)
    return found


# Imports.

_NAME_OF = re.compile(r"cannot import name '(\w+)' from (?:partially initialized module )?'([\w.]+)'")


def remedy_for_import(error: ImportError) -> str:
    """What to do about an import that failed: another spelling, another package of ours, or an extra."""
    match = _NAME_OF.match(str(error))
    package, _, name = match.expand(r"\2.\1").rpartition(".") if match else (error.name or "").rpartition(".")
    if extra := extra_for((error.name or "").partition(".")[0]):
        return f'pip install "{extra}"'
    for group, home in GROUPS.items():
        if package in GROUPS.values() and package != home and name in entry_points(group):
            return f"{name} is in {home}"
    known = _names_in(package) if package else [each.name for each in pkgutil.iter_modules()]
    return did_you_mean(name, known) or "correct the name, or install the package that has it"


def _names_in(package: str) -> list[str]:
    """What can be imported from a module that is already there: its names and its submodules."""
    module = sys.modules.get(package)
    if module is None:
        return []
    return [*dir(module), *(each.name for each in pkgutil.iter_modules(getattr(module, "__path__", ())))]
