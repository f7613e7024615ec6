"""One item of a list, and where it stands.

    Item.of_line("example.org  50M  # a guest", "/etc/mail/sizes", 7)     # key "example.org", value "50M"

A line is a key, or a key, blanks and a value. "#" at its beginning or behind a blank begins a comment. What stands in
double quotes holds blanks ('"john smith"@example.org'), and so does a regular expression ("/john (smith|doe)@.*/").
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Final, NamedTuple

from mailstack.option import ConfigError

__all__ = ["Item"]

_COMMENT: Final = re.compile(r"(?:^|\s)#.*", re.DOTALL)
_EXPRESSION: Final = re.compile(r"(/.*?(?<!\\)/[a-z]*)(?:\s+(.*))?", re.DOTALL)
_QUOTED: Final = re.compile(r'((?:"(?:[^"\\]|\\.)*"|[^\s"])+)(?:\s+(.*))?', re.DOTALL)


class Item(NamedTuple):
    """key, value -- "" for none. text -- all of it as it was written. file, line -- None for the configuration."""

    key: str
    value: str = ""
    text: str = ""
    file: str | None = None
    line: int | None = None

    @classmethod
    def of_line(cls, line: str, file: str | None = None, number: int | None = None) -> Item | None:
        """The item of a line; None for one that is blank, or a comment."""
        line = line.strip()
        if line.startswith("/") and (found := _EXPRESSION.fullmatch(line)):
            return cls(found[1], _COMMENT.sub("", found[2] or "").strip(), line, file, number)
        line = _COMMENT.sub("", line).strip()
        if not line:
            return None
        if found := _QUOTED.fullmatch(line):
            return cls(found[1], found[2] or "", line, file, number)
        key, _, value = line.replace("\t", " ").partition(" ")
        return cls(key, value.strip(), line, file, number)

    @contextmanager
    def blamed(self) -> Iterator[None]:
        """Give a ConfigError the place of this item."""
        try:
            yield
        except ConfigError as error:
            if error.file is None:
                error.file, error.line = self.file, self.line
            raise
