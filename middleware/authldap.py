"""authldap: a directory judges passwords: whoever can bind has logged in.

    from mailstack.middleware import auth, authldap

    # The name is part of a DN:
    authldap.LDAP("ldaps://ldap.example.org", template="uid={user},ou=people,dc=example,dc=org")

    # The name is looked up, and its entry binds:
    authldap.LDAP(
        "ldaps://ldap.example.org",
        base="ou=people,dc=example,dc=org", where="(|(uid={user})(mail={user}))", identity="uid",
        bind="cn=mail,dc=example,dc=org", password="secret",
        group_base="ou=groups,dc=example,dc=org", group="(&(cn=mail)(member={dn}))",
    )

What a client said goes into DNs and filters escaped, by python-ldap's own functions. An empty password is refused
before anything is asked: a directory takes it for an anonymous bind, which succeeds (RFC 4513 §5.1.2).

`ldaps://`, or StartTLS, which is the rule for `ldap://` to another machine unless `start_tls=False` is written; the
certificate is checked, with `ca` against that file. `ldapi://` is a socket of this machine. Each password costs a
connection of its own; what is looked up goes over connections that are kept, bound as `bind`, or as nobody.

| what happens | that means |
|---|---|
| the directory lets the DN in | 235 |
| it does not; `template` was used | the next provider is asked, for it leaves open whether there is such an entry |
| `where` finds no entry | the next provider is asked; before the 535 a bind is tried that cannot succeed |
| it does not let the entry in that `where` has found | 535 |
| `group` finds nothing | 535: the password is right, but he may not |
| `where` finds several entries; `identity` is not exactly one value | 454, and the log says so |
| the directory is down, late, or not the one that its certificate shows | 454 |

The identity is the name as the client wrote it, and a directory takes "Ann" and "ann" for the same: with `identity` it
is what the entry has. The bind that cannot succeed is one as `decoy`: by default a name below `base` that is not there.
Many directories refuse that faster than a wrong password; name an entry that has one, in the same scheme, and is
nobody's.

In a rehearsal the directory is asked.
Needs `pip install "mailstack[ldap]"`: python-ldap, which is built from source (Debian: libldap2-dev libsasl2-dev gcc).
"""

from __future__ import annotations

import os

from mailstack import option
from mailstack.contract.hookspec import LiveOn, hookimpl
from mailstack.option import ConfigError
from mailstack.services.elsewhere import GOOD, WRONG, Elsewhere, Trouble
from mailstack.services.ldap import SCOPES, Directory, Scope, placeholders
from mailstack.session.credentials import PASSWORD, Credentials, Password
from mailstack.session.session import Session
from mailstack.wire.reply import Reply

__all__ = ["LDAP"]

EXTRAS = ("ldap",)


class LDAP:
    """Ask a directory.

    url -- "ldaps://host", "ldap://host:port", "ldapi://%2Frun%2Fslapd%2Fldapi".
    template -- the DN of {user}; or else base, where, scope -- the search that finds it ("base", "one", "subtree").
    identity -- the attribute that has the login's identity; default: the name that the client gave.
    group, group_base -- a filter with {user} and {dn} (of the entry), which must find something below that DN.
    bind, password -- who looks things up; default: nobody. decoy -- the DN for binds that shall not succeed.
    start_tls, ca -- as above. at_once -- logins at a time; further ones wait. timeout -- for one login.

    ConfigError for what makes no sense, and when python-ldap is not installed.
    """

    mechanisms = PASSWORD
    rehearsable = True

    def __init__(
        self,
        url: str,
        *,
        template: str = "",
        base: str = "",
        where: str = "(uid={user})",
        scope: Scope = "subtree",
        identity: str = "",
        group: str = "",
        group_base: str = "",
        bind: str = "",
        password: str = "",
        decoy: str = "",
        start_tls: bool | None = None,
        ca: str | os.PathLike[str] | None = None,
        at_once: int = 5,
        timeout: float | str = "10s",
    ) -> None:
        if bool(template) == bool(base):
            raise ConfigError(
                "LDAP: whose password it is, is said either by template or by base and where",
                remedy='write template="uid={user},ou=people,dc=example,dc=org", or base="ou=people,dc=example,dc=org"',
            )
        if bool(group) != bool(group_base):
            raise ConfigError("LDAP: group and group_base belong together", remedy="give both, or neither")
        self._template = _with(template, {"user"}, "template")
        self._base = base
        self._where = _with(where, {"user"}, "where")
        self._scope: Scope = option.choice(scope, *SCOPES, name="LDAP(scope)")
        self._identity = identity.lower()
        self._group = _with(group, {"user", "dn"}, "group")
        self._group_base = group_base
        self._decoy = decoy or f"cn=nobody,{base}"
        self._elsewhere = Elsewhere("LDAP", "authldap", at_once=at_once, timeout=timeout)
        self._directory = Directory(
            url,
            bind=bind,
            password=password,
            start_tls=start_tls,
            ca=ca,
            pool=at_once,
            timeout=self._elsewhere.timeout,
            name="LDAP",
        )

    @hookimpl
    async def lifespan(self, call_next: LiveOn) -> None:
        async with self._directory.opened():
            await call_next()

    @hookimpl
    async def auth(self, session: Session, credentials: Credentials) -> Reply | None:
        return await self._elsewhere.judge(session, credentials, self._ask)

    async def _ask(self, session: Session, login: Password) -> Reply | None:
        found = self._directory.name(self._template, user=login.user) if self._template else await self._find(login)
        if found is None:
            self._pretend(login)
            return None
        if not await self._directory.binds(found, login.password):
            return None if self._template else WRONG
        if self._group and not await self._belongs(login.user, found):
            return WRONG
        if self._identity:
            login.identity = await self._identity_of(found)
        return GOOD

    async def _find(self, login: Password) -> str | None:
        """The DN of the one entry."""
        where = self._directory.filter(self._where, user=login.user)
        found = await self._directory.search(self._base, where, _NOTHING, scope=self._scope, limit=2)
        if len(found) > 1:
            raise Trouble("there are several entries of that name")
        return found[0].name if found else None

    async def _belongs(self, user: str, dn: str) -> bool:
        where = self._directory.filter(self._group, user=user, dn=dn)
        return bool(await self._directory.search(self._group_base, where, _NOTHING))

    async def _identity_of(self, dn: str) -> str:
        entries = await self._directory.search(dn, "(objectClass=*)", [self._identity], scope="base")
        values = entries[0].values.get(self._identity, []) if entries else []
        if len(values) != 1:
            raise Trouble(f"the entry has {len(values)} values of {self._identity}, and not one")
        return values[0].decode("utf-8", "replace")

    def _pretend(self, login: Password) -> None:
        """When the directory is down by then it is 454, as for somebody who exists."""
        login.pretend(lambda: self._directory.binds(self._decoy, login.password))


_NOTHING = ("1.1",)  # RFC 4511 §4.5.1.8: no attributes


def _with(template: str, allowed: set[str], name: str) -> str:
    try:
        used = placeholders(template)
    except ValueError:
        used = None
    if used is None or not used <= allowed or (template and not used):
        raise ConfigError(
            f"LDAP: {name}={template!r} has not the names that belong there",
            remedy="write " + " or ".join(f"{{{each}}}" for each in sorted(allowed)) + " where the name goes",
        )
    return template
