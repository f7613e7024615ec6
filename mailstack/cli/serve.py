"""`mailstack serve SOURCE`: run a server until SIGTERM or SIGINT."""

from __future__ import annotations

import click

from .failure import told


@click.command(short_help="Run a server until SIGTERM or SIGINT.")
@click.argument("source")
@click.option(
    "--backend",
    type=click.Choice(["auto", "asyncio", "uvloop", "trio"]),
    default="auto",
    show_default=True,
    help="The event loop; auto is uvloop where it is installed, else asyncio.",
)
@click.option(
    "--log-level", type=click.Choice(["debug", "info", "warning", "error"]), default="info", show_default=True
)
@click.option(
    "--log-format",
    type=click.Choice(["auto", "console", "logfmt", "json"]),
    default="auto",
    show_default=True,
    help="auto is console on a terminal, else logfmt.",
)
@click.option(
    "--as-root",
    is_flag=True,
    envvar="MAILSTACK_AS_ROOT",
    help="Serve with root's rights where the configuration names no user.",
)
def serve(source: str, backend: str, log_level: str, log_format: str, as_root: bool) -> None:
    """Run the server that SOURCE describes, until SIGTERM or SIGINT.

    It logs to stderr, first what `mailstack check` would warn of. The first signal stops it in good order: who is idle
    hears 421, what runs is finished. A second one stops it at once. Exit status: 0 after a signal, 2 when it cannot
    start.
    """
    from .. import log
    from ..config import load
    from ..contract.compose import Stack
    from ..option import ConfigError
    from ..server.privileges import name_process
    from .audit import ToldAtStart

    with told():
        log.configure(log_level, log_format)
        server = load(source)
        server.stack = Stack(ToldAtStart(), server.stack)
        server.check()
        try:
            name_process(f"mailstack: {source}")
            server.run(backend, as_root=as_root)
        except ConfigError as error:
            if error.file is None:
                error.file, error.line = server.origin.file, server.origin.line
            raise
