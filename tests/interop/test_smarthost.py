"""forward before Postfix as a smarthost, with TLS, and Dovecot to judge the logins; and a man in the middle."""

import os
import pwd
import shutil
import signal
import subprocess
import tempfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from mailstack.handlers.forward import Forward
from mailstack.services.client import TLS, Login, NotSecure, open_client
from mailstack.testing import Dialog, Vouch
from tests.interop.test_next_hops import AWKWARD, MASTER, POSTFIX, Hop, as_root, box
from tests.programs import free_port, is_open, wait_until
from tests.tls import authority_pem, write_pem

pytestmark = [pytest.mark.interop, pytest.mark.one_backend]

Program = Callable[[str], str]

ANN = "ann@example.org"

SMARTHOST = """
smtpd_tls_security_level = may
smtpd_tls_chain_files = {folder}/mx.pem
smtpd_tls_auth_only = yes
smtpd_tls_received_header = yes
smtpd_sasl_auth_enable = yes
smtpd_sasl_type = dovecot
smtpd_sasl_path = {folder}/auth
smtpd_recipient_restrictions = permit_sasl_authenticated, reject
smtpd_sasl_authenticated_header = yes
"""
SERVICES = """
127.0.0.1:{implicit} inet n - n - - smtpd
  -o smtpd_tls_wrappermode=yes
tlsmgr unix - - n 1000? 1 tlsmgr
"""
LOGINS = """
protocols =
base_dir = {folder}/run
state_dir = {folder}/run
log_path = {folder}/log
ssl = no
auth_mechanisms = plain login cram-md5 scram-sha-1 scram-sha-256
passdb {{
  driver = passwd-file
  args = {folder}/users
}}
service auth {{
  unix_listener {folder}/auth {{
    mode = 0666
  }}
}}
service anvil {{
  chroot =
}}
"""


@dataclass
class Smarthost:
    """address -- with STARTTLS; implicit -- with TLS from the first octet."""

    address: str
    implicit: str
    hop: Hop


@pytest.fixture(scope="module")
def smarthost() -> Iterator[Smarthost]:
    """One for all tests here; skipped where the programs are not."""
    as_root("Postfix")
    for name in ("postfix", "dovecot"):
        if shutil.which(name, path=os.environ.get("PATH", "") + ":/usr/sbin:/sbin") is None:
            if os.environ.get("MAILSTACK_REQUIRE_INTEROP"):
                pytest.fail(f"{name} is not installed")
            pytest.skip(f"{name} is not installed")
    folder = Path(tempfile.mkdtemp(prefix="mailstack-smarthost-"))
    folder.chmod(0o755)
    running: list[subprocess.Popen[bytes]] = []
    try:
        yield _started(folder, running)
    finally:
        for process in running:
            process.send_signal(signal.SIGTERM)
            process.wait(30)
        shutil.rmtree(folder)


def _started(folder: Path, running: list[subprocess.Popen[bytes]]) -> Smarthost:
    def start(*command: str) -> None:
        running.append(subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL))

    (folder / "users").write_text("ann:{PLAIN}right password\n")
    (folder / "dovecot.conf").write_text(LOGINS.format(folder=folder))
    start("/usr/sbin/dovecot", "-F", "-c", str(folder / "dovecot.conf"))
    port, implicit = free_port(), free_port()
    mail = box(folder, "nobody")
    daemons = "/usr/lib/postfix/sbin" if Path("/usr/lib/postfix/sbin").exists() else "/usr/libexec/postfix"
    given: dict[str, Any] = {"folder": folder, "daemons": daemons, "uid": pwd.getpwnam("nobody").pw_uid}
    own = {line.partition(" =")[0] for line in SMARTHOST.splitlines()}
    usual = "\n".join(line for line in POSTFIX.splitlines() if line.partition(" =")[0] not in own - {""})
    (folder / "etc").mkdir()
    (folder / "etc/main.cf").write_text((usual + SMARTHOST).format(**given))
    (folder / "etc/master.cf").write_text((MASTER + SERVICES).format(port=port, implicit=implicit))
    write_pem(folder / "mx.pem", "mx.test")
    (folder / "data").mkdir()
    shutil.chown(folder / "data", "postfix")
    (folder / "queue").mkdir()
    subprocess.run(["/usr/sbin/postfix", "-c", str(folder / "etc"), "check"], check=True, timeout=30)
    start(f"{daemons}/master", "-c", str(folder / "etc"), "-d")
    wait_until(lambda: is_open(port) and is_open(implicit) and (folder / "auth").exists(), *running)
    return Smarthost(f"127.0.0.1:{port}", f"127.0.0.1:{implicit}", Hop("", mail))


def checked(**options: Any) -> TLS:
    return TLS("verify", ca=authority_pem(), name="mx.test", **options)


async def send(place: str, **how: Any) -> Any:
    async with Dialog(Vouch(), handler=Forward(place, **how)) as smtp:
        return await smtp.message("a@example.net", ANN, AWKWARD)


@pytest.mark.parametrize("mechanism", ["SCRAM-SHA-256", "SCRAM-SHA-1", "CRAM-MD5", "PLAIN", "LOGIN"])
async def test_postfix_lets_us_in_by_each_mechanism_that_dovecot_knows(smarthost: Smarthost, mechanism: str) -> None:
    before = len(list(smarthost.hop.mail.rglob("new/*")))
    login = Login("ann", password="right password", mechanisms=mechanism)
    assert await send(smarthost.address, tls=checked(), login=login) == 250
    await smarthost.hop.delivered(before + 1)
    newest = max(smarthost.hop.mail.rglob("new/*"), key=lambda file: file.stat().st_mtime_ns).read_bytes()
    assert b"(Authenticated sender: ann)" in newest
    assert b"using TLSv1.3" in newest


async def test_the_same_with_tls_from_the_first_octet_and_the_best_mechanism(smarthost: Smarthost) -> None:
    how: Any = {"tls": checked(implicit=True), "user": "ann", "password": "right password"}
    assert await send(smarthost.implicit, **how) == 250


@pytest.mark.parametrize("mechanism", ["SCRAM-SHA-256", "PLAIN"])
async def test_a_wrong_password_puts_mail_off(smarthost: Smarthost, mechanism: str, caplog: Any) -> None:
    login = Login("ann", password="wrong password", mechanisms=mechanism)
    heard = await send(smarthost.address, tls=checked(), login=login)
    assert (heard.code, heard.status) == (451, "4.7.0")
    assert "login at the next server failed" in caplog.text
    assert "wrong password" not in caplog.text


async def test_without_a_login_postfix_refuses_and_that_is_passed_on(smarthost: Smarthost) -> None:
    assert (await send(smarthost.address, tls="encrypt")).code == 554


async def test_a_certificate_of_nobody_knows_whom_is_no_certificate(smarthost: Smarthost) -> None:
    heard = await send(smarthost.address, tls="verify", user="ann", password="right password")
    assert (heard.code, heard.status) == (451, "4.7.5")


async def test_who_takes_starttls_out_of_the_offer_gains_nothing(smarthost: Smarthost) -> None:
    """A man in the middle, before a real server."""
    import anyio

    host, port = smarthost.address.split(":")

    async def meddle(stream: anyio.abc.SocketStream) -> None:
        async with stream, await anyio.connect_tcp(host, int(port)) as server, anyio.create_task_group() as group:

            async def back() -> None:
                async for octets in server:
                    await stream.send(
                        octets.replace(b"250-STARTTLS", b"250-XSTARTTL").replace(b"8BITMIME", b"AUTH PLAIN")
                    )
                group.cancel_scope.cancel()

            group.start_soon(back)
            async for octets in stream:
                assert b"AUTH" not in octets
                await server.send(octets)
            group.cancel_scope.cancel()

    async with await anyio.create_tcp_listener(local_host="127.0.0.1") as listener, anyio.create_task_group() as group:
        group.start_soon(listener.serve, meddle)
        address = "127.0.0.1", listener.extra(anyio.abc.SocketAttribute.local_port)
        for policy in (TLS("encrypt"), checked()):
            with pytest.raises(NotSecure) as error:
                await open_client(
                    address, hostname="me.test", tls=policy, login=Login("ann", password="right password")
                )
            assert not error.value.offered
        group.cancel_scope.cancel()
