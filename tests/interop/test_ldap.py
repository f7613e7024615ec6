"""A real slapd behind the directory's door and the lookup: escapes, TLS, passwords, and a slapd that dies or hangs."""

from __future__ import annotations

import os
import signal
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import anyio
import pytest
import trustme

from mailstack import ConfigError
from mailstack.services.lookup import LDAP, Unavailable
from tests.interop import directory
from tests.interop.frozen import freeze

pytestmark = pytest.mark.interop

PEOPLE = f"ou=people,{directory.BASE}"


@pytest.fixture
def directory_of() -> Any:
    """Makes a Directory; the test is skipped where python-ldap was not built."""
    if not os.environ.get("MAILSTACK_REQUIRE_INTEROP"):
        pytest.importorskip("ldap", exc_type=ImportError)
    from mailstack.services.ldap import Directory

    return Directory


@pytest.fixture
def slapd(tmp_path: Path, program: Callable[[str], str], directory_of: Any) -> Iterator[directory.Slapd]:
    program("slapd")
    running = directory.start(tmp_path / "slapd")
    yield running
    running.process.send_signal(signal.SIGCONT)
    running.stop()


@pytest.mark.every_backend
async def test_entries_are_found_by_names_that_are_escaped(slapd: directory.Slapd) -> None:
    mail = LDAP(slapd.url, base=PEOPLE, filter="(uid={key})", attribute="MAIL")
    exists = LDAP(slapd.url, base="uid={key}," + PEOPLE, scope="base")
    phone = LDAP(slapd.url, base=PEOPLE, filter="(|(uid={key})(mail={key}))", attribute="telephoneNumber")
    async with mail.opened(), exists.opened(), phone.opened():
        assert await mail.find("ann") == "ann@example.org"
        assert await mail.find("b*b (x)") == "bob@example.org"
        assert await mail.find("list") == "one@example.org, two@example.org"
        assert await exists.find("ann") == ""
        assert await exists.find("b*b (x)") == ""
        assert await phone.find("ann@example.org") is None  # it has none
        for absent in ("*", "a*", "ann)(uid=*", "ann\0", "ann\\", "\ud800", "", "é", "ann,ou=x", "x\r\ny", "#", " "):
            assert await mail.find(absent) is None
            assert await exists.find(absent) is None


@pytest.mark.parametrize("how", ["ldaps", "starttls"])
async def test_the_directory_must_show_a_certificate_of_the_authority(
    slapd: directory.Slapd, directory_of: Any, tmp_path: Path, how: str
) -> None:
    url, start_tls = (slapd.tls_url, None) if how == "ldaps" else (slapd.url, True)
    trustme.CA().cert_pem.write_to_path(tmp_path / "other.pem")
    good = directory_of(url, start_tls=start_tls, ca=slapd.authority)
    bad = directory_of(url, start_tls=start_tls, ca=tmp_path / "other.pem")
    async with good.opened(), bad.opened():
        assert [entry.name for entry in await good.search(PEOPLE, "(uid=ann)", ["cn"])] == [f"uid=ann,{PEOPLE}"]
        with pytest.raises(Unavailable):
            await bad.search(PEOPLE, "(uid=ann)", ["cn"])
        with pytest.raises(Unavailable):
            await bad.binds(f"uid=ann,{PEOPLE}", "ann's secret")


async def test_passwords_are_judged_and_an_empty_one_never_opens(slapd: directory.Slapd, directory_of: Any) -> None:
    people = directory_of(slapd.url, bind=directory.ADMIN, password=directory.ADMIN_PASSWORD)
    async with people.opened():
        [bob] = await people.search(PEOPLE, people.filter("(uid={user})", user="b*b (x)"), ["mail"])
        assert bob.values == {"mail": [b"bob@example.org"]}
        assert await people.binds(bob.name, "bob's secret")
        assert await people.binds(people.name("uid={user}," + PEOPLE, user="b*b (x)"), "bob's secret")
        for wrong in ("", "ann's secret", "bob's secret\0", "bob's secret\0x"):
            assert not await people.binds(bob.name, wrong)
        for nobody in ("", f"uid=eve,{PEOPLE}", f"uid=list,{PEOPLE}", "no name"):
            assert not await people.binds(nobody, "bob's secret")
    with pytest.raises(RuntimeError, match="not open"):
        await people.binds(bob.name, "bob's secret")


async def test_what_the_directory_refuses_is_never_not_found(slapd: directory.Slapd, directory_of: Any) -> None:
    unbound = directory_of(slapd.url, bind=directory.ADMIN, password="wrong")
    people = directory_of(slapd.url)
    async with unbound.opened(), people.opened():
        with pytest.raises(Unavailable, match="Invalid credentials") as told:
            await unbound.search(PEOPLE, "(uid=ann)", ["cn"])
        assert "wrong" not in str(told.value)
        with pytest.raises(Unavailable, match="No such object"):
            await people.search(f"ou=nowhere,{directory.BASE}", "(uid=ann)", ["cn"])
        with pytest.raises(Unavailable, match="filter"):
            await people.search(PEOPLE, "(uid=", ["cn"])
        with pytest.raises(Unavailable, match=r"[Ss]ize limit"):
            await people.search(PEOPLE, "(uid=*)", ["cn"], limit=1)


async def test_a_directory_that_is_restarted_is_hardly_noticed(slapd: directory.Slapd) -> None:
    source = LDAP(slapd.url, base=PEOPLE, filter="(uid={key})", attribute="mail", timeout=2)
    async with source.opened():
        assert await source.find("ann") == "ann@example.org"
        slapd.stop()
        with pytest.raises(Unavailable):
            await source.find("ann")
        slapd.start()
        assert await source.find("ann") == "ann@example.org"
        slapd.stop()
        slapd.start()
        assert await source.find("ann") == "ann@example.org"


@pytest.mark.every_backend
@pytest.mark.parametrize("tls", [False, True])
async def test_a_directory_that_hangs_costs_the_deadline_and_then_answers(slapd: directory.Slapd, tls: bool) -> None:
    url, ca = (slapd.tls_url, slapd.authority) if tls else (slapd.url, None)
    source = LDAP(url, base=PEOPLE, filter="(uid={key})", attribute="mail", timeout=0.3, pool=2, ca=ca)
    async with source.opened():
        assert await source.find("ann") == "ann@example.org"
        freeze(slapd.process.pid)
        for _ in range(4):  # on the connection that is there, and on new ones: in their handshake with TLS
            with pytest.raises(Unavailable):
                await source.find("ann")
        slapd.process.send_signal(signal.SIGCONT)
        assert await _in_the_end(source) == "ann@example.org"


async def _in_the_end(source: LDAP) -> str | None:
    """What hung may hold all threads for a moment."""
    for _ in range(100):
        try:
            return await source.find("ann")
        except Unavailable:
            await anyio.sleep(0.05)
    return None


def test_what_cannot_be_a_directory_is_told(directory_of: Any) -> None:
    for url in ("", "ldap", "http://h", "ldap://", "ldap://h/dc=x", "ldap://u:secret@h", "ldap://h:x"):
        with pytest.raises(ConfigError, match="no URL of a directory") as told:
            directory_of(url)
        assert "secret" not in str(told.value)
    with pytest.raises(ConfigError, match="no password"):
        directory_of("ldap://h", bind="cn=x")
    with pytest.raises(ConfigError, match="cannot be read"):
        directory_of("ldap://h", ca="/nonexistent.pem")
    for template in ("(uid=ann)", "(uid={user})", "(uid={key}{0})", "(uid={key)"):
        with pytest.raises(ConfigError, match="LDAP"):
            LDAP("ldap://h", base="dc=x", filter=template)
    with pytest.raises(ConfigError, match="scope"):
        LDAP("ldap://h", base="dc=x", filter="(uid={key})", scope="all")  # type: ignore[arg-type]


def test_another_machine_is_asked_with_starttls_unless_told_otherwise(directory_of: Any) -> None:
    assert directory_of("ldap://ldap.example.org")._start_tls
    assert not directory_of("ldap://ldap.example.org", start_tls=False)._start_tls
    assert not directory_of("ldap://127.0.0.1:389")._start_tls
    assert not directory_of("ldaps://ldap.example.org")._start_tls
    assert not directory_of("ldapi://%2Frun%2Fslapd%2Fldapi")._start_tls
