"""`mailstack greylist`: what is remembered, and what is not to be."""

from __future__ import annotations

import ipaddress
import time
from typing import Any

import click

from mailstack.option import ConfigError

from . import Greylist

_config = click.option(
    "-c", "--config", "source", envvar="MAILSTACK_CONFIG", required=True, help="The configuration that has the entry."
)


@click.group(short_help="What a greylist remembers, and what it is to forget.")
def greylist() -> None:
    """Look at the records of the Greylist in a configuration, and change them.

    A server that runs sees it at once if its store is one that servers share (SQLite, Redis).
    """


@greylist.command("list", short_help="Print the records.")
@_config
@click.pass_obj
def list_(entries: Any, source: str) -> None:
    """Print what is remembered, the oldest first.

    The columns: its state (new, known, client), how often it was let in, when it was seen last, how long it will be
    remembered, and what it is.
    """

    async def show(entry: Greylist) -> None:
        for name, record, left in sorted(await entry.records(), key=lambda each: each[1].last):
            state = "client" if name.startswith("grey-client/") else "known" if record.passed else "new"
            seen = time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(record.last))
            click.echo(f"{state:6} {record.passed:6} {seen} {left / 86400:6.1f} d  {record.words}")

    entries.work(source, Greylist, show)


@greylist.command(short_help="Let a client's network in, from now on.")
@click.argument("network")
@_config
@click.pass_obj
def allow(entries: Any, source: str, network: str) -> None:
    """Know NETWORK (or the network of an address) as if it had been let in often."""

    try:
        ipaddress.ip_interface(network)
    except ValueError as error:
        raise click.BadParameter(f"{network!r} is no address: {error}") from error

    async def do(entry: Greylist) -> None:
        try:
            click.echo(f"{await entry.allow(network)} is let in")
        except ValueError as error:
            raise ConfigError(str(error), remedy="let them in one by one") from error

    entries.work(source, Greylist, do)


@greylist.command(short_help="Forget records.")
@click.argument("what", required=False)
@click.option("--all", "everything", is_flag=True, help="All of them.")
@_config
@click.pass_obj
def expire(entries: Any, source: str, what: str | None, everything: bool) -> None:
    """Forget what has to do with WHAT: a client's address or network, a sender, a recipient."""
    if bool(what) is everything:
        raise click.UsageError("say what is to be forgotten, or --all")

    async def do(entry: Greylist) -> None:
        click.echo(f"{await entry.expire(what or '')} forgotten")

    entries.work(source, Greylist, do)
