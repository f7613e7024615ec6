"""Where middleware remembers when nobody says where."""

from __future__ import annotations

import os

from .sqlite import SQLite

__all__ = ["usual"]


def usual(name: str) -> SQLite:
    """A file of this name in $STATE_DIRECTORY, which systemd sets, or else in ./var, which is made."""
    folder = os.environ.get("STATE_DIRECTORY", "").partition(":")[0]
    return SQLite(os.path.join(folder or "var", name), make_folder=not folder)
