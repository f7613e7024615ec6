"""`mailstack certs NAME…`: a certificate for tests and for machines of one's own, from an authority of one's own."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from .failure import told

if TYPE_CHECKING:
    from .authority import Authority, Made


@click.command(short_help="Make an authority and a certificate for NAMEs, or renew them.")
@click.argument("names", nargs=-1, metavar="[NAME]...")
@click.option(
    "--folder", default="var/certs", show_default=True, type=click.Path(path_type=Path), help="Where they go."
)
@click.option("--days", default=365, show_default=True, type=click.IntRange(1, 3650), help="How long it shall last.")
@click.option("--renew", is_flag=True, help="Only what is missing or has less than 30 days left; all without NAMEs.")
@click.option("--force", is_flag=True, help="In the place of one that is there.")
def certs(names: tuple[str, ...], folder: Path, days: int, renew: bool, force: bool) -> None:
    """Make a certificate with all NAMEs: domains, "*.example.org", IP addresses, or a client's mailbox.

    It is signed by an authority that lies in the same folder and is made with the first certificate. Clients that are
    given its ca/ca.pem will trust the server. `tls.TLS("var/certs")` serves all that lie there.
    """
    from .authority import Authority, name

    with told():
        if not names and not renew:
            raise click.UsageError("give at least one NAME, or --renew")
        authority = Authority(folder)
        wanted = [name(each) for each in names]
        made = _renewed(authority, wanted, days) if renew else [_new(authority, wanted, days, force)]
    for each in made:
        click.echo(f"{each.folder}: {', '.join(each.names)}; until {each.ends:%Y-%m-%d}")
    if made:
        click.echo(f"clients trust {authority.file}")


def _new(authority: Authority, names: list[str], days: int, force: bool) -> Made:
    from ..option import ConfigError

    found = authority.find(names)
    if found is not None and not force:
        remedy = "--force makes it anew, --renew only when it is due"
        raise ConfigError(f"there is a certificate in {found.folder} already", remedy=remedy)
    return authority.sign(names, days)


def _renewed(authority: Authority, names: list[str], days: int) -> list[Made]:
    found = authority.find(names) if names else None
    if names and (found is None or set(found.names) != set(names)):
        return [authority.sign(names, days)]
    due = authority.signed() if found is None else [found]
    return [authority.sign(each.names, days) for each in due if _is_due(each)]


def _is_due(made: Made) -> bool:
    from .authority import EARLY, now

    return bool(made.names) and made.ends - now() < EARLY
