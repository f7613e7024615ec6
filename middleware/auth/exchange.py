"""What a mechanism sees of the conversation: the client's first words, its answers, and who judges."""

from __future__ import annotations

from base64 import b64decode
from collections.abc import Awaitable, Callable
from typing import Final

from mailstack.session.credentials import Credentials
from mailstack.session.hangup import Aborted
from mailstack.session.session import Session
from mailstack.wire.reply import Reply

_NOT_BASE64: Final = Reply(501, "cannot decode that base64", status="5.5.2")
_MALFORMED: Final = Reply(501, "that is not what this mechanism says", status="5.5.2")
_SERVER_FIRST: Final = Reply(501, "this mechanism has no initial response", status="5.7.0")  # RFC 4954 §4
_FOR_OTHERS: Final = Reply(535, "you may not act for others", status="5.7.8")


class Exchange:
    """One AUTH command. session, mechanism -- whose, and which. judge -- asks the providers; its reply is the answer.

    Everything that ends the exchange without a judgement is Aborted: the core answers what it carries.
    """

    __slots__ = ("_initial", "judge", "mechanism", "session")

    def __init__(
        self,
        session: Session,
        mechanism: str,
        initial: bytes | None,
        judge: Callable[[Credentials], Awaitable[Reply]],
    ) -> None:
        self.session = session
        self.mechanism = mechanism
        self.judge = judge
        self._initial = initial

    async def first(self, prompt: bytes = b"") -> bytes:
        """The initial response, or else what the client answers to `prompt`."""
        return await self.ask(prompt) if self._initial is None else self._initial

    async def ask(self, challenge: bytes) -> bytes:
        """What the client answers."""
        return await self.session.challenge(challenge)

    def begin(self) -> None:
        """The server speaks first in this mechanism."""
        if self._initial is not None:
            raise Aborted(_SERVER_FIRST)


def decode(text: str) -> bytes:
    """An initial response; "=" is an empty one. Aborted for what is no base64."""
    try:
        return b"" if text == "=" else b64decode(text, validate=True)
    except ValueError:
        raise Aborted(_NOT_BASE64) from None


def malformed() -> Aborted:
    """What the client said is nothing that the mechanism knows."""
    return Aborted(_MALFORMED)


def for_others() -> Aborted:
    """The client wants to be somebody else than it proves to be."""
    return Aborted(_FOR_OTHERS)
