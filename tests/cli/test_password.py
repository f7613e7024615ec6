"""`mailstack password` prints lines that are read as they are meant."""

from __future__ import annotations

import pytest
from click.testing import CliRunner

from mailstack.cli import main
from mailstack.middleware.authfile import parse
from mailstack.services import passwords


def run(*arguments: str, typed: str) -> tuple[int, str, str]:
    result = CliRunner().invoke(main, ["password", *arguments], input=typed)
    return result.exit_code, result.stdout, result.stderr


def test_it_prints_a_hash_and_keys() -> None:
    status, printed, _ = run("ann@example.org", typed="right:côté\n")
    lines = [parse(line) for line in printed.splitlines()]
    assert status == 0
    assert {line.user for line in lines} == {"ann@example.org"}
    stored = [passwords.read(line.stored) for line in lines]
    assert [each.scheme for each in stored] == ["ARGON2ID", "SCRAM-SHA-256"]
    assert all(each.matches("right:côté") for each in stored)
    assert "right" not in printed


def test_schemes_can_be_named() -> None:
    status, printed, _ = run("ann", "--scheme", "ssha512", "--scheme", "PLAIN.B64", typed="a:b\n")
    stored = [passwords.read(parse(line).stored) for line in printed.splitlines()]
    assert status == 0
    assert [each.scheme for each in stored] == ["SSHA512", "PLAIN"]
    assert all(each.matches("a:b") for each in stored)


@pytest.mark.parametrize(
    ("arguments", "typed", "words"),
    [
        (("a:b",), "right\n", "no name"),
        (("#ann",), "right\n", "no name"),
        (("ann",), "", "empty"),
        (("ann",), "a\x00b\n", "character"),
        (("ann", "--scheme", "BLF-CRYPT"), "x" * 73 + "\n", "72"),
        (("ann", "--scheme", "DES-CRYPT"), "right\n", "not known"),
    ],
)
def test_mistakes_are_told(arguments: tuple[str, ...], typed: str, words: str) -> None:
    status, printed, told = run(*arguments, typed=typed)
    assert (status, printed) == (2, "")
    assert words in told


def test_a_terminal_is_asked_twice_and_shows_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    import os
    import pty
    import subprocess
    import sys

    parent, child = pty.openpty()
    command = [sys.executable, "-m", "mailstack", "password", "--scheme", "SSHA512", "ann"]
    with subprocess.Popen(
        command, stdin=child, stdout=subprocess.PIPE, stderr=child, start_new_session=True
    ) as process:
        os.close(child)
        shown = b""
        for prompt in (b"assword: ", b": "):
            seen = b""
            while not seen.endswith(prompt):
                seen += os.read(parent, 1)
            shown += seen
            os.write(parent, b"right\n")
        assert process.stdout is not None
        printed = process.stdout.read().decode()
    os.close(parent)
    assert passwords.read(parse(printed.strip()).stored).matches("right")
    assert b"right" not in shown
