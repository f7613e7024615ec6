"""Reading files of items: with includes and folders, without waiting for what is no file.

    marks: Marks = {}
    items = read("/etc/mail/domains", marks)       # marks: every file and folder that was looked at, as it was before

`$include NAME` stands on a line of its own; NAME is relative to the file that it stands in. Where a folder is named,
all files in it are read in the order of their names, but those whose names begin with a dot, and no folder below it.
What is included several times is read once.

Fails: ConfigError with file and line for what cannot be read, is not UTF-8, or includes itself.
"""

from __future__ import annotations

import os
import stat
from collections.abc import Iterator
from typing import Final

from mailstack.option import ConfigError

from ..files import Mark, mark
from .item import Item

__all__ = ["Marks", "lines", "read"]

Marks = dict[str, Mark]

_MOST: Final = 1000  # files
_INCLUDE: Final = "$include"


def read(path: str, marks: Marks) -> list[Item]:
    """The items of a file or folder. marks -- gets what is looked at, also when it fails."""
    return list(_below(path, (), marks, set()))


def _below(path: str, way: tuple[str, ...], marks: Marks, read: set[str]) -> Iterator[Item]:
    real = os.path.realpath(path)
    if real in way:
        words = " includes ".join((*way[way.index(real) :], real))
        raise ConfigError(f"an include that never ends: {words}", remedy="leave one of them out")
    marks.setdefault(path, mark(path))
    if real in read:
        return
    read.add(real)
    if len(read) > _MOST:
        raise ConfigError(f"more than {_MOST} files", remedy="include fewer of them")
    if os.path.isdir(path):
        for name in _names(path):
            yield from _below(name, (*way, real), marks, read)
    else:
        yield from _items(path, (*way, real), marks, read)


def _names(path: str) -> list[str]:
    try:
        names = sorted(name for name in os.listdir(path) if not name.startswith("."))
    except OSError as error:
        raise _unreadable(path, error.strerror) from error
    return [each for name in names if not os.path.isdir(each := os.path.join(path, name))]


def _items(path: str, way: tuple[str, ...], marks: Marks, read: set[str]) -> Iterator[Item]:
    for number, line in enumerate(lines(path), 1):
        item = Item.of_line(line, path, number)
        if item is None:
            continue
        if item.key != _INCLUDE:
            yield item
            continue
        with item.blamed():
            if not item.value:
                raise ConfigError(f"{_INCLUDE} names no file", remedy=f"write {_INCLUDE} NAME")
            name = os.path.expanduser(item.value.strip('"'))
            yield from _below(os.path.join(os.path.dirname(path), name), way, marks, read)


def lines(path: str) -> list[str]:
    """Of one file, without their ends. ConfigError."""
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK)  # a pipe has no end
        with open(descriptor, encoding="utf-8-sig", newline=None) as file:
            if not stat.S_ISREG(os.fstat(descriptor).st_mode):
                raise _unreadable(path, "it is no file")
            return file.read().split("\n")
    except OSError as error:
        raise _unreadable(path, error.strerror) from error
    except UnicodeError as error:
        raise _unreadable(path, "it is not UTF-8") from error


def _unreadable(path: str, why: str | None) -> ConfigError:
    return ConfigError(f"{path} cannot be read: {why}", remedy="mend the file or its rights")
