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


def named(recipients: Iterable[Recipient]) -> int:
    """How many of them the client has named; an alias that became several is one."""
    return len({id(recipient.expanded_from or recipient) for recipient in recipients})


def each(reply: Reply, recipients: Iterable[Recipient]) -> list[Reply]:
    """The reply for each recipient that the client has named: its own verdict, or the common one.

    For one that became several it is the worst of theirs. One permanent refusal among them is that: the client cannot
    try them one by one, and who has the message already would get it again at each try.
    """
    replies: dict[int, Reply] = {}
    for recipient in recipients:
        key = id(recipient.expanded_from or recipient)
        verdict = reply if recipient.verdict is None else recipient.verdict
        replies[key] = _worse(replies[key], verdict) if key in replies else verdict
    return list(replies.values())


def _worse(one: Reply, other: Reply) -> Reply:
    """A temporary refusal is worse than a permanent one: it leaves hope for those who do not have the message."""
    return other if _badness(other) > _badness(one) else one


def _badness(reply: Reply) -> int:
    return 2 if reply.temporary else 1 if reply.refused else 0


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
