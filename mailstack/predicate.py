"""Conditions for `When` and `Unless`: `from mailstack import predicate`.

    trusted = predicate.client_in("192.0.2.0/24", lookup.File("trusted")) | predicate.authenticated

What they are, and how a function becomes one, is in contract/predicate.py. Here are those that ask a list: it is text,
several, or a lookup that answers at once and needs nobody to open it (files, expressions, networks). One that waits is
a ConfigError: put the list into a file.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any

from .contract.predicate import (
    ORDER,
    Predicate,
    as_predicate,
    authenticated,
    client_certificate,
    known,
    listener,
    score_at_least,
    secure,
)
from .services import lookup
from .services.lookup.given import Given
from .session.session import Session
from .session.transaction import Recipient

__all__ = [
    "ORDER",
    "Predicate",
    "as_predicate",
    "authenticated",
    "client_certificate",
    "client_in",
    "client_named",
    "known",
    "listener",
    "recipient_in",
    "score_at_least",
    "secure",
    "sender_in",
]


def client_in(*within: Given) -> Predicate:
    """The client's address is in one of these networks. A UNIX socket has no address and is in none."""
    find = lookup.networks(*within, name="client_in").at_once()

    def ask(session: Session, _: Any) -> bool:
        ip = session.client.ip
        return ip is not None and find.find_now(ip) is not None

    return Predicate(ask, f"client_in({_words(within)})", "session")


def client_named(*names: Given) -> Predicate:
    """The client's name is one of these: "mail.example.org", "*.example.org" or ".example.org" (below it).

    Only a name that leads back to the client's address counts (`session.client_name`); it says no for who has none, and
    while the DNS does not answer. So it is for trust, not for refusals.
    """
    plain = [each.removeprefix("*") if isinstance(each, str) and each.startswith("*.") else each for each in names]
    find = lookup.domains(*plain, name="client_named").at_once()

    def ask(session: Session, _: Any) -> bool:
        name = session.client_name
        return name is not None and find.find_now(name) is not None

    return Predicate(ask, f"client_named({_words(names)})", "ehlo", named=True)


def sender_in(*addresses: Given) -> Predicate:
    """The envelope sender is one of these: "user@example.org", "user@", "example.org", ".example.org" (below it), "<>".

    "" is the null sender too.
    """
    find = lookup.addresses(*addresses, name="sender_in").at_once()

    def ask(session: Session, _: Any) -> bool:
        transaction = session.transaction
        return transaction is not None and find.find_now(transaction.sender.address) is not None

    return Predicate(ask, f"sender_in({_words(addresses)})", "mail")


def recipient_in(*addresses: Given) -> Predicate:
    """The recipient at hand is one of these: "user@example.org", "user@", "example.org", ".example.org" (below it)."""
    find = lookup.addresses(*addresses, name="recipient_in").at_once()

    def ask(session: Session, recipient: Recipient) -> bool:
        return find.find_now(recipient.address) is not None

    return Predicate(ask, f"recipient_in({_words(addresses)})", "rcpt", only="rcpt")


def _words(given: Iterable[object]) -> str:
    return ", ".join(_each(given))


def _each(given: Iterable[object]) -> Iterator[str]:
    for each in given:
        if isinstance(each, str):
            yield each
        elif isinstance(each, lookup.Source):
            yield str(getattr(each, "path", type(each).__name__))
        elif isinstance(each, list | tuple | set | frozenset | dict):
            yield from _each(each)
        else:
            yield str(each)
