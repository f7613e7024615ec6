"""Files of a lookup: what a line is, includes and folders, and what becomes of one that is broken or half-written."""

from __future__ import annotations

import logging
import os
import time
from pathlib import Path
from threading import Event

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mailstack import ConfigError, lookup
from mailstack.services.lookup import Item, Listing, listing
from mailstack.services.lookup.lines import Marks, read


def write(path: Path, text: str | bytes, *, age: float = 100) -> Path:
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    os.utime(path, (time.time() - age,) * 2)
    return path


def keys(path: Path) -> list[str]:
    return [item.key for item in read(str(path), {})]


@pytest.mark.parametrize(
    ("line", "key", "value"),
    [
        ("example.org", "example.org", ""),
        ("  example.org\t 50M \r", "example.org", "50M"),
        ("example.org 50M and more # why", "example.org", "50M and more"),
        ("a#b c#d", "a#b", "c#d"),
        ('"john smith"@example.org x', '"john smith"@example.org', "x"),
        ('"a \\" # b"@example.org', '"a', '\\"'),
        ('unbalanced" quote', 'unbalanced"', "quote"),
        ("/a b/i some value # c", "/a b/i", "some value"),
        ("/a#b c \\/ d/", "/a#b c \\/ d/", ""),
        ("/not closed", "/not", "closed"),
    ],
)
def test_a_line_is_a_key_and_a_value(line: str, key: str, value: str) -> None:
    item = Item.of_line(line)
    assert item is not None
    assert (item.key, item.value) == (key, value)


@given(st.text(max_size=60))
def test_any_line_is_an_item_or_nothing(line: str) -> None:
    item = Item.of_line(line, "list", 3)
    if item is not None:
        assert item.key
        assert item.text in line.replace("\t", " ") or item.text.strip() in line.strip()
    else:
        assert not line.strip() or "#" in line


def test_a_folder_is_all_its_files_in_order_and_includes_are_relative(tmp_path: Path) -> None:
    for name, text in {
        "main": "one\n$include sub\n  $include other # too\n",
        "other": "\ufefffive\n$include other2\n",
        "other2": "six\r\nseven",
        "sub/20": "four\n",
        "sub/10": "two\nthree\n$include ../other2\n",
        "sub/.hidden": "no\n",
        "sub/deeper/file": "no\n",
    }.items():
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text(text)
    assert keys(tmp_path / "main") == ["one", "two", "three", "six", "seven", "four", "five"]
    marks: Marks = {}
    read(str(tmp_path / "main"), marks)
    assert {Path(os.path.normpath(path)).name for path in marks} == {"main", "sub", "10", "20", "other", "other2"}


def test_a_loop_is_named_with_file_and_line(tmp_path: Path) -> None:
    (tmp_path / "a").write_text("x\n$include b\n")
    (tmp_path / "b").write_text("\n\n$include ./a\n")
    with pytest.raises(ConfigError, match=f"{tmp_path}/a includes {tmp_path}/b includes {tmp_path}/a") as raised:
        lookup.domains(lookup.File(tmp_path / "a"), name="Test")
    assert (raised.value.file, raised.value.line) == (str(tmp_path / "b"), 3)
    (tmp_path / "b").write_text("$include\n")
    with pytest.raises(ConfigError, match="names no file"):
        keys(tmp_path / "b")


def test_files_that_include_each_other_many_times_are_read_once(tmp_path: Path) -> None:
    for number in range(60):
        (tmp_path / f"{number}").write_text(f"item{number}\n" + f"$include {number + 1}\n" * 2)
    (tmp_path / "60").write_text("end\n")
    assert len(keys(tmp_path / "0")) == 61


def test_what_is_no_file_is_refused_at_once(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    write(tmp_path / "latin", b"caf\xe9\n")
    write(tmp_path / "main", "$include nothing\n")
    for name, words in {"pipe": "it is no file", "latin": "it is not UTF-8", "nothing": "No such file"}.items():
        with pytest.raises(ConfigError, match=f"{name} cannot be read: {words}") as raised:
            keys(tmp_path / name)
        assert raised.value.remedy
    with pytest.raises(ConfigError, match="nothing cannot be read") as raised:
        keys(tmp_path / "main")
    assert (raised.value.file, raised.value.line) == (str(tmp_path / "main"), 1)


def test_a_key_with_two_values_is_a_mistake(tmp_path: Path) -> None:
    path = write(tmp_path / "list", "a 1\nb 2\nA 1\nB 3\n")
    with pytest.raises(ConfigError, match="'B' is there twice") as raised:
        lookup.First(lookup.File(path)).find_now("a")
    assert (raised.value.file, raised.value.line) == (str(path), 4)


async def test_a_file_is_a_source(tmp_path: Path) -> None:
    source = lookup.File(write(tmp_path / "list", "Example.ORG 50M\nbare\n"))
    async with source.opened():
        assert await source.find("EXAMPLE.org") == "50M"
        assert await source.find("bare") == ""
        for absent in ("", "50M", "bare\n", "bare ", "*", "Example.ORG 50M", "x" * 100_000, "\0", "\ud800"):
            assert await source.find(absent) is None


# Changes.


def test_a_change_in_an_included_file_or_folder_is_seen(tmp_path: Path) -> None:
    (tmp_path / "sub").mkdir()
    main = write(tmp_path / "main", "$include sub\n")
    write(tmp_path / "sub/a", "one\n")
    os.utime(tmp_path / "sub", (7, 7))
    source = lookup.File(main, every=0)
    assert source.find_now("one") == ""
    write(tmp_path / "sub/a", "changed\n", age=50)
    assert (source.find_now("one"), source.find_now("changed")) == (None, "")
    write(tmp_path / "sub/b", "two\n")
    os.utime(tmp_path / "sub", (8, 8))
    assert source.find_now("two") == ""
    write(tmp_path / "sub/b", "three\n", age=40)
    assert source.find_now("three") == ""


@pytest.mark.parametrize("broken", ["a 1\na 2\n", b"\xff", None, "$include nothing\n"])
def test_the_last_good_one_stays_and_that_is_told_once_for_each_change(
    broken: str | bytes | None, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    path = write(tmp_path / "list", "a 0\n")
    source = lookup.File(path, every=0)
    assert source.find_now("a") == "0"
    if broken is None:
        path.unlink()
    else:
        write(path, broken, age=50)
    with caplog.at_level(logging.ERROR, "mailstack"):
        assert [source.find_now("a") for _ in range(3)] == ["0"] * 3
        assert len(caplog.records) == 1
        write(path, b"\xfe\xfe\n", age=40)
        assert [source.find_now("a") for _ in range(3)] == ["0"] * 3
        assert len(caplog.records) == 2
    assert str(path) in caplog.text
    write(path, "a 3\n", age=30)
    assert source.find_now("a") == "3"


def test_the_mending_of_an_included_file_is_seen(tmp_path: Path) -> None:
    main = write(tmp_path / "main", "one\n")
    source = lookup.File(main, every=0)
    assert source.find_now("one") == ""
    write(main, "two\n$include more\n", age=50)
    assert source.find_now("two") is None
    write(tmp_path / "more", "three\n", age=50)
    assert source.find_now("three") == ""


def test_a_file_that_is_being_written_is_left_alone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = write(tmp_path / "list", "one\n")
    source = lookup.File(path, every=0)
    assert source.find_now("one") == ""
    write(path, "half\n", age=0)
    assert source.find_now("half") is None
    monkeypatch.setattr(listing, "STILL", 0.0)
    assert source.find_now("half") == ""


def test_what_changes_while_it_is_read_is_not_taken(tmp_path: Path) -> None:
    path = write(tmp_path / "list", "one\n")
    held: list[list[str]] = []

    def make(items: object) -> list[str]:
        if len(held) == 1:
            write(path, "whole\n", age=20)
        held.append([item.key for item in items])  # type: ignore[attr-defined]
        return held[-1]

    found = Listing([lookup.File(path, every=0)], make)
    write(path, "half\n", age=50)
    assert found.current == ["one"]
    assert held == [["one"], ["half"]]
    assert found.current == ["whole"]


def test_a_file_that_was_written_just_before_the_start_is_read_once_more(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = write(tmp_path / "list", "half\n", age=0)
    before = path.stat()
    source = lookup.File(path, every=0)
    assert source.find_now("half") == ""
    path.write_text("full\n")
    os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns))  # in the same tick of the clock
    assert source.find_now("full") is None
    monkeypatch.setattr(listing, "STILL", 0.0)
    assert source.find_now("full") == ""


def test_a_large_file_is_read_in_a_thread_while_the_old_table_answers(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(listing, "LARGE", 100)
    path = write(tmp_path / "list", "one\n")
    go, done = Event(), Event()
    makes: list[int] = []

    def make(items: object) -> list[str]:
        makes.append(1)
        if len(makes) > 1:
            assert go.wait(10)
            done.set()
        return [item.key for item in items]  # type: ignore[attr-defined]

    found = Listing([lookup.File(path, every=0)], make)
    write(path, "two\n" * 100, age=50)
    assert found.current == ["one"]
    assert found.current == ["one"]
    go.set()
    assert done.wait(10)
    while found.current == ["one"]:
        pass
    assert found.current == ["two"] * 100
    assert len(makes) == 2


def test_it_is_not_looked_at_more_often_than_it_shall(tmp_path: Path) -> None:
    path = write(tmp_path / "list", "one\n")
    source = lookup.File(path, every="1h")
    assert source.find_now("one") == ""
    write(path, "two\n", age=50)
    assert source.find_now("one") == ""
    with pytest.raises(ConfigError, match="every"):
        lookup.File(path, every="often")
