"""Who a server serves as: bound as root, served as somebody else."""

from __future__ import annotations

import grp
import os
import pwd
import re
import signal
import smtplib
import stat
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from mailstack import ConfigError, Listener, Server, Stack
from mailstack.handlers.discard import Discard
from mailstack.server import privileges

NOBODY = "nobody"
PATIENCE = 40.0

root = pytest.mark.skipif(os.geteuid() != 0, reason="only root can become somebody else")

CONFIG = """
from mailstack import Listener, Server, Stack, hookimpl
from mailstack.handlers import maildir
import os

class Vouch:
    @hookimpl
    async def lifespan(self, server, call_next):
        with open("lifespan", "w") as file:
            file.write(str(os.geteuid()))
        await call_next()

    @hookimpl
    def rcpt(self, recipient):
        with open("rcpt", "a") as file:
            print(os.geteuid(), file=file)
        recipient.accept()

server = Server(Stack(Vouch(), maildir.Maildir("mail")), [Listener("127.0.0.1:0")], {options})
"""


@contextmanager
def serving(
    folder: Path, options: str, *arguments: str, **environment: str
) -> Iterator[tuple[subprocess.Popen[str], int]]:
    """A server started from the command line; its process and its port."""
    (folder / "conf.py").write_text(CONFIG.replace("{options}", options))
    command = [sys.executable, "-m", "mailstack", "serve", "--log-format", "logfmt", *arguments, "conf.py"]
    kept = {name: value for name, value in os.environ.items() if name != privileges.ANYWAY}
    process = subprocess.Popen(command, cwd=folder, text=True, stderr=subprocess.PIPE, env=kept)
    assert process.stderr is not None
    try:
        port = 0
        for line in process.stderr:
            if found := re.search(r"listening.*127\.0\.0\.1:(\d+)", line):
                port = int(found[1])
                break
        reader = threading.Thread(target=process.stderr.read)
        reader.start()
        assert port, "the server does not start"
        yield process, port
    finally:
        process.send_signal(signal.SIGTERM)
        process.wait(PATIENCE)
        reader.join()
        process.stderr.close()


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A folder that anybody may use, all the way up."""
    for each in (tmp_path, *tmp_path.parents):
        if each.owner() == "root" and each != Path("/") and each != Path("/tmp"):
            each.chmod(each.stat().st_mode | 0o011)
    tmp_path.chmod(0o777)
    return tmp_path


def facts(pid: int) -> dict[str, list[str]]:
    lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    return {name: words.split() for name, _, words in (line.partition(":") for line in lines)}


@root
def test_root_s_rights_are_gone_before_a_plugin_serves_and_mail_is_the_user_s(folder: Path) -> None:
    user = pwd.getpwnam(NOBODY)
    with serving(folder, f'user="{NOBODY}", spool="spool"') as (process, port):
        assert set((folder / "rcpt").read_text().split()) == {str(user.pw_uid)}  # in the audit at the start
        told = facts(process.pid)
        assert told["Uid"] == [str(user.pw_uid)] * 4
        assert told["Gid"] == [str(user.pw_gid)] * 4
        assert set(told["Groups"]) <= {str(gid) for gid in os.getgrouplist(NOBODY, user.pw_gid)}
        assert told["CapEff"] == ["0000000000000000"]
        assert (folder / "lifespan").read_text() == str(user.pw_uid)
        with smtplib.SMTP("127.0.0.1", port, timeout=PATIENCE) as client:
            client.sendmail("a@example.org", ["b@example.org"], "Subject: test\r\n\r\ntest\r\n")
        (message,) = (folder / "mail").rglob("new/*")
        assert message.stat().st_uid == user.pw_uid
        assert message.stat().st_mode & 0o077 == 0
        assert (folder / "spool").stat().st_uid == user.pw_uid


@root
def test_another_group_may_be_named(folder: Path) -> None:
    daemon = grp.getgrnam("daemon").gr_gid
    with serving(folder, f'user="{NOBODY}", group="daemon"') as (process, _):
        assert facts(process.pid)["Gid"] == [str(daemon)] * 4


@root
def test_nobody_serves_as_root_unless_told(folder: Path) -> None:
    (folder / "conf.py").write_text(CONFIG.replace("{options}", ""))
    kept = {name: value for name, value in os.environ.items() if name != privileges.ANYWAY}
    command = [sys.executable, "-m", "mailstack", "serve", "conf.py"]
    done = subprocess.run(command, cwd=folder, env=kept, capture_output=True, text=True, timeout=PATIENCE, check=False)
    assert done.returncode == 2
    assert "would run as root" in done.stderr
    assert "--as-root" in done.stderr
    with serving(folder, "", "--as-root") as (process, _):
        assert facts(process.pid)["Uid"][0] == "0"


@root
def test_a_spool_of_somebody_else_is_refused(folder: Path) -> None:
    (folder / "spool").mkdir(mode=0o700)
    account = privileges.account(NOBODY)
    with pytest.raises(ConfigError, match="does not belong to nobody"):
        account.take_over(folder / "spool")


@root
def test_the_account_gets_to_its_spool_through_folders_that_were_made_for_it(folder: Path) -> None:
    before = os.umask(privileges.UMASK)
    try:
        privileges.account(NOBODY).take_over(folder / "lib" / "mail" / "spool")
    finally:
        os.umask(before)
    seen = [(folder / each).stat() for each in ("lib", "lib/mail", "lib/mail/spool")]
    assert [stat.S_IMODE(each.st_mode) for each in seen] == [0o755, 0o755, 0o700]
    assert [each.st_uid for each in seen] == [0, 0, privileges.account(NOBODY).uid]


def test_an_unknown_user_or_group_is_named() -> None:
    with pytest.raises(ConfigError, match="no user 'gargantua'"):
        privileges.account("gargantua")
    with pytest.raises(ConfigError, match="no group 'gargantua'"):
        privileges.account(NOBODY, "gargantua")


def test_who_is_not_root_cannot_become_somebody_else(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "geteuid", lambda: 4711)
    with pytest.raises(ConfigError, match="only root can become"):
        privileges.account(NOBODY).become()
    privileges.Account("me", 4711, 4711, ()).become()  # who it is already


def test_root_needs_to_be_told(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv(privileges.ANYWAY, raising=False)
    monkeypatch.setattr(os, "geteuid", lambda: 0)
    with pytest.raises(ConfigError, match="would run as root"):
        Server(Stack(Discard()), [Listener("127.0.0.1:0")]).run()
    for word in ("0", "false", "no", "perhaps"):
        monkeypatch.setenv(privileges.ANYWAY, word)
        with pytest.raises(ConfigError, match="would run as root"):
            privileges.must_not_be_root(as_root=False)
    monkeypatch.setenv(privileges.ANYWAY, "True")
    privileges.must_not_be_root(as_root=False)
    privileges.must_not_be_root(as_root=True)


def test_the_pid_file_is_held_while_the_server_runs(tmp_path: Path) -> None:
    path = tmp_path / "pid"
    before = os.umask(privileges.UMASK)
    try:
        with privileges.pid_file(path):
            assert stat.S_IMODE(path.stat().st_mode) == 0o644
    finally:
        os.umask(before)
    with privileges.pid_file(path):
        assert path.read_text() == f"{os.getpid()}\n"
        with pytest.raises(ConfigError, match=f"held by process {os.getpid()}"), privileges.pid_file(path):
            pass
    assert not path.exists()
    path.write_text("4711\n")  # of a server that was killed
    with privileges.pid_file(path):
        assert path.read_text() == f"{os.getpid()}\n"


def test_the_process_is_called_what_it_serves(folder: Path) -> None:
    pytest.importorskip("setproctitle")
    with serving(folder, "", "--as-root") as (process, _):
        assert Path(f"/proc/{process.pid}/cmdline").read_bytes().rstrip(b"\0") == b"mailstack: conf.py"


def test_a_pid_file_that_cannot_be_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="no PID file"), privileges.pid_file(tmp_path / "nowhere" / "pid"):
        pass


def test_a_link_is_no_pid_file(tmp_path: Path) -> None:
    (tmp_path / "victim").write_text("precious")
    (tmp_path / "pid").symlink_to(tmp_path / "victim")
    with pytest.raises(ConfigError, match="no PID file"), privileges.pid_file(tmp_path / "pid"):
        pass
    assert (tmp_path / "victim").read_text() == "precious"
