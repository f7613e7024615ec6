"""What tells that a file has changed, and the value that outlives a broken one."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from mailstack.services.files import Latest, mark


def number(path: Path, complaints: list[str], every: float = 0.0) -> Latest[int]:
    return Latest(
        lambda: int(path.read_text()), path, complain=lambda error: complaints.append(str(error)), every=every
    )


def replace(path: Path, text: str) -> None:
    path.with_name("new").write_text(text)
    path.with_name("new").replace(path)


def test_a_mark_differs_with_content_rights_and_file(tmp_path: Path) -> None:
    path = tmp_path / "file"
    seen = [mark(path)]
    path.write_text("1")
    seen.append(mark(path))
    replace(path, "1")
    seen.append(mark(path))
    path.chmod(0o600 if path.stat().st_mode & 0o044 else 0o644)
    os.utime(path, ns=(0, seen[-1][0]))  # as if nothing had been written
    seen.append(mark(path))
    assert seen[0] == ()
    assert len(set(seen)) == 4
    assert seen[3][:2] == seen[2][:2]


def test_the_value_is_that_of_the_file_as_it_is_now(tmp_path: Path) -> None:
    path, complaints = tmp_path / "file", list[str]()
    path.write_text("1")
    latest = number(path, complaints)
    assert latest.value == 1
    replace(path, "2")
    assert latest.value == 2
    assert complaints == []


def test_what_cannot_be_used_is_told_once_and_the_last_good_value_stays(tmp_path: Path) -> None:
    path, complaints = tmp_path / "file", list[str]()
    path.write_text("1")
    latest = number(path, complaints)
    replace(path, "one")
    assert [latest.value, latest.value] == [1, 1]
    assert len(complaints) == 1
    path.unlink()
    assert latest.value == 1
    assert len(complaints) == 2
    replace(path, "3")
    assert latest.value == 3


def test_the_first_failure_is_the_callers(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError):
        number(tmp_path / "none", [])


def test_between_two_looks_nobody_asks_the_disk(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path, now = tmp_path / "file", [100.0]
    path.write_text("1")
    monkeypatch.setattr("mailstack.services.files.time.monotonic", lambda: now[0])
    latest = number(path, [], every=5)
    replace(path, "2")
    now[0] = 104.9
    assert latest.value == 1
    now[0] = 105.0
    assert latest.value == 2
