"""A PostgreSQL server of our own, on a free port, in a folder of the test's. It refuses root, so nobody runs it."""

from __future__ import annotations

import os
import pwd
import shutil
import signal
import subprocess
from dataclasses import dataclass
from pathlib import Path

from tests.programs import free_port, wait_until


@dataclass
class Postgres:
    """A running one, with a user and a database "mail"."""

    folder: Path
    port: int
    process: subprocess.Popen[bytes]

    @property
    def url(self) -> str:
        return f"postgresql+psycopg://mail:secret@127.0.0.1:{self.port}/postgres"

    def stop(self) -> None:
        """At once: connections are cut."""
        for worker in self._all():
            os.kill(worker, signal.SIGCONT)
        self.process.send_signal(signal.SIGQUIT)
        self.process.wait(30)

    def start(self) -> None:
        """Again, with the same data on the same port."""
        self.process = _run(self.folder, self.port)

    def freeze(self) -> None:
        """The server and the processes of its connections."""
        for worker in self._all():
            os.kill(worker, signal.SIGSTOP)

    def thaw(self) -> None:
        for worker in self._all():
            os.kill(worker, signal.SIGCONT)

    def _all(self) -> list[int]:
        children = Path(f"/proc/{self.process.pid}/task/{self.process.pid}/children").read_text().split()
        return [self.process.pid, *map(int, children)]


def available() -> bool:
    return _bin() is not None and (os.geteuid() != 0 or shutil.which("setpriv") is not None)


def start(folder: Path) -> Postgres:
    """`folder` must be one that another user may enter."""
    folder.mkdir(mode=0o755)
    if os.geteuid() == 0:
        os.chown(folder, *_nobody())
    (folder / "password").write_text("secret")
    (folder / "password").chmod(0o644)
    made = ["--username=mail", f"--pwfile={folder}/password", "--auth=scram-sha-256", "--encoding=UTF8", "--no-sync"]
    subprocess.run(_command("initdb", "-D", f"{folder}/data", *made), check=True, capture_output=True, cwd="/")
    port = free_port()
    return Postgres(folder, port, _run(folder, port))


def _run(folder: Path, port: int) -> subprocess.Popen[bytes]:
    options = ["-c", "listen_addresses=127.0.0.1", "-c", "unix_socket_directories=", "-c", "fsync=off"]
    command = _command("postgres", "-D", f"{folder}/data", "-p", str(port), *options)
    log = folder / "log"
    with log.open("wb") as said:
        process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=said, cwd="/")
    wait_until(lambda: b"ready to accept connections" in log.read_bytes(), process, log=log)
    return process


def _command(name: str, *arguments: str) -> list[str]:
    folder = _bin()
    assert folder is not None
    command = [str(folder / name), *arguments]
    if os.geteuid() != 0:
        return command
    user, group = _nobody()
    return ["setpriv", f"--reuid={user}", f"--regid={group}", "--clear-groups", *command]


def _nobody() -> tuple[int, int]:
    entry = pwd.getpwnam("nobody")
    return entry.pw_uid, entry.pw_gid


def _bin() -> Path | None:
    """Debian's folder of the newest version."""
    found = sorted(Path("/usr/lib/postgresql").glob("*/bin"), key=lambda path: int(path.parent.name))
    return found[-1] if found else None
