"""`mailstack karma`: what is remembered of a client."""

from __future__ import annotations

import ipaddress
import time
from typing import Any

import click

from . import Karma
from .history import History

_config = click.option(
    "-c", "--config", "source", envvar="MAILSTACK_CONFIG", required=True, help="The configuration that has the entry."
)


def _address(context: click.Context, parameter: click.Parameter, value: str) -> str:
    try:
        return str(ipaddress.ip_address(value))
    except ValueError as error:
        raise click.BadParameter(str(error)) from error


_ip = click.argument("ip", callback=_address)


@click.group(short_help="What is remembered of clients, and what is to be.")
def karma() -> None:
    """Look at the history of clients that the Karma in a configuration remembers, and change it."""


@karma.command(short_help="Print what is remembered of a client.")
@_ip
@_config
@click.pass_obj
def show(entries: Any, source: str, ip: str) -> None:
    """Print the history of IP: its sessions, its balance, and until when it is shut out."""

    async def work(entry: Karma) -> None:
        _print(ip, await entry.show(ip))

    entries.work(source, Karma, work)


@karma.command("set", short_help="Change what is remembered of a client.")
@_ip
@click.option("--nice", type=click.IntRange(0), help="How many nice sessions there were.")
@click.option("--naughty", type=click.IntRange(0), help="How many naughty ones.")
@click.option("--release", is_flag=True, help="It is not shut out any more.")
@_config
@click.pass_obj
def set_(entries: Any, source: str, ip: str, nice: int | None, naughty: int | None, release: bool) -> None:
    """Change the history of IP."""
    if nice is None and naughty is None and not release:
        raise click.UsageError("say what is to be changed: --nice, --naughty or --release")

    async def work(entry: Karma) -> None:
        history = await entry.show(ip)
        changed = history._replace(
            nice=history.nice if nice is None else nice,
            naughty=history.naughty if naughty is None else naughty,
            penalty_until=0.0 if release else history.penalty_until,
        )
        await entry.change(ip, changed)
        _print(ip, changed)

    entries.work(source, Karma, work)


def _print(ip: str, history: History) -> None:
    words = f"{ip}: {history.sessions} sessions, {history.nice} nice, {history.naughty} naughty"
    if history.penalty_until > time.time():
        words += time.strftime(", shut out until %Y-%m-%d %H:%M:%S", time.localtime(history.penalty_until))
    click.echo(words)
