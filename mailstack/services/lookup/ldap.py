"""A lookup in an LDAP directory.

    lookup.LDAP(
        "ldaps://ldap.example.org",
        base="ou=people,dc=example,dc=org",
        filter="(|(mail={key})(mailAlternateAddress={key}))",
        attribute="uid",
        bind="cn=mailstack,dc=example,dc=org",
        password=os.environ["LDAP_PASSWORD"],
    )

The value is the attribute, of all entries that were found; without one an entry that was found is "". The key stands
in the filter in the place of {key}, escaped, or in the base ("uid={key},ou=people,dc=example,dc=org", scope="base").
An entry without the attribute has no value, and is not found. TLS, pool and deadline are those of services/ldap.py.
Several lookups may share one `services.ldap.Directory`, and so its connections.

Fails: ConfigError when it is made; Unavailable as services/ldap.py says, also when the base does not exist. A directory
that is down does not keep a server from starting: mail that needs it is deferred.

Needs `pip install "mailstack[ldap]"`; to build it Debian needs gcc, python3-dev, libldap2-dev and libsasl2-dev.
"""

from __future__ import annotations

import os
from contextlib import AbstractAsyncContextManager
from urllib.parse import unquote

from mailstack import option
from mailstack.option import ConfigError

from ..ldap import SCOPES, Directory, Scope, placeholders
from .answer import joined, written

__all__ = ["LDAP", "from_text"]


class LDAP:
    """url -- of a directory, or a Directory. base, filter -- where and for what; {key} in one of them at least.

    attribute -- whose values are wanted; "": the entry alone counts. scope -- "subtree", "one" or "base". bind,
    password, start_tls, ca, pool, timeout -- the Directory's.
    """

    def __init__(
        self,
        url: str | Directory,
        *,
        base: str,
        filter: str = "(objectClass=*)",
        attribute: str = "",
        scope: Scope = "subtree",
        bind: str = "",
        password: str = "",
        start_tls: bool | None = None,
        ca: str | os.PathLike[str] | None = None,
        pool: int = 5,
        timeout: float | str = "5s",
    ) -> None:
        self.directory = (
            url
            if isinstance(url, Directory)
            else Directory(
                url, bind=bind, password=password, start_tls=start_tls, ca=ca, pool=pool, timeout=timeout, name="LDAP"
            )
        )
        self.base, self.filter, self.attribute = base, filter, attribute
        self.scope: Scope = option.choice(scope, *SCOPES, name="LDAP(scope)")
        if _names(base, "base") | _names(filter, "filter") != {"key"}:
            raise ConfigError("LDAP: neither base nor filter has the key", remedy='write filter="(mail={key})"')

    def opened(self) -> AbstractAsyncContextManager[None]:
        return self.directory.opened()

    async def find(self, key: str) -> str | None:
        if not key or written(key) is None:  # an empty name is none in a directory
            return None
        directory = self.directory
        base, where = directory.name(self.base, key=key), directory.filter(self.filter, key=key)
        wanted = [self.attribute or "1.1"]  # RFC 4511 section 4.5.1.8: no attributes
        entries = await directory.search(base, where, wanted, scope=self.scope)
        if not self.attribute:
            return "" if entries else None
        return joined(value for entry in entries for value in entry.values.get(self.attribute.lower(), ()))


_SCOPES: dict[str, Scope] = {"": "base", "base": "base", "one": "one", "sub": "subtree"}


def from_text(text: str) -> LDAP:
    """From an URL of RFC 4516: "ldap://host/ou=people,dc=example,dc=org?mail?sub?(uid={key})". Nobody is bound."""
    scheme, _, rest = text.partition("://")
    host, _, rest = rest.partition("/")
    base, attribute, scope, filter, *more = [*(unquote(each) for each in rest.split("?")), "", "", "", ""][:5]
    if scope not in _SCOPES or "," in attribute or any(more):
        raise ConfigError(
            f"LDAP: {text!r} is no URL of a lookup",
            remedy='write "ldap://host/ou=people,dc=example,dc=org?mail?sub?(uid={key})"',
        )
    return LDAP(
        f"{scheme}://{host}",
        base=base,
        attribute=attribute,
        scope=_SCOPES[scope],
        filter=filter or "(objectClass=*)",
    )


def _names(template: str, name: str) -> frozenset[str]:
    try:
        return placeholders(template)
    except ValueError as error:
        raise ConfigError(
            f"LDAP({name}): {template!r}: {error}", remedy="write {key} for the key and {{ for a brace"
        ) from None
