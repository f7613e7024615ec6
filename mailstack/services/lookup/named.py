"""A source by its name: text that a person types in a shell, "scheme:the rest".

    source = named("file:/etc/mail/domains")

`SCHEMES` holds who makes the source of each scheme: "module.function" of this package, imported when it is asked for.
The function takes the whole text, the scheme included, and raises ConfigError for what it cannot be.
"""

from __future__ import annotations

import difflib
from importlib import import_module
from typing import Any

from mailstack.option import ConfigError

from .source import Source

__all__ = ["SCHEMES", "named"]

# What `mailstack lookup` calls it -> who makes it, and an example for the person who misspelt it.
SCHEMES: dict[str, tuple[str, str]] = {
    "cidr": ("networks.from_text", "cidr:/etc/mail/networks"),
    "file": ("file.from_text", "file:/etc/mail/domains"),
    "regexp": ("regexps.from_text", "regexp:/etc/mail/patterns"),
}


def named(text: str) -> Source:
    """The source that the text names. ConfigError for an unknown scheme, and for what its maker refuses."""
    scheme, colon, _ = text.partition(":")
    if not colon or scheme.lower() not in SCHEMES:
        close = difflib.get_close_matches(scheme.lower(), SCHEMES, n=1)
        example = SCHEMES[close[0]][1] if close else "file:/etc/mail/domains"
        known = ", ".join(f"{each}:" for each in sorted(SCHEMES))
        raise ConfigError(f"{text!r} names no lookup", remedy=f'write "{example}"; there are {known}')
    module, _, function = SCHEMES[scheme.lower()][0].partition(".")
    make: Any = getattr(import_module(f".{module}", __package__), function)
    source: Source = make(text)
    return source
