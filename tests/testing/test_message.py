"""Sessions and messages made by hand."""

import pytest

from mailstack import Address, Reply
from mailstack.testing.message import closed, make_message, make_recipient, make_sender, make_session


async def test_a_message_is_what_was_written() -> None:
    session = make_session(sender="a@example.org", recipients=["b@example.org", "postmaster"])
    message = make_message("Subject: hi\n\nhello\n", session)
    assert session.transaction is not None
    assert session.transaction.message is message
    assert message.header.get("Subject") == "hi"
    assert await message.read() == b"Subject: hi\r\n\r\nhello\r\n"
    assert message.received_size == message.size == 22
    assert [str(each) for each in session.transaction.recipients] == ["b@example.org", "postmaster"]
    assert all(each.accepted for each in session.transaction.recipients)


@pytest.mark.parametrize(
    "content", [b"", b"Subject: x\r\n", b"\r\n", b"no header\r\n", b"A: b\r\n\r\n", b"x" * 100_000]
)
async def test_a_message_of_any_shape_is_read_as_it_was(content: bytes) -> None:
    message = make_message(content)
    read = await message.read()
    assert read in (content, b"\r\n" + content)  # a body without a header section gets its empty line
    assert not message.on_disk


def test_the_facts_of_a_session_are_as_given() -> None:
    session = make_session("2001:db8::1", helo=None, user="me", secure=True, listener="mx", rehearsal=True)
    assert str(session.client.ip) == "2001:db8::1"
    assert (session.helo, session.esmtp, session.user, session.secure) == (None, False, "me", True)
    assert (session.listener, session.rehearsal, session.transaction) == ("mx", True, None)
    assert make_session("", port=None).client.ip is None


def test_an_edit_is_in_the_journal_of_its_session() -> None:
    session = make_session(sender="a@example.org")
    recipient = make_recipient("b@example.org", session, NOTIFY={"NEVER"})
    mark = session.journal.mark()
    recipient.accept()
    make_message(session=session).add_header("X-Test", "yes")
    assert session.journal.since(mark) == ["vouched for <b@example.org>", "added X-Test"]
    assert recipient.parameters == {"NOTIFY": {"NEVER"}}


def test_a_sender_may_be_null_and_has_typed_parameters() -> None:
    assert make_sender("").null
    assert make_sender(SIZE=1000, SMTPUTF8=True).utf8
    assert make_session(sender=make_sender("c@example.org")).transaction is not None
    assert make_recipient("b@example.org").given == Address.parse("b@example.org")


async def test_what_a_check_asks_of_the_connection_is_answered_or_named() -> None:
    session = make_session(talks=True)
    assert await session.input_waits(5)
    assert not await make_session().input_waits(5)
    session.close(Reply(421, "bye"))
    assert closed(session) == [Reply(421, "bye")]
    with pytest.raises(AssertionError, match=r"'start'.*Dialog"):
        session.start(test_what_a_check_asks_of_the_connection_is_answered_or_named)
