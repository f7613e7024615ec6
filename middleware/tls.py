"""tls: STARTTLS, and TLS from the first octet on listeners that have it.

    from mailstack.middleware import tls

    Server(
        Stack(
            tls.TLS("/etc/mailstack/mx.pem"),             # key and chain in one file
            …
        ),
        listeners=[Listener("[::]:25"), Listener("[::]:465", tls=True)],
    )

Other places: `TLS("mx.crt", "mx.key")`; `TLS("/etc/letsencrypt/live")` for all certificates that an ACME client keeps
there, each in a folder with `fullchain.pem` and `privkey.pem`; a folder of PEM files. `mailstack certs NAME` makes one
for tests and for machines of one's own. It stands above whatever answers MAIL or other commands: `required` holds what
is below.

Which certificate a client gets
    That for the name it asks for, exactly or by a wildcard; else the one for `default`, else for the server's hostname,
    else the first. ECDSA and RSA certificates for the same names are offered together.

New certificates
    need no restart: the files are looked at once a second at most, when somebody connects. While they are broken, half
    written or over the old one stays, and the log says so once. A server that gives up root's rights reads them as the
    user that it became, and says at the start if that user may not. At the start a certificate that is missing, broken,
    over or not its key's is an error. Of one that ends within a week, or has ended, the log speaks once a day.

Clients that do not want TLS
    `required=True` answers 530 to whatever comes in clear but EHLO, HELO, LHLO, NOOP, RSET, QUIT and STARTTLS. That is
    for submission; a server on the Internet's port 25 must not ask it of strangers (RFC 3207 §4).

Client certificates
    `client_certificates="required"` or "optional", with `client_ca`: the PEM file of those who sign them, or of single
    certificates. A wrong one ends the handshake, with "optional" too: do not ask strangers on port 25, some of whom
    show whatever they have. `identity` makes them users, as if they had logged in (`predicate.authenticated`):

        TLS("mx.pem", client_certificates="optional", client_ca="ours.pem", identity={
            "email:alice@example.org": "alice",               # what its names say: email, DNS, commonName …
            "3F:A9:…": "backup",                              # or the SHA-256 fingerprint
        })

    or a function of `session.encryption` that returns the user or None. Who is not in it stays a stranger. Whoever
    speaks for others by XCLIENT never makes them users by its own certificate.

What is not here: an ALPN protocol for SMTP has never been registered, and Python's OpenSSL cannot refuse foreign ones;
a browser that is sent here is stopped by its HTTP, which ends the session.

What happens
    STARTTLS is 501 with an argument, 503 under TLS, 454 while there is no certificate. Whatever came in clear behind it
    is thrown away, HELO, envelope and login are forgotten; the handshake has `Limits(opening=…)`. Renegotiation is
    refused. `session.encryption` has version, cipher and names; they stand in Received and in the log.
"""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Mapping, MutableMapping
from pathlib import Path
from typing import ClassVar, Literal

from mailstack import log, option
from mailstack.contract.hookspec import LiveOn, hookimpl
from mailstack.option import ConfigError
from mailstack.services.certificates import Certificates, Terms
from mailstack.session.encryption import Encryption
from mailstack.session.session import Session
from mailstack.wire.command import Command
from mailstack.wire.reply import Reply

__all__ = ["TLS"]

_READY = "ready to start TLS"
_NO_ARGUMENT = Reply(501, "STARTTLS has no argument", status="5.5.4")
_ACTIVE = Reply(503, "TLS is active already", status="5.5.1")
_UNAVAILABLE = Reply(454, "TLS not available at the moment", status="4.7.0")
_NEEDED = Reply(530, "must issue a STARTTLS command first", status="5.7.0")

_FINGERPRINT = re.compile(r"[0-9a-f]{64}")
_NAME = re.compile(r"[A-Za-z ]+:.+")

Where = str | os.PathLike[str]
Demand = Literal["off", "optional", "required"]
Identify = Callable[[Encryption], str | None]


class TLS:
    """certificate -- a PEM file with key and chain, or a folder; key -- the key's own file.

    default -- the name whose certificate is for clients that ask for none that is here.
    required -- whether nothing else is done in clear.
    minimum -- "TLSv1.2" or "TLSv1.3". ciphers -- OpenSSL's list for TLS 1.2; default: the library's own.
    tickets -- whether clients can resume their sessions. The key that protects tickets stays the same while the process
        lives, and opens what was said under TLS 1.2 (RFC 9325 §3.4); they save half a handshake with an RSA key, and
        cost more than they save with an ECDSA key. A few clients cannot bear to be given one.
    client_certificates -- "off", "optional", "required". client_ca -- the PEM file that they are checked by.
    identity -- whose certificate is which user's: a mapping of "kind:name" or SHA-256 fingerprint to the user, or a
        function of the session's `encryption`.
    missing_ok -- start without a certificate: TLS is offered once there is one.
    expired_ok -- serve certificates that are over, or not valid yet.
    look_every -- how often the files are looked at, at most.

    ConfigError for what cannot be used.
    """

    rehearsable = True
    fulfils = ("tls",)
    keywords: ClassVar = {"STARTTLS": ""}
    verbs = ("STARTTLS",)

    def __init__(
        self,
        certificate: Where,
        key: Where | None = None,
        *,
        default: str = "",
        required: bool = False,
        minimum: str = "TLSv1.2",
        ciphers: str = "",
        tickets: bool = False,
        client_certificates: str = "off",
        client_ca: Where | None = None,
        identity: Mapping[str, str] | Identify | None = None,
        missing_ok: bool = False,
        expired_ok: bool = False,
        look_every: str | float = "1s",
    ) -> None:
        name = "TLS(client_certificates)"
        demand: Demand = option.choice(client_certificates, "off", "optional", "required", name=name)
        if (demand == "off") is not (client_ca is None):
            raise ConfigError(
                "TLS: client_certificates and client_ca belong together",
                remedy='write client_certificates="optional", client_ca="clients.pem", or neither',
            )
        if identity is not None and demand == "off":
            raise ConfigError(
                "TLS: identity without client certificates", remedy='write client_certificates="optional"'
            )
        self._identify = _identify(identity)
        self._required = option.boolean(required, name="TLS(required)")
        terms = Terms(
            minimum=option.choice(minimum, "TLSv1.2", "TLSv1.3", name="TLS(minimum)"),
            ciphers=ciphers,
            tickets=option.boolean(tickets, name="TLS(tickets)"),
            client=demand,
            authorities=None if client_ca is None else Path(client_ca),
        )
        self._certificates = Certificates(
            certificate,
            key,
            terms=terms,
            default=option.domain(default, name="TLS(default)") if default else "",
            every=option.duration(look_every, name="TLS(look_every)"),
            missing_ok=option.boolean(missing_ok, name="TLS(missing_ok)"),
            expired_ok=option.boolean(expired_ok, name="TLS(expired_ok)"),
        )
        self._place = str(certificate)

    @hookimpl
    async def lifespan(self, call_next: LiveOn) -> None:
        await self._certificates.look()  # root's rights are given up: what only root could read is told now
        if not self._certificates.usable:
            log.warning("no certificate", place=self._place, remedy="TLS is offered as soon as there is one")
        await call_next()

    @hookimpl
    async def session(self, session: Session, call_next: LiveOn) -> None:
        if not session.secure:
            context = await self._certificates.context(session.hostname)
            if context is None:
                log.error("not served", session=session.id, listener=session.listener, problem="no certificate")
                return
            await session.start_tls(context)
        await call_next()

    @hookimpl
    def ehlo(self, session: Session, keywords: MutableMapping[str, str]) -> None:
        if session.secure:
            keywords.pop("STARTTLS", None)
            self._recognise(session)
        elif not self._certificates.usable:
            keywords.pop("STARTTLS", None)

    def _recognise(self, session: Session) -> None:
        """RFC 3207 §4.2: from the first EHLO under TLS on."""
        encryption = session.encryption
        if self._identify is not None and encryption is not None and encryption.certificate is not None:
            user = self._identify(encryption)
            if user is not None:
                session.identify(user)

    @hookimpl
    def mail(self, session: Session) -> Reply | None:
        return _NEEDED if self._required and not session.secure else None

    @hookimpl
    async def command(self, session: Session, command: Command) -> Reply | None:
        if command.verb == "STARTTLS":
            return await self._start(session, command)
        if self._required and not session.secure and command.verb != "NOOP":
            return _NEEDED
        return None

    async def _start(self, session: Session, command: Command) -> Reply:
        if command.argument:
            return _NO_ARGUMENT
        if session.secure:
            return _ACTIVE
        context = await self._certificates.context(session.hostname)
        if context is None:
            return _UNAVAILABLE
        return Reply(220, _READY, status="2.0.0", start_tls=context)


def _identify(given: Mapping[str, str] | Identify | None) -> Identify | None:
    if given is None or not isinstance(given, Mapping):
        return given
    users = {_key(key): user for key, user in given.items()}

    def look_up(encryption: Encryption) -> str | None:
        keys = (encryption.fingerprint or "", *(f"{kind}:{_folded(kind, name)}" for kind, name in encryption.names))
        return next((users[key] for key in keys if key in users), None)

    return look_up


def _key(written: str) -> str:
    """A fingerprint as 64 hexadecimal digits, or a name with its kind."""
    digits = written.replace(":", "").lower()
    if _FINGERPRINT.fullmatch(digits):
        return digits
    if not _NAME.fullmatch(written):
        remedy = 'write "email:alice@example.org", "DNS:host.example.org", "commonName:…" or a SHA-256 fingerprint'
        raise ConfigError(f"TLS(identity): {written!r} is neither a name nor a fingerprint", remedy=remedy)
    kind, _, name = written.partition(":")
    return f"{kind}:{_folded(kind, name)}"


def _folded(kind: str, name: str) -> str:
    return name.lower() if kind in ("DNS", "email") else name
