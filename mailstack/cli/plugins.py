"""`mailstack plugins [NAME]`: what is installed, bundled or not, and the manual of each."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from .failure import told

if TYPE_CHECKING:
    from rich.console import Console

    from ..plugins import PluginInfo


@click.command(short_help="List the installed plugins, or print the manual of one.")
@click.argument("name", required=False)
@click.option("--folder", metavar="DIR", help="Those of this plugin folder too.")
@click.option("--json", "as_json", is_flag=True, help="Everything there is to know, as JSON.")
def plugins(name: str | None, folder: str | None, as_json: bool) -> None:
    """List the installed plugins: what each makes, with which options, and what it listens to; or print NAME's manual.

    Exit status: 1 when one of them cannot be used.
    """
    import sys

    from rich.console import Console

    from ..plugins import plugins as installed

    with told():
        found = installed(folder)
        if name is not None:
            found = _called(name, found)
    if as_json:
        _print_json(found)
    else:
        console = Console(highlight=False, width=None if sys.stdout.isatty() else 10_000)  # a pipe cuts nothing off
        if name is None:
            _print_table(console, found)
        else:
            for info in found:
                _print_manual(console, info)
    if any(info.error for info in found):
        raise SystemExit(1)


def _called(name: str, found: list[PluginInfo]) -> list[PluginInfo]:
    from ..option import ConfigError
    from ..remedy import did_you_mean

    chosen = [info for info in found if info.name == name]
    if not chosen:
        remedy = did_you_mean(name, (info.name for info in found)) or "`mailstack plugins` lists what is installed"
        raise ConfigError(f"there is no plugin {name!r}", remedy=remedy)
    return chosen


def _print_json(found: list[PluginInfo]) -> None:
    import json
    from dataclasses import asdict

    click.echo(json.dumps([asdict(info) for info in found], indent=2))


def _print_table(console: Console, found: list[PluginInfo]) -> None:
    from rich.table import Table
    from rich.text import Text

    table = Table("plugin", "kind", "from", "makes", "listens to", box=None, pad_edge=False, header_style="bold")
    for info in found:
        for made, heard in _rows(info):
            style = "red" if info.error else ""
            table.add_row(info.name, info.kind, _origin(info), Text(made), Text(heard, style=style))
    console.print(table)
    for info in found:
        _print_lacks(console, info)


def _print_lacks(console: Console, info: PluginInfo) -> None:
    """What keeps it from being used."""
    from rich.text import Text

    if info.error:
        console.print(Text(f"{info.name}: {info.error}", style="red"), soft_wrap=True)
    for extra in info.missing:
        console.print(Text(f'{info.name} needs: pip install "{extra}"', style="yellow"), soft_wrap=True)


def _print_manual(console: Console, info: PluginInfo) -> None:
    import textwrap

    from rich.text import Text

    console.print(Text(f"{info.name} ({info.kind}), {_origin(info)}", style="bold"), soft_wrap=True)
    if info.manual:
        console.print(Text(f"\n{info.manual}"), soft_wrap=True)
    for made in info.factories:
        console.print(Text(f"\n{info.name}.{made.name}{made.signature}", style="bold"), soft_wrap=True)
        if made.manual:
            console.print(Text(textwrap.indent(made.manual, "    ")), soft_wrap=True)
        if made.hooks:
            console.print(Text(f"    Listens to {', '.join(made.hooks)}."), soft_wrap=True)
    _print_lacks(console, info)


def _origin(info: PluginInfo) -> str:
    return f"{info.distribution} {info.version}" if info.distribution else info.module


def _rows(info: PluginInfo) -> list[tuple[str, str]]:
    """What it makes and what that listens to, one row each."""
    if info.error:
        return [("", "cannot be used")]
    return [(f"{made.name}{made.signature}", ", ".join(made.hooks)) for made in info.factories] or [("", "")]
