"""Aliases: mail for one address goes to others."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from functools import partial
from typing import Final, NamedTuple

from mailstack import option
from mailstack.contract.bind import hold_open
from mailstack.contract.hookspec import CallNext, hookimpl
from mailstack.option import ConfigError
from mailstack.services import lookup
from mailstack.services.lookup.domains import domain
from mailstack.session.session import Session
from mailstack.session.transaction import EXPANSION, Recipient
from mailstack.wire.address import Address
from mailstack.wire.reply import Reply

from . import place

__all__ = ["Aliases"]

# Linear: whatever follows a part begins like none of it.
_PART: Final = r'(?:"(?:[^"\\]|\\.)*"|\[[^\]]*\]|[^"\[,:])+'
_LINE: Final = re.compile(rf"({_PART}):(.*)", re.DOTALL)
_TARGET: Final = re.compile(rf"({_PART})(?:,|\Z)", re.DOTALL)

_Place = tuple[str, str]


class Aliases:
    """Deliver mail for one address to others, and vouch for it.

    aliases -- a mapping of address to one or several targets, and lookups: files of lines "address: target, target".
        "sales@example.org" is one address, "postmaster" the bare one; "@old.example" (or "*@old.example") is every
        address there that has no alias of its own, users who exist included: `catch_all` of `Addresses` and `Users` is
        for the others. A target is an address, or "@new.example", which keeps the local part. Other lookups are
        asked for "sales@example.org", then for "@example.org", and answer "target, target"; what they answer is not
        looked up again.
    separator -- as in `Addresses`: an alias of user takes mail for user+detail too; the detail is dropped.
    case_sensitive -- whether local parts that differ in letter case alone are different.

    ConfigError with file and line: what is no alias, one that is written twice, a cycle, more than 100 targets.
    """

    name = "recipients"
    rehearsable = True

    def __init__(
        self,
        *aliases: Mapping[str, str | Iterable[str]] | lookup.Source,
        separator: str = "",
        case_sensitive: bool = False,
    ) -> None:
        self._case = option.boolean(case_sensitive, name="Aliases(case_sensitive)")
        self._known = lookup.Door(
            [[*map(_line, each, each.values())] if isinstance(each, Mapping) else each for each in aliases],
            partial(_Book, key=self._key, separator=separator),
            _targets,
            name="Aliases",
            remedy='write Aliases({"sales@example.org": "ann@example.org"})',
        )
        hold_open(self, self._known)

    def _key(self, address: Address) -> _Place:
        return (address.local if self._case else address.local.lower()), address.domain

    @hookimpl
    async def rcpt(self, session: Session, recipient: Recipient, call_next: CallNext) -> Reply:
        address = recipient.address
        found = await self._known.find(address, partial(session.note, "recipients", "rcpt"))
        if found is None:
            return await call_next()
        targets = [*dict.fromkeys(target.of(address) for target in found)]
        recipient.accept()
        if len(targets) == 1:
            recipient.rewrite(targets[0])
            return await call_next()
        return await self._ask_each(recipient, targets, call_next)

    async def _ask_each(self, recipient: Recipient, targets: Sequence[Address], call_next: CallNext) -> Reply:
        """Each target is judged below; the client can try them together only, so the first refusal is for all."""
        reached: list[Address] = []
        for target in targets:
            recipient.expand([target])
            reply = await call_next()
            if reply.refused:
                return reply
            reached += [recipient.address, *(each.address for each in recipient.expansion)]
        recipient.expand(reached)
        return reply


def _line(left: str, right: str | Iterable[str]) -> str:
    return f"{left}: {right if isinstance(right, str) else ', '.join(right)}"


class _Target(NamedTuple):
    """local -- None keeps the one that was asked for."""

    local: str | None
    domain: str

    def of(self, address: Address) -> Address:
        return Address(address.local if self.local is None else self.local, self.domain)


class _Alias(NamedTuple):
    """One line."""

    written: str
    targets: tuple[_Target, ...]
    item: lookup.Item


_Found = dict[Address, tuple[Address, ...]]


class _Book:
    """All aliases, resolved: what they lead to has no alias any more.

    An alias is not applied to its own targets: "ann: ann, archive" keeps a copy. Any longer way back is a cycle.
    """

    __slots__ = ("_aliases", "_key", "_resolved", "_separator")

    def __init__(self, items: Sequence[lookup.Item], key: Callable[[Address], _Place], separator: str) -> None:
        self._key = key
        self._separator = separator
        self._aliases: dict[_Place, _Alias] = {}  # ("", domain) is the whole domain
        for item in items:
            with item.blamed():
                self._add(item)
        self._resolved: dict[_Place, tuple[_Target, ...]] = {}
        found: _Found = {}
        # A cycle goes through an address that is written, or through whole domains alone, whatever the local part.
        for at, alias in self._aliases.items():
            with alias.item.blamed():
                targets = self._follow(Address(at[0] or "\0", at[1]), (), found)
            if at[0]:
                self._resolved[at] = tuple(_Target(each.local, each.domain) for each in targets)

    def _add(self, item: lookup.Item) -> None:
        line = _LINE.fullmatch(item.text)
        if line is None:
            raise _no_alias(item.text)
        written = line[1].strip()
        left = _target(written)
        at = self._key(Address(left.local or "", left.domain))
        if at in self._aliases:
            raise ConfigError(f"Aliases: {written} is there twice", remedy="put all targets into one of them")
        targets = _targets(line[2].strip(), item.text)
        self._aliases[at] = _Alias(written, targets, item)

    # Questions.

    def find(self, address: Address) -> tuple[_Target, ...] | None:
        return next((held for held, _ in self.steps(address) if held is not None), None)

    def steps(self, address: Address) -> Iterator[tuple[tuple[_Target, ...] | None, str | None]]:
        for form in place.forms(address, self._separator):
            local, domain = at = self._key(form)
            yield self._resolved.get(at), str(Address(local, domain))
        if not place.is_routed(address):  # what is routed is nobody's local part
            yield self._wild(address), f"@{address.domain}" if address.domain else None

    def _wild(self, address: Address) -> tuple[_Target, ...] | None:
        if ("", address.domain) not in self._aliases:
            return None
        return tuple(_Target(each.local, each.domain) for each in self._follow(address, (), {}))

    def __len__(self) -> int:
        return len(self._aliases)

    # Resolution.

    def _alias_of(self, address: Address) -> _Alias | None:
        return self._aliases.get(self._key(address)) or self._aliases.get(("", address.domain))

    def _follow(self, address: Address, way: tuple[_Alias, ...], found: _Found) -> tuple[Address, ...]:
        """All that the address leads to. found -- what is known already. ConfigError: a cycle, too many."""
        alias = self._alias_of(address)
        if alias is None or (way and alias is way[-1]):
            return (address,)
        if address not in found:
            if alias in way:
                words = " → ".join(each.written for each in (*way[way.index(alias) :], alias))
                with alias.item.blamed():
                    raise ConfigError(f"Aliases: a cycle: {words}", remedy="let one of them lead elsewhere")
            ends: dict[Address, None] = {}
            for target in alias.targets:
                ends.update(dict.fromkeys(self._follow(target.of(address), (*way, alias), found)))
            if len(ends) > EXPANSION:
                raise _too_many(alias.written, len(ends))
            found[address] = tuple(ends)
        return found[address]


def _targets(text: str, line: str = "") -> tuple[_Target, ...]:
    """The targets as they are written. line -- all of it, for the error. ConfigError."""
    found = tuple(dict.fromkeys(map(_target, _split(text, line or text))))
    if len(found) > EXPANSION:
        raise _too_many(line or text, len(found))
    return found


def _split(text: str, line: str) -> Iterator[str]:
    """The targets of a line."""
    end = 0
    while end < len(text):
        target = _TARGET.match(text, end)
        if target is None:
            raise _no_alias(line)
        yield target[1].strip()
        end = target.end()
    if not end or text.endswith(","):
        raise _no_alias(line)


def _no_alias(text: str) -> ConfigError:
    remedy = 'write "sales@example.org: ann@example.org, bob@example.org"'
    return ConfigError(f"Aliases: {text!r} is no alias", remedy=remedy)


def _too_many(written: str, count: int) -> ConfigError:
    remedy = f"leave at most {EXPANSION}; for more, use a program that keeps mailing lists"
    return ConfigError(f"Aliases: {written[:80]} has {count} targets", remedy=remedy)


def _target(text: str) -> _Target:
    """An address, bare postmaster, or "@domain"."""
    if text.startswith(("@", "*@")):
        return _Target(None, domain(text.partition("@")[2], "Aliases"))
    if "*" in text and not text.startswith('"'):
        remedy = 'write "@example.org" for all addresses there, or quote a local part that has a star in it'
        raise ConfigError(f"Aliases: {text!r}: a star stands for a whole local part alone", remedy=remedy)
    address = option.address(text, name="Aliases")
    if not address.postmaster:
        address = place.mailbox(text, "Aliases")
    return _Target(address.local, address.domain)
