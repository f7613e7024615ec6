"""What others make of our TLS: their STARTTLS, their certificate checks, and what they try that must not work."""

from __future__ import annotations

import os
import smtplib
import socket
import ssl
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest
import trustme

from tests.programs import free_port
from tests.tls import authority_pem, write_pair

from .conftest import Served

pytestmark = pytest.mark.interop

Serve = Callable[..., Served]
Program = Callable[[str], str]
Start = Callable[..., "Under"]

STACK = """
from mailstack import Listener, Server, Stack, hookimpl
from mailstack.handlers import maildir
from mailstack.middleware import recipients, tls

server = Server(
    Stack(
        tls.TLS({certificates!r}{options}),
        recipients.Domains("example.org"),
        maildir.Maildir({mail!r}, eol={eol!r}),
    ),
    listeners=[Listener("127.0.0.1:{port}"), Listener("127.0.0.1:{implicit}", tls=True)],
    hostname="mx.test",
)
"""

MESSAGE = "From: a@example.org\nTo: b@example.org\nSubject: under TLS\n\nIt works.\n"


class Under:
    """A server: port, implicit -- with STARTTLS, and with TLS from the first octet. ca -- what clients trust."""

    def __init__(self, served: Served, implicit: int) -> None:
        self.served = served
        self.port = served.port
        self.implicit = implicit
        self.ca = str(authority_pem())

    def received(self, count: int = 1) -> None:
        """So many messages have come, all of them under TLS and whole."""
        messages = self.served.messages()
        assert len(messages) == count
        for stored in messages:
            assert b"with ESMTPS\n\t(using TLSv1.3 with cipher " in stored
            assert stored.endswith(b"\n\nIt works.\n")


@pytest.fixture
def start(serve: Serve, tmp_path: Path) -> Start:
    """Start one with certificates for mx.test and b.test. options -- for `tls.TLS`, as text."""

    def start(options: str = "") -> Under:
        certificates = tmp_path / "certificates"
        certificates.mkdir()
        write_pair(certificates / "mx.test", "mx.test", "localhost")
        write_pair(certificates / "b.test", "b.test")
        implicit = free_port()
        given = {"certificates": str(certificates), "options": options and f", {options}", "implicit": implicit}
        return Under(serve(configuration=STACK, **given), implicit)

    return start


def run(*command: object, said: str = "", well: bool = True, **environment: str) -> str:
    """What a program printed, on both streams."""
    done = subprocess.run(
        [str(each) for each in command],
        input=said,
        text=True,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        timeout=60,
        env={**os.environ, **environment},
    )
    assert (done.returncode == 0) is well, done.stdout
    return done.stdout


# Clients that send, with STARTTLS and with TLS from the first octet.


@pytest.mark.every_backend
def test_smtplib(start: Start) -> None:
    server = start()
    context = ssl.create_default_context(cafile=server.ca)
    with smtplib.SMTP("localhost", server.port) as client:
        client.starttls(context=context)
        with pytest.raises(smtplib.SMTPNotSupportedError):
            client.starttls(context=context)
        client.sendmail("a@example.org", ["b@example.org"], MESSAGE)
    with smtplib.SMTP_SSL("localhost", server.implicit, context=context) as client:
        client.sendmail("a@example.org", ["b@example.org"], MESSAGE)
    server.received(2)


def test_swaks(start: Start, program: Program) -> None:
    server = start()
    command = [program("swaks"), "--server", "127.0.0.1", "--tls-verify", "--tls-ca-path", server.ca]
    command += ["--tls-sni", "mx.test", "--from", "a@example.org", "--to", "b@example.org", "--body", "It works.\\n"]
    assert "TLS started with cipher TLSv1.3" in run(*command, "--port", server.port, "--tls")
    assert "TLS started with cipher TLSv1.3" in run(*command, "--port", server.implicit, "--tls-on-connect")
    assert len(server.served.messages()) == 2


def test_curl(start: Start, program: Program, tmp_path: Path) -> None:
    server = start()
    (tmp_path / "message").write_text(MESSAGE.replace("\n", "\r\n"))
    command = [program("curl"), "--silent", "--show-error", "--ssl-reqd", "--mail-from", "a@example.org"]
    command += ["--mail-rcpt", "b@example.org", "--upload-file", str(tmp_path / "message")]
    for url in (f"smtps://localhost:{server.implicit}", f"smtp://localhost:{server.port}"):
        run(*command, "--cacert", server.ca, url)
        assert "certificate" in run(*command, url, well=False)  # it trusts nobody else
    server.received(2)


def test_msmtp(start: Start, program: Program) -> None:
    server = start()
    command = [program("msmtp"), "--file=/dev/null", "--host=localhost", "--tls=on", f"--tls-trust-file={server.ca}"]
    for port, starttls in ((server.port, "on"), (server.implicit, "off")):
        more = [f"--port={port}", f"--tls-starttls={starttls}", "--from=a@example.org", "b@example.org"]
        run(*command, *more, said=MESSAGE)
    server.received(2)


def test_postfix_as_client(start: Start, program: Program, tmp_path: Path) -> None:
    server = start()
    (tmp_path / "main.cf").write_text("compatibility_level = 3.6\nmaillog_file = /dev/stdout\n")
    command = [program("posttls-finger"), "-c", "-t", "30", "-l", "secure", "-F", server.ca, "-L", "summary"]
    for protocol in ("TLSv1.2", "TLSv1.3"):
        only = ["-p", f">={protocol},<={protocol}", f"[127.0.0.1]:{server.port}", "localhost"]
        said = run(*command, *only, MAIL_CONFIG=str(tmp_path))
        assert f"Verified TLS connection established to 127.0.0.1[127.0.0.1]:{server.port}: {protocol}" in said


# What is shown, and what must not work.


@pytest.fixture
def s_client(program: Program) -> Callable[..., str]:
    """A session with openssl's client, which ends when the server closes it."""

    def s_client(port: int, *options: object, said: str = "QUIT\n", well: bool = True) -> str:
        command = [program("openssl"), "s_client", "-connect", f"127.0.0.1:{port}", "-crlf"]
        return run(*command, *options, *([] if said == "R\n" else ["-ign_eof"]), said=said, well=well)

    return s_client


def test_each_version_and_name_gets_its_certificate(start: Start, s_client: Callable[..., str]) -> None:
    server = start("default='b.test'")
    for version, asked, shown in (
        ("1_2", "mx.test", "mx.test"),
        ("1_3", "mx.test", "mx.test"),
        ("1_2", "b.test", "b.test"),
        ("1_3", "unknown.test", "b.test"),
    ):
        options = ["-starttls", "smtp", f"-tls{version}", "-servername", asked, "-CAfile", server.ca]
        said = s_client(server.port, *options, "-verify_return_error", "-verify_hostname", shown)
        assert "Verification: OK" in said
        assert f"Verified peername: {shown}" in said
        assert f"New, TLSv{version.replace('_', '.')}, Cipher is" in said


@pytest.mark.every_backend
def test_versions_of_old_and_renegotiation_are_refused(start: Start, s_client: Callable[..., str]) -> None:
    server = start()
    for version in ("1", "1_1"):
        said = s_client(server.implicit, f"-tls{version}", "-cipher", "DEFAULT@SECLEVEL=0", well=False)
        assert "alert protocol version" in said
    said = s_client(server.port, "-starttls", "smtp", "-tls1_2", said="R\n", well=False)
    assert "RENEGOTIATING" in said
    assert "no renegotiation" in said


@pytest.mark.parametrize(("options", "tickets"), [("", False), ("tickets=True", True), ("tickets=False", False)])
def test_sessions_are_resumed_by_tickets_where_they_are_given(
    start: Start, s_client: Callable[..., str], tmp_path: Path, options: str, tickets: bool
) -> None:
    server = start(options)
    for version in ("1_2", "1_3"):
        kept = tmp_path / version
        how = ["-starttls", "smtp", f"-tls{version}"]
        said = s_client(server.port, *how, "-sess_out", kept)
        assert "New, TLS" in said
        assert ("TLS session ticket:" in said) is tickets
        if tickets:
            assert "Reused, TLS" in s_client(server.port, *how, "-sess_in", kept)


def test_a_client_certificate_is_asked_for_and_checked(
    start: Start, s_client: Callable[..., str], tmp_path: Path
) -> None:
    chain, key = write_pair(tmp_path / "client", "alice@example.org")
    server = start(f"client_certificates='required', client_ca={str(authority_pem())!r}")
    assert "221 2.0.0" in s_client(server.implicit, "-cert", chain, "-key", key)
    stranger = trustme.CA().issue_cert("mallory@example.org")
    stranger.private_key_and_cert_chain_pem.write_to_path(str(tmp_path / "stranger.pem"))
    for options in ([], ["-cert", tmp_path / "stranger.pem"]):
        assert "221 2.0.0" not in s_client(server.implicit, *options, well=False)


# Injection, over sockets (CVE-2011-0411).


def plain(port: int) -> tuple[socket.socket, bytes]:
    client = socket.create_connection(("127.0.0.1", port), 30)
    assert client.recv(4096).startswith(b"220 ")
    client.sendall(b"EHLO client.example\r\n")
    answer = client.recv(4096)
    assert b"STARTTLS" in answer
    return client, answer


def under_tls(client: socket.socket, ca: str) -> ssl.SSLSocket:
    return ssl.create_default_context(cafile=ca).wrap_socket(client, server_hostname="mx.test")


def test_what_comes_behind_starttls_is_never_executed(start: Start) -> None:
    server = start()
    client, _ = plain(server.port)
    client.sendall(b"STARTTLS\r\nNOOP\r\nMAIL FROM:<evil@example.org>\r\n")
    assert client.recv(4096) == b"220 2.0.0 ready to start TLS\r\n"
    with under_tls(client, server.ca) as secure:
        secure.sendall(b"EHLO client.example\r\n")
        assert secure.recv(4096).startswith(b"250-mx.test")
        secure.sendall(b"RCPT TO:<b@example.org>\r\n")
        assert secure.recv(4096).startswith(b"503 ")


def test_what_comes_in_clear_in_the_next_segment_ends_the_session(start: Start) -> None:
    server = start()
    client, _ = plain(server.port)
    client.sendall(b"STARTTLS\r\n")
    assert client.recv(4096) == b"220 2.0.0 ready to start TLS\r\n"
    client.sendall(b"MAIL FROM:<evil@example.org>\r\n")
    octets = b""
    with client:
        try:
            while more := client.recv(4096):
                octets += more
        except ConnectionError:
            pass
    assert octets[:1] in (b"", b"\x15")  # an alert (RFC 8446 §5.1), and no reply


def test_where_tls_is_required_it_is_the_only_way(start: Start) -> None:
    server = start("required=True")
    client, _ = plain(server.port)
    with client:
        client.sendall(b"MAIL FROM:<a@example.org>\r\n")
        assert client.recv(4096).startswith(b"530 5.7.0 ")
    with smtplib.SMTP("localhost", server.port) as smtp:
        smtp.starttls(context=ssl.create_default_context(cafile=server.ca))
        smtp.sendmail("a@example.org", ["b@example.org"], MESSAGE)
    server.received()


def test_a_renewed_certificate_is_served_by_the_running_server(start: Start, tmp_path: Path) -> None:
    server = start("look_every=0")
    context = ssl.create_default_context(cafile=server.ca)

    def ends() -> str:
        with smtplib.SMTP("localhost", server.port) as smtp:
            smtp.starttls(context=context)
            assert isinstance(smtp.sock, ssl.SSLSocket)
            return str((smtp.sock.getpeercert() or {})["notAfter"])

    before = ends()
    place = tmp_path / "certificates" / "mx.test"
    write_pair(place, "mx.test", "localhost", days=(-1, 90))
    after = ends()
    assert before != after
    (place / "fullchain.pem").write_text("half")
    assert ends() == after
