"""AUTH, as far as it is the core's: the talk with the client (RFC 4954 §4), and who it then is.

The verb, the keyword and the mechanisms are a middleware's (`middleware.auth`), the judgement is that of the stack's
providers (the hook `auth`). Here their answers become one: whoever refused, and whether anybody knew the user, the
client hears the same.
"""

from __future__ import annotations

import binascii
from base64 import b64decode, b64encode
from typing import TYPE_CHECKING, Final

from .. import log
from ..contract.chain import Claim
from ..contract.fault import judge
from ..session.credentials import Credentials, Password
from ..session.hangup import Aborted
from ..wire.reply import LOGIN_TROUBLE, Reply
from ..wire.server import NEED_DATA, Refused
from . import answers

if TYPE_CHECKING:
    from ..session.session import Session
    from .connection import Connection

# Octets of a challenge: what fits, in base64, into one line of a reply.
WIDEST: Final = 360
# A login is written to logs and headers, and compared by other middleware.
MOST: Final = 512

_CANCELLED: Final = Reply(501, "authentication cancelled", status="5.7.0")
_NOT_BASE64: Final = Reply(501, "cannot decode that base64", status="5.5.2")
# RFC 4954 §6: a mechanism that is too weak, one that wants encryption. They say nothing of the user.
_TELLING: Final = (534, 538)


def decode(text: bytes) -> bytes:
    """Base64 as the client sent it; "=" is nothing at all. Aborted, with 501, when it is none."""
    try:
        return b"" if text == b"=" else b64decode(text, validate=True)
    except binascii.Error:
        raise Aborted(_NOT_BASE64) from None


async def challenge(connection: Connection, data: bytes) -> bytes:
    """Say 334 and return what the client answers. Aborted when it does not want to go on, or answers nonsense."""
    protocol, watch = connection.protocol, connection.session.watch
    if len(data) > WIDEST:
        raise ValueError(f"a challenge of {len(data)} octets does not fit into one line")
    protocol.say(Reply(334, b64encode(data).decode("ascii")))
    if watch is not None:
        watch.pause()
    try:
        while (line := protocol.next_line()) is NEED_DATA:
            await connection.flush()
            await connection.read()
    finally:
        if watch is not None:
            watch.resume()
    if isinstance(line, Refused):
        raise Aborted(line.reply)
    if line == b"*":
        raise Aborted(_CANCELLED)
    return decode(line)


async def authenticate(connection: Connection, mechanism: str, credentials: Credentials) -> Reply:
    """Ask the providers. On 235 the session has a user."""
    session, house = connection.session, connection.house
    watch, session.watch = session.watch, None  # the chain has clocks of its own
    if watch is not None:
        watch.pause()
    asking = session.answered_by
    try:
        reply: Reply
        if isinstance(credentials, Password) and not credentials.password:
            reply = answers.NOBODY_KNOWS  # which some directories take for an anonymous login (RFC 4513 §6.3.1)
        else:
            ask, waits = house.auth
            reply = ask(session, Claim(mechanism, credentials))
            if waits:
                reply = await reply  # type: ignore[misc]
        by, session.answered_by = session.answered_by, asking
        if reply is answers.NOBODY_KNOWS:
            reply = await _pretended(session, credentials)
    finally:
        session.watch = watch
        if watch is not None:
            watch.resume()
    who = credentials.identity or credentials.user
    if reply.code == 235 and not _is_name(who):
        log.error("no login", session=session.id, by=by, user=who, problem="it is empty, too long or not printable")
        reply = answers.NOBODY_KNOWS
    if reply.code == 235:
        session.become(who, mechanism)
    else:
        reply = _refusal(reply)
    log.info(
        "authenticated" if reply.code == 235 else "authentication failed",
        session=session.id,
        client=str(session.client),
        user=who,
        mechanism=mechanism,
        by=by,
        reply=str(reply),
    )
    return reply


async def _pretended(session: Session, credentials: Credentials) -> Reply:
    """Nobody knew the user. What judging would have cost is spent, and what could have gone wrong may do so."""
    try:
        await credentials.decoy()
    except Exception as error:
        judge(session, "decoy", "auth", error, "defer", 0.0)
        return LOGIN_TROUBLE
    return answers.NOBODY_KNOWS


def _is_name(text: str) -> bool:
    return bool(text) and len(text) <= MOST and text.isprintable()


def _refusal(reply: Reply) -> Reply:
    """One text for all wrong credentials, one for all trouble; what RFC 4954 §6 has other codes for stays."""
    if reply.temporary:
        return reply if reply.close or reply.code == 432 else LOGIN_TROUBLE
    return reply if reply.code in _TELLING else answers.NOBODY_KNOWS
