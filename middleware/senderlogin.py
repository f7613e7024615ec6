"""senderlogin: who has logged in sends as himself, and not as his neighbour.

    senderlogin.SenderLogin()                                       # ann@example.org sends as ann@example.org
    senderlogin.SenderLogin("example.org", "example.net")           # and ann as ann@example.org and ann@example.net
    senderlogin.SenderLogin(
        "example.org",
        owners={"sales@example.org": ["ann", "bob"], "@shop.example": "carl", "noreply@example.org": "*"},
        separator="+",
        protect=True,
    )

A session with an identity (`session.user`) may use as sender of the envelope
* its identity, if that is an address; with domains, also the identity at each of them, if it has none
* every address that it owns: `owners` maps an address, or "@domain" for all there, to one or several identities; "*" is
  everybody who has logged in. Or a lookup, whose keys are these and whose values are identities, parted by ", ". The
  address counts before the domain.
* with `separator`, user+anything wherever it may use user
* `<>`, for the notes that mail programs send by themselves (RFC 8098); `null=False` refuses it

Anything else is `553 5.7.1`. With `protect=True` that holds for strangers too: nobody who has not logged in sends as an
address that somebody owns, or that is at one of the domains. Take care: mail that your own users have forwarded, and
that lists send back, comes from elsewhere with your addresses as senders.

Letter case does not count. A lookup that cannot say is 451. What stands in From is not looked at here: who can read
headers sees that, and `submission` completes it.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from contextlib import nullcontext
from typing import Final

from mailstack import option
from mailstack.contract.hookspec import LiveOn, hookimpl
from mailstack.option import ConfigError
from mailstack.services.lookup import Source
from mailstack.session.session import Session
from mailstack.session.transaction import Sender
from mailstack.wire.address import Address, AddressError
from mailstack.wire.reply import Reply

__all__ = ["SenderLogin"]

EVERYBODY: Final = "*"

_NOT_YOURS: Final = Reply(553, "this sender is not yours", status="5.7.1")
_LOG_IN: Final = Reply(553, "log in to use this sender", status="5.7.1")


class SenderLogin:
    """domains -- those of identities that have none. owners -- addresses or "@domain", and whose they are; or a lookup.

    separator -- what parts a user from a detail. null -- whether who has logged in may send with `<>`.
    protect -- whether owned addresses, and the domains, are refused to who has not logged in.

    ConfigError for what is no domain or address.
    """

    name = "senderlogin"
    rehearsable = True

    def __init__(
        self,
        *domains: str,
        owners: Mapping[str, str | Iterable[str]] | Source | None = None,
        separator: str = "",
        null: bool = True,
        protect: bool = False,
    ) -> None:
        self._domains = frozenset(option.domain(each, name="SenderLogin") for each in domains)
        self._source = owners if isinstance(owners, Source) else None
        given = {} if owners is None or isinstance(owners, Source) else owners
        self._owners = {_key(each): frozenset(map(_folded, _several(whose))) for each, whose in given.items()}
        self._separator = separator
        self._null = option.boolean(null, name="SenderLogin(null)")
        self._protect = option.boolean(protect, name="SenderLogin(protect)")
        if protect and not (self._domains or owners):
            raise ConfigError("SenderLogin(protect) has nothing to protect", remedy="name domains or owners")

    @hookimpl
    async def lifespan(self, call_next: LiveOn) -> None:
        async with nullcontext() if self._source is None else self._source.opened():
            await call_next()

    @hookimpl
    async def mail(self, session: Session, sender: Sender) -> Reply | None:
        address = sender.address
        if session.user is None:
            return _LOG_IN if self._protect and await self._is_owned(address) else None
        if address.null:
            return None if self._null else _NOT_YOURS
        return None if await self._may_use(_folded(session.user), address) else _NOT_YOURS

    async def _may_use(self, user: str, address: Address) -> bool:
        if any(self._is_own(user, form) for form in self._forms(address)):
            return True
        owners = await self._owners_of(address)
        return owners is not None and (user in owners or EVERYBODY in owners)

    def _is_own(self, user: str, address: Address) -> bool:
        if "@" in user:
            return _folded(str(address)) == user
        return address.domain in self._domains and _folded(Address(address.local, "").local) == user

    async def _is_owned(self, address: Address) -> bool:
        return not address.null and (address.domain in self._domains or await self._owners_of(address) is not None)

    async def _owners_of(self, address: Address) -> frozenset[str] | None:
        """Those of the address, or else those of its domain; None where nobody has said."""
        for key in (*(_folded(str(form)) for form in self._forms(address)), f"@{address.domain}"):
            if self._source is None:
                found = self._owners.get(key)
            else:
                value = await self._source.find(key)
                found = None if value is None else frozenset(map(_folded, value.replace(",", " ").split()))
            if found is not None:
                return found
        return None

    def _forms(self, address: Address) -> tuple[Address, ...]:
        """The address, and without its detail."""
        user, found, _ = address.local.partition(self._separator) if self._separator else ("", "", "")
        return (address, Address(user, address.domain)) if user and found else (address,)


def _several(whose: str | Iterable[str]) -> Iterable[str]:
    return [whose] if isinstance(whose, str) else whose


def _key(text: str) -> str:
    """An address as it is compared, or "@domain". ConfigError."""
    if text.startswith("@"):
        return f"@{option.domain(text[1:], name='SenderLogin(owners)')}"
    return _folded(str(option.address(text, name="SenderLogin(owners)")))


def _folded(identity: str) -> str:
    """An identity or an address, as it is compared: an address in its one form, and all in lower case."""
    if "@" in identity:
        try:
            return str(Address.parse(identity)).lower()
        except AddressError:
            pass
    return identity.lower()
