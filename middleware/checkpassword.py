"""checkpassword: a program judges passwords, any that speaks Bernstein's checkpassword interface.

    from mailstack.middleware import auth, checkpassword

    Stack(
        auth.Auth(),
        checkpassword.CheckPassword("/usr/local/bin/checkpassword", "/bin/true"),
        …
    )

The command is the program with its arguments, the last of which is what it runs when the password is right: /bin/true.
No shell sees what the client said. The program reads, from descriptor 3, the name, the password and an empty timestamp,
a NUL behind each, 512 octets at most (https://cr.yp.to/checkpwd/interface.html). Its input, its output and its errors
are /dev/null; its environment is PATH, LC_ALL=C and what `environment` says; its folder is /.

| it ends with | that means |
|---|---|
| 0 | the password is right: 235 |
| 1 | no: the next provider is asked, for the program leaves open whether the user exists; 535 when nobody knows him |
| 111 | it is in trouble: 454 |
| 2 (misuse), anything else, a signal | 454, and the log says with what |

A name and a password that do not fit into 512 octets are nobody's, and so are those with a NUL: no program is started.
What has not ended in time is killed with its whole process group: 454.

The program has the rights of the server, which is not root where `Server(user=…)` is set: many programs that read
/etc/shadow are installed setuid, or want sudo in the command. In a rehearsal it is not asked.
"""

from __future__ import annotations

import os
import signal
import subprocess
from collections.abc import Mapping
from contextlib import suppress
from typing import Final

import anyio
from anyio.abc import Process

from mailstack.contract.hookspec import hookimpl
from mailstack.option import ConfigError
from mailstack.services.elsewhere import GOOD, Elsewhere, Trouble
from mailstack.session.credentials import PASSWORD, Credentials, Password
from mailstack.session.session import Session
from mailstack.wire.reply import Reply

__all__ = ["CheckPassword"]

MOST: Final = 512  # octets on descriptor 3, all NULs included: the interface's own limit

# The shell moves its input to descriptor 3, and becomes the program: it reads neither.
_ON_DESCRIPTOR_3: Final = ("/bin/sh", "-c", 'exec "$@" 3<&0 </dev/null', "sh")
_ENVIRONMENT: Final = {"PATH": "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin", "LC_ALL": "C"}
_MEANING: Final = {2: "the program was misused", 111: "the program is in trouble"}


class CheckPassword:
    """Ask a program.

    command -- its path and arguments. environment -- what it gets beside PATH and LC_ALL.
    at_once -- how many run at a time; further logins wait. timeout -- for one of them, waiting included.

    ConfigError when there is no such program.
    """

    mechanisms = PASSWORD

    def __init__(
        self,
        *command: str,
        environment: Mapping[str, str] | None = None,
        at_once: int = 10,
        timeout: str | float = "10s",
    ) -> None:
        self._command = (*_ON_DESCRIPTOR_3, *_checked(command))
        self._environment = {**_ENVIRONMENT, **(environment or {})}
        self._elsewhere = Elsewhere("CheckPassword", "checkpassword", at_once=at_once, timeout=timeout)

    @hookimpl
    async def auth(self, session: Session, credentials: Credentials) -> Reply | None:
        return await self._elsewhere.judge(session, credentials, self._ask)

    async def _ask(self, session: Session, login: Password) -> Reply | None:
        told = b"".join(each.encode() + b"\0" for each in (login.user, login.password, ""))
        if len(told) > MOST:
            return None
        code = await self._run(told)
        if code not in (0, 1):
            raise Trouble(_MEANING.get(code, f"the program ended with {code}"))
        return GOOD if code == 0 else None

    async def _run(self, told: bytes) -> int:
        """The code with which the program ends; minus the number of a signal."""
        process = await anyio.open_process(
            self._command,
            stdin=subprocess.PIPE,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            cwd="/",
            env=self._environment,
            start_new_session=True,
        )
        try:
            assert process.stdin is not None
            with suppress(anyio.BrokenResourceError):  # it need not read
                await process.stdin.send(told)
            await process.stdin.aclose()
            return await process.wait()
        finally:
            with anyio.CancelScope(shield=True):
                await _end(process)


async def _end(process: Process) -> None:
    """Nothing is left of it: a process that has not been waited for keeps its group's number from others."""
    if process.returncode is None:
        with suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        await process.wait()
    await process.aclose()


def _checked(command: tuple[str, ...]) -> tuple[str, ...]:
    remedy = 'write CheckPassword("/usr/local/bin/checkpassword", "/bin/true")'
    if len(command) < 2 or any("\0" in each for each in command):
        raise ConfigError("CheckPassword: a command is a program and what it runs when all is well", remedy=remedy)
    program = command[0]
    if not os.path.isabs(program) or not os.path.isfile(program) or not os.access(program, os.X_OK):
        remedy = "install it, or name the path of one that is there"
        raise ConfigError(f"CheckPassword: {program!r} is not the path of a program", remedy=remedy)
    return command
