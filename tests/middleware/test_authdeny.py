"""Logins that are refused, whatever others say."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import pytest

from mailstack import Reply, hookimpl
from mailstack.middleware.authdeny import Deny
from mailstack.option import ConfigError
from mailstack.services.lookup import Unavailable
from mailstack.session.credentials import PASSWORD, Credentials
from mailstack.testing import Dialog
from tests.middleware.auth.users import Users, begin, open_auth, plain, scram


class Closed:
    """A lookup that is asked over a network."""

    def __init__(self, *names: str, down: bool = False) -> None:
        self.names, self.down, self.open = names, down, False

    @asynccontextmanager
    async def opened(self) -> AsyncIterator[None]:
        self.open = True
        yield

    async def find(self, key: str) -> str | None:
        assert self.open
        if self.down:
            raise Unavailable("no answer")
        return "" if key in self.names else None


async def code(*stack: object, user: str = "ann", password: str = "right") -> int:
    async with Dialog(open_auth(), *stack) as smtp:
        await begin(smtp)
        said = await smtp.say(f"AUTH PLAIN {plain(user, password)}")
        assert said != 535 or str(said) == "535 5.7.8 authentication failed"
        assert (smtp.session.user is not None) is (said == 235)
        return said.code


async def test_at_the_end_of_the_providers_it_names_who_is_nobody(caplog: pytest.LogCaptureFixture) -> None:
    users = Users(ann="right")
    caplog.set_level("INFO", "mailstack")
    assert await code(users, Deny()) == 235
    assert "login denied" not in caplog.text
    assert await code(users, Deny(), user="eve", password="my-secret") == 535
    assert users.decoys == 1
    [line] = [each for each in caplog.messages if "login denied" in each]
    assert "user=eve" in line
    assert "192.0.2.1" in line
    assert "my-secret" not in caplog.text


async def test_who_is_denied_is_judged_all_the_same_and_hears_what_others_hear(
    caplog: pytest.LogCaptureFixture,
) -> None:
    caplog.set_level("INFO", "mailstack")
    for deny in (Deny(users=["ANN"]), Deny(users=Closed("ann"))):
        users = Users(ann="right", bob="right")
        assert await code(deny, users) == 535
        assert users.asked == ["ann"]
        assert await code(deny, users, user="bob") == 235
    assert caplog.text.count("right=true") + caplog.text.count("right=True") == 2


async def test_with_scram_the_talk_is_the_same() -> None:
    async with Dialog(open_auth(), Deny(users=["ann"]), Users(ann="right")) as smtp:
        await begin(smtp)
        assert await scram(smtp, "SCRAM-SHA-256", "ann", "right") == 535
        assert smtp.session.user is None


class Renaming:
    mechanisms = PASSWORD

    @hookimpl
    async def auth(self, credentials: Credentials) -> Reply | None:
        credentials.identity = "ann@example.org"
        return Reply(235)


async def test_who_is_denied_is_so_by_any_name() -> None:
    assert await code(Deny(users=["ann@example.org"]), Renaming()) == 535
    assert await code(Deny(users=["bob@example.org"]), Renaming()) == 235


async def test_a_lookup_that_cannot_say_is_454() -> None:
    assert await code(Deny(users=Closed(down=True)), Users(ann="right")) == 454


async def test_trouble_below_stays_trouble() -> None:
    class Down:
        mechanisms = PASSWORD

        @hookimpl
        async def auth(self) -> Reply | None:
            return Reply(454)

    assert await code(Deny(), Down()) == 454


@pytest.mark.parametrize("users", [[], 7, lambda name: True])
def test_what_is_no_list_is_told(users: Any) -> None:
    with pytest.raises(ConfigError, match="users"):
        Deny(users=users)
