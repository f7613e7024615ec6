"""Every message is taken and none is kept."""

from mailstack.handlers.discard import Discard
from mailstack.testing import Dialog, Vouch


async def test_every_message_is_taken() -> None:
    async with Dialog(Vouch(), handler=Discard()) as smtp:
        small = await smtp.message("a@example.org", "b@example.org")
        large = await smtp.message(
            "", ["b@example.org", "c@example.org"], b"A: b\r\n\r\n" + b"0123456789abcd\r\n" * 70_000
        )
        assert small == 250
        assert large == 250
        assert small.text.startswith("discarded as ")
        assert small.text != large.text


async def test_no_recipient_is_vouched_for() -> None:
    async with Dialog(handler=Discard()) as smtp:
        assert await smtp.message("a@example.org", "b@example.org") == 550
