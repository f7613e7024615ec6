"""A Redis server of our own, on a free port, that keeps what it knows in a folder of the test's."""

from __future__ import annotations

import shutil
import signal
import subprocess
from dataclasses import dataclass
from pathlib import Path

import trustme

from tests.interop.frozen import freeze
from tests.programs import free_port, wait_until_open


@dataclass
class RedisServer:
    folder: Path
    port: int
    process: subprocess.Popen[bytes]

    @property
    def tls_url(self) -> str:
        """Of one that was started with a certificate, and so with a password; `ca.pem` lies in its folder."""
        return f"rediss://default:a%20secret@127.0.0.1:{self.port}/0"

    @property
    def url(self) -> str:
        return f"redis://127.0.0.1:{self.port}/0"

    def kill(self) -> None:
        """At once; what it knew is lost."""
        self.process.kill()
        self.process.wait(30)

    def start(self) -> None:
        """Again, on the same port, knowing nothing."""
        self.process = _run(self.folder, self.port)

    def freeze(self) -> None:
        freeze(self.process.pid)

    def thaw(self) -> None:
        self.process.send_signal(signal.SIGCONT)


def start(folder: Path, *, tls: bool = False) -> RedisServer:
    if tls:
        authority = trustme.CA()
        certificate = authority.issue_cert("127.0.0.1")
        authority.cert_pem.write_to_path(folder / "ca.pem")
        certificate.private_key_and_cert_chain_pem.write_to_path(folder / "server.pem")
    port = free_port()
    return RedisServer(folder, port, _run(folder, port))


def _run(folder: Path, port: int) -> subprocess.Popen[bytes]:
    path = shutil.which("redis-server")
    assert path is not None
    listen = ["--port", str(port)]
    if (folder / "server.pem").exists():
        pem = str(folder / "server.pem")
        listen = ["--port", "0", "--tls-port", str(port), "--tls-cert-file", pem, "--tls-key-file", pem]
        listen += [
            "--tls-auth-clients",
            "no",
            "--tls-ca-cert-file",
            str(folder / "ca.pem"),
            "--requirepass",
            "a secret",
        ]
    command = [path, *listen, "--bind", "127.0.0.1", "--save", "", "--dir", str(folder)]
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    wait_until_open(process, port)
    return process
