"""Who has logged in sends as himself."""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest

from mailstack.middleware.senderlogin import SenderLogin
from mailstack.option import ConfigError
from mailstack.services import lookup
from mailstack.services.lookup import Unavailable
from mailstack.testing import Dialog, Vouch

OWNERS: Mapping[str, str | list[str]] = {
    "Sales@example.org": ["ann", "Bob@Example.NET"],
    "@shop.example": "carl",
    "all@shop.example": ["dora"],
    "noreply@example.org": "*",
}


class Asked:
    """The same as a lookup."""

    def __init__(self, down: bool = False) -> None:
        self.open, self.down = False, down

    @asynccontextmanager
    async def opened(self) -> AsyncIterator[None]:
        self.open = True
        yield

    async def find(self, key: str) -> str | None:
        assert self.open
        if self.down:
            raise Unavailable("no answer")
        found = {address.lower().removeprefix("@"): whose for address, whose in OWNERS.items()}.get(key)
        return found if isinstance(found, str) or found is None else ", ".join(found)


async def code(entry: SenderLogin, user: str | None, sender: str) -> int:
    async with Dialog(entry) as smtp:
        await smtp.banner()
        await smtp.say("EHLO client.example")
        smtp.session.user = user
        said = await smtp.say(f"MAIL FROM:<{sender}>" + (" SMTPUTF8" if not sender.isascii() else ""))
        assert said.code in (250, 451, 553)
        assert said != 553 or said.status == "5.7.1"
        return said.code


@pytest.mark.parametrize(
    ("user", "sender", "good"),
    [
        ("ann@example.org", "ann@example.org", True),
        ("Ann@Example.org", "aNN@EXAMPLE.org", True),
        ("ann@bücher.example", "ann@xn--bcher-kva.example", True),
        ("ann@example.org", "bob@example.org", False),
        ("ann@example.org", "ann@example.net", False),
        ("ann@example.org", "ann+lists@example.org", False),
        ("ann", "ann@example.org", False),
        ("ann@example.org", "", True),
        (None, "ann@example.org", True),
        (None, "", True),
    ],
)
async def test_an_identity_that_is_an_address(user: str | None, sender: str, good: bool) -> None:
    assert await code(SenderLogin(), user, sender) == (250 if good else 553)


@pytest.mark.parametrize(
    ("user", "sender", "good"),
    [
        ("ann", "ann@example.org", True),
        ("ann", "ann+lists@example.org", True),
        ("ann", "ann@example.com", False),
        ("ann", "bob@example.org", False),
        ("ann", "annn@example.org", False),
        ("ann", "+ann@example.org", False),
        ("ann", "sales@example.org", True),
        ("ann", "sales+spring@example.org", True),
        ("bob@example.net", "SALES@example.org", True),
        ("bob@example.net", "bob@example.org", False),
        ("carl", "any@shop.example", True),
        ("carl", "all@shop.example", False),
        ("dora", "all@shop.example", True),
        ("dora", "any@shop.example", False),
        ("eve", "noreply@example.org", True),
    ],
)
async def test_domains_owners_and_details(user: str, sender: str, good: bool) -> None:
    for owners in (OWNERS, Asked()):
        entry = SenderLogin("example.org", owners=owners, separator="+")
        assert await code(entry, user, sender) == (250 if good else 553)


async def test_the_null_sender_may_be_refused() -> None:
    assert await code(SenderLogin(null=False), "ann@example.org", "") == 553
    assert await code(SenderLogin(null=False), None, "") == 250


@pytest.mark.parametrize(
    ("sender", "good"),
    [
        ("stranger@elsewhere.example", True),
        ("", True),
        ("ann@example.org", False),
        ("sales@example.org", False),
        ("any@shop.example", False),
    ],
)
async def test_strangers_may_be_kept_from_addresses_that_are_owned(sender: str, good: bool) -> None:
    for owners in (OWNERS, Asked()):
        entry = SenderLogin("example.org", owners=owners, protect=True)
        assert await code(entry, None, sender) == (250 if good else 553)
    assert await code(SenderLogin("example.org", owners=OWNERS), None, sender) == 250


async def test_a_lookup_that_cannot_say_is_451() -> None:
    entry = SenderLogin(owners=Asked(down=True))
    assert await code(entry, "ann", "sales@example.org") == 451
    assert await code(entry, "ann@example.org", "ann@example.org") == 250


@pytest.mark.parametrize(
    ("arguments", "options"),
    [
        (("ann@example.org",), {}),
        ((), {"owners": {"sa les": "ann"}}),
        ((), {"owners": {"@": "a"}}),
        ((), {"protect": True}),
        ((), {"owners": {"sales@example.org": []}}),
    ],
)
def test_mistakes_are_told_at_once(arguments: tuple[str, ...], options: dict[str, Any]) -> None:
    with pytest.raises(ConfigError, match="SenderLogin"):
        SenderLogin(*arguments, **options)


async def test_owners_may_stand_in_a_file(tmp_path: Path) -> None:
    file = tmp_path / "owners"
    file.write_text("# whose\nsales@example.org  ann, bob@example.net\n@shop.example carl\n")
    entry = SenderLogin(lookup.Inline("example.com"), owners=lookup.File(file))
    assert await code(entry, "bob@example.net", "sales@example.org") == 250
    assert await code(entry, "carl", "sales@example.org") == 553
    assert await code(entry, "carl", "any@shop.example") == 250
    assert await code(entry, "carl", "carl@example.com") == 250
    file.write_text("sales@example.org\n")
    with pytest.raises(ConfigError, match=f"{file}:1"):
        SenderLogin(owners=lookup.File(file))


@pytest.mark.parametrize(
    ("author", "reply"),
    [
        ("ann@example.org", 250),
        ("Ann <ANN@Example.Org>", 250),
        ('"Ann, of Sales" <sales@example.org>', 250),
        ("=?utf-8?q?=C3=84nn?= <ann@example.org>", 250),
        ("ann@example.org, sales@example.org", 250),
        ("Team: ann@example.org, sales@example.org;", 250),
        ("bob@example.org", 550),
        ("ann@example.org, bob@example.org", 550),
        ("ann@example.org <bob@example.org>", 550),
        ("bob@example.org (ann@example.org)", 550),
        ("ann@example.org)<bob@example.org>", 550),
        ("<ann@example.org> bob@example.org", 550),
        ("ann@example.org\r\nFrom: bob@example.org", 550),
        ("Undisclosed:;", 550),
        ("ann", 550),
        ("", 550),
        ("x" * 3000 + " <ann@example.org>", 550),
        ("(" * 1900, 550),
    ],
)
async def test_the_author_must_be_the_user_too(author: str, reply: int) -> None:
    entry = SenderLogin(owners={"sales@example.org": "ann@example.org"}, author=True)
    async with Dialog(entry, Vouch()) as smtp:
        await smtp.banner()
        await smtp.say("EHLO client.example")
        smtp.session.user = "ann@example.org"
        data = f"From: {author}\r\n\r\nbody\r\n".encode()
        assert await smtp.message("ann@example.org", "b@example.net", data) == reply


async def test_authors_are_not_looked_at_without_a_login_or_unasked() -> None:
    for entry, user in ((SenderLogin(author=True), None), (SenderLogin(), "ann@example.org")):
        async with Dialog(entry, Vouch()) as smtp:
            await smtp.banner()
            await smtp.say("EHLO client.example")
            smtp.session.user = user
            assert await smtp.message("ann@example.org", "b@example.net", b"From: bob@example.org\r\n\r\n") == 250
