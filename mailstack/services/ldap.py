"""A directory behind libldap, asked from async code: for lookups and for providers of AUTH.

    directory = ldap.Directory("ldaps://ldap.example.org", bind="cn=mail,dc=example,dc=org", password="secret")
    async with directory.opened():
        where = directory.filter("(mail={key})", key=address)
        for entry in await directory.search("ou=people,dc=example,dc=org", where, ["uid", "mailQuota"]):
            entry.name, entry.values["uid"]                         # its DN; attributes in small letters, octets
        good = await directory.binds(entry.name, password)          # on a connection of its own

Promised: certificates are checked, always. An `ldap://` URL of another machine means StartTLS, unless `start_tls=False`
is written. At most `pool` questions at once, each with a deadline; connections are kept, and one that was closed by the
server is replaced without anybody noticing. Referrals are not followed. What a client said goes into filters and names
through `filter` and `name` alone, which escape it (RFC 4515 section 3, RFC 4514 section 2.4). `binds` never asks with
an empty password, which a directory takes for no question at all (RFC 4513 section 5.1.2).

Fails: ConfigError when it is made; `lookup.Unavailable` when the directory is down, late, refuses what was asked, or
does not show who it is. RuntimeError when it is not open. The password stands in no log and no error.

Needs `pip install "mailstack[ldap]"`: python-ldap, which is built from source (Debian: libldap2-dev libsasl2-dev gcc).
libldap waits inside connect and TLS handshakes, so it works in threads of our own; python-ldap lets the others run
meanwhile. With `localhost` in the URL libldap expects the machine's own name in the certificate: write 127.0.0.1.
"""

from __future__ import annotations

import os
from collections.abc import AsyncIterator, Callable, Iterable, Sequence
from contextlib import asynccontextmanager, suppress
from string import Formatter
from typing import Any, Literal, NamedTuple, TypeVar
from urllib.parse import urlsplit

from anyio import CancelScope

from mailstack import extra, option
from mailstack.option import ConfigError

from .unavailable import Unavailable
from .workers import Workers

__all__ = ["MOST", "SCOPES", "Directory", "Entry", "Scope", "placeholders"]

T = TypeVar("T")

MOST = 1000  # entries of one answer
Scope = Literal["base", "one", "subtree"]
SCOPES: tuple[Scope, ...] = ("base", "one", "subtree")  # the places are libldap's numbers

_HERE = frozenset(("127.0.0.1", "::1", "localhost"))


class Entry(NamedTuple):
    """name -- its DN. values -- those of each attribute that was asked for and is there, its name in small letters."""

    name: str
    values: dict[str, list[bytes]]


class Directory:
    """url -- "ldaps://host:port", "ldap://…" or "ldapi://%2Fpath". bind, password -- who asks; nobody: anonymous.

    start_tls -- default: for ldap:// to another machine. ca -- the PEM file of who signs its certificates; default: as
    /etc/ldap/ldap.conf says. pool -- connections, 5. timeout -- for one question, connecting included, 5 s.
    name -- what errors call it.
    """

    def __init__(
        self,
        url: str,
        *,
        bind: str = "",
        password: str = "",
        start_tls: bool | None = None,
        ca: str | os.PathLike[str] | None = None,
        pool: int = 5,
        timeout: float | str = "5s",
        name: str = "LDAP",
    ) -> None:
        self._ldap = extra.require("ldap", "mailstack[ldap]")
        self._escape_filter = extra.require("ldap.filter", "mailstack[ldap]").escape_filter_chars
        self._escape_name = extra.require("ldap.dn", "mailstack[ldap]").escape_dn_chars
        self._scheme, host = _address(url, name)
        self.url = url
        self.pool = option.integer(pool, name=f"{name} pool", minimum=1)
        self.timeout = option.duration(timeout, name=f"{name} timeout", minimum=0.001)
        self._bind = (bind, password)
        self._start_tls = self._scheme == "ldap" and (host not in _HERE if start_tls is None else start_tls)
        self._ca = _readable(ca, name)
        if bind and not password:
            raise ConfigError(f"{name}: bind={bind!r} has no password", remedy='give password="…", or neither')
        self._idle: list[Any] = []
        self._workers: Workers | None = None
        self._open = 0

    def __str__(self) -> str:
        return self.url

    @asynccontextmanager
    async def opened(self) -> AsyncIterator[None]:
        """Hold it open; several may. It connects when first asked: a server may start before its directory."""
        if not self._open:
            self._workers = Workers(self.pool, timeout=self.timeout)
        self._open += 1
        try:
            yield
        finally:
            self._open -= 1
            if not self._open:
                await self._close()

    def filter(self, template: str, **values: str) -> str:
        """A filter: the template with each value escaped in the place of its {name}."""
        return template.format(**{key: self._escape_filter(value) for key, value in values.items()})

    def name(self, template: str, **values: str) -> str:
        """A DN, made in the same way: "uid={user},ou=people,dc=example,dc=org"."""
        return template.format(**{key: self._escape_name(value) for key, value in values.items()})

    async def search(
        self, base: str, where: str, attributes: Sequence[str], *, scope: Scope = "subtree", limit: int = MOST
    ) -> list[Entry]:
        """The entries that the filter `where` finds below `base`. Unavailable, also for more than `limit`.

        With the scope "base" an entry that does not exist is no entry; else a base that does not exist is a mistake.
        """

        def ask(connection: Any) -> list[Entry]:
            try:
                found = connection.search_ext_s(
                    base, SCOPES.index(scope), where, list(attributes), timeout=self.timeout, sizelimit=limit
                )
            except self._ldap.NO_SUCH_OBJECT:
                if scope == "base":
                    return []
                raise
            return [_entry(name, values) for name, values in found if name is not None]  # None: a referral

        return await self._run(lambda: self._ask(ask))

    async def binds(self, name: str, password: str) -> bool:
        """Whether the directory lets this DN in with this password. Unavailable."""
        if not name or not password or "\0" in name + password:
            return False
        return await self._run(lambda: self._let_in(name, password))

    # In a thread.

    def _let_in(self, name: str, password: str) -> bool:
        connection = self._connect()
        try:
            connection.simple_bind_s(name, password)
        except (self._ldap.INVALID_CREDENTIALS, self._ldap.INAPPROPRIATE_AUTH, self._ldap.INVALID_DN_SYNTAX):
            return False
        finally:
            self._unbind(connection)
        return True

    def _ask(self, ask: Callable[[Any], T]) -> T:
        """On a connection that is there; on a new one if there is none, or the server has closed it meanwhile."""
        with suppress(IndexError):
            connection = self._idle.pop()
            with suppress(self._ldap.SERVER_DOWN, self._ldap.CONNECT_ERROR, self._ldap.UNAVAILABLE):
                return self._use(connection, ask)
        connection = self._connect()
        return self._use(connection, lambda _: (connection.simple_bind_s(*self._bind), ask(connection))[1])

    def _use(self, connection: Any, ask: Callable[[Any], T]) -> T:
        try:
            answer = ask(connection)
        except BaseException:
            self._unbind(connection)
            raise
        if self._open:
            self._idle.append(connection)
        else:
            self._unbind(connection)
        return answer

    def _connect(self) -> Any:
        """To the server, encrypted, nobody bound."""
        ldap = self._ldap
        connection = ldap.initialize(self.url)
        try:
            connection.set_option(ldap.OPT_REFERRALS, 0)
            connection.set_option(ldap.OPT_TIMEOUT, self.timeout)
            if hasattr(ldap, "OPT_TCP_USER_TIMEOUT"):
                connection.set_option(ldap.OPT_TCP_USER_TIMEOUT, int(self.timeout * 1000))
            if self._scheme == "ldap":  # with ldaps libldap would spin in the handshake, and not wait
                connection.set_option(ldap.OPT_NETWORK_TIMEOUT, self.timeout)
            if self._scheme == "ldaps" or self._start_tls:
                self._check_certificates(connection)
            if self._start_tls:
                connection.start_tls_s()
        except BaseException:
            self._unbind(connection)
            raise
        return connection

    def _check_certificates(self, connection: Any) -> None:
        ldap = self._ldap
        connection.set_option(ldap.OPT_X_TLS_REQUIRE_CERT, ldap.OPT_X_TLS_DEMAND)
        if self._ca is not None:
            connection.set_option(ldap.OPT_X_TLS_CACERTFILE, self._ca)
        connection.set_option(ldap.OPT_X_TLS_NEWCTX, 0)  # what was set holds from here on

    def _unbind(self, *connections: Any) -> None:
        for connection in connections:
            with suppress(self._ldap.LDAPError):
                connection.unbind_ext_s()

    # In the event loop.

    async def _run(self, work: Callable[[], T]) -> T:
        if self._workers is None:
            raise RuntimeError("the directory is not open: write `async with directory.opened()` in `lifespan`")
        try:
            return await self._workers.run(work)
        except TimeoutError as error:
            raise Unavailable(f"{self}: {str(error) or f'no answer in {self.timeout:g} s'}") from error
        except (self._ldap.LDAPError, OSError) as error:
            raise Unavailable(f"{self}: {_words(error)}") from error

    async def _close(self) -> None:
        workers, self._workers = self._workers, None
        assert workers is not None
        idle, self._idle = self._idle, []
        with CancelScope(shield=True), suppress(TimeoutError):
            await workers.run(lambda: self._unbind(*idle))
        workers.close()


def placeholders(template: str) -> frozenset[str]:
    """The names in braces. ValueError for braces that are none."""
    return frozenset(field for _, field, _, _ in Formatter().parse(template) if field is not None)


def _address(url: str, name: str) -> tuple[str, str | None]:
    """Its scheme and host."""
    try:
        parts = urlsplit(url)
        valid = parts.scheme in ("ldap", "ldaps", "ldapi") and parts.netloc and not parts.path.strip("/")
        valid = valid and "@" not in parts.netloc and not parts.query and (parts.scheme == "ldapi" or parts.port != 0)
    except ValueError:
        valid = False
    if not valid:
        raise ConfigError(
            f"{name}: this is no URL of a directory: a scheme, a host and perhaps a port",
            remedy='write "ldaps://ldap.example.org" or "ldap://127.0.0.1:3389"',
        )
    return parts.scheme, parts.hostname


def _readable(ca: str | os.PathLike[str] | None, name: str) -> str | None:
    if ca is None:
        return None
    path = os.path.abspath(os.path.expanduser(ca))
    if not os.access(path, os.R_OK):
        raise ConfigError(f"{name}: ca={path!r} cannot be read", remedy="name a PEM file that this user may read")
    return path


def _entry(name: str, values: dict[str, Iterable[bytes]]) -> Entry:
    return Entry(name, {attribute.lower(): list(each) for attribute, each in values.items()})


def _words(error: BaseException) -> str:
    """What libldap says: a description, and sometimes what the server or the TLS library adds."""
    told = error.args[0] if error.args and isinstance(error.args[0], dict) else {}
    return ": ".join(str(told[key]) for key in ("desc", "info") if told.get(key)) or str(error) or type(error).__name__
