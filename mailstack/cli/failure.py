"""How a command fails: a configuration's mistake is told in words, on stderr, with exit status 2."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

import click

if TYPE_CHECKING:
    from ..option import ConfigError


@contextmanager
def told() -> Iterator[None]:
    """Tell a ConfigError, alone or somewhere in a group, and end the command; anything else passes."""
    from ..option import ConfigError

    try:
        yield
    except (ConfigError, BaseExceptionGroup) as error:
        mistake = _first(error)
        if mistake is None:
            raise
        click.echo(f"mailstack: {mistake}", err=True)
        raise SystemExit(2) from None


def _first(error: BaseException) -> ConfigError | None:
    from ..option import ConfigError

    if isinstance(error, BaseExceptionGroup):
        return next((found for each in error.exceptions if (found := _first(each)) is not None), None)
    return error if isinstance(error, ConfigError) else None
