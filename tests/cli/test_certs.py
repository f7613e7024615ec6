"""`mailstack certs`: what it makes, what it never overwrites, and what it renews."""

from __future__ import annotations

import ssl
import stat
import sys
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from mailstack.cli import main
from mailstack.middleware import tls
from mailstack.testing import Dialog

CHAIN, KEY = "fullchain.pem", "privkey.pem"


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return tmp_path / "certs"


def certs(folder: Path, *arguments: str, status: int = 0) -> Result:
    result = CliRunner().invoke(main, ["certs", "--folder", str(folder), *arguments])
    assert result.exit_code == status, result.output
    return result


def trusting(folder: Path) -> ssl.SSLContext:
    return ssl.create_default_context(cafile=str(folder / "ca/ca.pem"))


@pytest.mark.parametrize("name", ["mx.test", "a.wild.test", "192.0.2.7", "2001:db8::7"])
async def test_a_client_that_trusts_the_authority_trusts_the_server_by_each_name(folder: Path, name: str) -> None:
    words = certs(folder, "mx.test", "*.wild.test", "192.0.2.7", "2001:db8::7").output
    assert f"{folder}/mx.test: mx.test, *.wild.test, 192.0.2.7, 2001:db8::7; until " in words
    assert f"clients trust {folder}/ca/ca.pem" in words
    client = trusting(folder)
    client.verify_flags |= ssl.VERIFY_X509_STRICT
    async with Dialog(tls.TLS(folder), tls=True) as smtp:
        await smtp.start_tls(client, name)
        assert await smtp.banner() == 220


async def test_a_mailbox_is_the_name_of_a_client(folder: Path) -> None:
    certs(folder, "mx.test")
    certs(folder, "alice@example.org")
    client = trusting(folder)
    client.load_cert_chain(folder / "alice@example.org" / CHAIN, folder / "alice@example.org" / KEY)
    ours = tls.TLS(
        folder,
        client_certificates="required",
        client_ca=folder / "ca/ca.pem",
        identity={"email:alice@example.org": "alice"},
    )
    async with Dialog(ours, tls=True) as smtp:
        await smtp.start_tls(client, "mx.test")
        assert await smtp.banner() == 220
        await smtp.say("EHLO client.example")
        assert smtp.session.user == "alice"


def test_its_owner_alone_can_read_it_and_nothing_else_is_left(folder: Path) -> None:
    certs(folder, "mx.test")
    certs(folder, "*.bücher.example")
    files = {str(file.relative_to(folder)): file.stat().st_mode for file in folder.rglob("*") if file.is_file()}
    places = ("ca/ca.pem", "ca/key.pem", "mx.test/", "wildcard.xn--bcher-kva.example/")
    assert set(files) == {*places[:2], *(place + file for place in places[2:] for file in (CHAIN, KEY))}
    assert {stat.S_IMODE(mode) for mode in files.values()} == {0o600}


def content(folder: Path) -> dict[str, bytes]:
    return {str(file): file.read_bytes() for file in folder.rglob("*.pem")}


def test_what_is_there_is_overwritten_by_force_alone_and_the_authority_never(folder: Path) -> None:
    certs(folder, "mx.test")
    before = content(folder)
    refusal = certs(folder, "mx.test", status=2).stderr
    assert f"there is a certificate in {folder}/mx.test already" in refusal
    assert "--force" in refusal
    assert content(folder) == before
    certs(folder, "mx.test", "other.test", "--force")
    after = content(folder)
    assert {file for file in before if before[file] != after[file]} == {
        str(folder / "mx.test" / CHAIN),
        str(folder / "mx.test" / KEY),
    }


def test_renew_makes_what_is_missing_or_due_and_leaves_the_rest(folder: Path) -> None:
    certs(folder, "--renew", "mx.test", "192.0.2.7")
    certs(folder, "due.test", "also.due.test", "--days", "29")
    before = content(folder)
    assert certs(folder, "--renew", "mx.test", "192.0.2.7").output == ""
    assert "due.test, also.due.test" in certs(folder, "--renew").output
    assert certs(folder, "--renew").output == ""
    after = content(folder)
    changed = {Path(file).parent.name for file in before if before[file] != after[file]}
    assert changed == {"due.test"}
    certs(folder, "--renew", "mx.test")
    assert content(folder)[str(folder / "mx.test" / CHAIN)] != after[str(folder / "mx.test" / CHAIN)]


def test_a_certificate_does_not_outlive_its_authority(folder: Path) -> None:
    words = certs(folder, "mx.test", "--days", "3650").output
    ends = (datetime.now(UTC) + timedelta(days=3650)).date()
    assert f"until {ends}" in words or f"until {ends - timedelta(days=1)}" in words


@pytest.mark.parametrize(
    ("arguments", "problem"),
    [
        ([], "give at least one NAME"),
        (["no name"], "'no name' is not a domain"),
        (["*.*.example.org"], "is not a domain"),
        (["ca"], "the folder ca is the authority's"),
        (["../../etc"], "is not a domain"),
        (["--days", "0", "mx.test"], "'--days'"),
    ],
)
def test_what_makes_no_certificate_is_said(folder: Path, arguments: list[str], problem: str) -> None:
    assert problem in certs(folder, *arguments, status=2).stderr
    assert not folder.exists()


@pytest.mark.parametrize("file", ["ca/ca.pem", "ca/key.pem", "mx.test/fullchain.pem"])
@pytest.mark.parametrize("broken", ["nothing", None, "folder", "another"])
def test_broken_files_are_named(folder: Path, tmp_path: Path, file: str, broken: str | None) -> None:
    certs(folder, "mx.test")
    path = folder / file
    path.unlink()
    if broken == "folder":
        path.mkdir()
    elif broken == "another":
        certs(tmp_path / "other", "mx.test")
        path.write_bytes((tmp_path / "other" / file).read_bytes())
    elif broken is not None:
        path.write_text(broken)
    if file.startswith("ca/"):
        problem = certs(folder, "mx.test", "--force", status=2).stderr
        assert str(path) in problem
        assert "remedy: " in problem
    elif broken in (None, "another"):
        certs(folder, "--renew", "mx.test")
    else:
        assert str(path) in certs(folder, "--renew", "mx.test", status=2).stderr


def test_a_folder_that_cannot_be_written_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("in the way")
    assert "cannot be written: Not a directory" in certs(tmp_path / "file", "mx.test", status=2).stderr


def test_without_the_extra_it_says_how_to_get_it(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "cryptography", None)
    assert 'remedy: pip install "mailstack[certs]"' in certs(folder, "mx.test", status=2).stderr
