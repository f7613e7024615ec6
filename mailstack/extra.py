"""Optional dependencies: a plugin asks for its module when it is made, and not when it is imported.

    EXTRAS = ("ldap",)                                              # what `mailstack plugins` looks at

    class Directory:
        def __init__(self, url: str) -> None:
            self._ldap = extra.require("ldap", "mailstack[ldap]")

So every plugin can be imported, listed and checked for its options with the base install alone.
"""

from __future__ import annotations

import importlib
from typing import Any

from .option import ConfigError


def require(module: str, extra: str) -> Any:
    """The module, imported.

    extra -- how pip is told to install it: "mailstack[ldap]". ConfigError with that command when the module is not
    there, and with the reason when it is there and cannot be imported.
    """
    try:
        return importlib.import_module(module)
    except ImportError as error:
        absent = isinstance(error, ModuleNotFoundError) and f"{module}.".startswith(f"{error.name}.")
        words = "is not installed" if absent else f"cannot be imported: {error}"
        option = "" if absent else "--force-reinstall "
        raise ConfigError(f"the module {module} {words}", remedy=f'pip install {option}"{extra}"') from error
