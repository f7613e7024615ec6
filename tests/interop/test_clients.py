"""Real clients send real mail, and every octet of it lies in a Maildir."""

from __future__ import annotations

import re
import smtplib
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

from .conftest import Served

pytestmark = pytest.mark.interop

Serve = Callable[..., Served]
Program = Callable[[str], str]

# Dots at line starts, 8-bit text, a very long line, lines that look like the end, and no line end of its own.
AWKWARD = (
    b"From: a@example.org\r\nTo: b@example.org\r\nSubject: =?utf-8?q?gr=C3=BC=C3=9Fe?=\r\n folded\r\nX-Empty:\r\n\r\n"
    b".\r\n..\r\n.leading\r\n" + "grüße\r\n".encode() + b"x" * 20_000 + b"\r\n. \r\n\r\n\r\n.end\r\n"
)


def body_of(stored: bytes) -> bytes:
    """What the client sent: all that lies below our Received field."""
    match = re.search(rb"\AReturn-Path:.*?^Received: .*?\n(?=\S)", stored, re.DOTALL | re.MULTILINE)
    assert match is not None, stored[:500]
    return stored[match.end() :]


@pytest.mark.every_backend
def test_smtplib_delivers_every_octet(serve: Serve) -> None:
    served = serve(eol="crlf")
    with smtplib.SMTP("127.0.0.1", served.port) as client:
        client.sendmail("a@example.org", ["b@example.org", "c@localhost"], AWKWARD)
    (stored,) = served.messages()
    assert body_of(stored) == AWKWARD
    assert stored.startswith(
        b"Return-Path: <a@example.org>\r\nDelivered-To: b@example.org\r\nDelivered-To: c@localhost\r\n"
    )


def test_line_ends_are_lf_by_default(serve: Serve) -> None:
    served = serve()
    with smtplib.SMTP("127.0.0.1", served.port) as client:
        client.sendmail("a@example.org", ["b@example.org"], AWKWARD)
    (stored,) = served.messages()
    assert b"\r" not in stored
    assert body_of(stored) == AWKWARD.replace(b"\r\n", b"\n")


def test_smtplib_hears_why_a_recipient_is_refused(serve: Serve) -> None:
    served = serve()
    with smtplib.SMTP("127.0.0.1", served.port) as client:
        refused = client.sendmail("a@example.org", ["b@example.org", "x@elsewhere.example"], AWKWARD)
    assert refused == {"x@elsewhere.example": (550, b"5.7.1 relaying denied")}
    assert len(served.messages()) == 1


def test_smtplib_sends_utf8_addresses(serve: Serve) -> None:
    served = serve(eol="crlf")
    with smtplib.SMTP("127.0.0.1", served.port) as client:
        client.ehlo()
        client.sendmail("grüße@example.org", ["jörg@example.org"], AWKWARD, mail_options=["SMTPUTF8", "BODY=8BITMIME"])
    (stored,) = served.messages()
    assert "Return-Path: <grüße@example.org>".encode() in stored
    assert b"with UTF8SMTP id" in stored
    assert body_of(stored) == AWKWARD


def test_swaks_delivers(serve: Serve, program: Program, tmp_path: Path) -> None:
    served = serve(eol="crlf")
    data = tmp_path / "data"
    data.write_bytes(AWKWARD)
    command = [program("swaks"), "--server", f"127.0.0.1:{served.port}", "--from", "a@example.org"]
    result = subprocess.run([*command, "--to", "b@example.org", "--data", f"@{data}"], capture_output=True, timeout=60)
    assert result.returncode == 0, result.stdout
    assert b"250 2.0.0 queued as" in result.stdout
    (stored,) = served.messages()
    assert body_of(stored).rstrip(b"\r\n") == AWKWARD.rstrip(b"\r\n")


def test_swaks_pipelines(serve: Serve, program: Program) -> None:
    served = serve()
    command = [program("swaks"), "--server", f"127.0.0.1:{served.port}", "--from", "<>", "--pipeline"]
    result = subprocess.run([*command, "--to", "postmaster@example.org"], capture_output=True, timeout=60)
    assert result.returncode == 0, result.stdout
    (stored,) = served.messages()
    assert stored.startswith(b"Return-Path: <>\n")


def test_swaks_hears_that_relaying_is_denied(serve: Serve, program: Program) -> None:
    served = serve()
    command = [program("swaks"), "--server", f"127.0.0.1:{served.port}", "--from", "a@example.org"]
    result = subprocess.run([*command, "--to", "b@elsewhere.example"], capture_output=True, timeout=60)
    assert result.returncode == 24  # no recipient was accepted
    assert b"550 5.7.1 relaying denied" in result.stdout
    assert not (served.mail / "new").is_dir() or served.messages() == []


def test_curl_delivers(serve: Serve, program: Program, tmp_path: Path) -> None:
    served = serve(eol="crlf")
    data = tmp_path / "data"
    data.write_bytes(AWKWARD)
    command = [program("curl"), "--silent", "--show-error", f"smtp://127.0.0.1:{served.port}/client.example"]
    envelope = ["--mail-from", "a@example.org", "--mail-rcpt", "b@example.org", "--upload-file", str(data)]
    result = subprocess.run([*command, *envelope], capture_output=True, timeout=60)
    assert result.returncode == 0, result.stderr
    (stored,) = served.messages()
    assert body_of(stored) == AWKWARD
    assert b"from client.example ([127.0.0.1])" in stored


@pytest.mark.every_backend
def test_smtp_source_delivers_a_crowd(serve: Serve, program: Program) -> None:
    """Postfix's load generator: 20 sessions at once, 200 messages, each of them exactly once."""
    served = serve()
    command = [
        program("smtp-source"),
        "-s",
        "20",
        "-m",
        "200",
        "-l",
        "4096",
        "-f",
        "a@example.org",
        "-t",
        "b@example.org",
    ]
    result = subprocess.run([*command, f"inet:127.0.0.1:{served.port}"], capture_output=True, timeout=60)
    assert result.returncode == 0, result.stderr
    assert len(served.messages()) == 200


def test_smtp_source_delivers_over_kept_connections(serve: Serve, program: Program) -> None:
    served = serve()
    command = [program("smtp-source"), "-d", "-s", "5", "-m", "100", "-N", "-f", "a@example.org", "-t", "b@example.org"]
    result = subprocess.run([*command, f"inet:127.0.0.1:{served.port}"], capture_output=True, timeout=60)
    assert result.returncode == 0, result.stderr
    assert len(served.messages()) == 100
