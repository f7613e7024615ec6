"""Addresses and Users: who exists at a domain, and who does not."""

from __future__ import annotations

import inspect
import os
import time
from collections.abc import Awaitable, Callable, Iterator, Sequence
from functools import partial
from typing import cast

from anyio import to_thread

from mailstack import option
from mailstack.contract.bind import bind, hold_open
from mailstack.contract.hookspec import hookimpl
from mailstack.option import ConfigError
from mailstack.services import lookup
from mailstack.services.lookup.addresses import AddressTable
from mailstack.services.lookup.given import Given
from mailstack.services.lookup.words import WordTable
from mailstack.session.session import Session
from mailstack.session.transaction import Recipient
from mailstack.wire.address import Address
from mailstack.wire.reply import NO_SUCH_MAILBOX, Reply

from . import place

__all__ = ["Addresses", "Users", "folder"]

Known = Callable[[Address], bool | Awaitable[bool]]


class Terms:
    """What is the same for `Addresses` and `Users`: how addresses are compared, and what becomes of the unknown."""

    __slots__ = ("_catch_all", "_keep_detail", "_separator", "case")

    def __init__(
        self, who: str, separator: str, keep_detail: bool, case_sensitive: bool, catch_all: str | None
    ) -> None:
        if not isinstance(separator, str):
            raise ConfigError(f"{who}(separator): {separator!r} is not text", remedy='write separator="+"')
        self._separator = separator
        self._keep_detail = option.boolean(keep_detail, name=f"{who}(keep_detail)")
        self.case = option.boolean(case_sensitive, name=f"{who}(case_sensitive)")
        self._catch_all = None if catch_all is None else place.mailbox(catch_all, f"{who}(catch_all)")

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
            return NO_SUCH_MAILBOX
        recipient.accept()
        recipient.rewrite(self._catch_all)
        return None


class Addresses:
    """Vouch for these addresses, and refuse all others at their domains: 550 5.1.1.

    addresses -- "user@example.org"; "/[a-z]+-list@example\\\\.org/", a regular expression that must match the whole
        address, domain in A-labels; and lookups of both. What an expression or a lookup in a database finds is vouched
        for; the domains at which all others are refused are those of whole addresses in text and files. `Users` with
        `known=` a lookup refuses whom a database does not know.
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
        *addresses: Given,
        separator: str = "",
        keep_detail: bool = True,
        case_sensitive: bool = False,
        catch_all: str | None = None,
    ) -> None:
        self._terms = Terms("Addresses", separator, keep_detail, case_sensitive, catch_all)
        self._known = lookup.addresses(
            *addresses,
            name="Addresses",
            remedy='write Addresses("user@example.org", …)',
            case=self._terms.case,
            whole=True,
        )
        self._find_now = self._known.find_now
        hold_open(self, self._known)
        if self._known.waits:
            bind(self, rcpt=_rcpt)

    @hookimpl
    def rcpt(self, recipient: Recipient) -> Reply | None:
        for form in self._terms.forms(recipient.address):
            found = self._find_now(form)
            if (found is not None and self._is_no_route(form)) or self._is_role(form):
                self._terms.take(recipient, form)
                return None
        return self._refusal(recipient)

    def _is_no_route(self, address: Address) -> bool:
        """No expression or database takes a route to elsewhere for one of ours; what is written is meant."""
        return not place.is_routed(address) or self._table.exact(address) is not None

    def _is_role(self, address: Address) -> bool:
        return place.is_role(address) and address.domain in self._table.homes

    def _refusal(self, recipient: Recipient) -> Reply | None:
        return self._terms.refuse(recipient) if recipient.address.domain in self._table.homes else None

    @property
    def _table(self) -> AddressTable[str]:
        return cast("AddressTable[str]", self._known.table)


async def _rcpt(self: Addresses, session: Session, recipient: Recipient) -> Reply | None:
    """Where a lookup waits."""
    told = partial(session.note, "recipients", "rcpt")
    for form in self._terms.forms(recipient.address):
        if self._is_role(form) or (self._is_no_route(form) and await self._known.find(form, told) is not None):
            self._terms.take(recipient, form)
            return None
    return self._refusal(recipient)


class Users:
    """Vouch for the users who exist at these domains, and refuse all others there: 550 5.1.1.

    domains -- as in `Domains`.
    known -- who exists: names ("ann", "bob") and lookups of them, the same at all domains. A lookup that is no text and
        no file is asked for the whole address, then for the name. Or a function of an `Address`, plain or async, that
        returns True or False; what it raises is 451, so that a database that is down makes nobody unknown. A plain
        function must not wait.
    separator, keep_detail, case_sensitive, catch_all -- as in `Addresses`. A function gets local parts as they came.

    ConfigError for what makes no sense.
    """

    name = "recipients"
    rehearsable = True

    def __init__(
        self,
        *domains: Given,
        known: Known | Given,
        separator: str = "",
        keep_detail: bool = True,
        case_sensitive: bool = False,
        catch_all: str | None = None,
    ) -> None:
        self._terms = Terms("Users", separator, keep_detail, case_sensitive, catch_all)
        self._domains = lookup.domains(*domains, name="Users", remedy='write Users("example.org", known=…)')
        self._names: lookup.Door[Address, str] | None = None
        if callable(known):
            self._function = known
        elif isinstance(known, str):
            raise ConfigError(f"Users(known): {known!r} is one name", remedy=f"write known=[{known!r}]")
        else:
            remedy = 'write known=["ann", "bob"]'
            self._names = lookup.Door([known], self._made, str, name="Users(known)", remedy=remedy)
        hold_open(self, self._domains, *([self._names] if self._names is not None else []))

    def _made(self, items: Sequence[lookup.Item]) -> _Names:
        names: WordTable[str] = WordTable(self._terms.case)
        for item in items:
            with item.blamed():
                name = option.address(f"{item.text}@localhost", name="Users(known)").local
                names.words[names.key(name)] = ""
        return _Names(names)

    @hookimpl
    async def rcpt(self, session: Session, recipient: Recipient) -> Reply | None:
        address, told = recipient.address, partial(session.note, "recipients", "rcpt")
        if await self._domains.find(address.domain, told) is None:
            return None
        for form in self._terms.forms(address):
            if place.is_role(form) or await self._exists(form, told):
                self._terms.take(recipient, form)
                return None
        return self._terms.refuse(recipient)

    async def _exists(self, address: Address, told: Callable[[str], None]) -> bool:
        if self._names is not None:
            return await self._names.find(address, told) is not None
        began, answer = time.monotonic(), self._function(address)
        found = await answer if inspect.isawaitable(answer) else answer
        words = "found" if found else "not found"
        told(f"{address}: {words} ({_name(self._function)}, {time.monotonic() - began:.3f} s)")
        if not isinstance(found, bool):
            raise TypeError(f"Users(known) returned {found!r} instead of True or False")
        return found


def _name(function: object) -> str:
    return getattr(function, "__name__", type(function).__name__)


class _Names:
    """Local parts."""

    __slots__ = ("names",)

    def __init__(self, names: WordTable[str]) -> None:
        self.names = names

    def __len__(self) -> int:
        return len(self.names)

    def find(self, address: Address) -> str | None:
        return self.names.find(address.local)

    def steps(self, address: Address) -> Iterator[tuple[str | None, str | None]]:
        local = self.names.key(address.local)
        yield None, str(Address(local, address.domain))
        yield self.names.find(local), local


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
