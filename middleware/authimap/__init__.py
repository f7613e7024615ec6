"""authimap: an IMAP server judges passwords: whoever it lets in has logged in here.

    from mailstack.middleware import auth, authimap

    Stack(auth.Auth(), authimap.IMAP("imap.example.org"), …)
    authimap.IMAP("imap.example.org:143", encryption="starttls", ca="/etc/ssl/example.pem")

For each login one connection is made, and left when the server has answered. `encryption` is "tls" (from the first
octet, port 993), "starttls" (port 143) or "none" (port 143), which is for servers on this machine alone. The
certificate must be the host's, and signed by somebody whom the system trusts, or by `ca`.

The password goes by AUTHENTICATE PLAIN if the server offers that, else by LOGIN with literals, unless the server says
LOGINDISABLED. Nothing that a client of ours says can be taken for a command.

| the server says | that means |
|---|---|
| OK | 235 |
| NO | the next provider is asked, for the server leaves open whether the user exists; 535 when nobody knows him |
| NO with EXPIRED, AUTHORIZATIONFAILED or CONTACTADMIN | 535 |
| NO with UNAVAILABLE, SERVERBUG, INUSE, LIMIT or PRIVACYREQUIRED; BAD; BYE | 454 |
| nothing in time, what no IMAP server says, a certificate of somebody else's; nobody is there | 454 |

The identity is the name as the client wrote it: where the server takes "Ann" for "ann", both are logins here.

Many servers delay the answer to a wrong password; `timeout` is for all of it. In a rehearsal the server is asked.

Sources: RFC 9051 and 3501, 2595 and 8314 (TLS), 4616, 4959, 5530, 7888.
"""

from __future__ import annotations

import os
import ssl
from typing import Final, Literal

from mailstack import option
from mailstack.contract.hookspec import hookimpl
from mailstack.option import ConfigError
from mailstack.services.elsewhere import Elsewhere
from mailstack.services.scan.servers import Servers
from mailstack.services.transport import RawStream, connect, tls
from mailstack.session.credentials import PASSWORD, Credentials, Password
from mailstack.session.session import Session
from mailstack.wire.reply import Reply

from .conversation import Conversation

__all__ = ["IMAP"]

Encryption = Literal["tls", "starttls", "none"]

_PORTS: Final[dict[str, int]] = {"tls": 993, "starttls": 143, "none": 143}


class IMAP:
    """Ask an IMAP server.

    address -- "imap.example.org", "192.0.2.1:993", "unix:/run/imap" (with encryption="none").
    encryption -- "tls", "starttls" or "none". ca -- a PEM file of who signs its certificate; default: the system's.
    at_once -- connections at a time; further logins wait. timeout -- for one login, waiting included.

    ConfigError for what makes no sense.
    """

    mechanisms = PASSWORD
    rehearsable = True

    def __init__(
        self,
        address: str,
        *,
        encryption: Encryption = "tls",
        ca: str | os.PathLike[str] | None = None,
        at_once: int = 10,
        timeout: str | float = "20s",
    ) -> None:
        self._encryption = option.choice(encryption, "tls", "starttls", "none", name="IMAP(encryption)")
        servers = Servers((address,), port=_PORTS[self._encryption], name="IMAP")
        [self._address] = servers.addresses.values()
        self._context = None if self._encryption == "none" else _context(ca)
        if isinstance(self._address, str) and self._context is not None:
            raise ConfigError(
                "IMAP: a UNIX socket has no name that a certificate could show", remedy='add encryption="none"'
            )
        self._elsewhere = Elsewhere("IMAP", "authimap", at_once=at_once, timeout=timeout)

    @hookimpl
    async def auth(self, session: Session, credentials: Credentials) -> Reply | None:
        return await self._elsewhere.judge(session, credentials, self._ask)

    async def _ask(self, session: Session, login: Password) -> Reply | None:
        raw = await connect(self._address)
        try:
            conversation = await self._begin(raw)
            reply = await conversation.log_in(login)
        except BaseException:
            raw.abort()
            raise
        await conversation.leave()
        return reply

    async def _begin(self, raw: RawStream) -> Conversation:
        """As far as a password may be said."""
        host = self._address[0]
        if self._context is not None and self._encryption == "tls":
            conversation = Conversation(await tls.wrap(raw, self._context, server_hostname=host))
        else:
            conversation = Conversation(raw)
        await conversation.greeted()
        if self._context is not None and self._encryption == "starttls":
            await conversation.start_tls(raw, self._context, host)
        return conversation


def _context(ca: str | os.PathLike[str] | None) -> ssl.SSLContext:
    try:
        return ssl.create_default_context(cafile=ca)
    except (OSError, TypeError) as error:  # SSLError is an OSError
        raise ConfigError(
            f"IMAP: ca={os.fspath(ca or '')!r} cannot be read: {error}",
            remedy="name a PEM file with the certificate of who signs",
        ) from error
