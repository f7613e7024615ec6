"""AUTH as a client says it (RFC 4954 §4): a SASL mechanism over commands, 334s and their answers.

    reply = await authenticate(ask, "PLAIN", sasl.start("PLAIN", "ann", "secret"))     # 235, or what refuses us

The mechanism decides how often is asked: a server that goes on with 334 is told "*", once. Nothing that holds a secret
is shown: `ask` gets what may be shown of each line beside the line.
"""

from __future__ import annotations

from base64 import b64decode, b64encode
from collections.abc import Awaitable, Callable
from typing import Final, TypeAlias

from anyio import CapacityLimiter, to_thread

from ...wire.reply import Reply
from .sasl import COSTLY, Nonsense, Talk, start

__all__ = ["Ask", "authenticate"]

Ask: TypeAlias = Callable[[str, str], Awaitable[Reply]]

COMMAND: Final = 510  # characters of a command line: RFC 5321 §4.5.3.1.4, which holds for AUTH (RFC 4954 §4)
LINE: Final = 12_286  # characters of a line that answers a 334: RFC 4954 §4.5.1 wants servers to take them
HIDDEN: Final = "(hidden)"


async def authenticate(ask: Ask, mechanism: str, user: str, secret: str) -> Reply:
    """The reply that ends it: a refusal, or 235, and then the server has shown what the mechanism wants it to show.

    ask -- says a line, of which the second text may be shown, and returns the reply. Nonsense: neither in nor refused;
    the server was told "*" where it waited for us.
    """
    talk = start(mechanism, user, secret)
    pending = talk.send(None)
    line = f"AUTH {mechanism}"
    shown = line
    if pending is not None and len(line) + 1 + len(encoded := _encoded(pending) or "=") <= COMMAND:
        line, shown, pending = f"{line} {encoded}", f"{line} {HIDDEN}", None
    reply = await ask(line, shown)
    while reply.code == 334:
        try:
            challenge = _decoded(reply.text)
            response, pending = (
                (pending, None) if pending is not None else (await _next(mechanism, talk, challenge), None)
            )
            encoded = _encoded(response)
            if len(encoded) > LINE:
                raise Nonsense("the secret is too long to be said")
        except Nonsense:
            await ask("*", "*")
            raise
        reply = await ask(encoded, HIDDEN)
    if reply.code == 235:
        _end(talk)
    elif not reply.refused:
        raise Nonsense(f"{reply.code} is no answer to it")
    return reply


async def _next(mechanism: str, talk: Talk, challenge: bytes) -> bytes:
    def step() -> bytes | None:
        try:
            return talk.send(challenge)
        except StopIteration:
            return None

    if mechanism in COSTLY:
        response = await to_thread.run_sync(step, limiter=CapacityLimiter(1))
    else:
        response = step()
    if response is None:
        raise Nonsense("the server goes on asking")
    return response


def _end(talk: Talk) -> None:
    try:
        talk.send(None)
    except StopIteration:
        pass


def _encoded(octets: bytes) -> str:
    return b64encode(octets).decode()


def _decoded(text: str) -> bytes:
    try:
        return b64decode(text.strip(" "), validate=True)
    except ValueError:
        raise Nonsense("a challenge is not base64") from None
