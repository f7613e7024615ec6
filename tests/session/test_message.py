"""A message as policy edits it and as the handler reads it."""

import os
from pathlib import Path

import pytest

from mailstack import Message
from mailstack.session.journal import Journal
from mailstack.session.spool import SpoolFolder
from mailstack.testing.message import make_message
from mailstack.wire.header import Header


async def readings(message: Message) -> set[bytes]:
    """The message by every way of reading it; one, if all agree."""
    read = {
        await message.read(),
        b"".join(message.blocks()),
        b"".join(message.blocks(3)),
        b"".join([chunk async for chunk in message.chunks()]),
        b"".join([chunk async for chunk in message.chunks(3)]),
    }
    assert {len(each) for each in read} == {message.size}
    return read


async def test_a_message_that_nobody_edits_is_what_the_client_sent() -> None:
    for octets in (
        b"Subject: hi\r\n\r\nhello\r\n",
        b"Subject: hi\r\n\r\n",
        b"Subject: hi\r\n",
        b"Subject: hi",
        b"\r\n",
        b"\r\nhello\r\n",
        b"",
        b"Subject: hi\r\n\thi\r\n\r\n\r\n\r\n",
        b"A: \xff\r\n\r\n\x00\xff",
    ):
        assert await readings(make_message(octets)) == {octets}, octets


async def test_edits_are_seen_by_all_who_read() -> None:
    message = make_message(b"Subject: hi\r\nX-Old: 1\r\n\r\nhello\r\n")
    message.add_header("X-Top", "1")
    message.append_header("X-Bottom", "2")
    message.replace_header("Subject", "bye")
    message.rename_header("X-Old", "X-Older")
    wanted = b"X-Top: 1\r\nSubject: bye\r\nX-Older: 1\r\nX-Bottom: 2\r\n\r\nhello\r\n"
    assert await readings(message) == {wanted}
    message.remove_header("X-Top")
    assert message.header.get("X-Top") is None
    assert message.body_size == len(b"hello\r\n")
    assert b"".join([chunk async for chunk in message.body_chunks()]) == b"hello\r\n"


async def test_one_of_several_fields_is_removed() -> None:
    message = make_message(b"A: 1\r\nA: 2\r\nA: 3\r\n\r\n")
    message.remove_header("a", -1)
    message.remove_header("a", 0)
    message.remove_header("a", 5)
    message.remove_header("b")
    assert await message.read() == b"A: 2\r\n\r\n"


@pytest.mark.parametrize(
    ("name", "value"), [("X Y", "1"), ("", "1"), ("X:", "1"), ("X", "a\r\nEvil: 1"), ("X", "a\nb"), ("X", "\x00")]
)
def test_what_cannot_stand_in_a_header_is_refused_and_changes_nothing(name: str, value: str) -> None:
    journal = Journal()
    with SpoolFolder() as folder:
        message = Message("m1", Header(b"Subject: hi\r\n"), folder.spool(), journal)
        for edit in (message.add_header, message.append_header, message.replace_header):
            with pytest.raises(ValueError):
                edit(name, value)
        assert message.header.raw == b"Subject: hi\r\n"
        assert journal.mark() == 0


# Without an empty line.


async def test_a_header_without_an_empty_line_stays_without() -> None:
    message = make_message(b"Subject: hi\r\n")
    message.add_header("X-Top", "1")
    message.append_header("X-Bottom", "2")
    assert await readings(message) == {b"X-Top: 1\r\nSubject: hi\r\nX-Bottom: 2\r\n"}


async def test_an_unfinished_last_line_is_finished_when_a_field_follows() -> None:
    message = make_message(b"Subject: hi")
    message.append_header("X-Bottom", "2")
    assert await readings(message) == {b"Subject: hi\r\nX-Bottom: 2\r\n"}


async def test_a_body_without_header_gets_an_empty_line_once_a_field_stands_above() -> None:
    """Else the first line of the body would be taken for a header field, or the added field for the body."""
    message = make_message(b"hello\r\nworld\r\n")
    assert message.header.raw == b""
    message.add_header("Received", "from here")
    assert await readings(message) == {b"Received: from here\r\n\r\nhello\r\nworld\r\n"}


async def test_an_empty_message_with_an_added_field() -> None:
    message = make_message(b"")
    message.add_header("X-Top", "1")
    assert await readings(message) == {b"X-Top: 1\r\n"}


# On the disk.


async def test_a_message_on_the_disk_reads_like_one_in_memory(tmp_path: Path) -> None:
    body = os.urandom(200_000)
    with SpoolFolder(tmp_path / "spool") as folder:
        spool = folder.spool()
        spool.write(body)
        await spool.finish()
        message = Message("m1", Header(b"Subject: hi\r\n"), spool, Journal())
        assert message.on_disk
        assert message.body_size == len(body)
        assert message.size == len(b"Subject: hi\r\n\r\n") + len(body)
        wanted = b"Subject: hi\r\n\r\n" + body
        assert await message.read() == wanted
        assert b"".join(message.blocks(1000)) == wanted
        message.close()
        with pytest.raises(ValueError, match="gone"):
            await message.read()
