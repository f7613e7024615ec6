"""`mailstack new`: what it writes, what it refuses. tests/contract/test_packaging.py installs what comes out."""

import subprocess
import sys
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from mailstack import __version__
from mailstack.cli import main


def run(*arguments: str) -> Result:
    result = CliRunner().invoke(main, ["new", *arguments])
    if result.exception is not None and not isinstance(result.exception, SystemExit):
        raise result.exception
    return result


@pytest.mark.parametrize(("kind", "group"), [("middleware", "mailstack.middleware"), ("handler", "mailstack.handlers")])
def test_it_writes_a_complete_package(tmp_path: Path, kind: str, group: str) -> None:
    import tomllib

    result = run(kind, "tag_it", "--folder", str(tmp_path))
    assert (result.exit_code, result.stderr) == (0, "")
    package = tmp_path / "mailstack-tag-it"
    assert str(package) in result.stdout
    assert sorted(path.relative_to(package).as_posix() for path in package.rglob("*") if path.is_file()) == [
        ".gitignore",
        "README.md",
        "pyproject.toml",
        "src/mailstack_tag_it/__init__.py",
        "src/mailstack_tag_it/py.typed",
        "tests/conftest.py",
        "tests/test_tag_it.py",
    ]
    facts = tomllib.loads((package / "pyproject.toml").read_text())["project"]
    assert facts["entry-points"] == {group: {"tag_it": "mailstack_tag_it"}}
    assert facts["dependencies"] == [f"mailstack>={__version__}"]
    module = (package / "src/mailstack_tag_it/__init__.py").read_text()
    assert module.startswith('"""tag_it: ')
    assert '__all__ = ["TagIt"]' in module
    assert not [path for path in package.rglob("*") if path.is_file() and "$" in path.read_text()]


def test_nothing_is_overwritten(tmp_path: Path) -> None:
    (tmp_path / "mailstack-tag").mkdir()
    result = run("middleware", "tag", "--folder", str(tmp_path))
    assert (result.exit_code, result.stdout) == (2, "")
    assert result.stderr == (
        f"mailstack: {tmp_path}/mailstack-tag is there already\n  remedy: take another name, or another --folder\n"
    )
    assert not list((tmp_path / "mailstack-tag").iterdir())


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("Tag", "cannot be called 'Tag'"),
        ("tag-it", "cannot be called"),
        ("../tag", "cannot be called"),
        ("2tag", "cannot be called"),
        ("_tag", "cannot be called"),
        ("class", "cannot be called"),
        ("", "cannot be called"),
        ("x" * 31, "cannot be called"),
        ("maildir", f"there is a plugin 'maildir' in mailstack {__version__}"),
        ("reply", "is a word of mailstack itself"),
    ],
)
def test_a_name_that_cannot_be_is_refused(tmp_path: Path, name: str, words: str) -> None:
    result = run("middleware", "--folder", str(tmp_path), "--", name)
    assert result.exit_code == 2
    assert words in result.stderr
    assert "remedy: " in result.stderr
    assert not list(tmp_path.iterdir())


def test_a_folder_that_cannot_be_written_is_told(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    result = run("middleware", "tag", "--folder", str(tmp_path / "file"))
    assert result.exit_code == 2
    assert "cannot be written" in result.stderr


@pytest.mark.parametrize("kind", ["middleware", "handler"])
@pytest.mark.parametrize("name", ["a", "abcdefghi_abcdefghi_abcdefghij"])
def test_what_it_writes_is_laid_out_as_ruff_does(tmp_path: Path, kind: str, name: str) -> None:
    assert run(kind, name, "--folder", str(tmp_path)).exit_code == 0
    [package] = tmp_path.iterdir()
    for command in (["check"], ["format", "--check"]):
        done = subprocess.run(
            [sys.executable, "-m", "ruff", *command], cwd=package, stdout=subprocess.PIPE, stderr=subprocess.STDOUT
        )
        assert done.returncode == 0, done.stdout.decode()
