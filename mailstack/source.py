"""A Python file of the user's (a configuration, a plugin): read, run as a module of its own, and named when it fails.

Whatever goes wrong in it is a `ConfigError` with the innermost line of that file, and what to do about it.
"""

from __future__ import annotations

import linecache
import os
import sys
import traceback
from collections.abc import Iterator
from contextlib import contextmanager
from types import ModuleType

from .option import ConfigError
from .remedy import did_you_mean, names_of, remedy_for_call, remedy_for_import


def run(path: str, name: str) -> ModuleType:
    """Run the file as a module of this name, anew each time."""
    module = ModuleType(name)
    module.__file__ = path
    linecache.checkcache(path)
    with blaming(path):
        code = compile(_read(path), path, "exec", dont_inherit=True)
        sys.modules[name] = module  # dataclasses and pickle look for the module by name
        try:
            exec(code, vars(module))
        except BaseException:
            del sys.modules[name]
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
    return did_you_mean(name, there) or f"look for it with `ls {folder or '.'}`"


# Whose fault it is.


@contextmanager
def blaming(path: str) -> Iterator[None]:
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
        words, remedy = explained(error, path)
        raise ConfigError(words, remedy=remedy, file=path, line=_innermost(error, path)) from error


def _innermost(error: BaseException, path: str) -> int | None:
    lines = [frame.lineno for frame in traceback.extract_tb(error.__traceback__) if frame.filename == path]
    return lines[-1] if lines else None


def explained(error: BaseException, path: str) -> tuple[str, str]:
    """What went wrong in Python's words, and a remedy as good as we have one."""
    words = "".join(traceback.TracebackException.from_exception(error).format_exception_only()).strip()
    if isinstance(error, ImportError):
        return words, remedy_for_import(error)
    frames = [each for each in traceback.extract_tb(error.__traceback__) if not each.filename.startswith("<")]
    if isinstance(error, TypeError) and (remedy := remedy_for_call(error)):
        return words, remedy
    if isinstance(error, AttributeError) and (remedy := did_you_mean(error.name or "", names_of(error.obj))):
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
