"""Files of domains, addresses, names and aliases: how they are read, read again, and what a broken one does."""

import logging
import os
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from mailstack import ConfigError
from mailstack.middleware.recipients import Addresses, Aliases, Domains, Users
from mailstack.services.lookup import File
from mailstack.testing import Dialog

Write = Callable[[str], Any]


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "list"


@pytest.fixture
def write(path: Path) -> Write:
    """Write the file anew, as of another second each time, all of them long ago."""
    seconds = iter(range(1_000_000, 2_000_000))

    def write(text: str) -> Any:
        path.write_text(text, encoding="utf-8")
        second = next(seconds)
        os.utime(path, (second, second))
        return File(path, every=0)

    return write


def change(path: Path, text: str | None, when: float = 7) -> None:
    """Write anything into the file, or remove it."""
    if text is None:
        path.unlink()
    else:
        path.write_bytes(text.encode("utf-8", "surrogateescape"))
        os.utime(path, (when, when))


async def codes(entry: object, *recipients: str) -> list[int]:
    async with Dialog(entry) as smtp:
        for command in ("EHLO me", "MAIL FROM:<a@example.net> SMTPUTF8"):
            assert await smtp.say(command) == 250
        return [(await smtp.say(f"RCPT TO:<{recipient}>")).code for recipient in recipients]


MAKE: dict[str, tuple[Callable[[Any], Any], str]] = {
    "Domains": (Domains, "{}.example"),
    "Addresses": (Addresses, "x@{}.example"),
    "expressions": (Addresses, "/x@{}\\.example/"),
    "Users": (lambda names: Users("one.example", "two.example", known=names), "x{}"),
    "Aliases": (Aliases, "x@{}.example: ann@example.org"),
}


@pytest.mark.parametrize("kind", MAKE)
async def test_a_file_is_read_again_when_it_has_changed(kind: str, write: Write) -> None:
    make, line = MAKE[kind]
    entry = make(write(f"# ours\n\n  {line.format('one')}  \n"))
    asked = ("xone@one.example", "xtwo@two.example") if kind == "Users" else ("x@one.example", "x@two.example")
    assert await codes(entry, *asked) == [250, 550]
    write(line.format("two") + "\n")
    assert await codes(entry, *asked) == [550, 250]


@pytest.mark.parametrize(
    "broken",
    ["one.example\nuser@two.example\n", "", "# all gone\n", "\udcff", None],
    ids=["line", "", "#", "UTF-8", "gone"],
)
async def test_a_broken_file_leaves_the_list_as_it_was_and_is_told_once(
    broken: str | None, path: Path, write: Write, caplog: pytest.LogCaptureFixture
) -> None:
    entry = Domains(write("one.example\n"))
    change(path, broken)
    with caplog.at_level(logging.ERROR, "mailstack"):
        assert await codes(entry, "x@one.example", "x@two.example", "x@one.example") == [250, 550, 250]
    assert len([record for record in caplog.records if record.getMessage().startswith("lookup")]) == 1
    write("two.example\n")
    assert await codes(entry, "x@one.example", "x@two.example") == [550, 250]


async def test_a_file_that_is_being_written_is_left_alone(path: Path, write: Write) -> None:
    entry = Domains(write("one.example\ntwo.example\n"))
    change(path, "one.example\n", time.time())
    assert await codes(entry, "x@two.example") == [250]
    os.utime(path, (8, 8))
    assert await codes(entry, "x@two.example") == [550]


async def test_a_file_is_not_looked_at_more_often_than_it_shall(path: Path, write: Write) -> None:
    write("one.example\n")
    entry = Domains(File(path, every="1h"))
    write("two.example\n")
    assert await codes(entry, "x@one.example") == [250]


async def test_files_and_text_stand_side_by_side(tmp_path: Path) -> None:
    (tmp_path / "a").write_text("\ufeffa.example\r\n.B.example\r\n")
    (tmp_path / "b").write_text("bücher.example")
    entry = Domains("x.example", File(tmp_path / "a"), File(str(tmp_path / "b")))
    asked = ("1@x.example", "2@a.example", "3@sub.b.example", "4@xn--bcher-kva.example", "5@b.example")
    assert await codes(entry, *asked) == [250, 250, 250, 250, 550]


@pytest.mark.parametrize(
    ("kind", "line"),
    [
        ("Domains", "user@example.org"),
        ("Domains", "a.example b.example"),
        ("Addresses", "example.org"),
        ("Addresses", "/(/"),
        ("Addresses", "/(x+)+/"),
        ("Users", "ann@example.org"),
        ("Aliases", "ann@example.org"),
        ("Aliases", "x@one.example: bob@example.org"),
        ("Aliases", "ann@example.org: bob@example.org\n# x\nbob@example.org: ann@example.org"),
    ],
)
def test_a_mistake_is_told_with_its_line(kind: str, line: str, path: Path) -> None:
    make, good = MAKE[kind]
    path.write_text(f"# one\n\n{good.format('one')}\n{line}\n")
    with pytest.raises(ConfigError) as raised:
        make(File(path))
    assert (raised.value.file, raised.value.line) == (str(path), 4)
    assert raised.value.remedy


def test_a_file_that_is_not_there_is_told(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="nothing cannot be read: No such file"):
        Domains(File(tmp_path / "nothing"))
    with pytest.raises(ConfigError, match="every"):
        File(tmp_path, every="often")
