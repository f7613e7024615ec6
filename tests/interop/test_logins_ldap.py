"""Logins that OpenLDAP's slapd judges."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from anyio import create_tcp_listener
from anyio.abc import SocketAttribute

from mailstack.middleware.authldap import LDAP
from tests.middleware.providers.logins import AWKWARD, answers, asked, begin, dialog, judged, logged, login

from . import directory
from .directory import ADMIN, ADMIN_PASSWORD, BASE, Slapd

pytestmark = pytest.mark.interop

PEOPLE = f"ou=people,{BASE}"
ANN, BOB = ("ann", "ann's secret"), ("b*b (x)", "bob's secret")
# Names that would find or be somebody, were they not escaped.
WRONG = [("*", ANN[1]), ("ann)(uid=*", ANN[1]), (f"ann,{PEOPLE}", ANN[1]), ("a*", ANN[1]), ("ann", ""), ("", ANN[1])]
WRONG += [(text, ANN[1]) for text in AWKWARD]


@pytest.fixture
def slapd(program: Any, tmp_path: Path) -> Iterator[Slapd]:
    pytest.importorskip("ldap")
    program("slapd")
    running = directory.start(tmp_path / "slapd")
    yield running
    running.stop()


def bound(slapd: Slapd, **options: Any) -> LDAP:
    return LDAP(slapd.url, template=f"uid={{user}},{PEOPLE}", **options)


def found(slapd: Slapd, **options: Any) -> LDAP:
    return LDAP(slapd.url, **{"base": PEOPLE, "bind": ADMIN, "password": ADMIN_PASSWORD, **options})


async def test_a_name_in_a_dn_binds(slapd: Slapd) -> None:
    provider = bound(slapd)
    assert await answers(provider, ANN, BOB, ("ann", "wrong"), ("nobody", "x")) == [235, 235, None, None]
    assert await answers(provider, *WRONG) == [None] * len(WRONG)


async def test_a_name_that_is_found_binds(slapd: Slapd) -> None:
    provider = found(slapd, where="(|(uid={user})(mail={user}))", identity="uid")
    assert await answers(provider, ANN, BOB, ("ann", "wrong"), ("nobody", "x")) == [235, 235, 535, None]
    assert await answers(provider, *WRONG) == [535 if user == "ann" and password else None for user, password in WRONG]
    assert await judged(provider, "ANN@example.org", ANN[1]) == (235, "ann")


async def test_who_is_not_in_the_group_is_wrong(slapd: Slapd) -> None:
    options = {"group_base": PEOPLE, "group": "(&(uid={user})(sn=Bob))"}
    assert await answers(found(slapd, **options), ANN, BOB) == [535, 235]
    assert await answers(bound(slapd, **options), ANN, BOB) == [535, 235]
    assert await asked(found(slapd, group_base=PEOPLE, group="(entryDN={dn})"), *BOB) == 235


@pytest.mark.parametrize(
    ("options", "problem"),
    [
        ({"where": "(|(uid={user})(uid=ann)(uid=list))"}, "several entries"),
        ({"identity": "telephoneNumber"}, "0 values of telephonenumber"),
        ({"base": "ou=nowhere,dc=example,dc=org"}, "No such object"),
        ({"password": "wrong"}, "Invalid credentials"),
    ],
)
async def test_a_directory_that_is_not_as_was_thought_is_454(
    slapd: Slapd, options: dict[str, str], problem: str
) -> None:
    with logged() as stream:
        assert await asked(found(slapd, **options), *ANN) == 454
    assert problem in stream.getvalue()
    assert ANN[1] not in stream.getvalue()


@pytest.mark.parametrize("encryption", ["ldaps", "StartTLS"])
async def test_the_certificate_is_looked_at(slapd: Slapd, encryption: str) -> None:
    url, start_tls = (slapd.tls_url, None) if encryption == "ldaps" else (slapd.url, True)
    options: dict[str, Any] = {"template": f"uid={{user}},{PEOPLE}", "start_tls": start_tls}
    assert await asked(LDAP(url, ca=slapd.authority, **options), *ANN) == 235
    assert await asked(LDAP(url, **options), *ANN) == 454


async def test_a_directory_may_be_restarted_in_the_middle(slapd: Slapd) -> None:
    async with dialog(found(slapd)) as smtp:
        others = await smtp.several(2)
        for each in (smtp, *others):
            await begin(each)
        assert await login(smtp, *ANN) == 235
        slapd.stop()
        assert await login(others[0], *ANN) == 454
        slapd.start()
        assert await login(others[1], *ANN) == 235


async def test_a_directory_that_says_nothing_is_454() -> None:
    pytest.importorskip("ldap")
    listener = await create_tcp_listener(local_host="127.0.0.1")
    async with listener:
        port = listener.extra(SocketAttribute.local_port)
        assert await asked(LDAP(f"ldap://127.0.0.1:{port}", base=BASE, timeout=0.3), *ANN) == 454
