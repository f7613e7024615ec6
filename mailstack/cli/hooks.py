"""`mailstack hooks [NAME]`: the contract of plugins, as `contract/hookspec.py` has it."""

from __future__ import annotations

import click

from .failure import told


@click.command(short_help="Print the contract of plugins.")
@click.argument("name", required=False)
def hooks(name: str | None) -> None:
    """Print what a plugin may implement: every hook, or the one called NAME."""
    import inspect
    import textwrap

    from rich.console import Console
    from rich.text import Text

    from ..contract import hookspec

    console = Console(highlight=False)

    def manual(hook: str) -> None:
        function = getattr(hookspec.Hooks, hook)
        signature = inspect.signature(function)
        own = [parameter for parameter in signature.parameters.values() if parameter.name != "self"]
        define = "async def" if inspect.iscoroutinefunction(function) else "def"
        words = str(signature.replace(parameters=own)).replace("'", "")
        console.print(Text(f"{define} {hook}{words}", style="bold"), soft_wrap=True)
        console.print(Text(textwrap.indent(inspect.getdoc(function) or "", "    ") + "\n"), soft_wrap=True)

    if name is not None:
        with told():
            manual(_known(name))
        return
    console.print(Text((inspect.getdoc(hookspec) or "") + "\n"), soft_wrap=True)
    for title, group in _groups().items():
        console.rule(Text(title, style="bold"), align="left")
        for hook in group:
            manual(hook)


def _groups() -> dict[str, tuple[str, ...]]:
    from ..contract.hookspec import LIVES, NOTICES, PHASES

    return {"Lives": LIVES, "Phases": PHASES, "Notices": NOTICES}


def _known(name: str) -> str:
    """The name, or a ConfigError with the one that was meant."""
    import difflib

    from ..option import ConfigError

    known = [hook for group in _groups().values() for hook in group]
    if name in known:
        return name
    close = difflib.get_close_matches(name, known, n=1)
    remedy = f"did you mean {close[0]}?" if close else "one of " + ", ".join(known)
    raise ConfigError(f"there is no hook {name!r}", remedy=remedy)
