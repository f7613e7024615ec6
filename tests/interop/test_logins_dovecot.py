"""Logins that others judge: Dovecot's authentication socket and its IMAP, PAM."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

import pytest
import trustme
from anyio import sleep

from mailstack import testing
from mailstack.middleware.authdovecot import Dovecot
from mailstack.middleware.authimap import IMAP
from mailstack.middleware.authimap.conversation import Conversation
from tests.middleware.providers.logins import AWKWARD, answers, asked, begin, dialog, judged, logged, login
from tests.programs import free_port, wait_until_open

from .test_next_hops import Program, as_root, folder

__all__ = ["folder"]

pytestmark = pytest.mark.interop

PASSWORD = "r\"i{3}g\\h (ü)'t "  # Dovecot takes none with a tab or a line end

# Those that are no one's: names and passwords with whatever could break a protocol.
WRONG = [("ann", text) for text in (*AWKWARD, "x" * 1024, "\xff" * 500, "right")] + [
    (text, PASSWORD) for text in AWKWARD
]

DOVECOT = """
protocols = imap
base_dir = {folder}/run
state_dir = {folder}/run
log_path = {folder}/log
mail_location = maildir:{folder}/mail/%n
first_valid_uid = 1
ssl = yes
ssl_cert = <{folder}/server.pem
ssl_key = <{folder}/server.key
auth_failure_delay = 0
auth_username_chars =
auth_mechanisms = {mechanisms}
{more}
passdb {{
  driver = passwd-file
  args = {folder}/users
}}
userdb {{
  driver = static
  args = uid=nobody gid=nogroup home={folder}/mail/%n
}}
service auth {{
  unix_listener {folder}/auth {{
    mode = 0666
  }}
  inet_listener {{
    address = 127.0.0.1
    port = {auth}
  }}
}}
service imap-login {{
  inet_listener imap {{
    address = 127.0.0.1, 127.0.0.2
    port = {imap}
  }}
  inet_listener imaps {{
    address = 127.0.0.1
    port = {imaps}
  }}
}}
service anvil {{
  chroot =
  unix_listener anvil-auth-penalty {{
    mode = 0
  }}
}}
"""


@dataclass
class Daemon:
    """A Dovecot: where it answers, and how it is stopped and begun again."""

    binary: str
    folder: Path
    auth: int = field(default_factory=free_port)
    imap: int = field(default_factory=free_port)
    imaps: int = field(default_factory=free_port)
    process: subprocess.Popen[bytes] | None = None

    @property
    def unix(self) -> str:
        return f"unix:{self.folder}/auth"

    @property
    def authority(self) -> Path:
        return self.folder / "ca.pem"

    def start(self, *, mechanisms: str = "plain login", more: str = "") -> None:
        given = {"auth": self.auth, "imap": self.imap, "imaps": self.imaps, "mechanisms": mechanisms, "more": more}
        conf = self.folder / "conf"
        conf.write_text(DOVECOT.format(folder=self.folder, **given))
        self.process = subprocess.Popen([self.binary, "-F", "-c", str(conf)], stderr=subprocess.DEVNULL)
        wait_until_open(self.process, self.imaps)

    def stop(self) -> None:
        """With its children, who would go on answering for a while."""
        if self.process is not None:
            pid = self.process.pid
            children = Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
            self.process.send_signal(signal.SIGTERM)
            self.process.wait(30)
            self.process = None
            for child in children:
                with suppress(ProcessLookupError):
                    os.kill(int(child), signal.SIGKILL)


@pytest.fixture
def dovecot(folder: Path, program: Program) -> Iterator[Daemon]:
    as_root("Dovecot")
    binary = program("dovecot")
    program("/usr/lib/dovecot/imap")
    authority = trustme.CA()
    certificate = authority.issue_cert("127.0.0.1", common_name="127.0.0.1")
    authority.cert_pem.write_to_path(folder / "ca.pem")
    certificate.cert_chain_pems[0].write_to_path(folder / "server.pem")
    certificate.private_key_pem.write_to_path(folder / "server.key")
    (folder / "mail").mkdir()
    shutil.chown(folder / "mail", "nobody")
    stored = subprocess.run(
        [program("doveadm"), "pw", "-s", "SSHA512.HEX", "-p", PASSWORD], check=True, capture_output=True, text=True
    ).stdout.strip()
    users = [f"ann:{stored}::::::", f"käthe:{stored}::::::", f"gone:{stored}::::::nologin=y"]
    users += [f"far:{stored}::::::proxy=y host=192.0.2.1"]
    (folder / "users").write_text("".join(f"{line}\n" for line in users))
    daemon = Daemon(binary, folder)
    yield daemon
    daemon.stop()


# Dovecot's own protocol.


@pytest.mark.every_backend
async def test_dovecot_is_asked_over_its_socket(dovecot: Daemon) -> None:
    dovecot.start()
    provider = Dovecot(dovecot.unix)
    assert await answers(provider, *WRONG) == [None] * len(WRONG)
    assert await judged(provider, "käthe", PASSWORD) == (235, "käthe")


async def test_dovecot_says_who_it_is(dovecot: Daemon) -> None:
    dovecot.start(more="auth_username_format = %Ln")
    provider = Dovecot(f"127.0.0.1:{dovecot.auth}")
    assert await judged(provider, "Ann@example.org", PASSWORD) == (235, "ann")


@pytest.mark.parametrize(("user", "code"), [("ann", 235), ("nobody", None), ("gone", 535), ("far", 454)])
async def test_dovecot_s_answers_are_told_apart(dovecot: Daemon, user: str, code: int | None) -> None:
    dovecot.start()
    assert await asked(Dovecot(dovecot.unix), user, PASSWORD) == code


async def test_many_are_asked_about_over_one_connection(dovecot: Daemon) -> None:
    dovecot.start()
    provider = Dovecot(dovecot.unix)
    logins = [("ann", PASSWORD), ("ann", "wrong"), ("nobody", PASSWORD)] * 50
    assert await answers(provider, *logins) == [235, None, None] * 50


async def test_dovecot_may_be_restarted_in_the_middle(dovecot: Daemon) -> None:
    dovecot.start()
    async with dialog(Dovecot(dovecot.unix)) as smtp:
        others = await smtp.several(2)
        for each in (smtp, *others):
            await begin(each)
        assert await login(smtp, "ann", PASSWORD) == 235
        dovecot.stop()
        assert await login(others[0], "ann", PASSWORD) == 454
        dovecot.start()
        assert await _in_the_end(others[1]) == 235


async def _in_the_end(smtp: testing.Conversation) -> int:
    """It takes a moment until all of its processes are there."""
    for _ in range(100):
        if (code := await login(smtp, "ann", PASSWORD)) != 454:
            return code
        await sleep(0.05)
    return 454


async def test_a_dovecot_that_does_not_offer_plain_has_nothing_offered(dovecot: Daemon) -> None:
    dovecot.start(mechanisms="cram-md5")
    async with dialog(Dovecot(dovecot.unix)) as smtp:
        await begin(smtp)
        assert await login(smtp, "ann", PASSWORD) == 454
        assert "AUTH" not in (await smtp.say("EHLO again.example")).keywords


# IMAP.


def imap(dovecot: Daemon, encryption: Literal["tls", "starttls", "none"], **options: Any) -> IMAP:
    port = dovecot.imaps if encryption == "tls" else dovecot.imap
    return IMAP(f"127.0.0.1:{port}", encryption=encryption, **options)


@pytest.mark.every_backend
@pytest.mark.parametrize("encryption", ["tls", "starttls"])
async def test_imap_lets_in(dovecot: Daemon, encryption: Literal["tls", "starttls"]) -> None:
    dovecot.start()
    provider = imap(dovecot, encryption, ca=dovecot.authority)
    assert await asked(provider, "ann", "wrong") is None
    assert await judged(provider, "ann", PASSWORD) == (235, "ann")


# As a server would be that does not offer these. Without AUTH=PLAIN that leaves LOGIN, with literals of two kinds.
@pytest.mark.parametrize("hidden", ["", "SASL-IR", "AUTH=PLAIN", "AUTH=PLAIN LITERAL+"])
async def test_imap_takes_nothing_in_a_login_for_a_command(
    dovecot: Daemon, hidden: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    offered = Conversation._offered

    async def fewer(self: Conversation) -> frozenset[str]:
        return await offered(self) - set(hidden.split())

    monkeypatch.setattr(Conversation, "_offered", fewer)
    dovecot.start()
    provider = imap(dovecot, "tls", ca=dovecot.authority)
    assert await answers(provider, *WRONG) == [None] * len(WRONG)
    assert await asked(provider, "käthe", PASSWORD) == 235


@pytest.mark.parametrize("encryption", ["tls", "starttls"])
async def test_imap_with_a_stranger_s_certificate_is_told_no_password(
    dovecot: Daemon, encryption: Literal["tls", "starttls"]
) -> None:
    dovecot.start()
    with logged() as stream:
        assert await asked(imap(dovecot, encryption), "ann", PASSWORD) == 454
    assert "certificate" in stream.getvalue()
    assert "user=<ann>" not in (dovecot.folder / "log").read_text()


async def test_imap_that_wants_encryption_is_told_no_password_without(dovecot: Daemon) -> None:
    dovecot.start()
    with logged() as stream:
        # From 127.0.0.1 to itself all is secure for Dovecot.
        assert await asked(IMAP(f"127.0.0.2:{dovecot.imap}", encryption="none"), "ann", PASSWORD) == 454
    assert "LOGINDISABLED" in stream.getvalue()


async def test_imap_that_is_down_is_454(dovecot: Daemon) -> None:
    assert await asked(imap(dovecot, "none"), "ann", PASSWORD) == 454
