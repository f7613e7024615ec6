"""AUTH with programs that others wrote, in each mechanism that they know."""

from __future__ import annotations

import pwd
import shutil
import smtplib
import socket
import ssl
import subprocess
import time
from base64 import b64encode
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.programs import free_port
from tests.tls import authority_pem, write_pair

from .conftest import Served
from .test_next_hops import MASTER, POSTFIX, as_root, folder, start
from .test_tls import run

__all__ = ["folder", "start"]

pytestmark = pytest.mark.interop

Program = Callable[[str], str]

STACK = """
from mailstack import Listener, Reply, Server, Stack, hookimpl
from mailstack.handlers import maildir
from mailstack.middleware import auth, relay, tls
from mailstack.services.passwords import make_keys
from mailstack.session.credentials import SECRET, TOKEN, Challenge, Password

KEYS = {{name: make_keys(name, "pencil", b"a salt of our own", 5000) for name in ("SHA-1", "SHA-256")}}

PASSWORDS = {{"ann": "right, pä=ss", "eve": "simple"}}

class Users:
    "ann has a password, and bob what SCRAM wants; a token is tok-NAME."

    mechanisms = (*SECRET, *TOKEN)

    @hookimpl
    async def auth(self, mechanism, credentials):
        if isinstance(credentials, Password):
            return Reply(235 if PASSWORDS.get(credentials.user) == credentials.password else 535)
        if isinstance(credentials, Challenge):
            secrets = {{**PASSWORDS, "bob": KEYS.get(mechanism.removeprefix("SCRAM-"))}}
            secret = secrets.get(credentials.user)
            if secret is None:
                return credentials.pretend(5000)
            return Reply(235 if await credentials.matches(secret) else 535)
        credentials.identity = "ann"
        return Reply(235 if credentials.token == "tok-ann" else 535)

server = Server(
    Stack(
        tls.TLS({certificates!r}),
        auth.Auth(auth.WANTED + ("CRAM-MD5",), delay=0, required=True, insecure={insecure}),
        Users(),
        relay.Relay(),
        maildir.Maildir({mail!r}, eol={eol!r}),
    ),
    listeners=[Listener("127.0.0.1:{port}")],
    hostname="mx.test",
)
"""

PASSWORD = "right, pä=ss"
MESSAGE = "From: a@example.org\nTo: b@example.net\nSubject: mine\n\nIt works.\n"

Serve = Callable[..., Served]


@pytest.fixture
def server(serve: Serve, tmp_path: Path) -> Served:
    return serve_with(serve, tmp_path)


def serve_with(serve: Serve, tmp_path: Path, insecure: bool = False) -> Served:
    write_pair(tmp_path / "certificates", "mx.test", "localhost")
    return serve(configuration=STACK, certificates=str(tmp_path / "certificates"), insecure=str(insecure))


def came(served: Served, count: int) -> None:
    messages = served.messages()
    assert len(messages) == count
    assert all(b"with ESMTPSA\n" in each for each in messages)


def test_swaks(server: Served, program: Program) -> None:
    command = [program("swaks"), "--server", "127.0.0.1", "--port", server.port, "--from", "a@example.org"]
    command += ["--to", "b@example.net", "--auth-user", "ann", "--auth-password"]
    for mechanism in ("PLAIN", "LOGIN", "CRAM-MD5"):
        assert "235 2.7.0" in run(*command, PASSWORD, "--tls", "--auth", mechanism)
        assert "535 5.7.8 authentication failed" in run(*command, "wrong", "--tls", "--auth", mechanism, well=False)
        assert "535" not in run(*command, PASSWORD, "--auth", mechanism, well=False)  # in clear it is not offered
    came(server, 3)


def test_curl(server: Served, program: Program, tmp_path: Path) -> None:
    """Debian's knows no SCRAM."""
    (tmp_path / "message").write_text(MESSAGE.replace("\n", "\r\n"))
    command = [program("curl"), "--silent", "--show-error", "--ssl-reqd", "--mail-from", "a@example.org", "--mail-rcpt"]
    command += ["b@example.net", "--upload-file", str(tmp_path / "message"), "--cacert", str(authority_pem())]
    command += [f"smtp://localhost:{server.port}", "--user"]
    right, wrong = [f"ann:{PASSWORD}"], ["ann:wrong"]
    own, other = (["ann", "--oauth2-bearer", token] for token in ("tok-ann", "tok-bob"))
    ways = [(each, right, wrong) for each in ("PLAIN", "LOGIN", "CRAM-MD5")]
    ways += [(each, own, other) for each in ("OAUTHBEARER", "XOAUTH2")]
    for count, (mechanism, good, bad) in enumerate(ways, 1):
        run(*command, *good, "--login-options", f"AUTH={mechanism}", *(["--sasl-ir"] if count % 2 else []))
        assert "denied" in run(*command, *bad, "--login-options", f"AUTH={mechanism}", well=False)
    came(server, len(ways))


def test_msmtp(server: Served, program: Program) -> None:
    command = [program("msmtp"), "--file=/dev/null", "--host=localhost", f"--port={server.port}", "--tls=on"]
    command += [f"--tls-trust-file={authority_pem()}", "--from=a@example.org"]
    by_password = ("plain", "login", "cram-md5", "scram-sha-1", "scram-sha-256")
    ways = [(each, "ann", PASSWORD) for each in by_password]
    ways += [(each, "bob", "pencil") for each in ("scram-sha-1", "scram-sha-256")]
    ways += [(each, "ann", "tok-ann") for each in ("oauthbearer", "xoauth2")]
    for mechanism, user, password in ways:
        how = [f"--auth={mechanism}", f"--user={user}", "--passwordeval=printf '%s' \"$SECRET\"", "b@example.net"]
        run(*command, *how, said=MESSAGE, SECRET=password)
        assert "authentication failed" in run(*command, *how, said=MESSAGE, well=False, SECRET="wrong")
    came(server, len(ways))


def test_smtplib(server: Served) -> None:
    """It takes passwords in ASCII alone."""
    context = ssl.create_default_context(cafile=str(authority_pem()))
    with smtplib.SMTP("localhost", server.port) as client:
        client.starttls(context=context)
        with pytest.raises(smtplib.SMTPSenderRefused) as refused:
            client.sendmail("a@example.org", ["b@example.net"], MESSAGE)
        assert refused.value.smtp_code == 530
    for password in ("simple", "wrong"):
        for mechanism in ("PLAIN", "LOGIN", "CRAM-MD5"):
            with smtplib.SMTP("localhost", server.port) as client:
                client.starttls(context=context)
                client.ehlo()
                client.user, client.password = "eve", password
                how = getattr(client, f"auth_{mechanism.lower().replace('-', '_')}")
                if password == "wrong":
                    with pytest.raises(smtplib.SMTPAuthenticationError):
                        client.auth(mechanism, how)
                else:
                    client.auth(mechanism, how, initial_response_ok=mechanism != "CRAM-MD5")
                    client.sendmail("a@example.org", ["b@example.net"], MESSAGE)
    with smtplib.SMTP("localhost", server.port) as client:
        client.starttls(context=context)
        client.login("eve", "simple")
        client.sendmail("a@example.org", ["b@example.net"], MESSAGE)
    came(server, 4)


def test_a_program_that_waits_for_nothing(server: Served) -> None:
    """As Thunderbird does: the initial response, and MAIL in the same segment."""
    with socket.create_connection(("127.0.0.1", server.port), 30) as clear:
        clear.recv(4096)
        clear.sendall(b"EHLO [127.0.0.1]\r\n")
        assert b"AUTH" not in clear.recv(4096)
        clear.sendall(b"STARTTLS\r\n")
        assert clear.recv(4096).startswith(b"220")
        context = ssl.create_default_context(cafile=str(authority_pem()))
        with context.wrap_socket(clear, server_hostname="mx.test") as client:
            client.sendall(b"EHLO [127.0.0.1]\r\n")
            offered = b"AUTH SCRAM-SHA-256 SCRAM-SHA-1 OAUTHBEARER XOAUTH2 CRAM-MD5 PLAIN LOGIN\r\n"
            assert offered in client.recv(4096)
            first = b64encode(f"\0ann\0{PASSWORD}".encode())
            client.sendall(
                b"AUTH PLAIN " + first + b"\r\nMAIL FROM:<a@example.org> BODY=8BITMIME SIZE=99 AUTH=<>\r\n"
                b"RCPT TO:<b@example.net>\r\nDATA\r\n"
            )
            heard = b""
            while heard.count(b"\r\n") < 4:
                heard += client.recv(4096)
            assert [line[:3] for line in heard.splitlines()] == [b"235", b"250", b"250", b"354"]
            client.sendall(MESSAGE.replace("\n", "\r\n").encode() + b".\r\nQUIT\r\n")
            assert client.recv(4096).startswith(b"250")
    came(server, 1)


# Postfix, which sends on what it is given, with Cyrus SASL; each mechanism has a transport of its own.

MECHANISMS = ("plain", "login", "cram-md5", "scram-sha-1", "scram-sha-256")
CLIENT = """
transport_maps = inline:{{ {transports} }}
smtp_sasl_auth_enable = yes
smtp_sasl_password_maps = inline:{{ {{ [127.0.0.1]:{next} = eve:simple }} }}
smtp_sasl_security_options = noanonymous
smtp_sasl_tls_security_options = noanonymous
smtp_tls_security_level = encrypt
"""


def test_postfix_as_client(server: Served, program: Program, folder: Path, start: Callable[..., None]) -> None:
    as_root("Postfix")
    port = free_port()
    daemons = "/usr/lib/postfix/sbin" if Path("/usr/lib/postfix/sbin").exists() else "/usr/libexec/postfix"
    settings = POSTFIX.format(folder=folder, daemons=daemons, uid=pwd.getpwnam("nobody").pw_uid)
    settings = settings.replace("mynetworks =\n", "mynetworks = 127.0.0.0/8\n")
    settings = settings.replace("smtpd_relay_restrictions =", "smtpd_relay_restrictions = permit_mynetworks")
    transports = ", ".join(f"{{ {each}.test = by-{each}:[127.0.0.1]:{server.port} }}" for each in MECHANISMS)
    services = "".join(f"by-{each} unix - - n - - smtp -o smtp_sasl_mechanism_filter={each}\n" for each in MECHANISMS)
    (folder / "etc").mkdir()
    (folder / "etc/main.cf").write_text(settings + CLIENT.format(next=server.port, transports=transports))
    (folder / "etc/master.cf").write_text(MASTER.format(port=port) + services + "tlsmgr unix - - n 1000? 1 tlsmgr\n")
    for each in ("data", "queue"):
        (folder / each).mkdir()
    shutil.chown(folder / "data", "postfix")
    master = Path(program("postfix")).resolve()
    subprocess.run([str(master), "-c", str(folder / "etc"), "check"], check=True, timeout=30)
    start([f"{daemons}/master", "-c", str(folder / "etc"), "-d"], port)
    with smtplib.SMTP("127.0.0.1", port) as client:
        client.sendmail("a@example.org", [f"b@{each}.test" for each in MECHANISMS], MESSAGE)
    new, deadline = server.mail / "new", time.monotonic() + 40
    while not new.exists() or len(list(new.iterdir())) < len(MECHANISMS):
        assert time.monotonic() < deadline, "not all has come"
        time.sleep(0.05)
    came(server, len(MECHANISMS))


# What must not work.


def test_in_clear_nobody_logs_in(server: Served, program: Program) -> None:
    with smtplib.SMTP("localhost", server.port) as client:
        client.ehlo()
        assert not client.has_extn("auth")
        words = "PLAIN " + b64encode(f"\0ann\0{PASSWORD}".encode()).decode()
        assert client.docmd("AUTH", words)[0] == 538
        assert client.docmd("MAIL", "FROM:<a@example.org>")[0] == 530


def test_long_and_broken_lines(serve: Serve, tmp_path: Path) -> None:
    served = serve_with(serve, tmp_path, insecure=True)
    with smtplib.SMTP("localhost", served.port, timeout=30) as client:
        client.ehlo()
        assert client.docmd("AUTH", "PLAIN " + "A" * 65536)[0] == 500
        assert client.docmd("AUTH", "PLAIN")[0] == 334
        assert client.docmd("A" * 65536)[0] == 500
        assert client.docmd("AUTH", "PLAIN \0\0\0")[0] == 501
        assert client.docmd("AUTH", "LOGIN")[0] == 334
        client.send(b"\xff\xfe\r\n")
        assert client.getreply()[0] == 501
        assert client.docmd("NOOP")[0] == 250
        assert client.docmd("AUTH", "PLAIN " + b64encode(f"\0ann\0{PASSWORD}".encode()).decode())[0] == 235


def test_fail2ban_reads_our_log(program: Program, tmp_path: Path) -> None:
    """The filter of docs/auth.md, as it is written there."""
    manual = (Path(__file__).parents[2] / "docs/auth.md").read_text()
    filter = tmp_path / "mailstack.conf"
    filter.write_text("[Definition]" + manual.partition("[Definition]")[2].partition("```")[0])
    line = (
        "timestamp=2026-11-23T01:45:01.892Z level=info event={event} session=2a8fd6571 client={client} user={user}"
        ' mechanism=PLAIN by=users reply="{reply}"'
    )
    bad, good = "535 5.7.8 authentication failed", "235 2.7.0 authenticated"
    forged = f'"x client=198.51.100.1:9 user=y reply=\\"{bad}\\""'
    failed = '"authentication failed"'
    lines = [
        line.format(event=failed, client="192.0.2.7:4000", user="ann", reply=bad),
        line.format(event=failed, client="[2001:db8::7]:4000", user=forged, reply=bad),
        line.format(event=failed, client="192.0.2.8:4000", user=forged, reply="454 4.7.0 try again"),
        line.format(event="authenticated", client="192.0.2.9:4000", user=forged, reply=good),
    ]
    (tmp_path / "log").write_text("\n".join(lines) + "\n")
    said = run(program("fail2ban-regex"), "-v", tmp_path / "log", filter)
    found = [word for word in said.split() if word in ("192.0.2.7", "2001:db8::7", "192.0.2.8", "198.51.100.1")]
    assert "Failregex: 2 total" in said
    assert found[:2] == ["192.0.2.7", "2001:db8::7"]
