"""`mailstack lookup`: what is printed, and with which status it ends."""

from __future__ import annotations

from pathlib import Path

import pytest
from click.testing import CliRunner

from mailstack.cli import main


def run(*arguments: str) -> tuple[int, str, str]:
    result = CliRunner().invoke(main, ["lookup", "--backend", "asyncio", *arguments])
    if result.exception is not None and not isinstance(result.exception, SystemExit):
        raise result.exception
    return result.exit_code, result.stdout, result.stderr


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "domains").write_text("example.org 50M\n.example.net\n")
    (tmp_path / "networks").write_text("192.0.2.0/24 ours\n")
    (tmp_path / "patterns").write_text("/a+/ many\n")
    (tmp_path / "conf.py").write_text(
        "from mailstack import lookup\n"
        "users = lookup.Inline({'ann': 'a\\x1b[31m\\nb'})\n"
        "def broken(key): raise ConnectionError('the database\\x07 is down')\n"
        "dead = lookup.Function(broken)\n"
        "number = 1\n"
    )
    return tmp_path


@pytest.mark.parametrize(
    ("arguments", "status", "out", "err"),
    [
        ("file:domains example.org", 0, "50M\n", "found, in "),
        ("file:domains .example.net", 0, "\n", "found, without a value, in "),
        ("file:domains a.example.net", 1, "", "not found, in "),
        ("file:domains a.EXAMPLE.net --as domain", 0, "\n", "found, without a value, in "),
        ("file:domains ann@example.org --as address", 0, "50M\n", "found, in "),
        ("cidr:networks 192.0.2.7", 0, "ours\n", "found, in "),
        ("file:networks 192.0.2.7 --as network", 0, "ours\n", "found, in "),
        ("regexp:patterns AAA", 0, "many\n", "found, in "),
        ("regexp:patterns b", 1, "", "not found, in "),
        ("conf.py:users ann", 0, "a\\x1b[31m\\nb\n", "found, in "),
        ("conf.py:users ANN --as word", 0, "a\\x1b[31m\\nb\n", "found, in "),
        ("conf.py:dead ann", 75, "", "cannot say, after "),
        ("conf.py:number ann", 2, "", "`number` is an int, not a Source"),
        ("conf.py:other ann", 2, "", 'name it: "conf.py:users"'),
        ("nothing.py:users ann", 2, "", "there is no such file"),
        ("file:nothing ann", 2, "", "No such file"),
        ("fiel:/domains ann", 2, "", 'write "file:/etc/mail/domains"'),
        ("domains ann", 2, "", "names no lookup"),
        ("file:domains 192.0.2.0/33 --as network", 2, "", "is no address of a machine"),
        ("file:domains a@b@c --as address", 2, "", "is not a mail address"),
    ],
)
def test_a_lookup_is_asked(arguments: str, status: int, out: str, err: str, folder: Path) -> None:
    told = run(*arguments.split(" "))
    assert told[:2] == (status, out)
    assert err in told[2]
    assert "\x07" not in told[2]
