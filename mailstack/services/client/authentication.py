"""AUTH as a client says it (RFC 4954 §4): a SASL mechanism over commands, 334s and their answers.

    reply = await log_in(exchange, "PLAIN", "ann", await secret_of(login, exchange))     # 235, or what refuses us

The mechanism decides how often is asked: a server that goes on with 334 is told "*", once. Nothing that holds a secret
is shown, in a transcript or an error: not what we say, and not what the server says back.
"""

from __future__ import annotations

from base64 import b64decode, b64encode
from collections.abc import Awaitable, Callable
from typing import Final, TypeAlias

from anyio import CapacityLimiter, to_thread

from ...option import ConfigError
from ...wire.command import Command
from ...wire.reply import Reply
from .exchange import Exchange
from .login import Login
from .sasl import COSTLY, Nonsense, Talk, start
from .transcript import veiled
from .values import Disconnected, NotAuthenticated

__all__ = ["Ask", "authenticate", "log_in", "secret_of"]

Ask: TypeAlias = Callable[[str, str], Awaitable[Reply]]

COMMAND: Final = 510  # characters of a command line: RFC 5321 §4.5.3.1.4, which holds for AUTH (RFC 4954 §4)
LINE: Final = 12_286  # characters of a line that answers a 334: RFC 4954 §4.5.1 wants servers to take them
HIDDEN: Final = "(hidden)"


async def secret_of(login: Login, exchange: Exchange) -> str:
    """The password or token, in the time of a command. NotAuthenticated when it cannot be had."""
    try:
        with exchange.guard(exchange.timeouts.command, "AUTH"):
            return await login.secret()
    except ConfigError as error:
        raise NotAuthenticated(error.message, login.user) from None
    except Disconnected:
        raise NotAuthenticated("the token does not come", login.user) from None
    except Exception as error:  # a function of the user's; what it says may be secret
        raise NotAuthenticated(f"there is no token: {type(error).__name__}", login.user) from None


async def log_in(exchange: Exchange, mechanism: str, user: str, secret: str) -> Reply:
    """The reply that ends it. NotAuthenticated when the server talks nonsense: the connection is closed then."""
    said = [secret]

    def veil(line: str) -> str:
        return f"334 {HIDDEN}" if line.startswith("334") else veiled(line, said)

    async def ask(line: str, visible: str) -> Reply:
        command = Command("AUTH", "")
        if exchange.begin(command.verb):
            said.extend(word for word in line.split(" ")[-1:] if len(word) > 3)
            exchange.protocol.say(line, command.verb)
            await exchange.flush(command, visible)
        return await exchange.answer(command)

    exchange.veil = veil
    try:
        reply = await authenticate(ask, mechanism, user, secret)
    except Nonsense as error:
        exchange.abort()
        raise NotAuthenticated(f"AUTH {mechanism}: {error}", user) from None
    except Disconnected as error:
        raise Disconnected(veiled(str(error.args[0]), said), "AUTH") from None
    finally:
        exchange.veil = None
    return Reply(reply.code, veiled(reply.text, said), status=reply.status)


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
