"""mtpriority: message transfer priorities (MT-PRIORITY, RFC 6710): `mtpriority.Priority()`.

Clients may say with MAIL how urgent a message is, from -9 to 9; what they do not say is 0. The priority is written into
the MT-Priority field, in place of any that the message came with, so that whatever takes the message on can go by it.

    trusted = predicate.client_in("192.0.2.0/24")
    Stack(
        When(trusted, mtpriority.Priority(highest=4, profile="MIXER")),
        Unless(trusted, mtpriority.Forget()),
        …
    )

A message that claims a higher priority than it may have is taken with the highest one, and the client is told so (250
2.3.6, RFC 6710 section 4.1). RFC 6710 wants priorities to be raised by those alone who may: offer this to clients that
you know, and have `Forget` take the field off what others send.

Caveats: the priority is no clause of the Received field, and a message without the parameter has the priority 0, also
when its own MT-Priority field says otherwise (RFC 6758 is not spoken).
"""

from collections.abc import Mapping

from mailstack import CallNext, ConfigError, Message, Parameter, Reply, Sender, Session, hookimpl, option

__all__ = ["Forget", "Priority"]

KEYWORD = "MT-PRIORITY"
FIELD = "MT-Priority"
PROFILES = ("", "MIXER", "STANAG4406", "NSEP")  # those that IANA knows
VALUES: Mapping[str | None, int] = {str(number): number for number in range(-9, 10)}


def parse(text: str | None) -> int:
    """The parameter's value. ValueError: it is no whole number from -9 to 9."""
    if text not in VALUES:
        raise ValueError("a priority is a number from -9 to 9")
    return VALUES[text]


class Priority:
    """highest -- the highest priority that a client may ask for, -9 to 9.
    profile -- the IANA name of the priorities' meaning, told in EHLO: "MIXER", "STANAG4406", "NSEP"; or none.

    ConfigError: neither of these.
    """

    name = "mtpriority"
    rehearsable = True
    parameters = (Parameter(name=KEYWORD, verb="MAIL", keyword=KEYWORD, parse=parse),)

    def __init__(self, highest: int = 9, profile: str = "") -> None:
        self.highest = option.integer(highest, name="Priority(highest)", minimum=-9)
        if self.highest > 9:
            raise ConfigError(f"Priority(highest): {highest} is too high", remedy="write a number from -9 to 9")
        self.keywords = {KEYWORD: option.choice(profile, *PROFILES, name="Priority(profile)")}

    @hookimpl
    async def mail(self, sender: Sender, call_next: CallNext) -> Reply:
        reply = await call_next()
        if reply.positive and sender.parameters.get(KEYWORD, 0) > self.highest:
            return Reply(250, f"{self.highest} is the priority now", status="2.3.6")
        return reply

    @hookimpl
    def message(self, session: Session, message: Message) -> None:
        if session.transaction is not None:
            wanted = session.transaction.sender.parameters.get(KEYWORD, 0)
            message.remove_header(FIELD)
            message.add_header(FIELD, str(min(wanted, self.highest)))


class Forget:
    """Takes the MT-Priority field off: for the mail of those who may not set priorities."""

    name = "mtpriority"
    rehearsable = True

    @hookimpl
    def message(self, message: Message) -> None:
        message.remove_header(FIELD)
