"""Handing a message over on one connection: to all of its recipients or to none, or to each as the server sees fit."""

from __future__ import annotations

from collections.abc import Sequence

from ...wire.reply import Reply
from ..client import Content, Disconnected, Envelope
from ..client.pool import Connection
from .errand import Asked
from .replies import check_available

__all__ = ["hand_over"]


async def hand_over(
    asked: Asked | None, connection: Connection, envelope: Envelope, content: Content, whole: bool
) -> Sequence[Reply | None]:
    """The verdict on each recipient; whole -- to all of them or to none.

    None: the recipient was accepted, but the message was not sent, because of the others.
    """
    client = connection.client
    verdicts: Sequence[Reply | None]
    if asked is not None and connection.resumed and asked.is_for(envelope):
        try:
            verdicts = asked.of_accepted((await client.data(content)).verdicts)
        except Disconnected as error:
            error.verdicts = asked.of_accepted(error.verdicts)
            raise
    elif whole and len(envelope.recipients) > 1:
        replies = await client.begin(envelope, content)
        if any(reply.refused for reply in replies):
            check_available(replies)
            return [None if reply.positive else reply for reply in replies]
        verdicts = (await client.data(content)).verdicts
    else:
        verdicts = (await client.transact(envelope, content)).verdicts
    check_available(verdicts, sent=True)
    return verdicts
