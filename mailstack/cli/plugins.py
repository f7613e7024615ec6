"""`mailstack plugins`: what is installed, bundled or not."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

if TYPE_CHECKING:
    from ..config import PluginInfo


@click.command(short_help="List the installed plugins.")
def plugins() -> None:
    """List the installed plugins: what each makes, with which options, and what it listens to.

    Exit status: 1 when one of them cannot be imported.
    """
    import sys

    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    from ..config import plugins as installed

    table = Table("plugin", "kind", "from", "makes", "listens to", box=None, pad_edge=False, header_style="bold")
    found = installed()
    for info in found:
        origin = f"{info.distribution} {info.version}"
        for made, heard in _rows(info):
            table.add_row(info.name, info.kind, origin, Text(made), Text(heard, style="red" if info.error else ""))
    console = Console(highlight=False, width=None if sys.stdout.isatty() else 200)
    console.print(table)
    broken = [info for info in found if info.error]
    for info in broken:
        console.print(Text(f"{info.name}: {info.error}", style="red"), soft_wrap=True)
    if broken:
        raise SystemExit(1)


def _rows(info: PluginInfo) -> list[tuple[str, str]]:
    """What it makes and what that listens to, one row each."""
    if info.error:
        return [("", "cannot be imported")]
    return [(f"{factory.name}{factory.options}", ", ".join(factory.hooks)) for factory in info.factories] or [("", "")]
