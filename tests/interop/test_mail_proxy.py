"""nginx as a mail proxy in front: it takes the logins, and says by XCLIENT for whom it speaks."""

from __future__ import annotations

import subprocess
import threading
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from tests.programs import free_port, wait_until_open

from .conftest import Served

pytestmark = pytest.mark.interop

Serve = Callable[..., Served]
Program = Callable[[str], str]
Front = Callable[[int], int]

# Strangers may write to example.org alone; whom the proxy has let in, to everybody.
STACK = """
from mailstack import Listener, Server, Stack
from mailstack.handlers import maildir
from mailstack.middleware import recipients, relay, xclient

server = Server(
    Stack(
        xclient.XClient({trusted!r}),
        relay.Relay(authenticated=True),
        recipients.Domains("example.org"),
        maildir.Maildir({mail!r}, eol={eol!r}),
    ),
    listeners=[Listener("127.0.0.1:{port}")],
    hostname="mx.example.org",
)
"""

# Debian's; elsewhere it may be built in.
MODULE = Path("/usr/lib/nginx/modules/ngx_mail_module.so")
NGINX = """
daemon off;
master_process off;
pid {folder}/nginx.pid;
{load}
events {{}}
mail {{
    server_name proxy.example.org;
    auth_http 127.0.0.1:{judge}/;
    xclient on;
    server {{
        listen 127.0.0.1:{port};
        protocol smtp;
        smtp_auth login plain none;
    }}
}}
"""


@pytest.fixture
def front(program: Program, tmp_path: Path) -> Iterator[Front]:
    """nginx in front of a port, ended by its PID; returns the port where it listens. It lets in ann with "secret"."""
    running: list[subprocess.Popen[bytes]] = []
    judges: list[ThreadingHTTPServer] = []

    def start(server: int) -> int:
        nginx = program("nginx")
        judge = ThreadingHTTPServer(("127.0.0.1", 0), judging(server))
        threading.Thread(target=judge.serve_forever).start()
        judges.append(judge)
        port = free_port()
        load = f"load_module {MODULE};" if MODULE.exists() else ""
        file = tmp_path / "nginx.conf"
        file.write_text(NGINX.format(folder=tmp_path, load=load, judge=judge.server_port, port=port))
        process = subprocess.Popen([nginx, "-e", "stderr", "-c", str(file)], stderr=subprocess.DEVNULL)
        running.append(process)
        wait_until_open(process, port)
        return port

    yield start
    for process in running:
        process.terminate()
        process.wait(30)
    for judge in judges:
        judge.shutdown()
        judge.server_close()


def judging(server: int) -> type[BaseHTTPRequestHandler]:
    """What nginx asks for each login, and for each recipient of who has none: where to, or why not."""

    class Judge(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            asked = self.headers
            good = asked["Auth-Method"] == "none" or (asked["Auth-User"], asked["Auth-Pass"]) == (
                "ann@example.org",
                "secret",
            )
            answer = {"Auth-Status": "OK", "Auth-Server": "127.0.0.1", "Auth-Port": str(server)}
            self.send_response(200)
            for name, value in (answer if good else {"Auth-Status": "no such login", "Auth-Wait": "1"}).items():
                self.send_header(name, value)
            self.end_headers()

        def log_message(self, *_: object) -> None:
            pass

    return Judge


def swaks(program: Program, port: int, to: str, *more: str) -> subprocess.CompletedProcess[bytes]:
    command = [program("swaks"), "--server", f"127.0.0.1:{port}", "--from", "a@example.net", "--to", to]
    client = ["--helo", "client.example.net", "--local-interface", "127.0.0.77"]
    return subprocess.run([*command, *client, *more], capture_output=True, timeout=60)


def login(password: str) -> list[str]:
    return ["--auth", "PLAIN", "--auth-user", "ann@example.org", "--auth-password", password]


def test_nginx_names_the_client(serve: Serve, front: Front, program: Program) -> None:
    served = serve(configuration=STACK, trusted="127.0.0.1")
    port = front(served.port)
    result = swaks(program, port, "b@example.org")
    assert result.returncode == 0, result.stdout
    [stored] = served.messages()
    received = stored.partition(b"\nDate:")[0]
    assert b"from client.example.net" in received
    assert b"[127.0.0.77]" in received
    assert b"with ESMTP id" in received
    result = swaks(program, port, "b@elsewhere.example")
    assert result.returncode == 24, result.stdout  # what nginx says of itself opens nothing


def test_whom_nginx_has_let_in_is_that_user(serve: Serve, front: Front, program: Program) -> None:
    served = serve(configuration=STACK, trusted="127.0.0.1")
    port = front(served.port)
    result = swaks(program, port, "b@elsewhere.example", *login("secret"))
    assert result.returncode == 0, result.stdout
    [stored] = served.messages()
    assert b"[127.0.0.77]" in stored
    assert b"with ESMTPA id" in stored
    assert swaks(program, port, "b@elsewhere.example", *login("wrong")).returncode == 28


def test_who_does_not_trust_nginx_gets_no_mail_by_it(serve: Serve, front: Front, program: Program) -> None:
    served = serve(configuration=STACK, trusted="192.0.2.1")
    result = swaks(program, front(served.port), "b@elsewhere.example", *login("secret"))
    assert result.returncode != 0, result.stdout
    assert served.messages() == []
