"""Every transcript in this folder, played on every backend."""

from collections.abc import Callable
from pathlib import Path

import pytest

from mailstack import Message, Recipient, Reply, Sender, Session, hookimpl
from mailstack.middleware import auth, recipients, relay
from mailstack.session.credentials import SECRET, Challenge, Credentials, Password
from mailstack.testing import Dialog, Vouch
from mailstack.testing.transcript import play, read

HERE = Path(__file__).parent
TRANSCRIPTS = sorted(HERE.glob("*.smtp"))


class ShutDoor:
    @hookimpl
    def connect(self) -> Reply:
        return Reply(554, "no service for you\nask postmaster@example.org", status="5.7.1")


class SlammedDoor:
    @hookimpl
    def connect(self) -> Reply:
        return Reply(450, "come back later", close=True)


class Rude:
    """Refuses by name, each phase in its own way."""

    @hookimpl
    def ehlo(self, hostname: str) -> Reply | None:
        return _REFUSED_NAMES.get(hostname)

    @hookimpl
    def mail(self, sender: Sender) -> Reply | None:
        return (
            Reply(550, "we do not know you\nand do not want to", status="5.7.1") if str(sender)[:4] == "evil" else None
        )

    @hookimpl
    def rcpt(self, recipient: Recipient) -> Reply | None:
        if str(recipient).startswith("full@"):
            return Reply(452, "mailbox full", status="4.2.2")
        return (
            Reply(550, "no such user\nsee https://example.org/", status="5.1.1") if str(recipient)[:2] == "no" else None
        )

    @hookimpl
    def data(self, session: Session) -> Reply | None:
        assert session.transaction is not None
        denied = str(session.transaction.sender).startswith("nodata")
        return Reply(554, "message denied", status="5.7.1") if denied else None

    @hookimpl
    def headers(self, message: Message) -> Reply | None:
        spam = "X-Spam" in message.header
        return Reply(550, "spam\nreally", status="5.7.1") if spam else None


_REFUSED_NAMES = {
    "deny": Reply(550, "noway"),
    "denysoft": Reply(450, "comeback"),
    "slam": Reply(550, "boo", close=True),
    "slamsoft": Reply(450, "wah", close=True),
}


class Broken:
    @hookimpl
    def ehlo(self, hostname: str) -> None:
        if hostname == "break":
            raise RuntimeError("dead: the secret is 42")


class Friendly:
    @hookimpl
    def ehlo(self, hostname: str) -> Reply | None:
        return Reply(250, "mx.test Hi there") if hostname == "friend" else None


class Picky:
    """Refuses recipients by name, each in its own phase."""

    @hookimpl
    def rcpt(self, recipient: Recipient) -> Reply | None:
        return Reply(550, "no such user", status="5.1.1") if str(recipient).startswith("nobody@") else None

    @hookimpl
    def headers(self, message: Message) -> Reply | None:
        return Reply(550, "no", status="5.7.1") if "X-Spam" in message.header else None

    @hookimpl
    def message(self, session: Session) -> None:
        self._refuse(session, "spam@", Reply(550, "spam", status="5.7.1"))

    @hookimpl
    def queue(self, session: Session) -> None:
        self._refuse(session, "full@", Reply(452, "mailbox full", status="4.2.2"))

    def _refuse(self, session: Session, start: str, reply: Reply) -> None:
        assert session.transaction is not None
        for recipient in session.transaction.recipients:
            if str(recipient).startswith(start):
                recipient.answer(reply)


class Ann:
    """The only user there is."""

    mechanisms = SECRET

    @hookimpl
    async def auth(self, credentials: Credentials) -> Reply | None:
        if credentials.user != "ann":
            return None
        if isinstance(credentials, Challenge):
            return Reply(235 if await credentials.matches("right") else 535)
        return Reply(235 if isinstance(credentials, Password) and credentials.password == "right" else 535)


STACKS: dict[str, Callable[[], tuple[object, ...]]] = {
    "empty": tuple,
    "vouch": lambda: (Vouch(),),
    "shut": lambda: (ShutDoor(), Vouch()),
    "slammed": lambda: (SlammedDoor(),),
    "rude": lambda: (Friendly(), Rude(), Vouch()),
    "picky": lambda: (Picky(), Vouch()),
    "ours": lambda: (
        relay.Attempts(4),
        relay.Relay("198.51.100.0/24"),
        recipients.Aliases({"team@example.org": "ann@example.org, bob@example.org", "@old.example": "@example.org"}),
        recipients.Addresses("ann@example.org", "bob@example.org", separator="+"),
        recipients.Domains(".example.net"),
    ),
    "logins": lambda: (
        auth.Auth(("PLAIN", "LOGIN", "CRAM-MD5"), insecure=True, required=True, delay=0),
        Ann(),
        Vouch(),
    ),
    "closed logins": lambda: (auth.Auth(delay=0), Ann(), Vouch()),
    "broken": lambda: (Broken(), Rude(), Vouch()),
}


@pytest.mark.parametrize("path", TRANSCRIPTS, ids=lambda path: path.stem)
async def test_the_conversation_goes_as_written(path: Path) -> None:
    script = read(path)
    async with Dialog(*STACKS[script.directives["stack"]](), **script.options) as smtp:
        await play(script, smtp)


def test_every_transcript_is_found() -> None:
    assert len(TRANSCRIPTS) >= 15
