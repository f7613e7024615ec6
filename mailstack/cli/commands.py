"""Commands that plugins bring: `mailstack greylist list -c conf/mx.py`.

A distribution names them as entry points of the group `mailstack.commands`: the name is the command's, the object a
click command (or group). What it works on are entries of a configuration, which it gets by its context's object:

    @click.command()
    @click.option("-c", "--config", "source", envvar="MAILSTACK_CONFIG", required=True)
    @click.pass_obj
    def show(entries: Entries, source: str) -> None:
        async def work(greylist: Greylist) -> None: ...
        entries.work(source, Greylist, work)        # once for each, its `store` open

A ConfigError in it is told as everywhere.
"""

from __future__ import annotations

import os
from collections.abc import Awaitable, Callable
from typing import Any, TypeVar

import click

from ..installed import entry_points
from .failure import told

T = TypeVar("T")
GROUP = "mailstack.commands"


class Commands(click.Group):
    """The program's own commands, and those of plugins."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        return sorted({*super().list_commands(ctx), *entry_points(GROUP)})

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """Those of plugins are named, and not loaded for it."""
        own = [(name, command.get_short_help_str(80)) for name, command in sorted(self.commands.items())]
        brought = entry_points(GROUP)
        others = [
            (name, f"For the plugin {name}: see `mailstack {name} --help`.")
            for name in sorted(brought)
            if name not in self.commands
        ]
        for title, rows in (("Commands", own), ("Commands of plugins", others)):
            if rows:
                with formatter.section(title):
                    formatter.write_dl(rows)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        own = super().get_command(ctx, cmd_name)
        if own is not None:
            return own
        points = entry_points(GROUP).get(cmd_name)
        if not points:
            return None
        return _load(cmd_name, points[0])

    def invoke(self, ctx: click.Context) -> Any:
        ctx.obj = Entries()
        with told():
            return super().invoke(ctx)


def _load(name: str, point: Any) -> click.Command:
    """The command; in place of one that cannot be loaded, one that says so: the others are still there."""
    try:
        command = point.load()
    except Exception as error:
        return _broken(name, f"cannot be loaded: {type(error).__name__}: {error}", point.value)
    if not isinstance(command, click.Command):
        return _broken(name, f"is {type(command).__name__}, not a click command", point.value)
    return command


def _broken(name: str, problem: str, place: str) -> click.Command:
    from ..option import ConfigError

    def fail() -> None:
        raise ConfigError(f"the command {name} {problem}", remedy=f"mend {place}, or remove what brings it")

    takes_anything = {"ignore_unknown_options": True, "allow_extra_args": True}
    return click.Command(name, callback=fail, short_help=f"({problem})", context_settings=takes_anything)


def _must_be_there(entry: object) -> None:
    """A store in a file that no server has made is not the server's."""
    from ..option import ConfigError

    path = getattr(getattr(entry, "store", None), "path", None)
    if path is not None and not os.path.exists(path):
        remedy = "say it in the folder that the server was started in, as its user; or start the server first"
        raise ConfigError(f"there is no {path}", remedy=remedy)


class Entries:
    """The entries of a configuration, for commands."""

    def find(self, source: str, kind: type[T]) -> list[T]:
        """Those of that class, outermost first. ConfigError without one."""
        from ..config import load
        from ..option import ConfigError

        found = [entry.plugin for entry in load(source).check().entries if isinstance(entry.plugin, kind)]
        if not found:
            problem = f"{source} has no {kind.__name__} in its stack"
            raise ConfigError(problem, remedy="name the configuration that has one")
        return found

    def work(self, source: str, kind: type[T], work: Callable[[T], Awaitable[None]]) -> None:
        """Do something with each of them while its `store` is open."""
        import anyio

        async def run() -> None:
            for entry in self.find(source, kind):
                _must_be_there(entry)
                async with entry.store.opened():  # type: ignore[attr-defined]
                    await work(entry)

        anyio.run(run)
