"""lenient: forgive clients that do not quite speak SMTP, one slip at a time. Every switch is off by default.

    When(predicate.client_in("192.0.2.64/27"), lenient.Lenient(brackets=True))     # the printers

    brackets    MAIL FROM:a@example.org      an address without angle brackets
    colon       MAIL FROM <a@example.org>    no colon after FROM or TO, or a blank before it
    null        MAIL FROM:<#@[]>             the sender of qmail's double bounces: read as <>
    parameters  MAIL FROM:<…> SIZE=10        SIZE and BODY after HELO, which has offered nothing

What was forgiven is read as if it had been said well, and is limited and judged as everything is. Blanks after the
colon, and words after the name in HELO and EHLO, are taken from everybody. Line ends are another matter, and safety
hangs on them: see `Server(normalise=True)`.

It acts at `connect` and holds for the session, so a condition around it may ask for client and listener.
"""

from __future__ import annotations

from mailstack import option
from mailstack.contract.hookspec import hookimpl
from mailstack.option import ConfigError
from mailstack.session.session import Session

__all__ = ["Lenient"]


class Lenient:
    """Forgive these slips; ConfigError for none. brackets, colon, null, parameters -- as above."""

    rehearsable = True

    def __init__(
        self, *, brackets: bool = False, colon: bool = False, null: bool = False, parameters: bool = False
    ) -> None:
        given = {"brackets": brackets, "colon": colon, "null": null, "parameters": parameters}
        self._slips = [slip for slip, on in given.items() if option.boolean(on, name=f"Lenient({slip})")]
        if not self._slips:
            raise ConfigError("Lenient() forgives nothing", remedy="write Lenient(brackets=True), or leave it out")

    @hookimpl
    def connect(self, session: Session) -> None:
        session.forgive(*self._slips)
