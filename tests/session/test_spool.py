"""Where bodies lie: in memory first, then in a file; what was written is what is read, and nothing is left behind."""

import errno
import fcntl
import os
import stat
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import anyio
import pytest
from anyio import create_task_group, to_thread
from hypothesis import given, settings
from hypothesis import strategies as st

from mailstack import ConfigError
from mailstack.session.spool import PIECE, Spool, SpoolFolder

KIB = 1024


@pytest.fixture
def folder(tmp_path: Path) -> Iterator[SpoolFolder]:
    with SpoolFolder(tmp_path / "spool") as folder:
        yield folder
        assert folder.in_memory == 0, "a test left a body open"
        assert folder.files == 0
        assert list(folder.path.iterdir()) == []


async def filled(folder: SpoolFolder, *pieces: bytes) -> Spool:
    """A finished body, written as the core writes it."""
    spool = folder.spool()
    for piece in pieces:
        if spool.write(piece):
            await spool.flush()
    await spool.finish()
    return spool


async def content(spool: Spool, size: int = PIECE) -> bytes:
    return b"".join([chunk async for chunk in spool.chunks(size)])


def descriptors() -> int:
    return len(os.listdir("/proc/self/fd"))


# Memory, then a file.


async def test_a_body_of_64_kib_stays_in_memory_and_one_octet_more_goes_to_a_file(folder: SpoolFolder) -> None:
    for octets, on_disk in ((0, False), (1, False), (64 * KIB, False), (64 * KIB + 1, True)):
        data = os.urandom(octets)
        spool = await filled(folder, data)
        assert spool.on_disk is on_disk
        assert spool.size == octets
        assert folder.in_memory == (0 if on_disk else octets)
        assert folder.files == on_disk
        assert await content(spool) == data
        spool.close()


async def test_a_large_body_is_due_for_the_file_each_512_kib(folder: SpoolFolder) -> None:
    spool = folder.spool()
    dues = []
    for _ in range(48):
        due = spool.write(bytes(32 * KIB))
        dues.append(due)
        if due:
            await spool.flush()
            assert folder.in_memory == 0
    assert [index for index, due in enumerate(dues) if due] == [15, 31, 47]
    assert spool.on_disk
    spool.close()


async def test_when_all_bodies_together_are_too_many_the_next_one_goes_to_a_file(tmp_path: Path) -> None:
    with SpoolFolder(tmp_path / "spool", memory_total=100) as folder:
        first, second = folder.spool(), folder.spool()
        assert not first.write(bytes(60))
        assert not second.write(bytes(40))
        assert second.write(b"!")
        await second.flush()
        assert folder.in_memory == 60
        assert second.on_disk
        assert not first.on_disk
        first.close()
        assert folder.in_memory == 0
        assert await content(second) == bytes(40) + b"!"
        second.close()


async def test_flushing_nothing_makes_no_file(folder: SpoolFolder) -> None:
    spool = folder.spool()
    await spool.flush()
    await spool.finish()
    assert not spool.on_disk
    assert await content(spool) == b""
    spool.close()


async def test_many_small_segments_are_joined(folder: SpoolFolder) -> None:
    spool = folder.spool()
    for _ in range(10_000):
        spool.write(b"x")
    assert len(spool._parts) < 200
    assert await content(spool) == b"x" * 10_000
    spool.close()


async def test_close_is_idempotent_and_gives_everything_back(folder: SpoolFolder) -> None:
    before = descriptors()
    small, large = await filled(folder, b"small"), await filled(folder, bytes(100 * KIB))
    assert folder.in_memory == 5
    assert folder.files == 1
    for _ in range(2):
        small.close()
        large.close()
        assert (folder.in_memory, folder.files) == (0, 0)
        assert list(folder.path.iterdir()) == []
    assert descriptors() == before


# Reading.


@settings(max_examples=60, deadline=None)
@given(
    pieces=st.lists(st.binary(max_size=200), max_size=30),
    flushes=st.sets(st.integers(0, 29)),
    size=st.integers(1, 300),
    memory_each=st.integers(0, 400),
)
def test_what_is_read_is_what_was_written_however_it_was_cut(
    pieces: list[bytes], flushes: set[int], size: int, memory_each: int
) -> None:
    async def check() -> None:
        with SpoolFolder(memory_each=memory_each) as folder:
            spool = folder.spool()
            for index, piece in enumerate(pieces):
                spool.write(piece)
                if index in flushes:
                    await spool.flush()
            await spool.finish()
            written = b"".join(pieces)
            assert spool.size == len(written)
            assert spool.on_disk or len(written) <= memory_each
            blocks = list(spool.blocks(size))
            assert b"".join(blocks) == written
            assert all(0 < len(block) <= size for block in blocks)
            assert [chunk async for chunk in spool.chunks(size)] == blocks
            spool.close()

    anyio.run(check)


async def test_several_read_at_once(folder: SpoolFolder) -> None:
    data = os.urandom(300 * KIB)
    spool = await filled(folder, data)
    read: list[bytes] = []

    async def reader(size: int) -> None:
        read.append(await content(spool, size))

    async with create_task_group() as group:
        for size in (7 * KIB, 64 * KIB, PIECE):
            group.start_soon(reader, size)
    assert read == [data] * 3
    spool.close()


@pytest.mark.parametrize("octets", [10, 100 * KIB])
async def test_who_begins_to_read_a_body_that_is_gone_is_told(folder: SpoolFolder, octets: int) -> None:
    spool = await filled(folder, bytes(octets))
    spool.close()
    with pytest.raises(ValueError, match="gone"):
        list(spool.blocks())
    with pytest.raises(ValueError, match="gone"):
        await content(spool)


@pytest.mark.parametrize("octets", [1000, 200 * KIB])
async def test_a_reader_at_work_reads_its_own_message_to_the_end(folder: SpoolFolder, octets: int) -> None:
    """The spool's file number is free after close; another message's file gets it at once."""
    spool = await filled(folder, b"a" * octets)
    blocks = spool.blocks(100)
    read = [next(blocks)]
    spool.close()
    other = await filled(folder, b"b" * octets)
    assert b"".join([*read, *blocks]) == b"a" * octets
    other.close()


async def test_a_reader_that_stops_early_keeps_no_file_open(folder: SpoolFolder) -> None:
    spool = await filled(folder, bytes(200 * KIB))
    before = descriptors()
    chunks: Any = spool.chunks(KIB)
    await anext(chunks)
    await chunks.aclose()
    blocks = spool.blocks(KIB)
    next(blocks)
    blocks.close()
    assert descriptors() == before
    spool.close()


async def test_the_disk_is_written_and_read_in_a_worker_thread(
    folder: SpoolFolder, monkeypatch: pytest.MonkeyPatch
) -> None:
    calls: list[str] = []
    run_sync = to_thread.run_sync

    async def spy(function: Any, *args: Any, **options: Any) -> Any:
        calls.append(function.__name__)
        return await run_sync(function, *args, **options)

    monkeypatch.setattr(to_thread, "run_sync", spy)
    spool = await filled(folder, bytes(65 * KIB))
    await content(spool)
    assert calls == ["_write_out", "next", "next"]
    calls.clear()
    spool.close()
    small = await filled(folder, b"small")
    await content(small)
    assert calls == []
    small.close()


# The disk says no.


def full_after(octets: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """The disk takes so many octets and no more."""
    write, left = os.write, [octets]

    def limited(file: int, data: Any) -> int:
        if not left[0]:
            raise OSError(errno.ENOSPC, "no space left")
        taken = write(file, bytes(data)[: left[0]])
        left[0] -= taken
        return taken

    monkeypatch.setattr(os, "write", limited)


@pytest.mark.parametrize("octets", [0, 1000])
async def test_a_full_disk_is_an_oserror_and_nothing_stays(
    folder: SpoolFolder, octets: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = descriptors()
    full_after(octets, monkeypatch)
    spool = folder.spool()
    spool.write(bytes(100 * KIB))
    with pytest.raises(OSError, match="no space left") as caught:
        await spool.finish()
    assert caught.value.errno == errno.ENOSPC
    spool.close()
    assert descriptors() == before


async def test_short_writes_are_completed(folder: SpoolFolder, monkeypatch: pytest.MonkeyPatch) -> None:
    write = os.write
    monkeypatch.setattr(os, "write", lambda file, data: write(file, bytes(data)[:10_000]))
    data = os.urandom(100 * KIB)
    spool = await filled(folder, data)
    assert await content(spool) == data
    spool.close()


async def test_a_folder_that_vanished_is_an_oserror(tmp_path: Path) -> None:
    with SpoolFolder(tmp_path / "spool") as folder:
        folder.path.rmdir()
        spool = folder.spool()
        spool.write(bytes(100 * KIB))
        with pytest.raises(OSError, match="No such file"):
            await spool.finish()
        spool.close()
        assert folder.in_memory == 0


# The folder.


def mode(path: Path) -> int:
    return stat.S_IMODE(path.stat().st_mode)


async def test_files_and_folders_are_for_the_server_alone(tmp_path: Path) -> None:
    old = os.umask(0)
    try:
        with SpoolFolder(tmp_path / "spool") as folder:
            spool = await filled(folder, bytes(100 * KIB))
            [file] = folder.path.iterdir()
            assert mode(file) == 0o600
            assert mode(folder.path) == 0o700
            assert mode(tmp_path / "spool") == 0o700
            spool.close()
    finally:
        os.umask(old)


def test_the_subfolder_goes_with_the_server(tmp_path: Path) -> None:
    with SpoolFolder(tmp_path / "spool") as folder:
        own = folder.path
        assert own.parent == tmp_path / "spool"
        (own / "left").write_bytes(b"by a crash")
    assert not own.exists()
    with pytest.raises(RuntimeError, match="not open"):
        folder.path


def test_without_a_path_the_folder_is_a_temporary_one() -> None:
    with SpoolFolder() as folder:
        assert folder.path.parent == Path(tempfile.gettempdir())
        assert mode(folder.path) == 0o700
    assert not folder._own


def test_what_a_killed_server_left_is_swept_and_what_a_live_one_has_is_not(tmp_path: Path) -> None:
    stale = tmp_path / "mailstack-stale"
    stale.mkdir(0o700)
    (stale / "1").write_bytes(b"a body")
    foreign = tmp_path / "letters"
    foreign.mkdir()
    tmp_path.chmod(0o700)
    with SpoolFolder(tmp_path) as alive:
        assert not stale.exists()
        (alive.path / "1").write_bytes(b"a body")
        with SpoolFolder(tmp_path) as second:
            assert (alive.path / "1").exists()
            assert second.path != alive.path
        assert alive.path.exists()
    assert foreign.exists()


def test_what_only_looks_like_a_spool_stops_no_start(tmp_path: Path) -> None:
    tmp_path.chmod(0o700)
    precious = tmp_path / "precious"
    precious.mkdir()
    (precious / "file").touch()
    (tmp_path / "mailstack-file").touch()
    (tmp_path / "mailstack-link").symlink_to(precious)
    (tmp_path / "mailstack-dangling").symlink_to(tmp_path / "nowhere")
    with SpoolFolder(tmp_path):
        pass
    assert (precious / "file").exists()


def test_no_sweep_happens_while_another_server_takes_its_folder(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Between making a subfolder and locking it, another server's sweep would take it for a dead one's."""
    tmp_path.chmod(0o700)
    make = tempfile.mkdtemp

    def slow(*args: Any, **options: Any) -> str:
        made: str = make(*args, **options)
        other = os.open(tmp_path, os.O_RDONLY)
        with pytest.raises(BlockingIOError):
            fcntl.flock(other, fcntl.LOCK_EX | fcntl.LOCK_NB)
        os.close(other)
        return made

    monkeypatch.setattr(tempfile, "mkdtemp", slow)
    with SpoolFolder(tmp_path):
        other = os.open(tmp_path, os.O_RDONLY)
        fcntl.flock(other, fcntl.LOCK_EX | fcntl.LOCK_NB)  # and afterwards others may start
        os.close(other)


@pytest.mark.parametrize("bits", [0o750, 0o705, 0o711])
def test_a_folder_that_others_may_look_into_is_refused(tmp_path: Path, bits: int) -> None:
    place = tmp_path / "spool"
    place.mkdir()
    place.chmod(bits)
    with pytest.raises(ConfigError, match="can be read by others"), SpoolFolder(place):
        raise AssertionError


def test_a_folder_of_another_user_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    place = tmp_path / "spool"
    place.mkdir(0o700)
    monkeypatch.setattr(os, "geteuid", lambda: os.getuid() + 1)
    with pytest.raises(ConfigError, match="belongs to user"), SpoolFolder(place):
        raise AssertionError


def test_a_path_that_is_no_folder_is_refused(tmp_path: Path) -> None:
    (tmp_path / "file").touch(0o600)
    with pytest.raises(ConfigError, match="no spool in"), SpoolFolder(tmp_path / "file"):
        raise AssertionError
