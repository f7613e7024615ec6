"""Each configuration that comes along is served: mail goes in, a signal ends it in good order. The first one on each
backend, the others on one, by turns."""

import re
import shlex
import signal
import smtplib
import socket
import ssl
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType

import anyio
import pytest
from anyio import to_thread

from mailstack import Listener, config
from tests.programs import free_port
from tests.tls import authority_pem, pem

pytestmark = pytest.mark.one_backend

CONF = Path(__file__).parents[2] / "conf"
BACKENDS = ("asyncio", "uvloop", "trio")

# The program itself, but for the address, which may be taken on this machine, and for the DNS, which may not be there.
PROGRAM = """
import sys
from dataclasses import replace
from mailstack import config
from mailstack.cli import main
from mailstack.testing import FakeResolver

address, read = sys.argv.pop(1), config.load

def load(source):
    server = read(source)
    server.listeners = [replace(server.listeners[0], address=address)]
    server._resolver = FakeResolver({"localhost": {"A": "93.184.216.34"}, "example.com": {"A": "93.184.216.34"}})
    return server

config.load = load
main()
"""


# Dots, eight bits, a line that is too long, and no end of line but CRLF: every octet must arrive.
AWKWARD = (
    b"Subject: x\r\n folded\r\nX-Empty:\r\n\r\n.\r\n..\r\n.a\r\n\xfc\xff\r\n"
    + b"x" * 20_000
    + b"\r\n. \r\n\r\n.end\r\n"
)


@dataclass
class Running:
    process: "subprocess.Popen[str]"
    port: int


@contextmanager
def served(name: str, backend: str, folder: Path) -> Iterator[Running]:
    """`mailstack serve conf/NAME`, started in a folder of its own, and listening."""
    port = free_port()
    command = [sys.executable, "-c", PROGRAM, f"127.0.0.1:{port}", "serve", str(CONF / name), "--backend", backend]
    with (folder / "stdout").open("w") as out:
        process = subprocess.Popen(command, cwd=folder, text=True, stdout=out, stderr=subprocess.PIPE)
    try:
        assert process.stderr is not None
        lines = []
        for line in process.stderr:
            lines.append(line)
            if "event=listening" in line:
                break
        else:
            pytest.fail("it did not start:\n" + "".join(lines))
        yield Running(process, port)
    finally:
        if process.poll() is None:
            process.kill()
        process.communicate()


def connect(port: int) -> socket.socket:
    client = socket.create_connection(("127.0.0.1", port), timeout=30)
    assert re.match(rb"220 (localhost|mx\.example\.org|edge\.example\.org) [EL]S?MTP", client.recv(4096))
    return client


def send(port: int, recipient: str = "you@localhost", client: str = "127.0.0.1") -> None:
    with smtplib.SMTP("127.0.0.1", port, timeout=30, source_address=(client, 0)) as smtp:
        smtp.sendmail("me@localhost", [recipient], "Subject: hello\n\nIt works.\n")


def stop(running: Running, number: signal.Signals, idle: socket.socket) -> int:
    """Its exit status, after the idle client was told; the server waits a little for a client to close in its turn."""
    running.process.send_signal(number)
    assert idle.recv(4096).startswith(b"421 4.3.2 ")
    assert idle.recv(4096) == b""
    idle.close()
    return running.process.wait(30)


@pytest.mark.every_backend
@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT], ids=lambda number: number.name)
@pytest.mark.parametrize("backend", BACKENDS)
def test_quickstart_delivers_and_stops_in_good_order(tmp_path: Path, backend: str, number: signal.Signals) -> None:
    with served("quickstart.py", backend, tmp_path) as running, connect(running.port) as idle:
        send(running.port)
        send(running.port, "anybody@example.org")
        with pytest.raises(smtplib.SMTPRecipientsRefused, match="relaying denied"):
            send(running.port, "anybody@elsewhere.example")
        with smtplib.SMTP("127.0.0.1", running.port, timeout=30) as smtp:
            smtp.sendmail("a@example.net", ["b@example.org"], AWKWARD)
        mails = sorted((path.read_bytes() for path in (tmp_path / "var/mail/new").iterdir()), key=len)
        assert [mail.endswith(b"Subject: hello\n\nIt works.\n") for mail in mails] == [True, True, False]
        assert mails[2].endswith(b"\n" + AWKWARD.replace(b"\r\n", b"\n"))
        assert stop(running, number, idle) == 0


def test_the_line_that_quickstart_prints_sends_a_mail(tmp_path: Path) -> None:
    with served("quickstart.py", "auto", tmp_path):
        printed = (tmp_path / "stdout").read_text()
        line = re.search(r"^python3 (-c .*)$", printed, re.MULTILINE)
        assert line is not None
        subprocess.run([sys.executable, *shlex.split(line[1])], check=True, timeout=30)
        (mail,) = (tmp_path / "var/mail/new").iterdir()
        assert mail.read_text().endswith("Subject: hello\n\nIt works.\n")


@pytest.mark.parametrize("backend", BACKENDS)
def test_app_is_served_too(tmp_path: Path, backend: str) -> None:
    with served("app.py", backend, tmp_path) as running, connect(running.port) as idle:
        send(running.port)
        assert "Subject: hello\\r\\n\\r\\nIt works.\\r\\n" in (tmp_path / "stdout").read_text()
        assert stop(running, signal.SIGTERM, idle) == 0


@pytest.mark.parametrize("backend", BACKENDS)
def test_lmtp_delivers_to_each_recipient(tmp_path: Path, backend: str) -> None:
    with served("lmtp.py", backend, tmp_path) as running, connect(running.port) as idle:
        with smtplib.LMTP("127.0.0.1", running.port, timeout=30) as lmtp:
            lmtp.sendmail("me@localhost", ["you@localhost"], "Subject: hello\n\nIt works.\n")
        (mail,) = (tmp_path / "var/mail/localhost/you/new").iterdir()
        assert mail.read_text().endswith("Subject: hello\n\nIt works.\n")
        assert stop(running, signal.SIGTERM, idle) == 0


@pytest.mark.parametrize("backend", BACKENDS)
def test_mx_takes_the_mail_of_its_domains_and_is_civil_to_the_civil(tmp_path: Path, backend: str) -> None:
    mx = tmp_path / "mx.py"
    text = (CONF / "mx.py").read_text()
    assert 'FRIENDS = ("198.51.100.0/24",' in text
    mx.write_text(text.replace("198.51.100.0/24", "127.0.0.2/32"))
    with (
        served(str(mx), backend, tmp_path) as running,
        talks_early(running.port) as hasty,
        connect(running.port) as idle,
    ):
        with pytest.raises(smtplib.SMTPRecipientsRefused, match="greylisted, try again in 300 seconds"):
            send(running.port, "you@example.org")
        send(running.port, "you@example.org", client="127.0.0.2")
        with pytest.raises(smtplib.SMTPRecipientsRefused, match="relaying denied"):
            send(running.port, "you@elsewhere.example", client="127.0.0.2")
        assert (tmp_path / "var/greylist.db").exists()
        (mail,) = (tmp_path / "var/mail/example.org/new").iterdir()
        assert mail.read_text().endswith("Subject: hello\n\nIt works.\n")
        replies = heard(hasty)
        assert [line[:3] for line in replies] == ["220", "250", "250", "554", "250", "221"]
        assert stop(running, signal.SIGTERM, idle) == 0


@pytest.mark.parametrize("backend", BACKENDS)
def test_edge_lets_in_whom_the_next_server_knows(tmp_path: Path, backend: str) -> None:
    with served("quickstart.py", backend, tmp_path) as behind:
        edge = tmp_path / "edge.py"
        text = (CONF / "edge.py").read_text()
        assert 'NEXT = "192.0.2.25:25"' in text
        edge.write_text(text.replace("192.0.2.25:25", f"127.0.0.1:{behind.port}"))
        with served(str(edge), backend, tmp_path) as running, connect(running.port) as idle:
            send(running.port, "you@example.org")
            with pytest.raises(smtplib.SMTPRecipientsRefused, match="no such mailbox"):
                send(running.port, "you@mx.example.org")  # whom the next server refuses
            with pytest.raises(smtplib.SMTPRecipientsRefused, match="relaying denied"):
                send(running.port, "you@elsewhere.example")
            (mail,) = (tmp_path / "var/mail/new").iterdir()
            assert mail.read_text().count("\nReceived: ") == 2
            assert mail.read_text().endswith("Subject: hello\n\nIt works.\n")
            assert stop(running, signal.SIGTERM, idle) == 0


def talks_early(port: int) -> socket.socket:
    """A client that says all it has to say before the banner: to somebody, and to postmaster."""
    client = socket.create_connection(("127.0.0.1", port), timeout=30)
    recipients = b"RCPT TO:<you@example.org>\r\nRCPT TO:<postmaster@example.org>\r\n"
    client.sendall(b"HELO me\r\nMAIL FROM:<me@example.com>\r\n" + recipients + b"QUIT\r\n")
    return client


def heard(client: socket.socket) -> list[str]:
    """All that the server says until it closes, in lines."""
    with client.makefile("r", encoding="ascii", newline="\r\n") as lines:
        return list(lines)


@pytest.mark.parametrize("backend", BACKENDS)
def test_forward_passes_mail_on_to_the_server_behind(tmp_path: Path, backend: str) -> None:
    (tmp_path / "behind").mkdir()
    (tmp_path / "edge").mkdir()
    with served("quickstart.py", backend, tmp_path / "behind") as behind:
        text = (CONF / "forward.py").read_text()
        edge = tmp_path / "edge" / "forward.py"
        edge.write_text(text.replace('BEHIND = "127.0.0.1:10025"', f'BEHIND = "127.0.0.1:{behind.port}"'))
        with served(str(edge), backend, tmp_path / "edge") as running, connect(running.port) as idle:
            send(running.port)
            with pytest.raises(smtplib.SMTPRecipientsRefused, match="relaying denied"):
                send(running.port, "anybody@elsewhere.example")
            (mail,) = (tmp_path / "behind/var/mail/new").iterdir()
            assert mail.read_text().endswith("Subject: hello\n\nIt works.\n")
            assert stop(running, signal.SIGTERM, idle) == 0


SMARTHOST = """
from mailstack import Listener, Server, Stack
from mailstack.handlers import maildir
from mailstack.middleware import auth, authfunction, relay, tls

server = Server(
    Stack(
        tls.TLS({pem!r}, required=True),
        auth.Auth(required=True),
        authfunction.Function(lambda user, password: (user, password) == ("mail@example.org", "there")),
        relay.Relay(),
        maildir.Maildir("./var/mail"),
    ),
    listeners=[Listener("127.0.0.1:0")],
)
"""


@pytest.mark.parametrize("backend", BACKENDS)
def test_submission_takes_mail_of_who_logs_in_and_logs_in_at_the_smarthost(tmp_path: Path, backend: str) -> None:
    there, here = tmp_path / "there", tmp_path / "here"
    there.mkdir()
    here.mkdir()
    (there / "smarthost.py").write_text(SMARTHOST.format(pem=str(pem())))
    with served(str(there / "smarthost.py"), backend, there) as smarthost:
        for name in ("submission.users", "submission.password"):
            (here / name).write_text((CONF / name).read_text())
        with (here / "submission.users").open("a") as users:
            users.write("ann@example.org:{PLAIN}lemon\n")
        (here / "submission.password").write_text("there\n")
        text = (CONF / "submission.py").read_text()
        for old, new in (
            ('"/etc/letsencrypt/live"', repr(str(pem()))),
            ('"smtp.example.net:587"', f'"localhost:{smarthost.port}"'),
            ('tls="verify"', f"tls=TLS('verify', ca={str(authority_pem())!r}, name='mx.test')"),
            ("from pathlib import Path", "from pathlib import Path\nfrom mailstack.services.client import TLS"),
        ):
            assert old in text
            text = text.replace(old, new)
        (here / "submission.py").write_text(text)
        with served(str(here / "submission.py"), backend, here) as running:
            with smtplib.SMTP("127.0.0.1", running.port, timeout=30) as smtp:
                smtp.ehlo("laptop.example.org")
                assert not smtp.has_extn("AUTH")
                with pytest.raises(smtplib.SMTPSenderRefused, match="STARTTLS"):
                    smtp.sendmail("ann@example.org", ["bob@example.net"], "Subject: hello\n\nIt works.\n")
                context = ssl.create_default_context(cafile=str(authority_pem()))
                context.check_hostname = False  # its name is that of tests
                smtp.starttls(context=context)
                smtp.ehlo("laptop.example.org")
                smtp.user, smtp.password = "ann@example.org", "melon"
                with pytest.raises(smtplib.SMTPAuthenticationError):
                    smtp.auth("PLAIN", smtp.auth_plain)  # login() would try one mechanism after the other, and wait
                with pytest.raises(smtplib.SMTPSenderRefused, match="530"):
                    smtp.sendmail("ann@example.org", ["bob@example.net"], "Subject: hello\n\nIt works.\n")
                smtp.login("ann@example.org", "lemon")
                with pytest.raises(smtplib.SMTPSenderRefused, match="not yours"):
                    smtp.sendmail("eve@example.org", ["bob@example.net"], "Subject: hello\n\nIt works.\n")
                smtp.sendmail("ann@example.org", ["bob@example.net"], "Subject: hello\nBcc: eve@x.org\n\nIt works.\n")
        (mail,) = (there / "var/mail/new").iterdir()
        content = mail.read_text()
        assert "From: ann@example.org\n" in content
        assert "Bcc" not in content
        assert "laptop" not in content


def loaded(name: str) -> ModuleType:
    """A configuration's module, with an address of the system's choice."""
    server = config.load(str(CONF / name))
    server.listeners = [Listener("127.0.0.1:0")]
    return sys.modules[f"conf_{name.removesuffix('.py')}"]


@pytest.mark.every_backend
async def test_app_receives_mail_in_the_loop_of_the_program(capsys: pytest.CaptureFixture[str]) -> None:
    app = loaded("app.py")
    async with anyio.create_task_group() as group:
        group.start_soon(app.main)
        with anyio.fail_after(30):
            while not app.server.addresses:
                await anyio.lowlevel.checkpoint()
        await to_thread.run_sync(send, app.server.addresses[0][1])
        group.cancel_scope.cancel()
    assert capsys.readouterr().out.startswith("hello b'")
