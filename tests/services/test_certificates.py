"""Certificates on disk: where they are found, who gets which, what is wrong with them, and what changes do."""

from __future__ import annotations

import os
import ssl
import subprocess
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import pytest
import trustme

from mailstack import ConfigError
from mailstack.services.certificates import Certificates, Terms
from mailstack.services.certificates.certificates import DAY
from tests.tls import authority, authority_pem, client_context, write_pair, write_pem

Logged = Callable[[], list[str]]


@pytest.fixture
def logged(caplog: pytest.LogCaptureFixture) -> Logged:
    """The events so far."""
    caplog.set_level("INFO", "mailstack")
    return lambda: [record.getMessage() for record in caplog.records]


def shown(context: ssl.SSLContext | None, name: str | None = None, *, client: ssl.SSLContext | None = None) -> set[str]:
    """The names in the certificate that a client sees who asks for `name`."""
    assert context is not None
    to_server, to_client = ssl.MemoryBIO(), ssl.MemoryBIO()
    if client is None:
        client = ssl.create_default_context()
        authority().configure_trust(client)
        client.check_hostname = False
    here = context.wrap_bio(to_server, to_client, server_side=True)
    there = client.wrap_bio(to_client, to_server, server_hostname=name)
    for side in (there, here, there, here, there):
        try:
            side.do_handshake()
        except ssl.SSLWantReadError:
            pass
    certificate = there.getpeercert()
    assert certificate is not None
    names: Any = certificate["subjectAltName"]
    return {value for _, value in names}


def at(place: Path, key: Path | None = None, **options: object) -> Certificates:
    return Certificates(place, key, every=0, **options)  # type: ignore[arg-type]


# Places.


async def test_one_file_holds_key_and_chain(tmp_path: Path) -> None:
    certificates = at(write_pem(tmp_path / "mx.pem", "mx.test"))
    assert certificates.usable
    assert shown(await certificates.context()) == {"mx.test"}


async def test_key_and_chain_have_a_file_each(tmp_path: Path) -> None:
    chain, key = write_pair(tmp_path / "mx", "mx.test")
    assert shown(await at(chain, key).context()) == {"mx.test"}


async def test_a_folder_of_an_acme_client_holds_one_or_many(tmp_path: Path) -> None:
    write_pair(tmp_path / "a.test", "a.test")
    write_pair(tmp_path / "b.test", "b.test")
    write_pem(tmp_path / "c.pem", "c.test")
    (tmp_path / "README").write_text("nothing of interest")
    (tmp_path / "empty").mkdir()
    for name in ("a.test", "b.test", "c.test"):
        assert shown(await at(tmp_path).context(), name) == {name}
    assert shown(await at(tmp_path / "b.test").context(), "a.test") == {"b.test"}


# Choice.


async def test_the_name_decides_exactly_or_by_wildcard_or_else_the_default(tmp_path: Path) -> None:
    write_pem(tmp_path / "1.pem", "*.example.org")
    write_pem(tmp_path / "2.pem", "mx.example.org")
    write_pem(tmp_path / "3.pem", "other.test", "Third.test")
    context = await at(tmp_path).context("mx.example.org")
    assert shown(context, "mx.example.org") == {"mx.example.org"}
    assert shown(context, "MX.example.ORG") == {"mx.example.org"}
    assert shown(context, "imap.example.org") == {"*.example.org"}
    assert shown(context, "third.test") == {"other.test", "third.test"}
    for unknown in ("a.b.example.org", "example.org", "stranger.test", None):
        assert shown(context, unknown) == {"mx.example.org"}
    assert shown(await at(tmp_path, default="other.test").context("mx.example.org")) == {"other.test", "third.test"}
    assert shown(await at(tmp_path).context("nobody.test")) == {"*.example.org"}


async def test_ecdsa_and_rsa_for_the_same_names_are_offered_together(tmp_path: Path) -> None:
    write_pem(tmp_path / "ecdsa.pem", "mx.test")
    write_pem(tmp_path / "rsa.pem", "mx.test", rsa=True)
    context = await at(tmp_path).context()
    for ciphers in ("ECDHE-ECDSA-AES128-GCM-SHA256", "ECDHE-RSA-AES128-GCM-SHA256"):
        client = ssl.create_default_context()
        authority().configure_trust(client)
        client.maximum_version = ssl.TLSVersion.TLSv1_2
        client.set_ciphers(ciphers)
        assert shown(context, "mx.test", client=client) == {"mx.test"}


async def test_of_two_for_the_same_names_the_longer_lived_one_counts(tmp_path: Path) -> None:
    for file, days in (("1.pem", 20), ("2.pem", 40), ("3.pem", 30)):
        write_pem(tmp_path / file, "mx.test", days=(-1, days))
    context = await at(tmp_path).context()
    assert context is not None
    client = client_context()
    to_server, to_client = ssl.MemoryBIO(), ssl.MemoryBIO()
    here = context.wrap_bio(to_server, to_client, server_side=True)
    there = client.wrap_bio(to_client, to_server, server_hostname="mx.test")
    for side in (there, here, there):
        try:
            side.do_handshake()
        except ssl.SSLWantReadError:
            pass
    longest = (tmp_path / "2.pem").read_text().partition("-----BEGIN CERTIFICATE")
    seen = there.getpeercert(binary_form=True)
    assert seen == ssl.PEM_cert_to_DER_cert(
        (longest[1] + longest[2].partition("-----END")[0]) + "-----END CERTIFICATE-----"
    )


# What is wrong at the start.


def refused(place: Path, key: Path | None = None, **options: object) -> str:
    with pytest.raises(ConfigError) as caught:
        at(place, key, **options)
    assert caught.value.remedy
    return caught.value.message


def test_a_missing_file_and_an_empty_folder_are_refused_unless_told(tmp_path: Path) -> None:
    missing = tmp_path / "mx.pem"
    assert refused(missing) == f"there is no file {missing}"
    assert refused(tmp_path) == f"there is no certificate in {tmp_path}"
    assert not at(missing, missing_ok=True).usable
    assert not at(tmp_path, missing_ok=True).usable


def test_a_missing_key_is_refused(tmp_path: Path) -> None:
    chain, key = write_pair(tmp_path / "mx")
    key.unlink()
    assert refused(chain, key) == refused(tmp_path) == f"there is no file {key}"
    assert refused(chain) == f"there is no key in {chain}"


@pytest.fixture
def folder() -> Iterator[Path]:
    """One that everybody may enter; who runs the test is not root in it."""
    with TemporaryDirectory(prefix="mailstack-certificates-") as name:
        Path(name).chmod(0o755)
        before = os.geteuid()
        write_pem(Path(name, "mx.pem")).chmod(0)
        os.seteuid(before or 65534)
        yield Path(name)
        os.seteuid(before)


def test_an_unreadable_file_is_refused(folder: Path) -> None:
    file = folder / "mx.pem"
    assert refused(file) == refused(folder) == f"{file} cannot be read: Permission denied"


def test_a_folder_that_must_not_be_entered_is_refused(folder: Path) -> None:
    closed = folder / "closed"
    os.seteuid(os.getuid())
    closed.mkdir()
    closed.chmod(0)
    os.seteuid(os.getuid() or 65534)
    inside = closed / "mx.pem"
    assert refused(inside) == f"{inside} cannot be read: Permission denied"


def test_a_folder_in_the_place_of_the_key_cannot_be_read(tmp_path: Path) -> None:
    chain, _ = write_pair(tmp_path / "mx")
    assert refused(chain, tmp_path) == f"{tmp_path} cannot be read: Is a directory"


def test_the_key_of_another_certificate_is_refused(tmp_path: Path) -> None:
    chain, _ = write_pair(tmp_path / "a")
    _, key = write_pair(tmp_path / "b")
    assert refused(chain, key) == f"the key in {key} is not that of the certificate in {chain}"


def test_what_is_over_or_not_yet_valid_is_refused_unless_told(tmp_path: Path) -> None:
    over = write_pem(tmp_path / "over.pem", days=(-30, -1))
    assert "has expired" in refused(over)
    early = write_pem(tmp_path / "early.pem", days=(1, 30))
    assert "is not valid yet" in refused(early)
    assert at(over, expired_ok=True).usable
    assert at(early, expired_ok=True).usable


@pytest.mark.parametrize("cut", [0, 100, 400, -200, -40])
def test_half_a_file_is_refused(tmp_path: Path, cut: int) -> None:
    file = write_pair(tmp_path / "mx")[0]
    whole = (tmp_path / "mx" / "privkey.pem").read_bytes() + file.read_bytes()
    first = whole.index(b"-----END CERTIFICATE") + 25
    half = tmp_path / "half.pem"
    half.write_bytes(whole[:first][:cut])
    assert str(half) in refused(half)


def test_a_key_with_a_passphrase_is_refused_and_nobody_is_asked_for_it(tmp_path: Path) -> None:
    chain, key = write_pair(tmp_path / "mx")
    locked = tmp_path / "locked.pem"
    command = ["openssl", "pkey", "-in", str(key), "-aes256", "-passout", "pass:secret", "-out", str(locked)]
    subprocess.run(command, check=True, capture_output=True)
    assert refused(chain, locked) == f"the key in {locked} is protected by a passphrase"


def test_a_certificate_that_no_client_would_take_from_a_server_is_refused(tmp_path: Path) -> None:
    file = tmp_path / "client.pem"
    command = [
        "openssl",
        "req",
        "-x509",
        "-newkey",
        "ec",
        "-pkeyopt",
        "ec_paramgen_curve:P-256",
        "-nodes",
        "-subj",
        "/CN=x",
    ]
    command += ["-addext", "extendedKeyUsage=clientAuth", "-keyout", str(tmp_path / "key"), "-out", str(file)]
    subprocess.run(command, check=True, capture_output=True)
    assert refused(file, tmp_path / "key").startswith(f"no client would take the certificate in {file}: ")


def test_no_certificate_for_the_default_is_refused(tmp_path: Path) -> None:
    file = write_pem(tmp_path / "mx.pem", "mx.test")
    assert refused(file, default="other.test") == f"no certificate in {file} is for other.test"


def test_terms_that_cannot_be_met_are_refused(tmp_path: Path) -> None:
    file = write_pem(tmp_path / "mx.pem")
    assert "knows none of the ciphers 'NONSENSE'" in refused(file, terms=Terms(ciphers="NONSENSE"))
    missing = tmp_path / "ca.pem"
    assert f"{missing} cannot be read" in refused(file, terms=Terms(client="optional", authorities=missing))
    missing.write_text("nothing")
    assert f"{missing} holds no certificate" in refused(file, terms=Terms(client="optional", authorities=missing))


def test_the_end_that_is_near_and_a_key_that_everybody_reads_are_warned_of(tmp_path: Path, logged: Logged) -> None:
    file = write_pem(tmp_path / "mx.pem", days=(-1, 3))
    file.chmod(0o644)
    at(file)
    assert [event.partition(" file=")[0] for event in logged()] == [
        "key readable by everybody",
        "certificate expires soon",
    ]


# Changes.


async def test_a_new_certificate_takes_the_place_of_the_old_one(tmp_path: Path, logged: Logged) -> None:
    file = write_pem(tmp_path / "mx.pem", "old.test")
    certificates = at(file)
    before = await certificates.context()
    assert await certificates.context() is before
    write_pem(file, "new.test")
    assert shown(await certificates.context()) == {"new.test"}
    assert shown(before, "new.test") == {"new.test"}
    assert len(logged()) == 1


async def test_folders_that_come_and_go_are_noticed(tmp_path: Path) -> None:
    write_pair(tmp_path / "a", "a.test")
    certificates = at(tmp_path)
    chain, key = write_pair(tmp_path / "b", "b.test")
    assert shown(await certificates.context(), "b.test") == {"b.test"}
    chain.unlink()
    key.unlink()
    assert shown(await certificates.context(), "b.test") == {"a.test"}


async def test_the_old_one_stays_while_the_new_one_is_half_written_and_the_log_says_so_once(
    tmp_path: Path, logged: Logged
) -> None:
    file = write_pem(tmp_path / "mx.pem", "old.test")
    certificates = at(file)
    whole = write_pem(tmp_path / "elsewhere", "new.test").read_bytes()
    file.write_bytes(whole[: len(whole) // 2])
    for _ in range(3):
        assert shown(await certificates.context()) == {"old.test"}
    assert [event.partition(" ")[0] for event in logged()] == ["certificate"]
    file.write_bytes(whole)
    assert shown(await certificates.context()) == {"new.test"}


async def test_a_certificate_whose_key_comes_a_moment_later_waits_for_it(tmp_path: Path) -> None:
    chain, key = write_pair(tmp_path / "mx", "old.test")
    other, other_key = write_pair(tmp_path / "elsewhere", "new.test")
    certificates = at(chain, key)
    os.replace(other, chain)
    assert shown(await certificates.context()) == {"old.test"}
    os.replace(other_key, key)
    assert shown(await certificates.context()) == {"new.test"}


async def test_one_broken_certificate_does_not_keep_the_others_from_being_renewed(tmp_path: Path) -> None:
    a, b = write_pem(tmp_path / "a.pem", "a.test"), write_pem(tmp_path / "b.pem", "b.test")
    certificates = at(tmp_path)
    a.write_bytes(b"broken")
    write_pem(b, "c.test")
    context = await certificates.context()
    assert shown(context, "a.test") == {"a.test"}
    assert shown(context, "c.test") == {"c.test"}


@pytest.mark.parametrize("folder", [False, True])
async def test_a_certificate_that_has_gone_is_served_on(tmp_path: Path, folder: bool, logged: Logged) -> None:
    file = write_pem(tmp_path / "mx.pem", "old.test")
    certificates = at(tmp_path if folder else file)
    file.unlink()
    for _ in range(2):
        assert shown(await certificates.context()) == {"old.test"}
    assert len(logged()) == 1


async def test_an_expired_one_does_not_take_the_place_of_a_good_one(tmp_path: Path) -> None:
    file = write_pem(tmp_path / "mx.pem", "old.test")
    certificates = at(file)
    write_pem(file, "new.test", days=(-30, -1))
    assert shown(await certificates.context()) == {"old.test"}


async def test_what_ends_while_it_is_served_is_logged_once_a_day(
    tmp_path: Path, logged: Logged, monkeypatch: pytest.MonkeyPatch
) -> None:
    certificates = at(write_pem(tmp_path / "mx.pem", days=(-30, -1)), expired_ok=True)
    for _ in range(2):
        await certificates.context()
    assert [event.partition(" file=")[0] for event in logged()] == ["certificate expired"]
    tomorrow = time.time() + DAY
    monkeypatch.setattr("mailstack.services.certificates.certificates.time.time", lambda: tomorrow)
    for _ in range(2):
        await certificates.context()
    assert [event.partition(" file=")[0] for event in logged()] == ["certificate expired"] * 2


async def test_what_may_not_be_read_any_more_is_told_and_served_on(
    tmp_path: Path, logged: Logged, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As when root's rights have been given up; for root itself there is no such file."""
    file = write_pem(tmp_path / "mx.pem", "mx.test")
    certificates = at(file)

    def refuse(path: Path) -> bytes:
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(os, "access", lambda path, mode: False)
    monkeypatch.setattr(Path, "read_bytes", refuse)
    for _ in range(2):
        await certificates.look()
    assert [event.partition(" ")[2].partition(" problem=")[0] for event in logged()] == ["not loaded"]
    assert shown(await certificates.context()) == {"mx.test"}


async def test_what_was_missing_is_taken_when_it_comes(tmp_path: Path) -> None:
    certificates = at(tmp_path / "mx.pem", missing_ok=True)
    assert await certificates.context() is None
    write_pem(tmp_path / "mx.pem", "mx.test")
    assert shown(await certificates.context()) == {"mx.test"}


async def test_broken_authorities_leave_everything_as_it_was(tmp_path: Path, logged: Logged) -> None:
    authorities = tmp_path / "ca.pem"
    authorities.write_bytes(authority_pem().read_bytes())
    certificates = at(write_pem(tmp_path / "mx.pem"), terms=Terms(client="optional", authorities=authorities))
    before = await certificates.context()
    authorities.write_text("broken")
    assert await certificates.context() is before
    assert len(logged()) == 1
    trustme.CA().cert_pem.write_to_path(authorities)
    assert await certificates.context() is not before


async def test_the_files_are_looked_at_at_most_as_often_as_was_said(tmp_path: Path) -> None:
    file = write_pem(tmp_path / "mx.pem", "old.test")
    certificates = Certificates(file, every=3600)
    await certificates.context()
    write_pem(file, "new.test")
    assert shown(await certificates.context()) == {"old.test"}
    await certificates.look()
    assert shown(await certificates.context()) == {"new.test"}
