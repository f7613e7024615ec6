"""A middleware brings an SMTP extension: an EHLO keyword and the parameters that go with it."""

from collections.abc import MutableMapping

from mailstack import Parameter, Sender, hookimpl
from mailstack.testing import Dialog, Vouch


class Colour:
    parameters = (Parameter(name="COLOUR", verb="MAIL", keyword="COLOUR", parse=lambda text: text),)

    def __init__(self) -> None:
        self.seen: object = None

    @hookimpl
    def ehlo(self, keywords: MutableMapping[str, str]) -> None:
        keywords["COLOUR"] = "red blue"

    @hookimpl
    def mail(self, sender: Sender) -> None:
        self.seen = sender.parameters.get("COLOUR")


async def test_its_parameter_is_taken_when_its_keyword_was_offered() -> None:
    colour = Colour()
    async with Dialog(Vouch(), colour) as smtp:
        assert (await smtp.say("EHLO me")).keywords["COLOUR"] == "red blue"
        assert await smtp.say("MAIL FROM:<a@example.org> COLOUR=red") == 250
        assert colour.seen == "red"


async def test_its_parameter_is_unknown_after_helo_which_offers_nothing() -> None:
    async with Dialog(Vouch(), Colour()) as smtp:
        assert await smtp.say("HELO me") == 250
        assert await smtp.say("MAIL FROM:<a@example.org> COLOUR=red") == 555
        assert smtp.session.keywords == {}
