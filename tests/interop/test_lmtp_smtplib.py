"""smtplib's LMTP client, over TCP and a UNIX socket, into Maildirs."""

from __future__ import annotations

import smtplib
from collections.abc import Callable

import pytest

from .conftest import Served

pytestmark = pytest.mark.interop

Serve = Callable[..., Served]

MESSAGE = b"Subject: x\r\n\r\n.dot\r\n..\r\nhello\r\n"


def connected(served: Served, way: str) -> smtplib.LMTP:
    return smtplib.LMTP("127.0.0.1", served.port) if way == "tcp" else smtplib.LMTP(str(served.socket))


def in_maildir(served: Served, recipient: str) -> list[bytes]:
    new = served.mail.parent / "each" / recipient / "new"
    return [path.read_bytes() for path in new.iterdir()] if new.is_dir() else []


@pytest.mark.parametrize("way", ["tcp", "unix"])
def test_one_recipient(serve: Serve, way: str) -> None:
    served = serve(lmtp=True)
    with connected(served, way) as client:
        assert client.sendmail("a@example.org", ["b@example.org"], MESSAGE) == {}
        assert client.has_extn("pipelining")
        assert client.has_extn("enhancedstatuscodes")
        assert client.esmtp_features["limits"] == "RCPTMAX=1000"
    (stored,) = in_maildir(served, "b@example.org")
    assert stored.endswith(b"Subject: x\n\n.dot\n..\nhello\n")
    assert b" with LMTP id " in stored


@pytest.mark.parametrize("way", ["tcp", "unix"])
def test_a_reply_for_each_recipient(serve: Serve, way: str) -> None:
    """smtplib reads the first reply by itself; the others are asked for."""
    served = serve(lmtp=True)
    with connected(served, way) as client:
        client.ehlo()
        client.mail("a@example.org")
        assert client.rcpt("b@example.org")[0] == 250
        assert client.rcpt("x@elsewhere.example")[0] == 550
        assert client.rcpt("full@example.org")[0] == 250
        assert client.rcpt("b@example.org")[0] == 250
        code, text = client.data(MESSAGE)
        assert (code, text[:16]) == (250, b"2.0.0 queued as ")
        assert client.getreply() == (452, b"4.2.2 mailbox full")
        assert client.getreply() == (code, text)
        assert client.noop()[0] == 250
    assert len(in_maildir(served, "b@example.org")) == 1
    assert in_maildir(served, "full@example.org") == []


def test_who_says_ehlo_is_told_to_say_lhlo(serve: Serve) -> None:
    served = serve(lmtp=True)
    with smtplib.SMTP("127.0.0.1", served.port) as client:
        code, text = client.ehlo()
        assert code == 500
        assert b"LHLO" in text


def test_an_smtp_server_is_no_lmtp_server(serve: Serve) -> None:
    served = serve()
    with smtplib.LMTP("127.0.0.1", served.port) as client:
        code, text = client.ehlo()
        assert code == 500
        assert b"EHLO" in text


def test_a_binary_message_lies_in_the_maildir_as_it_was_sent(serve: Serve) -> None:
    served = serve(lmtp=True)
    message = b"Content-Transfer-Encoding: binary\r\n\r\n" + bytes(range(256)) * 1000 + b"\r\n.\r\n\r"
    with connected(served, "tcp") as client:
        client.ehlo()
        client.mail("a@example.org", ["BODY=BINARYMIME"])
        client.rcpt("b@example.org")
        assert client.docmd("DATA")[0] == 503
        client.send(b"BDAT 1000\r\n" + message[:1000] + b"BDAT %d LAST\r\n" % (len(message) - 1000) + message[1000:])
        assert client.getreply()[0] == 250
        assert client.getreply()[0] == 250
    (stored,) = in_maildir(served, "b@example.org")
    assert stored.endswith(message)
    assert stored.startswith(b"Return-Path: <a@example.org>\r\n")
