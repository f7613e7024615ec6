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
* every address that it owns: `owners` maps an address, "@domain" for all there, or ".domain" for all below it, to one
  or several identities; "*" is everybody who has logged in. Or any lookup, such as lookup.File("owners") with lines
  like `sales@example.org ann, bob`. The most specific key counts alone.
* with `separator`, user+anything wherever it may use user; `owners` are asked for the address without the detail
* `<>`, for the notes that mail programs send by themselves (RFC 8098); `null=False` refuses it

Anything else is `553 5.7.1`. With `protect=True` that holds for strangers too: nobody who has not logged in sends as an
address that somebody owns, or that is at one of the domains. Take care: mail that your own users have forwarded, and
that lists send back, comes from elsewhere with your addresses as senders.

Letter case does not count. A lookup that cannot say is 451. What stands in From is not looked at here: who can read
headers sees that, and `submission` completes it.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from contextlib import AsyncExitStack
from typing import Final

from mailstack import option
from mailstack.contract.hookspec import LiveOn, hookimpl
from mailstack.option import ConfigError
from mailstack.services import lookup
from mailstack.services.lookup.given import Given
from mailstack.session.session import Session
from mailstack.session.transaction import Sender
from mailstack.wire.address import Address, AddressError
from mailstack.wire.reply import Reply

__all__ = ["SenderLogin"]

EVERYBODY: Final = "*"

_NOT_YOURS: Final = Reply(553, "this sender is not yours", status="5.7.1")
_LOG_IN: Final = Reply(553, "log in to use this sender", status="5.7.1")


class SenderLogin:
    """domains -- those of identities that have none: text or lookups.

    owners -- addresses or "@domain", and whose they are; or a lookup whose values are identities, parted by ",".
    separator -- what parts a user from a detail. null -- whether who has logged in may send with `<>`.
    protect -- whether owned addresses, and the domains, are refused to who has not logged in.

    ConfigError for what is no domain or address.
    """

    name = "senderlogin"
    rehearsable = True

    def __init__(
        self,
        *domains: Given,
        owners: Mapping[str, str | Iterable[str]] | lookup.Source | None = None,
        separator: str = "",
        null: bool = True,
        protect: bool = False,
    ) -> None:
        self._domains = lookup.domains(*domains, name="SenderLogin")
        given = () if owners is None else _texts(owners) if isinstance(owners, Mapping) else owners
        self._owners = lookup.addresses(given, name="SenderLogin(owners)", parse=_identities)
        self._separator = separator
        self._null = option.boolean(null, name="SenderLogin(null)")
        self._protect = option.boolean(protect, name="SenderLogin(protect)")
        if protect and not (domains or owners):
            raise ConfigError("SenderLogin(protect) has nothing to protect", remedy="name domains or owners")

    @hookimpl
    async def lifespan(self, call_next: LiveOn) -> None:
        async with AsyncExitStack() as stack:
            await stack.enter_async_context(self._domains.opened())
            await stack.enter_async_context(self._owners.opened())
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
        forms = dict.fromkeys((address, self._without_detail(address)))
        if "@" in user:
            if any(_folded(str(form)) == user for form in forms):
                return True
        elif any(form.local.lower() == user for form in forms) and await self._domains.find(address.domain) is not None:
            return True
        owners = await self._owners.find(self._without_detail(address)) or frozenset()
        return user in owners or EVERYBODY in owners

    async def _is_owned(self, address: Address) -> bool:
        if address.null:
            return False
        if await self._domains.find(address.domain) is not None:
            return True
        return await self._owners.find(self._without_detail(address)) is not None

    def _without_detail(self, address: Address) -> Address:
        user, found, _ = address.local.partition(self._separator) if self._separator else ("", "", "")
        return Address(user, address.domain) if user and found else address


def _texts(owners: Mapping[str, str | Iterable[str]]) -> dict[str, str]:
    return {key: whose if isinstance(whose, str) else ", ".join(whose) for key, whose in owners.items()}


def _identities(text: str) -> frozenset[str]:
    """ConfigError when there are none."""
    found = frozenset(_folded(each.strip()) for each in text.split(",") if each.strip())
    if not found:
        raise ConfigError("SenderLogin(owners): an address without an owner", remedy='write "sales@example.org": "ann"')
    return found


def _folded(identity: str) -> str:
    """An identity or an address, as it is compared: an address in its one form, and all in lower case."""
    if "@" in identity:
        try:
            return str(Address.parse(identity)).lower()
        except AddressError:
            pass
    return identity.lower()
