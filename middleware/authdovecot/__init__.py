"""authdovecot: Dovecot judges passwords, over its authentication socket, with whatever passdb it has.

    from mailstack.middleware import auth, authdovecot

    Stack(auth.Auth(), authdovecot.Dovecot("unix:/run/dovecot/mailstack"), …)

In Dovecot's configuration, the socket with a name, a mode and an owner for the user as whom this server runs:

    service auth {
      unix_listener mailstack {
        mode = 0600
        user = mail
      }
    }

An `inet_listener` there does as well ("127.0.0.1:12345"); what goes over it is in clear.

Dovecot hears the addresses of the client and of this server, whether the client came by TLS (`secured`), and `service`,
by which its passdbs may differ. It says who the user is (`user=`): with all that it does to names, that is the login's
identity. One connection serves all logins; when Dovecot is restarted, what was under way is asked once more.

| Dovecot says | that means |
|---|---|
| OK | 235 |
| OK with `nologin` | 535: the password is right, but nobody may log in |
| OK with `proxy` | 454, and a line in the log: perhaps no password was compared: that is for the other server |
| FAIL | no: the next provider is asked, for Dovecot leaves open whether the user exists; 535 when nobody knows him |
| FAIL, user_disabled, pass_expired or authz_fail | 535 |
| FAIL, temporary | 454 |
| nothing in time, or nobody is there | 454 |

Dovecot answers a wrong password after two seconds, and later and later to an address that tries more: up to 17 seconds,
which is why `timeout` is 20.

PLAIN and LOGIN are offered if Dovecot lists PLAIN; as long as nobody could ask it, they are. CRAM-MD5 and SCRAM cannot
be passed on: the exchange is between this server and its client, and Dovecot does not hand out what it takes.
In a rehearsal Dovecot is asked.

Source: https://doc.dovecot.org/2.3/developer_manual/design/auth_protocol/
"""

from __future__ import annotations

from typing import Final

from anyio import Lock, create_task_group
from anyio.abc import TaskGroup

from mailstack.contract.hookspec import LiveOn, hookimpl
from mailstack.services.elsewhere import GOOD, WRONG, Elsewhere, Trouble
from mailstack.services.scan.servers import Servers
from mailstack.session.credentials import PASSWORD, Credentials, Password
from mailstack.session.session import Session
from mailstack.wire.reply import Reply

from .link import Link, Lost, open_link
from .protocol import Answer

__all__ = ["Dovecot"]

PORT: Final = 12345  # as Dovecot's own examples have it

_KNOWN: Final = frozenset(("user_disabled", "pass_expired", "authz", "authz_fail"))
_TEMPORARY: Final = frozenset(("temp", "temp_fail"))


class Dovecot:
    """Ask Dovecot.

    address -- of its socket: "unix:/run/dovecot/auth-client", "127.0.0.1:12345".
    service -- what Dovecot is told that this is.
    at_once -- logins that are under way at a time; further ones wait. timeout -- for one of them, waiting included.

    ConfigError for what makes no sense.
    """

    rehearsable = True

    def __init__(
        self,
        address: str = "unix:/run/dovecot/auth-client",
        *,
        service: str = "smtp",
        at_once: int = 100,
        timeout: str | float = "20s",
    ) -> None:
        [(self._name, self._address)] = Servers((address,), port=PORT, name="Dovecot").addresses.items()
        self._service = service
        self._elsewhere = Elsewhere("Dovecot", "authdovecot", at_once=at_once, timeout=timeout)
        self._group: TaskGroup | None = None
        self._connecting = Lock()
        self._link: Link | None = None
        self._listed: frozenset[str] | None = None

    @property
    def mechanisms(self) -> tuple[str, ...]:
        return PASSWORD if self._listed is None or "PLAIN" in self._listed else ()

    @hookimpl
    async def lifespan(self, call_next: LiveOn) -> None:
        async with create_task_group() as self._group:
            await call_next()
            self._group.cancel_scope.cancel()
        self._group = self._link = None

    @hookimpl
    async def auth(self, session: Session, credentials: Credentials) -> Reply | None:
        return await self._elsewhere.judge(session, credentials, self._ask)

    async def _ask(self, session: Session, login: Password) -> Reply | None:
        fields, patience = self._fields(session), self._elsewhere.timeout * 0.9
        before = self._link
        link = await self._connected()
        try:
            answer = await link.ask(login, fields, patience)
        except Lost:
            if link is not before:
                raise
            answer = await (await self._connected()).ask(login, fields, patience)  # it had died, or was restarted
        return _judged(answer, login)

    def _fields(self, session: Session) -> dict[str, str]:
        """What Dovecot hears of the conversation. nologin -- nobody will ask for this user's mailbox."""
        fields = {"service": self._service, "nologin": ""}
        if session.secure:
            fields["secured"] = ""
        for peer, ip, port in ((session.server, "lip", "lport"), (session.client, "rip", "rport")):
            if peer.port is not None:
                fields |= {ip: peer.host, port: str(peer.port)}
        return fields

    async def _connected(self) -> Link:
        async with self._connecting:
            if self._link is None or self._link.lost is not None:
                if self._group is None:
                    raise RuntimeError("the server does not run")
                self._link = link = await open_link(self._address)
                self._listed = link.mechanisms
                self._group.start_soon(link.run)
            if "PLAIN" not in self._link.mechanisms:
                raise Trouble(f"{self._name} does not offer PLAIN")
            return self._link


def _judged(answer: Answer, login: Password) -> Reply | None:
    fields = answer.fields
    if answer.verb == "OK":
        if "proxy" in fields:
            raise Trouble("Dovecot would pass this user on to another server, which has not been asked")
        login.identity = fields.get("user") or None
        return WRONG if "nologin" in fields else GOOD
    if answer.verb == "CONT":
        raise Trouble("Dovecot wants to hear more than a name and a password")
    said = {*fields, fields.get("code", "")}
    if said & _TEMPORARY:
        raise Trouble("Dovecot is in trouble")
    return WRONG if said & _KNOWN else None
