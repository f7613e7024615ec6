"""`mailstack lookup SOURCE KEY`: what a lookup says, and how long it takes to say it."""

from __future__ import annotations

import time
from functools import partial
from typing import TYPE_CHECKING

import click

from .failure import told

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from ..services.lookup import Source

NOT_FOUND = 1
CANNOT_SAY = 75  # EX_TEMPFAIL of sysexits.h


@click.command(short_help="Ask a lookup for a key.")
@click.argument("source")
@click.argument("key")
@click.option(
    "--as",
    "kind",
    type=click.Choice(["key", "domain", "address", "network", "word"]),
    default="key",
    show_default=True,
    help="What KEY is: middleware asks for the parents of a domain and the networks around an address too.",
)
@click.option(
    "--backend",
    type=click.Choice(["auto", "asyncio", "uvloop", "trio"]),
    default="auto",
    show_default=True,
    help="The event loop.",
)
def lookup(source: str, key: str, kind: str, backend: str) -> None:
    """Ask SOURCE for KEY, and print its value; how long it took is told on stderr.

    \b
    SOURCE is "file:/etc/mail/domains", "regexp:PATH", "cidr:PATH", "cdb:PATH", a URL of a
    backend ("ldaps://…", "https://…/{key}", "redis://…"), or the name of a lookup in a
    Python file or module: "conf/mx.py:users", "package.module:users".

    Exit status: 0 found, 1 not found, 75 when it cannot say, 2 for a SOURCE or KEY that cannot be used.
    """
    from ..server.backend import run

    with told():
        asked = _source(source)
        outcome: list[int] = []

        async def ask() -> None:
            outcome.append(await _ask(asked, key, kind))

        run(ask, backend)
    raise SystemExit(outcome[0])


def _source(text: str) -> Source:
    from ..config import load_lookup, names_python
    from ..services.lookup.named import SCHEMES, named

    if text.partition(":")[0].lower() not in SCHEMES and names_python(text):
        return load_lookup(text)
    return named(text)


async def _ask(source: Source, key: str, kind: str) -> int:
    from ..option import ConfigError

    find = _question(source, key, kind)
    async with source.opened():
        began = time.perf_counter()
        try:
            value = await find()
        except ConfigError:
            raise
        except Exception as error:  # whatever a library raises
            click.echo(f"cannot say, after {_passed(began)}: {_shown(f'{type(error).__name__}: {error}')}", err=True)
            return CANNOT_SAY
        passed = _passed(began)
    if value is None:
        click.echo(f"not found, in {passed}", err=True)
        return NOT_FOUND
    click.echo(_shown(value))
    click.echo(f"found{'' if value else ', without a value'}, in {passed}", err=True)
    return 0


def _question(source: Source, key: str, kind: str) -> Callable[[], Awaitable[str | None]]:
    """What to await. ConfigError for a key that is none of its kind."""
    import ipaddress

    from .. import option
    from ..services import lookup

    name = "KEY"
    if kind == "domain":
        return partial(lookup.domains(source, name=name, parse=str).find, option.domain(key, name=name))
    if kind == "address":
        return partial(lookup.addresses(source, name=name, parse=str).find, option.address(key, name=name))
    if kind == "word":
        return partial(lookup.words(source, name=name, parse=str).find, key)
    if kind == "network":
        try:
            ip = ipaddress.ip_address(key)
        except ValueError:
            remedy = 'write "192.0.2.7" or "2001:db8::7"'
            raise option.ConfigError(f"{name}: {key!r} is no address of a machine", remedy=remedy) from None
        return partial(lookup.networks(source, name=name, parse=str).find, ip)
    return partial(source.find, key)


def _passed(began: float) -> str:
    return f"{(time.perf_counter() - began) * 1000:.1f} ms"


def _shown(text: str) -> str:
    """On one line, and without what a terminal obeys."""
    return "".join(each if each.isprintable() else each.encode("unicode_escape").decode() for each in text)
