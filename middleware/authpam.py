"""authpam: the system's PAM judges passwords.

    from mailstack.middleware import auth, authpam

    Stack(auth.Auth(), authpam.PAM("smtp"), …)

`service` is the file in /etc/pam.d that says how. Without one PAM takes /etc/pam.d/other, which may let in more than
was meant: the log warns at start. A password has to be right (`auth`) and the account usable (`account`: not expired,
not locked):

    auth     required  pam_unix.so
    account  required  pam_unix.so

PAM hears the client's address (PAM_RHOST), and that accounts without a password are not to be let in
(PAM_DISALLOW_NULL_AUTHTOK), whatever `nullok` says.

| PAM says | that means |
|---|---|
| success | 235 |
| no to the password, or to the user | the next provider is asked, for modules mean either by both; 535 if none |
| too many attempts; no to the account: expired, locked, a new password due | 535 |
| anything else: its own trouble, a module that is not there; nothing in time | 454, and the log has PAM's words |

pam_exec calls a script's no a system error, which is trouble; with pam_deny behind it, it is a no:

    auth     [success=1 default=ignore]  pam_exec.so quiet expose_authtok /usr/local/bin/check
    auth     requisite  pam_deny.so
    auth     required   pam_permit.so

PAM waits, and wrong passwords wait longer (pam_unix: two seconds), so it is asked in `threads` threads of its own. One
that hangs cannot be ended: when all hang, logins are 454 until one comes back.

pam_unix reads /etc/shadow and so wants root; run by somebody else, it judges that user's own password and no other.
Behind `Server(user=…)` that leaves modules which ask others (pam_sss, pam_ldap, pam_exec), or another provider:
`authdovecot`, or `checkpassword` with a program that is setuid. In a rehearsal PAM is not asked, for its modules count
failures.

Needs `pip install "mailstack[pam]"`: python-pam, and libpam.
"""

from __future__ import annotations

import os
from ctypes import c_char_p
from typing import Any, Final

from mailstack import extra, log, option
from mailstack.contract.hookspec import LiveOn, hookimpl
from mailstack.option import ConfigError
from mailstack.services.elsewhere import GOOD, WRONG, Elsewhere, Trouble
from mailstack.services.workers import Workers
from mailstack.session.credentials import PASSWORD, Credentials, Password
from mailstack.session.session import Session
from mailstack.wire.reply import Reply

__all__ = ["PAM"]

EXTRAS = ("pam",)

MOST: Final = 511  # octets of a password: PAM_MAX_RESP_SIZE, with a NUL

# <security/_pam_types.h>: PAM's numbers on Linux.
_SUCCESS: Final = 0
_NO: Final = frozenset((7, 10))  # PAM_AUTH_ERR, PAM_USER_UNKNOWN
_NOT_HIM: Final = frozenset(
    (6, 11, 12, 13, 27)
)  # PERM_DENIED, MAXTRIES, NEW_AUTHTOK_REQD, ACCT_EXPIRED, AUTHTOK_EXPIRED
_DISALLOW_NULL_AUTHTOK: Final = 1
_SILENT: Final = 0x8000
_RHOST: Final = 4
_FOLDERS: Final = ("/etc/pam.d", "/usr/lib/pam.d", "/usr/local/etc/pam.d")


class PAM:
    """Ask PAM.

    service -- a file in /etc/pam.d. threads -- logins at a time, at most 4: not every module bears more.
    timeout -- for one of them, waiting included.

    ConfigError for what makes no sense, and when python-pam or libpam is not there.
    """

    mechanisms = PASSWORD

    def __init__(self, service: str = "smtp", *, threads: int = 2, timeout: str | float = "15s") -> None:
        if not service.isprintable() or not service or "/" in service or service.startswith("."):
            raise ConfigError(f"PAM: {service!r} is not the name of a file in /etc/pam.d", remedy='write "smtp"')
        self._pam = extra.require("pam", "mailstack[pam]")
        try:
            self._pam.PamAuthenticator()
        except (OSError, TypeError, AttributeError) as error:
            raise ConfigError(f"PAM: libpam cannot be loaded: {error}", remedy="apt install libpam0g") from error
        self._service = service
        self._threads = option.integer(threads, name="PAM(threads)", minimum=1, maximum=4)
        self._elsewhere = Elsewhere("PAM", "authpam", at_once=self._threads, timeout=timeout)
        self._workers: Workers | None = None

    @hookimpl
    async def lifespan(self, call_next: LiveOn) -> None:
        if not _is_there(self._service):
            log.warning("no such PAM service", who="authpam", service=self._service, then="PAM takes /etc/pam.d/other")
        self._workers = workers = Workers(self._threads, timeout=self._elsewhere.timeout)
        try:
            await call_next()
        finally:
            workers.close()

    @hookimpl
    async def auth(self, session: Session, credentials: Credentials) -> Reply | None:
        return await self._elsewhere.judge(session, credentials, self._ask)

    async def _ask(self, session: Session, login: Password) -> Reply | None:
        if len(login.password.encode()) > MOST:
            return None
        if self._workers is None:
            raise RuntimeError("the server does not run")
        client = session.client.host if session.client.port is not None else ""
        code, words = await self._workers.run(lambda: self._authenticate(login, client))
        if code == _SUCCESS:
            return GOOD
        if code in _NO:
            return None
        if code in _NOT_HIM:
            return WRONG
        raise Trouble(f"PAM says {words} ({code})")

    def _authenticate(self, login: Password, client: str) -> tuple[int, str]:
        """In a thread: PAM's number, and what it means. python-pam passes neither flags nor the client on: we do."""
        talk: Any = self._pam.PamAuthenticator()
        authenticate, check = talk.pam_authenticate, talk.pam_acct_mgmt

        def first(handle: Any, flags: int) -> int:
            if client:
                talk.pam_set_item(handle, _RHOST, c_char_p(client.encode("ascii", "replace")))
            code: int = authenticate(handle, flags | _DISALLOW_NULL_AUTHTOK | _SILENT)
            return code

        talk.pam_authenticate = first
        talk.pam_acct_mgmt = lambda handle, flags: check(handle, flags | _DISALLOW_NULL_AUTHTOK | _SILENT)
        talk.authenticate(login.user, login.password, service=self._service, resetcreds=False)
        return talk.code, str(talk.reason)


def _is_there(service: str) -> bool:
    return any(os.path.exists(f"{folder}/{service}") for folder in _FOLDERS)
