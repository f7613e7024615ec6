"""What becomes of the verdicts that recipients were given on their own (`recipient.answer`): RFC 2033 §4.2, and SMTP.

LMTP has a reply for each recipient, SMTP one for all. A refusal counts whenever it was given. A positive verdict says
that the message is safe for this recipient, so it counts only when `queue` gave it: before, nobody has the message.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from ..session.transaction import Recipient
from ..wire.reply import Reply

_THEY_DIFFER = Reply(451, "the recipients differ, try them one by one", status="4.5.3")


def given(recipients: Iterable[Recipient]) -> bool:
    """Whether any recipient has a verdict of its own."""
    for recipient in recipients:  # noqa: SIM110 (any() would make a generator for each message)
        if recipient.verdict is not None:
            return True
    return False


def each(reply: Reply, recipients: Iterable[Recipient]) -> list[Reply]:
    """Everybody's own verdict, or the common reply."""
    return [reply if recipient.verdict is None else recipient.verdict for recipient in recipients]


def one(reply: Reply, recipients: Sequence[Recipient]) -> Reply:
    """SMTP: the common reply, or the refusal of all. Where they differ it is the worst temporary one.

    So the client tries again, later or one by one; a permanent one would be a bounce for those that did not earn it.
    """
    if reply.refused:
        return reply
    replies = each(reply, recipients)
    refusals = [reply for reply in replies if reply.refused]
    if not refusals:
        return reply
    temporary = [reply for reply in refusals if reply.temporary]
    if temporary:
        return temporary[0]
    return refusals[0] if len(refusals) == len(replies) else _THEY_DIFFER


def whole(replies: Sequence[Reply]) -> Reply:
    """LMTP: what the message as a whole came to, for logs, notices and counts: taken when anybody's was."""
    return next((reply for reply in replies if reply.positive), replies[0])


def remaining(recipients: Iterable[Recipient]) -> list[Recipient]:
    """Those that `queue` is to deliver to: all that are not refused, without what was promised too early."""
    left = [recipient for recipient in recipients if recipient.verdict is None or recipient.verdict.positive]
    for recipient in left:
        recipient.verdict = None
    return left
