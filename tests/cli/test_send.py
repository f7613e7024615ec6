"""`mailstack send`: what it sends, what it prints, its exit status."""

import io
import socket
import sys
import threading
from base64 import b64encode
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import anyio
import pytest
from anyio.from_thread import start_blocking_portal
from click.testing import CliRunner, Result

from mailstack import Listener, Recipient, Reply, Server, Stack, hookimpl, option
from mailstack.cli import main
from mailstack.cli.send import _generated
from mailstack.middleware import tls
from mailstack.middleware.auth import Auth
from mailstack.session.credentials import PASSWORD, Credentials, Password
from mailstack.testing import Collect, Delivery, Vouch
from tests.tls import authority_pem, pem


class Policy:
    name = "policy"

    @hookimpl
    def rcpt(self, recipient: Recipient) -> Reply | None:
        codes = {"no": 550, "later": 450}
        code = codes.get(recipient.address.local)
        return None if code is None else Reply(code)


class Served:
    def __init__(self, address: str, messages: list[Delivery]) -> None:
        self.address = address
        self.messages = messages

    def send(self, *arguments: str, stdin: bytes | None = None) -> Result:
        return send("--server", self.address, "--helo", "me.test", *arguments, stdin=stdin)


def send(*arguments: str, stdin: bytes | None = None) -> Result:
    result = CliRunner().invoke(main, ["send", *arguments], input=stdin)
    if result.exception is not None and not isinstance(result.exception, SystemExit):
        raise result.exception
    return result


@pytest.fixture
def served() -> Iterator[Served]:
    """A server in a thread of its own."""
    box = Collect()
    server = Server(Stack(Policy(), Vouch(), box), [Listener("127.0.0.1:0")], hostname="mx.test")
    with start_blocking_portal() as portal, portal.wrap_async_context_manager(server):
        yield Served(":".join(map(str, server.addresses[0])), box.messages)


@contextmanager
def answering(*answers: bytes) -> Iterator[str]:
    """A server that says these things, one for each line that it hears, then closes."""
    with socket.create_server(("127.0.0.1", 0)) as listener:

        def run() -> None:
            connection, _ = listener.accept()
            with suppress(ConnectionResetError), connection, connection.makefile("rb") as lines:
                for answer in answers:
                    connection.sendall(answer)
                    lines.readline()

        thread = threading.Thread(target=run)
        thread.start()
        yield f"127.0.0.1:{listener.getsockname()[1]}"
        thread.join(30)
        assert not thread.is_alive()


def test_a_generated_message_arrives_and_the_conversation_is_printed(served: Served) -> None:
    result = served.send("--from", "a@example.org", "--to", "b@example.net", "--subject", "hi", "--header", "X-A: b")
    assert (result.exit_code, result.stderr) == (0, "")
    lines = result.stdout.splitlines()
    assert lines[:3] == ["S: 220 mx.test ESMTP mailstack", "C: EHLO me.test", "S: 250-mx.test"]
    assert lines[-2:] == ["C: QUIT", "S: 221 2.0.0 bye"]
    assert not any("test message" in line for line in lines)
    [message] = served.messages
    assert (message.sender, message.recipients) == ("a@example.org", ["b@example.net"])
    for part in (b"X-A: b\r\n", b"Subject: hi\r\n", b"\r\nFrom: a@example.org", b"\r\n\r\nThis is a test message.\r\n"):
        assert part in message.content


@pytest.mark.parametrize("flags", [[], ["--no-pipelining"], ["--no-chunking"]])
def test_a_file_is_sent_as_it_is_but_for_its_line_ends(served: Served, flags: list[str], tmp_path: Path) -> None:
    file = tmp_path / "mail.eml"
    file.write_bytes(b"Subject: x\n\n.\r\n.dot\n\xe4\n")
    assert served.send("--to", "b@example.net", *flags, str(file)).exit_code == 0
    assert served.send("--to", "b@example.net", *flags, "-", stdin=file.read_bytes()).exit_code == 0
    for message in served.messages:
        assert message.sender == ""
        assert message.content.endswith(b"Subject: x\r\n\r\n.\r\n.dot\r\n\xe4\r\n")


def test_the_body_may_be_given_or_read(served: Served, tmp_path: Path) -> None:
    (tmp_path / "body.txt").write_bytes(b"from a file\n")
    served.send("--to", "b@example.net", "--body", "given", "--header", "Subject: mine")
    served.send("--to", "b@example.net", "--body", f"@{tmp_path}/body.txt")
    first, second = (message.content for message in served.messages)
    assert first.endswith(b"\r\n\r\ngiven\r\n")
    assert first.count(b"Subject:") == 1
    assert second.endswith(b"\r\n\r\nfrom a file\r\n")


@pytest.mark.parametrize("size", ["3MB", "1000", "1001", "1072", *map(str, range(400, 475))])
def test_a_message_is_generated_in_the_size_that_was_asked_for(size: str) -> None:
    async def read() -> list[bytes]:
        content = _generated(b"A: b\r\n\r\n", option.size(size))
        assert content.size == option.size(size)
        return [chunk async for chunk in content.chunks()]

    chunks = anyio.run(read)
    octets = b"".join(chunks)
    assert len(octets) == option.size(size)
    assert octets.endswith(b"\r\n")
    assert max(map(len, octets.split(b"\r\n"))) < 78
    assert max(map(len, chunks)) <= 256 * 1024


def test_a_large_message_is_sent(served: Served) -> None:
    result = served.send("--to", "b@example.net", "--size", "3MB", "--no-chunking")
    assert result.exit_code == 0
    assert f"({3 * 1024 * 1024} octets)" in result.stdout
    assert len(served.messages[0].content) >= 3 * 1024 * 1024


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


def test_on_a_terminal_progress_is_shown(
    served: Served, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    terminal = Terminal()
    monkeypatch.setattr(sys, "stderr", terminal)
    monkeypatch.setenv("TERM", "xterm")
    with pytest.raises(SystemExit) as caught:
        main(["send", "--server", served.address, "--to", "b@example.net", "--size", "3MB"], standalone_mode=False)
    assert caught.value.code == 0
    assert "MiB" in terminal.getvalue()
    assert "S: 221" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("recipients", "status"),
    [(["b"], 0), (["b", "no"], 6), (["no", "no"], 5), (["no", "later"], 4), (["later"], 4)],
)
@pytest.mark.parametrize("flags", [[], ["--quit-after", "rcpt"]])
def test_the_exit_status_says_who_was_accepted(
    served: Served, recipients: list[str], status: int, flags: list[str]
) -> None:
    options = [word for name in recipients for word in ("--to", f"{name}@example.net")]
    result = served.send("--quiet", *options, *flags)
    assert (result.exit_code, result.stdout) == (status, "")
    assert result.stderr.count("@example.net>: ") == len(recipients) - recipients.count("b")
    assert len(served.messages) == (status in (0, 6) and not flags)


@pytest.mark.parametrize(
    ("step", "last"), [("connect", None), ("ehlo", "EHLO"), ("mail", "MAIL"), ("rcpt", "RCPT"), ("data", "DATA")]
)
def test_it_quits_where_it_is_told(served: Served, step: str, last: str | None) -> None:
    result = served.send("--to", "b@example.net", "--quit-after", step, "-v")
    said = [line.split("C: ")[1].split()[0] for line in result.stdout.splitlines() if " C: " in line]
    assert result.exit_code == 0
    assert said[-1] == ("DATA" if step == "data" else "QUIT")
    assert last is None or last in said
    assert not served.messages


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ([], "no recipient"),
        (["--to", "b"], "not a mail address"),
        (["--to", "b@x.test", "--from", "a b"], "not a mail address"),
        (["--to", "b@x.test", "--server", "::1"], "without brackets"),
        (["--to", "b@x.test", "--helo", "a b"], "is no name"),
        (["--to", "b@x.test", "--header", "no field"], "no header field"),
        (["--to", "b@x.test", "--header", "A: b\r\nC: d"], "no header field"),
        (["--to", "b@x.test", "--size", "many"], "not a size"),
        (["--to", "b@x.test", "--timeout", "soon"], "not a duration"),
        (["--to", "b@x.test", "/does/not/exist"], "No such file"),
        (["--to", "b@x.test", "--body", "@/does/not/exist"], "No such file"),
        (["--to", "b@x.test", "--body", "x", "/dev/null"], "both a file and a body"),
        (["--quit-after", "data"], "no recipient"),
    ],
)
def test_a_mistake_is_told_with_its_remedy(arguments: list[str], words: str) -> None:
    result = send(*arguments)
    assert result.exit_code == 2
    assert words in result.stderr
    assert "remedy: " in result.stderr


def test_where_nobody_listens_it_says_so(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]
    result = send("--to", "b@x.test", "--server", f"127.0.0.1:{port}")
    assert (result.exit_code, result.stderr) == (3, f"mailstack: 127.0.0.1:{port}: Connection refused\n")
    result = send("--to", "b@x.test", "--server", f"unix:{tmp_path}/none")
    assert (result.exit_code, result.stderr) == (3, f"mailstack: unix:{tmp_path}/none: No such file or directory\n")


@pytest.mark.parametrize(
    ("answers", "status", "words"),
    [
        ([b"554 go away\r\n"], 5, "refused: 554 5.0.0 go away"),
        ([b"421 busy\r\n"], 4, "refused: 421 4.3.2 busy"),
        ([b"hello\r\n"], 3, "this is no reply: b'hello"),
        ([b"220 mx\r\n", b"250 mx\r\n"], 3, "(MAIL); the message was not taken"),
        ([b"220 mx\r\n", b"250 mx\r\n", b"250 \r\n", b"250 \r\n", b"354 \r\n"], 3, "may have been taken or not"),
    ],
)
def test_a_server_that_fails_is_told_apart(answers: list[bytes], status: int, words: str) -> None:
    with answering(*answers) as address:
        result = send("--to", "b@x.test", "--server", address, "--body", "x", "--timeout", "20s", "--helo", "me")
    assert (result.exit_code, words in result.stderr) == (status, True), result.stderr


def test_mail_that_the_server_cannot_take_is_not_sent(tmp_path: Path) -> None:
    (tmp_path / "mail").write_bytes(b"A: b\n\n\xff\n")
    with answering(b"220 mx\r\n", b"250 mx\r\n", b"221 bye\r\n") as address:
        result = send("--to", "b@x.test", "--server", address, str(tmp_path / "mail"))
    assert (result.exit_code, result.stderr) == (5, "mailstack: not sent: the next server does not offer 8BITMIME\n")
    with answering(b"220 mx\r\n", b"250 mx\r\n", b"221 bye\r\n") as address:
        result = send("--to", "jörg@x.test", "--server", address)
    assert (result.exit_code, result.stderr) == (5, "mailstack: not sent: the next server does not offer SMTPUTF8\n")


def test_lmtp_is_spoken_where_it_is_asked_for() -> None:
    answers = [b"220 mx\r\n", b"250 mx\r\n", b"250 \r\n", b"250 \r\n", b"550 \r\n", b"221 bye\r\n"]
    with answering(*answers) as address:
        result = send("--lmtp", "--to", "b@x.test", "--to", "c@x.test", "--quit-after", "rcpt", "--server", address)
    assert result.exit_code == 6
    assert "C: LHLO " in result.stdout


# TLS and AUTH.


class Known:
    mechanisms = PASSWORD

    @hookimpl
    def auth(self, credentials: Credentials) -> Reply:
        assert isinstance(credentials, Password)
        return Reply(235 if (credentials.user, credentials.password) == ("ann", "right") else 535)


@pytest.fixture
def guarded() -> Iterator[list[Served]]:
    """The same, for who logs in under TLS only: by STARTTLS, and with TLS from the first octet."""
    box = Collect()
    stack = Stack(tls.TLS(str(pem())), Auth(required=True, delay=0), Known(), Vouch(), box)
    listeners = [Listener("127.0.0.1:0"), Listener("127.0.0.1:0", tls=True)]
    server = Server(stack, listeners, hostname="mx.test")
    with start_blocking_portal() as portal, portal.wrap_async_context_manager(server):
        yield [Served(":".join(map(str, address)), box.messages) for address in server.addresses]


TO = ("--from", "a@example.org", "--to", "b@example.net")
CHECKED = ("--tls-ca", str(authority_pem()), "--tls-name", "mx.test")


def test_it_logs_in_under_tls_and_shows_no_secret(guarded: list[Served], tmp_path: Path) -> None:
    file = tmp_path / "password"
    file.write_text("right\n")
    file.chmod(0o600)
    login = ("--user", "ann", "--password-file", str(file))
    for served, how in zip(guarded, ((*CHECKED,), ("--tls", *CHECKED)), strict=True):
        result = served.send(*TO, *how, *login)
        assert (result.exit_code, result.stderr) == (0, "")
        assert "C: AUTH PLAIN (hidden)" in result.stdout
        assert "C: (TLSv1.3 " in result.stdout
        assert b64encode(b"\0ann\0right").decode() not in result.stdout
    result = guarded[0].send("--starttls", *login, "--auth", "LOGIN", "--quit-after", "auth", "-v")
    assert result.exit_code == 0
    assert "S: 334 (hidden)" in result.stdout
    assert b64encode(b"right").decode() not in result.stdout
    assert len(guarded[0].messages) == 2


def test_a_password_may_come_from_the_environment(guarded: list[Served], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MAILSTACK_PASSWORD", "right")
    assert guarded[0].send(*TO, "--starttls", "--user", "ann").exit_code == 0
    monkeypatch.setenv("MAILSTACK_PASSWORD", "wrong")
    result = guarded[0].send(*TO, "--starttls", "--user", "ann")
    assert result.exit_code == 5
    assert result.stderr.startswith("mailstack: AUTH PLAIN is refused: 535")
    monkeypatch.delenv("MAILSTACK_PASSWORD")
    result = guarded[0].send(*TO, "--starttls", "--user", "ann")
    assert result.exit_code == 2
    assert "there is no password" in result.stderr


@pytest.mark.parametrize(
    ("options", "status", "words"),
    [
        (("--tls-verify", "--user", "ann"), 3, "no TLS: "),
        (("--tls-ca", str(authority_pem())), 3, "no TLS: "),
        (("--tls-fingerprint", "0" * 64), 3, "fingerprint"),
        (("--user", "ann"), 3, "AUTH is not offered\n  remedy: --starttls"),
        (("--tls", "--user", "ann"), 3, "remedy: --starttls, if the server begins in clear"),
        (("--starttls", "--user", "ann", "--auth", "SCRAM-SHA-1"), 3, "it offers PLAIN LOGIN"),
        (("--starttls", "--user", "ann", "--auth", "XOAUTH2"), 3, "XOAUTH2 may be used"),
        (("--starttls", "--user", "ann", "--auth", "NTLM"), 2, "NTLM"),
        (("--tls-ca", "/nonexistent"), 2, "/nonexistent"),
        (("--auth", "PLAIN"), 2, "--user"),
    ],
)
def test_what_cannot_be_had_is_told(
    options: tuple[str, ...], status: int, words: str, guarded: list[Served], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MAILSTACK_PASSWORD", "right")
    result = guarded[0].send(*TO, *options)
    assert result.exit_code == status
    assert words in result.stderr
    assert not guarded[0].messages
    assert "right" not in result.stdout + result.stderr
