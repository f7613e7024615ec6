"""recipients.Callout before servers that others wrote: they say who exists, and get no message."""

import smtplib
import subprocess
from collections.abc import Callable

import pytest
from anyio import to_thread

from mailstack import Listener, Server, Stack
from mailstack.handlers.discard import Discard
from mailstack.middleware.recipients import Callout
from mailstack.testing import Dialog

from .test_next_hops import Hop, dovecot, exim, folder, postfix, start

__all__ = ["dovecot", "exim", "folder", "postfix", "start"]

pytestmark = pytest.mark.interop


async def knows_who_exists(hop: Hop, *, lmtp: bool = False) -> None:
    async with Dialog(Callout(hop.address, "example.org", lmtp=lmtp)) as smtp:
        for command in ("EHLO client.example.org", "MAIL FROM:<a@example.net>"):
            assert await smtp.say(command) == 250
        for _ in range(2):
            for local, code in (("ann", 250), ("eve", 550), ("bob", 250), ("ann%elsewhere.example", 550)):
                answer = await smtp.say(f"RCPT TO:<{local}@example.org>")
                assert answer.code == code, (local, answer)
    assert not [path for path in hop.mail.rglob("new/*") if path.is_file()]


async def test_postfix_says_who_exists(postfix: Hop) -> None:
    await knows_who_exists(postfix)


async def test_exim_says_who_exists(exim: Hop) -> None:
    await knows_who_exists(exim)


async def test_dovecot_says_who_exists(dovecot: Hop) -> None:
    await knows_who_exists(dovecot, lmtp=True)


async def test_swaks_and_smtplib_hear_what_postfix_says(postfix: Hop, program: Callable[[str], str]) -> None:
    stack = Stack(Callout(postfix.address, "example.org"), Discard())
    async with Server(stack, [Listener("127.0.0.1:0")], hostname="edge.test") as server:
        port = server.addresses[0][1]
        swaks = [program("swaks"), "--server", f"127.0.0.1:{port}", "--from", "a@example.net", "--quit-after", "RCPT"]

        def hear(local: str) -> tuple[int, bytes]:
            done = subprocess.run([*swaks, "--to", f"{local}@example.org"], stdout=subprocess.PIPE, timeout=30)
            return done.returncode, done.stdout

        assert (await to_thread.run_sync(hear, "ann"))[0] == 0
        status, transcript = await to_thread.run_sync(hear, "eve")
        assert (status, b"550 5.1.1 no such mailbox here" in transcript) == (24, True)

        def send() -> dict[str, tuple[int, bytes]]:
            with smtplib.SMTP("127.0.0.1", int(port), timeout=30) as client:
                return client.sendmail("a@example.net", ["ann@example.org", "eve@example.org"], "Subject: x\n\nx\n")

        assert await to_thread.run_sync(send) == {"eve@example.org": (550, b"5.1.1 no such mailbox here")}
