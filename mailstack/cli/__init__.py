"""The command line: `mailstack serve conf/mx.py`, `check`, `simulate`, `send`, `certs`, `hooks`, …

One file, one command. A command imports what it needs when it runs, so that `--help` comes at once. A ConfigError is
told on stderr without a traceback; the exit status is then 2. Plugins bring commands of their own: see `commands`.
"""

from __future__ import annotations

import click

from .. import __version__
from .certs import certs
from .check import check
from .commands import Commands
from .hooks import hooks
from .lookup import lookup
from .new import new
from .password import password
from .plugins import plugins
from .send import send
from .serve import serve
from .simulate import simulate

__all__ = ["main"]


@click.group(cls=Commands, context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100})
@click.version_option(__version__, prog_name="mailstack")
def main() -> None:
    """A mail server whose policy is a stack of middleware.

    SOURCE is a configuration: a file ("conf/mx.py", "conf/mx.py:name") or a module ("package.module:name"). The server
    is the name `server` in it unless another is given.
    """


for command in (serve, check, simulate, send, certs, password, lookup, hooks, plugins, new):
    main.add_command(command)
