"""`mailstack password USER`: lines for a file of users, with a hash and keys of a new password."""

from __future__ import annotations

import sys

import click

from .failure import told

DEFAULT = ("ARGON2ID", "SCRAM-SHA-256")


@click.command(short_help="Make lines for a file of users, of a new password.")
@click.argument("user")
@click.option(
    "--scheme",
    "schemes",
    multiple=True,
    metavar="SCHEME",
    help="ARGON2ID, BLF-CRYPT, SHA512-CRYPT, SSHA512, SCRAM-SHA-256, SCRAM-SHA-1 or PLAIN.B64; may be given several "
    f"times. [default: {' and '.join(DEFAULT)}]",
)
def password(user: str, schemes: tuple[str, ...]) -> None:
    """Ask for a password, and print lines for USER that `authfile.File` reads, one for each scheme.

    A hash judges passwords (PLAIN, LOGIN); the keys of SCRAM-… judge clients that do not send theirs. Whoever reads the
    keys can try passwords against them, faster than against ARGON2ID: keep the file from others.

    The password is not shown while it is typed; where standard input is no terminal, it is the first line there. Put
    the lines into a copy of the file, and move that to its place:

    \b
    cp -p users users.new && mailstack password ann@example.org >>users.new && mv users.new users
    """
    from ..option import ConfigError
    from ..services import passwords

    with told():
        if not user.strip() or not user.isprintable() or ":" in user or user.strip().startswith("#"):
            raise ConfigError(f"{user!r} is no name of a user", remedy='write "ann" or "ann@example.org"')
        secret = _asked()
        try:
            lines = [f"{user.strip()}:{passwords.make(scheme, secret)}" for scheme in schemes or DEFAULT]
        except passwords.Unreadable as error:
            raise ConfigError(str(error), remedy=error.remedy) from None
    for line in lines:
        click.echo(line)


def _asked() -> str:
    if sys.stdin.isatty():
        return str(click.prompt("Password", hide_input=True, confirmation_prompt=True, err=True))
    return sys.stdin.readline().rstrip("\r\n")
