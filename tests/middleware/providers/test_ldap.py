"""authldap over a directory in memory: which questions are asked, and what their answers mean. slapd: tests/interop."""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from typing import Any

import pytest

from mailstack.middleware import authldap
from mailstack.middleware.authldap import LDAP
from mailstack.option import ConfigError
from mailstack.services.ldap import Entry
from mailstack.services.lookup.source import Unavailable
from tests.middleware.providers.logins import asked, begin, dialog, judged, logged, login

ANN = Entry("uid=ann,ou=people", {"uid": [b"ann"], "mail": [b"ann@example.org", b"a@example.org"]})


class Fake:
    """A directory where everything escaped stands between < and >. It keeps what it was asked."""

    def __init__(self, url: str, **options: Any) -> None:
        self.found: dict[str, list[Entry]] = {"(uid=<ann>)": [ANN], "(uid=<two>)": [ANN, ANN], "(objectClass=*)": [ANN]}
        self.passwords = {ANN.name: "right", "uid=<ann>,ou=people": "right"}
        self.asked: list[tuple[str, ...]] = []
        self.down = False
        self.is_open = False

    @asynccontextmanager
    async def opened(self) -> AsyncIterator[None]:
        self.is_open = True
        yield
        self.is_open = False

    def filter(self, template: str, **values: str) -> str:
        return template.format(**{key: f"<{value}>" for key, value in values.items()})

    name = filter

    async def search(self, base: str, where: str, attributes: Sequence[str], **options: Any) -> list[Entry]:
        assert self.is_open
        self.asked.append(("search", base, where, *attributes))
        if self.down:
            raise Unavailable("ldap://x: Can't contact LDAP server")
        return self.found.get(where, [])

    async def binds(self, name: str, password: str) -> bool:
        assert self.is_open
        assert password
        self.asked.append(("bind", name, password))
        if self.down:
            raise Unavailable("ldap://x: Can't contact LDAP server")
        return self.passwords.get(name) == password


@pytest.fixture(autouse=True)
def in_memory(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(authldap, "Directory", Fake)


def found(**options: Any) -> tuple[LDAP, Any]:
    provider = LDAP("ldap://x", **{"base": "ou=people", **options})
    return provider, provider._directory


async def test_an_entry_is_found_and_binds() -> None:
    provider, directory = found()
    assert await judged(provider, "ann", "right") == (235, "ann")
    assert directory.asked == [("search", "ou=people", "(uid=<ann>)", "1.1"), ("bind", ANN.name, "right")]


async def test_a_name_becomes_a_dn_and_binds() -> None:
    provider = LDAP("ldap://x", template="uid={user},ou=people")
    assert await judged(provider, "ann", "right") == (235, "ann")
    assert await asked(provider, "ann", "wrong") is None  # it may be that there is nobody of that name


async def test_wrong_passwords_of_those_who_exist_are_final() -> None:
    assert await asked(found()[0], "ann", "wrong") == 535


async def test_for_an_unknown_user_a_bind_is_tried_all_the_same() -> None:
    provider, directory = found()
    assert await judged(provider, "eve", "x") == (535, None)
    assert directory.asked[-1] == ("bind", "cn=nobody,ou=people", "x")
    provider, directory = found(decoy="cn=decoy,ou=system")
    assert await judged(provider, "eve", "x") == (535, None)
    assert directory.asked[-1] == ("bind", "cn=decoy,ou=system", "x")


@pytest.mark.parametrize("user", ["ann", "eve"])
async def test_a_directory_that_goes_down_in_between_does_not_tell_who_exists(user: str) -> None:
    provider, directory = found()
    bind = directory.binds

    async def fails(name: str, password: str) -> bool:
        directory.down = True
        return bool(await bind(name, password))

    directory.binds = fails
    assert await judged(provider, user, "x") == (454, None)


@pytest.mark.parametrize(("user", "password"), [("ann", ""), ("", "right"), ("ann", "a\0b"), ("ann\0", "right")])
async def test_the_directory_is_not_asked_about_what_can_be_no_login(user: str, password: str) -> None:
    provider, directory = found()
    assert await asked(provider, user, password) is None
    assert directory.asked == []


@pytest.mark.parametrize("user", ["two", "ann"])
async def test_trouble_is_454_and_tells_the_log(user: str) -> None:
    provider, directory = found()
    directory.down = user == "ann"
    with logged() as stream:
        async with dialog(provider) as smtp:
            await begin(smtp)
            assert await login(smtp, user, "se-cret") == 454
    assert "login not judged" in stream.getvalue()
    assert "se-cret" not in stream.getvalue()


async def test_the_identity_is_the_one_value_of_an_attribute() -> None:
    assert await judged(found(identity="uid")[0], "ann", "right") == (235, "ann")
    assert await asked(found(identity="mail")[0], "ann", "right") == 454
    assert await asked(found(identity="absent")[0], "ann", "right") == 454


async def test_the_group_is_asked_for_with_name_and_dn_when_the_password_was_right() -> None:
    options = {"group_base": "ou=groups", "group": "(&(cn=mail)(|(member={dn})(memberUid={user})))"}
    provider, directory = found(**options)
    assert await asked(provider, "ann", "right") == 535
    asking = ("search", "ou=groups", f"(&(cn=mail)(|(member=<{ANN.name}>)(memberUid=<ann>)))", "1.1")
    assert directory.asked[-1] == asking
    directory.found[asking[2]] = [ANN]
    assert await asked(provider, "ann", "right") == 235
    assert await asked(provider, "ann", "wrong") == 535
    assert directory.asked[-1][0] == "bind"


@pytest.mark.parametrize(
    "options",
    [
        {},
        {"template": "uid={user}", "base": "ou=people"},
        {"template": "uid=ann"},
        {"template": "uid={name}"},
        {"template": "uid={user"},
        {"base": "ou=people", "where": "(uid=ann)"},
        {"base": "ou=people", "where": "(uid={dn})"},
        {"base": "ou=people", "group": "(member={dn})"},
        {"base": "ou=people", "group": "(cn=mail)", "group_base": "ou=groups"},
        {"base": "ou=people", "scope": "deep"},
        {"base": "ou=people", "at_once": 0},
    ],
)
def test_options_that_make_no_sense_are_refused(options: dict[str, Any]) -> None:
    with pytest.raises(ConfigError):
        LDAP("ldap://x", **options)
