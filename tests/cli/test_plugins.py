"""`mailstack plugins`: the table, the manual of one, JSON, and what is broken or missing."""

import json
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from mailstack import __version__, plugins
from mailstack.cli import main


def run(*arguments: str) -> Result:
    result = CliRunner().invoke(main, ["plugins", *arguments])
    if result.exception is not None and not isinstance(result.exception, SystemExit):
        raise result.exception
    return result


def test_it_lists_what_is_installed() -> None:
    result = run()
    assert result.exit_code == 0
    rows = [line.split() for line in result.stdout.splitlines()]
    assert rows[0] == ["plugin", "kind", "from", "makes", "listens", "to"]
    assert ["discard", "handlers", "mailstack", __version__, "Discard()", "queue"] in rows


def test_one_prints_its_manual_with_its_options() -> None:
    words = run("subjecttag").stdout
    assert words.startswith(f"subjecttag (middleware), mailstack {__version__}\n\nsubjecttag: put a tag in front")
    assert "\nsubjecttag.SubjectTag(tag: str)\n    tag -- printable text." in words
    assert words.endswith("    Listens to message.\n")


def test_json_has_everything() -> None:
    found = {info["name"]: info for info in json.loads(run("--json").stdout)}
    assert found["discard"]["distribution"] == "mailstack"
    [maildir] = json.loads(run("maildir", "--json").stdout)
    assert (maildir["kind"], maildir["version"], maildir["missing"]) == ("handlers", __version__, [])
    assert {"name": "eol", "type": "str", "default": "'lf'"} in maildir["factories"][0]["options"]


def test_one_that_is_not_there_is_told_with_the_closest_one() -> None:
    result = run("maildirs")
    assert result.exit_code == 2
    assert result.stderr == "mailstack: there is no plugin 'maildirs'\n  remedy: did you mean maildir?\n"


def test_one_that_cannot_be_used_is_an_error_and_stops_no_other(monkeypatch: pytest.MonkeyPatch) -> None:
    found = [
        plugins.PluginInfo("ldap", "middleware", "m", "mailstack", "1", error="No module; remedy: pip install x"),
        plugins.PluginInfo("redis", "middleware", "r", "mailstack", "1", "redis: asks.", missing=("mailstack[redis]",)),
    ]
    monkeypatch.setattr(plugins, "plugins", lambda folder: found)
    result = run()
    assert result.exit_code == 1
    assert "cannot be used" in result.stdout
    assert result.stdout.endswith(
        'ldap: No module; remedy: pip install x\nredis needs: pip install "mailstack[redis]"\n'
    )
    result = run("redis")
    assert (result.exit_code, 'redis needs: pip install "mailstack[redis]"' in result.stdout) == (0, True)


def test_a_folder_is_listed_too(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "house.py").write_text('"""house: ours."""\n__all__ = ["Rule"]\nclass Rule:\n    ...\n')
    monkeypatch.chdir(tmp_path)
    result = run("--folder", ".")
    assert result.exit_code == 0
    assert result.stdout.splitlines()[-1].split() == ["house", "folder", str(tmp_path / "house.py"), "Rule()"]
    assert run("--folder", "nowhere").exit_code == 2
