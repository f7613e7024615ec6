"""Where middleware remembers when nobody says where."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

from ...option import ConfigError
from .memory import Memory
from .sqlite import SQLite

if TYPE_CHECKING:
    from . import Store

__all__ = ["chosen", "usual"]


def chosen(given: Store | None, *, name: str, file: str = "") -> Store:
    """The store that an option gives; None: the usual file of that name, or without one this process's memory.

    name -- of the option. ConfigError for what is no store, such as a path.
    """
    if given is None:
        return usual(file) if file else Memory()
    if not callable(getattr(given, "opened", None)):
        raise ConfigError(
            f"{name}: {given!r} is no store", remedy='write store=SQLite("/var/lib/…"), from mailstack.services.store'
        )
    return given


def usual(name: str) -> SQLite:
    """A file of this name in $STATE_DIRECTORY, which systemd sets, or else in ./var, which is made."""
    folder = os.environ.get("STATE_DIRECTORY", "").partition(":")[0]
    return SQLite(os.path.join(folder or "var", name), make_folder=not folder)
