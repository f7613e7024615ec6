"""The guard over a rehearsal: what writes is refused and named, what reads is not disturbed."""

import os
import shutil
import sqlite3
import tempfile
from collections.abc import Callable
from pathlib import Path

import pytest
from anyio import to_thread

from mailstack.session.spool import SpoolFolder
from mailstack.testing.readonly import read_only

WRITES: dict[str, Callable[[Path], object]] = {
    "open": lambda folder: (folder / "old").open("a"),
    "os.open": lambda folder: os.open(folder / "old", os.O_RDWR),
    "mkdir": lambda folder: (folder / "new").mkdir(),
    "unlink": lambda folder: (folder / "old").unlink(),
    "rename": lambda folder: (folder / "old").rename(folder / "new"),
    "truncate": lambda folder: os.truncate(folder / "old", 0),
    "touch": lambda folder: (folder / "new").touch(),
    "chmod": lambda folder: (folder / "old").chmod(0o600),
    "symlink": lambda folder: (folder / "new").symlink_to("old"),
    "sqlite": lambda folder: sqlite3.connect(folder / "new"),
    "temporary file": lambda folder: tempfile.mkstemp(dir=folder),
}


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "old").write_text("old")
    sqlite3.connect(tmp_path / "data.db").close()
    return tmp_path


@pytest.mark.parametrize("write", WRITES.values(), ids=WRITES.keys())
def test_a_write_is_refused_and_remembered(folder: Path, write: Callable[[Path], object]) -> None:
    with read_only() as written:
        with pytest.raises(OSError, match="a rehearsal writes nothing"):
            write(folder)
    assert written
    assert all(str(folder) in line for line in written)
    assert sorted(path.name for path in folder.iterdir()) == ["data.db", "old"]
    assert (folder / "old").read_text() == "old"


async def test_a_thread_is_no_way_around_it(folder: Path) -> None:
    with read_only() as written:
        with pytest.raises(OSError, match="a rehearsal writes nothing"):
            await to_thread.run_sync((folder / "old").write_text, "new")
    assert len(written) == 1


def test_reading_and_the_spool_are_free(folder: Path) -> None:
    with read_only() as written:
        assert (folder / "old").read_text() == "old"
        sqlite3.connect(f"file:{folder / 'data.db'}?mode=ro", uri=True).close()
        sqlite3.connect(":memory:").close()
        with SpoolFolder() as spool:
            (spool.path / "below").mkdir()
            (spool.path / "below" / "file").write_text("x")
            shutil.rmtree(spool.path / "below")
    assert written == []


def test_afterwards_everything_is_as_before(folder: Path) -> None:
    with read_only():
        pass
    (folder / "old").write_text("new")
