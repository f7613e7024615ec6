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

With `author=True` the same holds for every address in From, which is what people see: `550 5.7.1` when the header
section is there. A From that cannot be read without doubt is nobody's; one that is missing is the business of
`submission`.

Letter case does not count. A lookup that cannot say is 451.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from contextlib import AsyncExitStack
from email import policy
from typing import Final

from mailstack import option
from mailstack.contract.bind import bind
from mailstack.contract.hookspec import LiveOn, hookimpl
from mailstack.option import ConfigError
from mailstack.services import lookup
from mailstack.services.lookup.given import Given
from mailstack.session.message import Message
from mailstack.session.session import Session
from mailstack.session.transaction import Sender
from mailstack.wire.address import Address, AddressError
from mailstack.wire.header import Header
from mailstack.wire.reply import Reply

__all__ = ["SenderLogin"]

EVERYBODY: Final = "*"

_NOT_YOURS: Final = Reply(553, "this sender is not yours", status="5.7.1")
_NOT_YOU: Final = Reply(550, "the author in From is not you", status="5.7.1")
_NOT_READ: Final = Reply(550, "the authors in From cannot be read", status="5.6.0")
_LONGEST: Final = 2000  # characters of a From that is read
_LOG_IN: Final = Reply(553, "log in to use this sender", status="5.7.1")


class SenderLogin:
    """domains -- those of identities that have none: text or lookups.

    owners -- addresses or "@domain", and whose they are; or a lookup whose values are identities, parted by ",".
    separator -- what parts a user from a detail. null -- whether who has logged in may send with `<>`.
    protect -- whether owned addresses, and the domains, are refused to who has not logged in.
    author -- whether From is looked at too.

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
        author: bool = False,
    ) -> None:
        self._domains = lookup.domains(*domains, name="SenderLogin")
        given = () if owners is None else _texts(owners) if isinstance(owners, Mapping) else owners
        self._owners = lookup.addresses(given, name="SenderLogin(owners)", parse=_identities)
        self._separator = separator
        self._null = option.boolean(null, name="SenderLogin(null)")
        self._protect = option.boolean(protect, name="SenderLogin(protect)")
        if option.boolean(author, name="SenderLogin(author)"):
            bind(self, headers=_headers)
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

    async def judge_authors(self, user: str, header: Header) -> Reply | None:
        """Whether every author is the user."""
        for value in header.get_all("From"):
            authors = _authors(value)
            if not authors:
                return _NOT_READ
            for address in authors:
                if not await self._may_use(_folded(user), address):
                    return _NOT_YOU
        return None

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


async def _headers(self: SenderLogin, session: Session, message: Message) -> Reply | None:
    """The hook, where From is looked at."""
    return None if session.user is None else await self.judge_authors(session.user, message.header)


def _authors(value: str) -> list[Address]:
    """The addresses in From; none when there is any doubt about them, for others may read them otherwise."""
    if len(value) > _LONGEST:
        return []
    try:
        field = policy.default.header_factory("From", value)
        if field.defects:
            return []
        return [Address.parse(address.addr_spec) for address in field.addresses]
    except (AddressError, ValueError, LookupError, AttributeError, RecursionError):  # of the library's parser
        return []


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
