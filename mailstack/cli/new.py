"""`mailstack new middleware NAME`: a pip package to begin with, whose tests pass."""

from __future__ import annotations

from pathlib import Path

import click

from .failure import told


@click.command(short_help="Write a pip package for a plugin of your own.")
@click.argument("kind", type=click.Choice(["middleware", "handler"]))
@click.argument("name")
@click.option("--folder", default=".", show_default=True, metavar="DIR", help="Where the package's folder is made.")
def new(kind: str, name: str, folder: str) -> None:
    """Write mailstack-NAME/, a complete pip package with a small plugin, its manual and its tests.

    NAME is what a configuration calls it: lower-case letters, digits and underscores. Nothing is overwritten.
    """
    from ..option import ConfigError

    with told():
        words = {"name": _checked(name), **_words(kind, name)}
        target = Path(folder) / words["dist"]
        if target.exists() or target.is_symlink():
            raise ConfigError(f"{target} is there already", remedy="take another name, or another --folder")
        try:
            _write(kind, target, words)
        except OSError as error:
            words_of_it = f"{error.filename} cannot be written: {error.strerror}"
            raise ConfigError(words_of_it, remedy="name a --folder that you may write to") from error
    click.echo(f"{target}: README.md says how to go on")


def _words(kind: str, name: str) -> dict[str, str]:
    from .. import __version__

    return {
        "made": _class_of(name),
        "module": f"mailstack_{name}",
        "dist": f"mailstack-{name.replace('_', '-')}",
        "kind": "handlers" if kind == "handler" else kind,
        "option": "./mail" if kind == "handler" else "example.com",
        "version": __version__,
    }


def _class_of(name: str) -> str:
    return "".join(map(str.capitalize, name.split("_")))


def _checked(name: str) -> str:
    """The name, if a module, a class and a distribution can have it, and nobody has it yet."""
    import keyword
    import re

    from ..installed import GROUPS, entry_points, home
    from ..option import ConfigError
    from .package import WORDS

    if not re.fullmatch(r"[a-z][a-z0-9]*(_[a-z0-9]+)*", name) or len(name) > 30 or keyword.iskeyword(name):
        remedy = "write lower-case letters, digits and underscores, at most 30, such as tag_subject"
        raise ConfigError(f"a plugin cannot be called {name!r}", remedy=remedy)
    if name == "mailstack" or _class_of(name) in WORDS:
        raise ConfigError(f"{name!r} is a word of mailstack itself", remedy="take one that says what the plugin does")
    for group in GROUPS:
        for point in entry_points(group).get(name, ()):
            whose = " ".join(home(point))
            raise ConfigError(f"there is a plugin {name!r} in {whose}", remedy="take another name")
    return name


def _write(kind: str, target: Path, words: dict[str, str]) -> None:
    from string import Template

    from .package import HANDLER, MIDDLEWARE

    for path, text in (HANDLER if kind == "handler" else MIDDLEWARE).items():
        file = target / Template(path).substitute(words)
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(Template(text).substitute(words))
