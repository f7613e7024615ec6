"""tls: what is offered and answered when, what is refused in clear, and whose certificate it is."""

from __future__ import annotations

import ssl
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from mailstack import ConfigError, Limits, Listener, Server, Stack, Unless, When, hookimpl, predicate
from mailstack.middleware import tls
from mailstack.services.transport.tls import HandshakeFailed
from mailstack.session.encryption import Encryption
from mailstack.session.session import Session
from mailstack.testing import Conversation, Dialog, Vouch
from mailstack.testing.dialog import SWEEP
from tests.tls import authority, authority_pem, client_context, pem, write_pair, write_pem

USER = "alice@example.org"


async def under_tls(smtp: Conversation, client: ssl.SSLContext | None = None) -> None:
    """STARTTLS and a new EHLO."""
    await smtp.say("EHLO client.example")
    assert await smtp.say("STARTTLS") == 220
    await smtp.start_tls(client or client_context())
    assert await smtp.say("EHLO client.example") == 250


async def answer(smtp: Conversation, line: str) -> str:
    said = await smtp.say(line)
    return f"{said.code} {said.status} {said.text}"


# STARTTLS.


async def test_starttls_is_offered_in_clear_and_not_under_tls() -> None:
    async with Dialog(tls.TLS(pem()), Vouch()) as smtp:
        assert "STARTTLS" in (await smtp.say("EHLO client.example")).keywords
        assert await answer(smtp, "STARTTLS") == "220 2.0.0 ready to start TLS"
        await smtp.start_tls(client_context())
        assert "STARTTLS" not in (await smtp.say("EHLO client.example")).keywords
        assert await answer(smtp, "STARTTLS") == "503 5.5.1 TLS is active already"
        assert await smtp.message("a@example.org", "b@example.org") == 250
        assert b"with ESMTPS\r\n\t(using TLSv1.3 with cipher TLS_" in smtp.messages[0].content


async def test_starttls_has_no_argument() -> None:
    async with Dialog(tls.TLS(pem())) as smtp:
        await smtp.say("EHLO client.example")
        assert await answer(smtp, "STARTTLS now") == "501 5.5.4 STARTTLS has no argument"
        assert await smtp.say("starttls") == 220


async def test_starttls_is_454_and_not_offered_while_there_is_no_certificate(tmp_path: Path) -> None:
    async with Dialog(tls.TLS(tmp_path, missing_ok=True, look_every=0), Vouch()) as smtp:
        assert "STARTTLS" not in (await smtp.say("EHLO client.example")).keywords
        assert await answer(smtp, "STARTTLS") == "454 4.7.0 TLS not available at the moment"
        write_pair(tmp_path / "mx.test", "mx.test")
        await under_tls(smtp)
        assert "STARTTLS" not in (await smtp.say("EHLO client.example")).keywords


async def test_a_new_certificate_is_served_without_a_restart(tmp_path: Path) -> None:
    file = write_pem(tmp_path / "mx.pem", "old.test")
    server = Server(Stack(tls.TLS(file, look_every=0)))
    async with Dialog(server) as smtp:
        with pytest.raises(HandshakeFailed, match=r"mx\.test"):
            await under_tls(smtp)
    write_pem(file, "mx.test")
    async with Dialog(server) as smtp:
        await under_tls(smtp)


async def test_the_name_that_the_client_asks_for_chooses_the_certificate(tmp_path: Path) -> None:
    for name in ("a.test", "b.test", "mx.test"):
        write_pem(tmp_path / f"{name}.pem", name)
    dialog = Dialog(tls.TLS(tmp_path, default="a.test"))
    async with dialog:
        for name in ("a.test", "b.test"):
            smtp = await dialog.connect()
            await smtp.say("EHLO client.example")
            assert await smtp.say("STARTTLS") == 220
            await smtp.start_tls(client_context(), name)
            await smtp.say("EHLO client.example")
            assert smtp.session.encryption is not None
            assert smtp.session.encryption.server_name == name


# Injection (CVE-2011-0411 and its kin).


async def test_what_comes_behind_starttls_in_its_segment_is_never_executed() -> None:
    async with Dialog(tls.TLS(pem()), Vouch()) as smtp:
        await smtp.say("EHLO client.example")
        await smtp.send(b"STARTTLS\r\nEHLO evil\r\nMAIL FROM:<evil@example.org>\r\n")
        assert await smtp.reply() == 220
        await smtp.start_tls(client_context())
        assert await smtp.say("NOOP") == 250
        assert smtp.session.helo is None
        assert smtp.session.transaction is None


async def test_what_comes_in_clear_in_the_next_segment_ends_the_session() -> None:
    async with Dialog(tls.TLS(pem()), Vouch()) as smtp:
        await smtp.say("EHLO client.example")
        assert await smtp.say("STARTTLS") == 220
        await smtp.send(b"EHLO evil\r\nMAIL FROM:<evil@example.org>\r\n")
        await smtp.finished()
        assert smtp.session.transaction is None
        assert not smtp.session.secure


async def test_a_handshake_has_its_deadline() -> None:
    async with Dialog(tls.TLS(pem()), limits=Limits(opening=0.05, sweep=SWEEP)) as smtp:
        await smtp.say("EHLO client.example")
        assert await smtp.say("STARTTLS") == 220
        await smtp.finished()


# From the first octet.


async def test_tls_from_the_first_octet() -> None:
    async with Dialog(tls.TLS(pem()), Vouch(), tls=True) as smtp:
        await smtp.start_tls(client_context())
        assert await smtp.banner() == 220
        assert "STARTTLS" not in (await smtp.say("EHLO client.example")).keywords
        assert await smtp.say("STARTTLS") == 503
        assert await smtp.message("a@example.org", "b@example.org") == 250


async def test_without_a_certificate_such_a_listener_serves_nobody(tmp_path: Path) -> None:
    async with Dialog(tls.TLS(tmp_path, missing_ok=True), Vouch(), tls=True) as smtp:
        await smtp.closed()
        assert not smtp.session.secure


async def test_it_is_what_a_listener_with_tls_needs() -> None:
    Server(Stack(tls.TLS(pem())), [Listener("127.0.0.1:0", tls=True)]).check()


# Required.


@pytest.mark.every_backend
@pytest.mark.parametrize(
    "line", ["MAIL FROM:<a@example.org>", "VRFY a", "EXPN a", "HELP", "AUTH PLAIN AGEAYg==", "XYZZY"]
)
async def test_in_clear_nothing_is_done_where_tls_is_required(line: str) -> None:
    async with Dialog(tls.TLS(pem(), required=True), Vouch()) as smtp:
        await smtp.say("EHLO client.example")
        assert await answer(smtp, line) == "530 5.7.0 must issue a STARTTLS command first"


async def test_what_leads_to_tls_is_answered_where_it_is_required() -> None:
    async with Dialog(tls.TLS(pem(), required=True), Vouch()) as smtp:
        for line in ("HELO client.example", "EHLO client.example", "NOOP", "RSET"):
            assert await smtp.say(line) == 250
        await under_tls(smtp)
        assert await smtp.message("a@example.org", "b@example.org") == 250
        assert await smtp.say("QUIT") == 221


async def test_without_it_mail_in_clear_is_taken() -> None:
    async with Dialog(tls.TLS(pem()), Vouch()) as smtp:
        assert await smtp.message("a@example.org", "b@example.org") == 250
        assert await smtp.say("VRFY a") == 252


# Client certificates.


def asking(**options: Any) -> tls.TLS:
    given: dict[str, Any] = {"client_certificates": "optional", "client_ca": authority_pem(), **options}
    return tls.TLS(pem(), **given)


def by_fingerprint(encryption: Encryption) -> str | None:
    return "alice" if encryption.fingerprint else None


@pytest.mark.parametrize(
    "identity",
    [
        {"email:Alice@example.org": "alice"},
        {"commonName:alice@example.org": "alice"},
        {"email:nobody@example.org": "nobody", "commonName:alice@example.org": "alice"},
        by_fingerprint,
    ],
)
async def test_the_certificate_makes_a_user_of_the_client(identity: Any) -> None:
    async with Dialog(asking(identity=identity), Vouch()) as smtp:
        await under_tls(smtp, client_context(USER))
        assert smtp.session.user == "alice"
        assert predicate.authenticated(smtp.session)
        assert predicate.client_certificate(smtp.session)


async def test_a_fingerprint_may_be_written_with_colons() -> None:
    client = client_context(USER)
    async with Dialog(asking(), Vouch()) as smtp:
        await under_tls(smtp, client)
        assert smtp.session.encryption is not None
        digits = (smtp.session.encryption.fingerprint or "").upper()
    written = ":".join(digits[at : at + 2] for at in range(0, 64, 2))
    for each in (written, digits.lower()):
        async with Dialog(asking(identity={each: "alice"}), Vouch()) as smtp:
            await under_tls(smtp, client)
            assert smtp.session.user == "alice"


@pytest.mark.parametrize("identity", [None, {"email:bob@example.org": "bob"}, lambda encryption: None])
async def test_who_is_not_listed_stays_a_stranger(identity: Any) -> None:
    async with Dialog(asking(identity=identity), Vouch()) as smtp:
        await under_tls(smtp, client_context(USER))
        assert smtp.session.user is None
        assert predicate.client_certificate(smtp.session)


async def test_where_it_is_optional_nobody_needs_one() -> None:
    async with Dialog(asking(identity={"email:alice@example.org": "alice"}), Vouch()) as smtp:
        await under_tls(smtp)
        assert smtp.session.user is None
        assert not predicate.client_certificate(smtp.session)


async def test_where_it_is_required_there_is_no_session_without() -> None:
    async with Dialog(asking(client_certificates="required"), Vouch(), tls=True) as smtp:
        await smtp.start_tls(client_context())  # in TLS 1.3 the client is through before the server looks
        await smtp.finished()
        assert not smtp.session.secure
    async with Dialog(asking(client_certificates="required"), Vouch(), tls=True) as smtp:
        await smtp.start_tls(client_context(USER))
        assert await smtp.banner() == 220


async def test_a_certificate_of_strangers_ends_the_handshake(tmp_path: Path) -> None:
    listed = write_pem(tmp_path / "other.pem", "bob@example.org")
    async with Dialog(asking(client_ca=listed), Vouch(), tls=True) as smtp:
        await smtp.start_tls(client_context(USER))
        await smtp.finished()
        assert not smtp.session.secure


async def test_a_function_that_fails_is_a_fault_and_makes_nobody_a_user() -> None:
    def broken(encryption: Encryption) -> str | None:
        raise KeyError("a secret")

    async with Dialog(asking(identity=broken), Vouch()) as smtp:
        await smtp.say("EHLO client.example")
        assert await smtp.say("STARTTLS") == 220
        await smtp.start_tls(client_context(USER))
        assert await smtp.say("EHLO client.example") == 451
        assert smtp.session.user is None


# Versions, ciphers, tickets.


def client(**settings: Any) -> ssl.SSLContext:
    context = ssl.create_default_context()
    authority().configure_trust(context)
    for name, value in settings.items():
        setattr(context, name, value)
    return context


async def test_the_oldest_version_is_12_unless_told() -> None:
    old = client(maximum_version=ssl.TLSVersion.TLSv1_2)
    async with Dialog(tls.TLS(pem()), tls=True) as smtp:
        await smtp.start_tls(old)
        assert smtp.encryption is not None
        assert smtp.encryption.version == "TLSv1.2"
    async with Dialog(tls.TLS(pem(), minimum="TLSv1.3"), tls=True) as smtp:
        with pytest.raises(HandshakeFailed):
            await smtp.start_tls(old)


async def test_ciphers_are_chosen_for_12() -> None:
    old = client(maximum_version=ssl.TLSVersion.TLSv1_2)
    async with Dialog(tls.TLS(pem(), ciphers="ECDHE-ECDSA-AES256-GCM-SHA384"), tls=True) as smtp:
        await smtp.start_tls(old)
        assert smtp.encryption is not None
        assert smtp.encryption.cipher == "ECDHE-ECDSA-AES256-GCM-SHA384"


# Options.


@pytest.mark.parametrize(
    ("options", "problem"),
    [
        ({"minimum": "TLSv1"}, "TLS(minimum): 'TLSv1' is not known here"),
        ({"client_certificates": "optional"}, "client_certificates and client_ca belong together"),
        ({"client_ca": "ca.pem"}, "client_certificates and client_ca belong together"),
        ({"client_certificates": "yes"}, "TLS(client_certificates): 'yes'"),
        ({"identity": {}}, "identity without client certificates"),
        ({"required": "perhaps"}, "TLS(required): 'perhaps'"),
        ({"look_every": "often"}, "TLS(look_every): 'often'"),
        ({"default": "no name"}, "TLS(default): 'no name'"),
    ],
)
def test_options_that_make_no_sense_are_refused(options: dict[str, Any], problem: str) -> None:
    with pytest.raises(ConfigError) as caught:
        tls.TLS(pem(), **options)
    assert problem in caught.value.message
    assert caught.value.remedy


@pytest.mark.parametrize("key", ["alice", "3F:A9", "email:", ""])
def test_a_key_of_identity_that_can_never_match_is_refused(key: str) -> None:
    with pytest.raises(ConfigError, match="is neither a name nor a fingerprint"):
        asking(identity={key: "alice"})


async def test_two_of_them_for_two_listeners(tmp_path: Path) -> None:
    ours = predicate.listener("ours")
    stack = Stack(
        When(ours, tls.TLS(write_pem(tmp_path / "a.pem", "a.test"))),
        Unless(ours, tls.TLS(write_pem(tmp_path / "b.pem", "b.test"))),
    )
    for listener, name in (("ours", "a.test"), ("theirs", "b.test")):
        async with Dialog(stack, listener=listener, tls=True) as smtp:
            await smtp.start_tls(client_context(), name)
            assert await smtp.banner() == 220


async def test_others_see_the_encryption_from_connect_on() -> None:
    seen: list[Callable[[], object] | Encryption | None] = []

    class Looks:
        @hookimpl
        def connect(self, session: Session) -> None:
            seen.append(session.encryption)

    async with Dialog(tls.TLS(pem()), Looks(), tls=True) as smtp:
        await smtp.start_tls(client_context())
        await smtp.banner()
    (encryption,) = seen
    assert isinstance(encryption, Encryption)
    assert encryption.server_name == "mx.test"
