"""Logins that PAM judges: libpam itself, with services of the test's own, and with pam_unix."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from mailstack.middleware.authpam import PAM
from tests.middleware.providers.logins import AWKWARD, answers, asked, judged, logged

from .test_next_hops import Program, as_root, folder

__all__ = ["folder"]

pytestmark = pytest.mark.interop

SECRET = 'se"cret ü'

# The password of everybody but nobody; PAM has to tell from where he comes. Who is "slow" has to wait.
SCRIPT = f"""#!/bin/sh
IFS= read -r password
[ "$PAM_USER" = slow ] && exec sleep 20
[ "$password" = '{SECRET}' ] && [ "$PAM_USER" != nobody ] && [ "$PAM_RHOST" = 192.0.2.1 ]
"""
AUTH = """
auth [success=1 default=ignore] pam_exec.so quiet expose_authtok {script}
auth requisite pam_deny.so
auth required pam_permit.so
"""
ANYBODY = "account required pam_permit.so\n"

Service = Callable[[str], str]


@pytest.fixture
def service(folder: Path) -> Iterator[Service]:
    """A file in /etc/pam.d, for the time of the test; its name."""
    as_root("/etc/pam.d")
    file, script = Path(f"/etc/pam.d/mailstack-test-{os.getpid()}"), folder / "password"
    script.write_text(SCRIPT)
    script.chmod(0o755)

    def write(text: str) -> str:
        file.write_text(text.format(script=script, folder=folder))
        return file.name

    yield write
    file.unlink(missing_ok=True)


async def test_pam_is_asked(service: Service) -> None:
    provider = PAM(service(AUTH + ANYBODY), threads=4)
    assert await judged(provider, "ann", SECRET) == (235, "ann")
    wrong = [*AWKWARD, "x" * 511, "x" * 512, "x" * 1025, ""]
    assert await answers(provider, *[("ann", text) for text in wrong], ("nobody", SECRET)) == [None] * (len(wrong) + 1)


async def test_the_account_has_to_be_usable(service: Service, folder: Path) -> None:
    (folder / "denied").write_text("denied\n")
    account = "account required pam_listfile.so item=user sense=deny file={folder}/denied onerr=fail\n"
    provider = PAM(service(AUTH + account))
    assert await answers(provider, ("ann", SECRET), ("denied", SECRET)) == [235, None]


async def test_trouble_of_pam_s_own_is_454(service: Service) -> None:
    with logged() as stream:
        assert await asked(PAM(service("auth required pam_not_there.so\n" + ANYBODY)), "ann", SECRET) == 454
    assert "PAM says" in stream.getvalue()
    assert SECRET not in stream.getvalue()


async def test_a_pam_that_hangs_is_454(service: Service) -> None:
    assert await asked(PAM(service(AUTH + ANYBODY), timeout=0.5), "slow", SECRET) == 454


@pytest.fixture
def account(program: Callable[[str], str]) -> Iterator[Callable[..., None]]:
    """An account of the system's for the time of the test: changed by `usermod` with these options."""
    as_root("useradd")

    def run(command: str, *options: str) -> None:
        subprocess.run([program(command), *options, NAME], check=True, capture_output=True)

    run("useradd", "--no-create-home", "--shell", "/usr/sbin/nologin")
    yield lambda *options: run("usermod", *options)
    run("userdel")


NAME = f"mailstack{os.getpid()}"
UNIX = "auth required pam_unix.so nullok nodelay\naccount required pam_unix.so\n"


async def test_accounts_of_the_system(service: Service, account: Callable[..., None], program: Program) -> None:
    provider = PAM(service(UNIX))
    account("--password", "")
    assert await asked(provider, NAME, "anything") is None  # whatever nullok says
    account("--password", hashed(program("openssl")))
    assert await answers(provider, (NAME, "right"), (NAME, "wrong"), ("nobody-here", "right")) == [235, None, None]
    account("--expiredate", "1")
    assert await asked(provider, NAME, "right") == 535


def hashed(openssl: str) -> str:
    command = [openssl, "passwd", "-6", "right"]
    return subprocess.run(command, check=True, capture_output=True, text=True).stdout.strip()
