"""What a client was answered: one complete reply, as it came over the wire.

    answer = await smtp.say("MAIL FROM:<a@example.org>")
    assert answer == 250 and answer.status == "2.1.0"

Reading is strict: what is no reply of RFC 5321 §4.2 fails the test, since a server of ours must never send it.
"""

from __future__ import annotations

from ..wire.answer import Answer, AnswerReader, ProtocolError

__all__ = ["Answer", "Reader"]


class Reader:
    """Octets in, answers out. AssertionError for what is no legal reply."""

    __slots__ = ("_reader",)

    def __init__(self) -> None:
        self._reader = AnswerReader(strict=True)

    def feed(self, data: bytes) -> None:
        """Take what arrived."""
        self._reader.feed(data)

    def next_answer(self) -> Answer | None:
        """The next complete reply, or None when more must come."""
        try:
            return self._reader.next_answer()
        except ProtocolError as error:
            raise AssertionError(str(error)) from None

    @property
    def unread(self) -> bytes:
        """The octets that no answer has told of."""
        return self._reader.unread

    @property
    def midway(self) -> bool:
        """Whether a reply has begun and is not complete."""
        return self._reader.midway
