"""Addresses and Users: who exists at a domain, and who does not."""

from __future__ import annotations

import inspect
import os
import re
from collections.abc import Awaitable, Callable, Iterable, Iterator, Sequence
from typing import NamedTuple

from anyio import to_thread

from mailstack import option
from mailstack.contract.hookspec import hookimpl
from mailstack.option import ConfigError
from mailstack.session.transaction import Recipient
from mailstack.wire.address import Address
from mailstack.wire.reply import Reply

from . import place
from .listing import File, Item, Listing, given
from mailstack.services.lookup.pattern import compiled

__all__ = ["Addresses", "Users", "folder"]

Known = Callable[[Address], bool | Awaitable[bool]]


class Terms:
    """What is the same for `Addresses` and `Users`: how addresses are compared, and what becomes of the unknown."""

    __slots__ = ("_case", "_catch_all", "_keep_detail", "_separator")

    def __init__(
        self, who: str, separator: str, keep_detail: bool, case_sensitive: bool, catch_all: str | None
    ) -> None:
        if not isinstance(separator, str):
            raise ConfigError(f"{who}(separator): {separator!r} is not text", remedy='write separator="+"')
        self._separator = separator
        self._keep_detail = option.boolean(keep_detail, name=f"{who}(keep_detail)")
        self._case = option.boolean(case_sensitive, name=f"{who}(case_sensitive)")
        self._catch_all = None if catch_all is None else place.mailbox(catch_all, f"{who}(catch_all)")

    def key(self, local: str) -> str:
        return local if self._case else local.lower()

    @property
    def flags(self) -> re.RegexFlag:
        return re.RegexFlag(0) if self._case else re.IGNORECASE

    def forms(self, address: Address) -> Iterator[Address]:
        """The addresses that it may be known as."""
        return place.forms(address, self._separator)

    def take(self, recipient: Recipient, known_as: Address) -> None:
        """It is known."""
        recipient.accept()
        if not self._keep_detail and known_as != recipient.address:
            recipient.rewrite(known_as)

    def refuse(self, recipient: Recipient) -> Reply | None:
        """It is at one of our domains, and not known."""
        if self._catch_all is None:
            return place.UNKNOWN
        recipient.accept()
        recipient.rewrite(self._catch_all)
        return None


class _Book(NamedTuple):
    """The addresses of a listing. domains -- those of whole addresses, where all others are unknown."""

    addresses: frozenset[tuple[str, str]]
    domains: frozenset[str]
    patterns: tuple[re.Pattern[str], ...]


class Addresses:
    """Vouch for these addresses, and refuse all others at their domains: 550 5.1.1.

    addresses -- "user@example.org"; "/[a-z]+-list@example\\\\.org/", a regular expression that must match the whole
        address, domain in A-labels; and `file(path)` of both. What an expression matches is vouched for; the domains at
        which all others are refused are those of whole addresses.
    separator -- what parts a user from a detail (RFC 5233): with "+", mail to user+anything@example.org is user's.
        Default "": nothing does. keep_detail -- whether the detail stays in the address that mail is delivered to.
    case_sensitive -- whether local parts that differ in letter case alone are different users.
    catch_all -- an address that gets the mail to unknown ones instead of a refusal. It gets all the spam too.

    ConfigError for what is no address, and for an expression that is wrong or could take too long.
    """

    name = "recipients"
    rehearsable = True

    def __init__(
        self,
        *addresses: str | File,
        separator: str = "",
        keep_detail: bool = True,
        case_sensitive: bool = False,
        catch_all: str | None = None,
    ) -> None:
        self._terms = Terms("Addresses", separator, keep_detail, case_sensitive, catch_all)
        self._book = Listing(given(addresses), self._read)

    def _read(self, items: Sequence[Item]) -> _Book:
        if not items:
            raise ConfigError("Addresses() has no addresses", remedy='write Addresses("user@example.org", …)')
        addresses: list[Address] = []
        patterns: list[re.Pattern[str]] = []
        for item in items:
            with item.blamed():
                if len(item.text) > 1 and item.text[0] == item.text[-1] == "/":
                    patterns.append(compiled(item.text[1:-1], self._terms.flags))
                else:
                    addresses.append(place.mailbox(item.text, "Addresses"))
        keys = frozenset((self._terms.key(address.local), address.domain) for address in addresses)
        return _Book(keys, frozenset(address.domain for address in addresses), tuple(patterns))

    @hookimpl
    def rcpt(self, recipient: Recipient) -> Reply | None:
        address, book = recipient.address, self._book.current
        for form in self._terms.forms(address):
            if self._knows(book, form):
                self._terms.take(recipient, form)
                return None
        return self._terms.refuse(recipient) if address.domain in book.domains else None

    def _knows(self, book: _Book, address: Address) -> bool:
        if (self._terms.key(address.local), address.domain) in book.addresses:
            return True
        if address.domain in book.domains and place.is_role(address):
            return True
        if not book.patterns or place.is_routed(address):
            return False
        text = str(address)
        return any(pattern.fullmatch(text) for pattern in book.patterns)


class Users:
    """Vouch for the users who exist at these domains, and refuse all others there: 550 5.1.1.

    domains -- as in `Domains`.
    known -- who exists: names ("ann", "bob") or a `file(path)` of them, the same at all domains; or a function of an
        `Address`, plain or async, that returns True or False. What it raises is 451, so that a database that is down
        makes nobody unknown. A plain function must not wait.
    separator, keep_detail, case_sensitive, catch_all -- as in `Addresses`. A function gets local parts as they came.

    ConfigError for what makes no sense.
    """

    name = "recipients"
    rehearsable = True

    def __init__(
        self,
        *domains: str | File,
        known: Known | File | Iterable[str],
        separator: str = "",
        keep_detail: bool = True,
        case_sensitive: bool = False,
        catch_all: str | None = None,
    ) -> None:
        self._terms = Terms("Users", separator, keep_detail, case_sensitive, catch_all)
        self._domains = Listing(given(domains), lambda items: place.DomainSet(items, "Users"))
        self._known = known if callable(known) else self._names(known)

    def _names(self, names: File | Iterable[str]) -> Known:
        if isinstance(names, str):
            raise ConfigError(f"Users(known): {names!r} is one name", remedy=f"write known=[{names!r}]")
        listing = Listing(given([names] if isinstance(names, File) else [*names]), self._read)
        return lambda address: self._terms.key(address.local) in listing.current

    def _read(self, items: Sequence[Item]) -> frozenset[str]:
        if not items:
            raise ConfigError("Users(known) has no names", remedy='write known=["ann", "bob"]')
        for item in items:
            with item.blamed():
                option.address(f"{item.text}@localhost", name="Users(known)")
        return frozenset(self._terms.key(Address.parse(f"{item.text}@localhost").local) for item in items)

    @hookimpl
    async def rcpt(self, recipient: Recipient) -> Reply | None:
        address = recipient.address
        if address.domain not in self._domains.current:
            return None
        for form in self._terms.forms(address):
            if place.is_role(form) or await self._exists(form):
                self._terms.take(recipient, form)
                return None
        return self._terms.refuse(recipient)

    async def _exists(self, address: Address) -> bool:
        answer = self._known(address)
        found = await answer if inspect.isawaitable(answer) else answer
        if not isinstance(found, bool):
            raise TypeError(f"Users(known) returned {found!r} instead of True or False")
        return found


def folder(path_of: Callable[[Address], str]) -> Callable[[Address], Awaitable[bool]]:
    """For `Users(known=…)`: a user exists when his folder does. path_of -- a Maildir's `folder_of`.

    The folder above it must exist, whoever asks: a disk that is not mounted is an error, and 451, not an empty village.
    """

    async def known(address: Address) -> bool:
        return await to_thread.run_sync(_is_folder, path_of(address))

    return known


def _is_folder(path: str) -> bool:
    try:
        os.stat(f"{path}/.")
    except (FileNotFoundError, NotADirectoryError):
        os.stat(f"{os.path.dirname(path)}/.")
        return False
    return True
