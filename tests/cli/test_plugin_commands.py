"""Commands that plugins bring, and those that cannot be loaded."""

from __future__ import annotations

from importlib.metadata import EntryPoint

import click
import pytest
from click.testing import CliRunner

from mailstack.cli import commands, main


@click.command()
def hello() -> None:
    """Say hello."""
    click.echo("hello")


nothing = 3


@pytest.fixture(autouse=True)
def brought(monkeypatch: pytest.MonkeyPatch) -> None:
    points = {
        "hello": [EntryPoint("hello", f"{__name__}:hello", commands.GROUP)],
        "absent": [EntryPoint("absent", "no.such.module:command", commands.GROUP)],
        "nothing": [EntryPoint("nothing", f"{__name__}:nothing", commands.GROUP)],
        "check": [EntryPoint("check", f"{__name__}:hello", commands.GROUP)],
    }
    monkeypatch.setattr(commands, "entry_points", lambda group: points)


def test_a_plugin_s_command_is_listed_and_runs() -> None:
    assert "  hello " in CliRunner().invoke(main, ["--help"]).output
    assert CliRunner().invoke(main, ["hello"]).output == "hello\n"


def test_the_program_s_own_commands_stay() -> None:
    assert "SOURCE" in CliRunner().invoke(main, ["check", "--help"]).output


@pytest.mark.parametrize(("name", "problem"), [("absent", "cannot be loaded"), ("nothing", "not a click command")])
def test_a_command_that_cannot_be_loaded_says_so_and_hinders_no_other(name: str, problem: str) -> None:
    result = CliRunner().invoke(main, [name, "--anything"])
    assert result.exit_code == 2
    assert problem in result.output
    assert CliRunner().invoke(main, ["--help"]).exit_code == 0
