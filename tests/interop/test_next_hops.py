"""forward and lmtp before servers that others wrote: Postfix, Exim, Dovecot's LMTP, and aiosmtpd, which is lenient."""

import os
import pwd
import re
import shutil
import signal
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import anyio
import pytest

from mailstack.handlers.forward import Forward
from mailstack.handlers.lmtp import Lmtp
from mailstack.testing import Conversation, Dialog, Vouch
from tests.programs import free_port, wait_until_open

pytestmark = pytest.mark.interop

Program = Callable[[str], str]

ANN, BOB, NOBODY, FULL = "ann@example.org", "bob@example.org", "nobody@example.org", "full@example.org"
AWKWARD = b"Subject: dots\r\n\r\n.\r\n".replace(b"\r\n.\r\n", b"\r\n..\r\n.a\r\n") + b"x" * 900 + b"\r\nend\r\n"
LARGE = b"Subject: large\r\n\r\n" + b".0123456789\r\n" * 400_000


@dataclass
class Hop:
    """A running server: what to connect to, and where it delivers."""

    address: str
    mail: Path

    async def delivered(self, count: int) -> list[bytes]:
        """The bodies of so many delivered messages, with CRLF, as soon as they are there."""
        with anyio.fail_after(40):
            while len(files := [path for path in self.mail.rglob("new/*") if path.is_file()]) < count:  # noqa: ASYNC110
                await anyio.sleep(0.02)
        assert len(files) == count
        texts = [re.sub(rb"\r?\n", b"\r\n", file.read_bytes()) for file in files]
        return [b"Subject: " + text.partition(b"\r\nSubject: ")[2] for text in texts]


@pytest.fixture
def folder() -> Iterator[Path]:
    """One that servers under other users can get at; pytest's own they cannot."""
    path = Path(tempfile.mkdtemp(prefix="mailstack-hop-"))
    path.chmod(0o755)
    yield path
    shutil.rmtree(path)


@pytest.fixture
def start() -> Iterator[Callable[..., None]]:
    """Start a server that stays in the foreground and wait for its address; stopped by its id."""
    running: list[subprocess.Popen[bytes]] = []

    def run(command: list[str], port: int, **environment: str) -> None:
        process = subprocess.Popen(
            command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, env={**os.environ, **environment}
        )
        running.append(process)
        wait_until_open(process, port)

    yield run
    for process in running:
        process.send_signal(signal.SIGTERM)
        process.wait(30)


def as_root(server: str) -> None:
    """These servers change users when they deliver."""
    if os.geteuid() != 0:
        pytest.skip(f"{server} wants to be started by root")


def box(folder: Path, user: str) -> Path:
    mail = folder / "mail"
    mail.mkdir()
    shutil.chown(mail, user)
    return mail


POSTFIX = """
compatibility_level = 3.6
queue_directory = {folder}/queue
data_directory = {folder}/data
daemon_directory = {daemons}
mail_owner = postfix
setgid_group = postdrop
inet_interfaces = 127.0.0.1
inet_protocols = ipv4
myhostname = next.test
mydestination =
alias_maps =
alias_database =
maillog_file = /dev/stdout
mynetworks =
local_header_rewrite_clients =
smtpd_relay_restrictions = reject_unauth_destination
smtpd_recipient_restrictions = reject_unlisted_recipient
virtual_mailbox_domains = example.org
virtual_mailbox_base = {folder}/mail
virtual_mailbox_maps = inline:{{ {{ann@example.org = ann/}}, {{bob@example.org = bob/}} }}
virtual_uid_maps = static:{uid}
virtual_gid_maps = static:{uid}
virtual_minimum_uid = 1
virtual_mailbox_limit = 0
mailbox_size_limit = 0
message_size_limit = 20000000
"""
MASTER = """
127.0.0.1:{port} inet n - n - - smtpd
pickup unix n - n 60 1 pickup
cleanup unix n - n - 0 cleanup
qmgr unix n - n 300 1 qmgr
rewrite unix - - n - - trivial-rewrite
bounce unix - - n - 0 bounce
defer unix - - n - 0 bounce
trace unix - - n - 0 bounce
verify unix - - n - 1 verify
proxymap unix - - n - - proxymap
anvil unix - - n - 1 anvil
virtual unix - n n - - virtual
error unix - - n - - error
retry unix - - n - - error
postlog unix-dgram n - n - 1 postlogd
"""


@pytest.fixture
def postfix(folder: Path, start: Callable[..., None], program: Program) -> Hop:
    as_root("Postfix")
    master = Path(program("postfix")).resolve()
    port = free_port()
    mail = box(folder, "nobody")
    daemons = "/usr/lib/postfix/sbin" if Path("/usr/lib/postfix/sbin").exists() else "/usr/libexec/postfix"
    settings = POSTFIX.format(folder=folder, daemons=daemons, uid=pwd.getpwnam("nobody").pw_uid)
    (folder / "etc").mkdir()
    (folder / "etc/main.cf").write_text(settings)
    (folder / "etc/master.cf").write_text(MASTER.format(port=port))
    (folder / "data").mkdir()
    shutil.chown(folder / "data", "postfix")
    (folder / "queue").mkdir()
    subprocess.run([str(master), "-c", str(folder / "etc"), "check"], check=True, timeout=30)  # makes the queue
    start([f"{daemons}/master", "-c", str(folder / "etc"), "-d"], port)
    return Hop(f"127.0.0.1:{port}", mail)


EXIM = """
exim_path = {exim}
primary_hostname = next.test
spool_directory = {folder}/spool
log_file_path = {folder}/spool/%slog
pid_file_path = {folder}/spool/pid
local_interfaces = 127.0.0.1
daemon_smtp_ports = {port}
domainlist ours = example.org
acl_smtp_rcpt = rcpt
acl_smtp_data = data
chunking_advertise_hosts = {chunking}
dsn_advertise_hosts = *
tls_advertise_hosts =
host_lookup =
rfc1413_query_timeout = 0s
keep_environment =
begin acl
rcpt:
  accept domains = +ours
         verify = recipient
  deny message = relay not permitted
data:
  accept
begin routers
box:
  driver = accept
  domains = +ours
  local_parts = ann : bob
  transport = box
begin transports
box:
  driver = appendfile
  directory = {folder}/mail/$local_part_data
  maildir_format
  user = {user}
"""


@pytest.fixture(params=["*", ":"], ids=["chunking", "data"])
def exim(request: pytest.FixtureRequest, folder: Path, start: Callable[..., None], program: Program) -> Hop:
    as_root("Exim")
    binary = os.environ.get("MAILSTACK_EXIM") or program("exim4")
    port, user = free_port(), "Debian-exim"
    mail = box(folder, user)
    (folder / "spool").mkdir()
    shutil.chown(folder / "spool", user)
    settings = EXIM.format(exim=binary, folder=folder, port=port, user=user, chunking=request.param)
    (folder / "conf").write_text(settings)
    start([binary, "-C", str(folder / "conf"), "-bdf", "-odi"], port)
    return Hop(f"127.0.0.1:{port}", mail)


DOVECOT = """
protocols = lmtp
base_dir = {folder}/run
state_dir = {folder}/run
log_path = {folder}/log
ssl = no
hostname = next.test
postmaster_address = postmaster@example.org
mail_location = maildir:{folder}/mail/%n
mail_plugins = quota
first_valid_uid = 1
passdb {{
  driver = passwd-file
  args = {folder}/users
}}
userdb {{
  driver = passwd-file
  args = {folder}/users
}}
plugin {{
  quota = maildir:User quota
  quota_rule = *:storage=1G
}}
service lmtp {{
  unix_listener {folder}/lmtp {{
    mode = 0666
  }}
  inet_listener lmtp {{
    address = 127.0.0.1
    port = {port}
  }}
}}
service anvil {{
  chroot =
}}
"""


@pytest.fixture(params=["unix", "tcp"])
def dovecot(request: pytest.FixtureRequest, folder: Path, start: Callable[..., None], program: Program) -> Hop:
    as_root("Dovecot")
    binary, port = program("dovecot"), free_port()
    program("/usr/lib/dovecot/lmtp")
    mail = box(folder, "nobody")
    uid = pwd.getpwnam("nobody").pw_uid
    line = "{name}@example.org:{{PLAIN}}x:{uid}:{uid}::{folder}/mail/{name}::{extra}\n"
    users = [("ann", ""), ("bob", ""), ("full", "userdb_quota_rule=*:bytes=10")]
    (folder / "users").write_text(
        "".join(line.format(name=name, uid=uid, folder=folder, extra=extra) for name, extra in users)
    )
    (folder / "conf").write_text(DOVECOT.format(folder=folder, port=port))
    start([binary, "-F", "-c", str(folder / "conf")], port)
    return Hop(f"unix:{folder}/lmtp" if request.param == "unix" else f"127.0.0.1:{port}", mail)


def before(hop: Hop, *, ask_recipients: bool = False) -> Dialog:
    return Dialog(Vouch(), handler=Forward(hop.address, ask_recipients=ask_recipients))


async def takes_mail(smtp: Conversation, hop: Hop) -> None:
    """Small and large, to one and to several."""
    assert await smtp.message("a@example.net", ANN, AWKWARD) == 250
    assert await smtp.message("", [ANN, BOB], AWKWARD) == 250
    assert await smtp.message("a@example.net", BOB, LARGE) == 250
    bodies = await hop.delivered(4)
    assert sorted(bodies, key=len) == [AWKWARD, AWKWARD, AWKWARD, LARGE]


async def test_postfix_takes_what_is_forwarded(postfix: Hop) -> None:
    async with before(postfix) as smtp:
        await takes_mail(smtp, postfix)


async def test_exim_takes_what_is_forwarded(exim: Hop) -> None:
    async with before(exim) as smtp:
        await takes_mail(smtp, exim)


async def refuses_strangers(hop: Hop) -> None:
    async with before(hop) as smtp:
        assert (await smtp.message("a@example.net", NOBODY)).code >= 500
        answer = await smtp.message("a@example.net", [ANN, NOBODY])
        assert (answer.code, answer.status) == (451, "4.5.3")
    async with before(hop, ask_recipients=True) as smtp:
        await smtp.say("EHLO client.example.org")
        await smtp.say("MAIL FROM:<a@example.net>")
        codes = [(await smtp.say(f"RCPT TO:<{each}>")).code for each in (ANN, NOBODY, BOB)]
        assert codes[0] == codes[2] == 250
        assert codes[1] >= 500
        await smtp.say("DATA")
        await smtp.send(AWKWARD.replace(b"\r\n.", b"\r\n..") + b".\r\n")
        assert await smtp.reply() == 250
    assert await hop.delivered(2) == [AWKWARD] * 2


async def test_postfix_is_asked_and_heard(postfix: Hop) -> None:
    await refuses_strangers(postfix)


async def test_exim_is_asked_and_heard(exim: Hop) -> None:
    await refuses_strangers(exim)


async def test_dovecot_takes_what_is_handed_over(dovecot: Hop) -> None:
    async with Dialog(Vouch(), handler=Lmtp(dovecot.address)) as smtp:
        await takes_mail(smtp, dovecot)


async def test_dovecot_answers_for_each_recipient(dovecot: Hop) -> None:
    async with Dialog(Vouch(), handler=Lmtp(dovecot.address), lmtp=True) as lmtp:
        answers = await lmtp.deliver("a@example.net", [ANN, NOBODY, FULL, BOB], AWKWARD)
        assert [answer.code // 100 for answer in answers] == [2, 5, answers[2].code // 100, 2]
        assert answers[1].status == "5.1.1"
        assert answers[2].status in ("4.2.2", "5.2.2")
    assert await dovecot.delivered(2) == [AWKWARD] * 2


@pytest.mark.every_backend
async def test_aiosmtpd_sees_one_message_whatever_is_in_it(folder: Path, start: Callable[..., None]) -> None:
    port = free_port()
    mail = folder / "box"
    start([sys.executable, "-m", "aiosmtpd", "-n", "-l", f"127.0.0.1:{port}", "-c", "aiosmtpd.handlers.Mailbox",
           str(mail)], port)  # fmt: skip
    evil = b"MAIL FROM:<evil@example.net>\r\nRCPT TO:<victim@example.org>\r\nDATA\r\nSubject: evil\r\n\r\nevil\r\n"
    ends = [b"\n.\n", b"\n.\r\n", b"\r.\r", b"\r\n.\n", b"\r\n.\r", b"\n.\r", b"\r.\r\n", b"\r\n\0.\r\n"]
    hop = Hop(f"127.0.0.1:{port}", mail)
    async with Dialog(Vouch(), handler=Forward(hop.address), normalise=True) as smtp:
        for end in ends:
            assert await smtp.message("a@example.net", ANN, b"Subject: good\r\n\r\ngood" + end + evil) == 250
    bodies = await hop.delivered(len(ends))
    assert all(body.startswith(b"Subject: good") and b"evil@example.net" in body for body in bodies)
