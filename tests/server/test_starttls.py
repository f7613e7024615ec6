"""What the core does for STARTTLS and for TLS from the first octet.

The order of discard, 220 and handshake, and what is forgotten (RFC 3207 §4.2; injection as in CVE-2011-0411).
"""

from __future__ import annotations

import ssl
from collections.abc import MutableMapping
from contextlib import suppress

import pytest

from mailstack import Limits, Observe, Reply, hookimpl
from mailstack.contract.hookspec import CallNext
from mailstack.middleware.tls import TLS
from mailstack.services.transport.tls import HandshakeFailed
from mailstack.session.session import Peer, Session
from mailstack.session.transaction import Recipient, Transaction
from mailstack.testing import Dialog
from mailstack.testing.dialog import SWEEP
from mailstack.wire.command import Command
from tests.tls import asking_context, client_context, pem, server_context


class Tls:
    """As small as it can be."""

    def __init__(self, code: int = 220, close: bool = False) -> None:
        self.code, self.close = code, close
        self.ended: list[str] = []

    @hookimpl
    async def session(self, session: Session, call_next: CallNext) -> None:
        if session.implicit_tls:
            await session.start_tls(server_context())
        await call_next()

    @hookimpl
    def ehlo(self, session: Session, keywords: MutableMapping[str, str]) -> None:
        if not session.secure:
            keywords["STARTTLS"] = ""

    @hookimpl
    def command(self, session: Session, command: Command) -> Reply | None:
        if command.verb != "STARTTLS":
            return None
        context = server_context() if self.code < 400 else None
        return Reply(self.code, "go ahead", start_tls=context, close=self.close)

    @hookimpl
    def reset(self, transaction: Transaction, why: str) -> None:
        self.ended.append(why)


class Vouch:
    @hookimpl
    def rcpt(self, recipient: Recipient) -> None:
        recipient.accept()


async def test_mail_goes_through_after_starttls_and_received_tells_of_it() -> None:
    async with Dialog(Tls(), Vouch()) as smtp:
        assert "STARTTLS" in (await smtp.say("EHLO client.example")).keywords
        assert await smtp.say("STARTTLS") == 220
        await smtp.start_tls(client_context())
        assert "STARTTLS" not in (await smtp.say("EHLO client.example")).keywords
        assert await smtp.message("a@example.org", "b@example.org") == 250
        assert smtp.session.secure
        assert smtp.session.encryption is not None
        assert smtp.encryption is not None
        assert smtp.session.encryption.cipher == smtp.encryption.cipher
        (delivery,) = smtp.messages
        assert b"with ESMTPS\r\n\t(using TLSv1.3 with cipher TLS_" in delivery.content


async def test_what_was_said_in_clear_is_forgotten() -> None:
    tls = Tls()
    async with Dialog(tls, Vouch()) as smtp:
        await smtp.say("EHLO client.example")
        await smtp.say("MAIL FROM:<a@example.org>")
        assert await smtp.say("STARTTLS") == 220
        await smtp.start_tls(client_context())
        assert tls.ended == ["STARTTLS"]
        assert smtp.session.helo is None
        assert smtp.session.transaction is None
        assert not smtp.session.keywords
        assert await smtp.say("MAIL FROM:<a@example.org>") == 503


async def test_commands_behind_starttls_in_its_segment_are_thrown_away() -> None:
    async with Dialog(Tls(), Vouch()) as smtp:
        await smtp.say("EHLO client.example")
        await smtp.send(b"STARTTLS\r\nMAIL FROM:<evil@example.org>\r\nRSET\r\n")
        assert await smtp.reply() == 220
        await smtp.start_tls(client_context())
        assert await smtp.say("EHLO client.example") == 250
        assert smtp.session.transaction is None
        assert await smtp.say("NOOP") == 250


async def test_commands_in_clear_in_a_segment_of_their_own_end_the_handshake_and_the_session() -> None:
    async with Dialog(Tls(), Vouch()) as smtp:
        await smtp.say("EHLO client.example")
        assert await smtp.say("STARTTLS") == 220
        await smtp.send(b"MAIL FROM:<evil@example.org>\r\n")
        await smtp.finished()
        assert smtp.session.transaction is None
        assert not smtp.session.secure


@pytest.mark.parametrize("bundled", [False, True])
async def test_a_hello_of_tls_that_comes_with_the_220_still_on_its_way_belongs_to_tls(bundled: bool) -> None:
    incoming, outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
    client = client_context().wrap_bio(incoming, outgoing, server_hostname="mx.test")
    with pytest.raises(ssl.SSLWantReadError):
        client.do_handshake()
    hello = outgoing.read()

    class Early:
        """The hello comes when what followed STARTTLS has been thrown away, and the 220 is not out yet."""

        @hookimpl
        def replied(self, session: Session, phase: str, reply: Reply) -> None:
            if reply.start_tls is not None:
                here = smtp._stream
                here._outgoing.data += hello  # type: ignore[attr-defined]

    async with Dialog(Early(), TLS(pem()) if bundled else Tls(), Vouch()) as smtp:
        await smtp.say("EHLO client.example")
        assert await smtp.say("STARTTLS") == 220
        octets = smtp._reader.unread  # the server's part may have come with the 220
        while client.version() is None:
            incoming.write(octets or await smtp._stream.receive())
            octets = b""
            with suppress(ssl.SSLWantReadError):
                client.do_handshake()
        assert client.version() == "TLSv1.3"
        await smtp._stream.send(outgoing.read())
        client.write(b"NOOP\r\n")
        await smtp._stream.send(outgoing.read())
        answer = b""
        while not answer:
            incoming.write(await smtp._stream.receive())
            with suppress(ssl.SSLWantReadError):
                answer = client.read()
        assert answer == b"250 2.0.0 ok\r\n"


async def test_replies_that_were_due_leave_with_the_220() -> None:
    async with Dialog(Tls()) as smtp:
        await smtp.say("EHLO client.example")
        await smtp.send(b"NOOP\r\nNOOP\r\nSTARTTLS\r\n")
        assert [answer.code for answer in await smtp.replies(3)] == [250, 250, 220]
        await smtp.start_tls(client_context())
        assert await smtp.say("EHLO client.example") == 250


async def test_a_refused_starttls_goes_on_in_clear() -> None:
    async with Dialog(Tls(454)) as smtp:
        await smtp.say("EHLO client.example")
        assert await smtp.say("STARTTLS") == 454
        assert await smtp.say("NOOP") == 250


async def test_a_temporary_refusal_that_closes_is_421() -> None:
    async with Dialog(Tls(454, close=True)) as smtp:
        await smtp.say("EHLO client.example")
        assert await smtp.say("STARTTLS") == 421
        await smtp.closed()


async def test_a_client_that_does_not_go_on_with_the_handshake_is_dropped() -> None:
    async with Dialog(Tls(), limits=Limits(opening=0.05, sweep=SWEEP)) as smtp:
        await smtp.say("EHLO client.example")
        assert await smtp.say("STARTTLS") == 220
        await smtp.finished()


async def test_a_client_that_leaves_after_starttls_is_no_fault() -> None:
    async with Dialog(Tls()) as smtp:
        await smtp.say("EHLO client.example")
        assert await smtp.say("STARTTLS") == 220
        await smtp.hang_up()
        await smtp.finished()
        assert not [finding for finding in smtp.evidence if finding.outcome == "fault"]


async def test_tls_from_the_first_octet() -> None:
    async with Dialog(Tls(), Vouch(), tls=True) as smtp:
        await smtp.start_tls(client_context())
        assert await smtp.banner() == 220
        assert await smtp.message("a@example.org", "b@example.org") == 250
        assert b"with ESMTPS\r\n" in smtp.messages[0].content


async def test_a_listener_with_tls_serves_nobody_in_clear_when_nobody_makes_the_handshake() -> None:
    async with Dialog(Vouch(), tls=True) as smtp:
        await smtp.closed()


async def test_a_client_that_speaks_in_clear_where_tls_is_due_is_dropped() -> None:
    async with Dialog(Tls(), tls=True) as smtp:
        with pytest.raises(HandshakeFailed):
            await smtp.send(b"EHLO client.example\r\n")
            await smtp.start_tls(client_context())
        await smtp.finished()


async def test_no_handshake_by_hand_once_the_conversation_runs() -> None:
    class Late:
        @hookimpl
        async def mail(self, session: Session) -> Reply | None:
            await session.start_tls(server_context())
            return None

    async with Dialog(Late()) as smtp:
        await smtp.say("EHLO client.example")
        assert await smtp.say("MAIL FROM:<a@example.org>") == 451
        assert any("start_tls is for" in finding.detail for finding in smtp.evidence)


# Whose certificate it is.


class Asks:
    """Wants a certificate, and takes the client for whom it names."""

    @hookimpl
    async def command(self, session: Session, command: Command) -> Reply | None:
        if command.verb == "STARTTLS":
            return Reply(220, "go ahead", start_tls=asking_context())
        if command.verb == "XFOR":
            return await session.restart(client=Peer("203.0.113.9", 1))
        return None


class Knows:
    @hookimpl
    def ehlo(self, session: Session) -> None:
        if session.encryption is not None and session.encryption.certificate is not None:
            names = dict(session.encryption.names)
            session.identify(names["email"])


async def test_the_certificate_says_who_the_client_is() -> None:
    async with Dialog(Asks(), Knows(), Vouch()) as smtp:
        await smtp.say("EHLO client.example")
        assert await smtp.say("STARTTLS") == 220
        await smtp.start_tls(client_context("alice@example.org"))
        await smtp.say("EHLO client.example")
        assert smtp.session.user == "alice@example.org"
        encryption = smtp.session.encryption
        assert encryption is not None
        assert len(encryption.fingerprint or "") == 64
        assert ("commonName", "alice@example.org") in encryption.names
        smtp.session.identify("mallory@example.org")
        assert smtp.session.user == "alice@example.org"


async def test_who_speaks_for_another_shows_no_certificate_of_that_other() -> None:
    async with Dialog(Asks(), Knows(), Vouch()) as smtp:
        await smtp.say("EHLO client.example")
        assert await smtp.say("STARTTLS") == 220
        await smtp.start_tls(client_context("proxy@example.org"))
        await smtp.say("EHLO proxy.example")
        assert smtp.session.user == "proxy@example.org"
        assert await smtp.say("XFOR") == 220
        assert smtp.session.encryption is not None
        assert smtp.session.encryption.fingerprint is None
        await smtp.say("EHLO client.example")
        assert smtp.session.user is None


async def test_a_later_handshake_of_who_speaks_for_another_proves_nothing_either() -> None:
    async with Dialog(Asks(), Knows(), Vouch()) as smtp:
        assert await smtp.say("XFOR") == 220
        await smtp.say("EHLO client.example")
        assert await smtp.say("STARTTLS") == 220
        await smtp.start_tls(client_context("proxy@example.org"))
        await smtp.say("EHLO client.example")
        assert smtp.session.user is None
        assert smtp.session.secure


async def test_an_observed_entry_identifies_nobody() -> None:
    async with Dialog(Asks(), Observe(Knows()), Vouch()) as smtp:
        await smtp.say("EHLO client.example")
        assert await smtp.say("STARTTLS") == 220
        await smtp.start_tls(client_context("alice@example.org"))
        await smtp.say("EHLO client.example")
        assert smtp.session.user is None


async def test_without_a_certificate_nobody_can_be_identified() -> None:
    async with Dialog(Tls(), Vouch()) as smtp:
        with pytest.raises(RuntimeError):
            smtp.session.identify("alice@example.org")
        await smtp.say("EHLO client.example")
        assert await smtp.say("STARTTLS") == 220
        await smtp.start_tls(client_context())
        with pytest.raises(RuntimeError):
            smtp.session.identify("alice@example.org")


async def test_the_line_of_the_connection_tells_the_encryption(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level("INFO", "mailstack")
    async with Dialog(Tls()) as smtp:
        await smtp.say("EHLO client.example")
        assert await smtp.say("STARTTLS") == 220
        await smtp.start_tls(client_context())
        await smtp.say("QUIT")
        await smtp.finished()
    assert "tls=TLSv1.3 TLS_" in caplog.text or 'tls="TLSv1.3 TLS_' in caplog.text
