"""A user as providers know him: who he is, and what is stored of his passwords."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Final

from mailstack import option
from mailstack.session.credentials import PASSWORD, SECRET, ScramKeys, Secret

from .stored import Stored, Unreadable, is_locked, of_clear, read

__all__ = ["MOST", "Account", "account", "offered"]

MOST: Final = 20  # passwords of one user: a wrong one is compared with all of them


@dataclass(frozen=True, slots=True)
class Account:
    """A user. identity -- who he is once he has logged in. stored -- his passwords. locked -- whether none is right."""

    identity: str
    stored: tuple[Stored, ...]
    locked: bool = False

    @property
    def secrets(self) -> tuple[Secret, ...]:
        """What can judge a challenge, keys first: they are of one hash, and cost less."""
        found = [each.secret for each in self.stored if each.secret is not None]
        return tuple(sorted(found, key=lambda secret: isinstance(secret, str)))

    @property
    def compared(self) -> tuple[Stored, ...]:
        """What a password is compared with."""
        return tuple(each for each in self.stored if not isinstance(each.secret, ScramKeys)) or self.stored[:1]

    @property
    def mechanisms(self) -> frozenset[str]:
        """What can be judged of him."""
        if any(isinstance(secret, str) for secret in self.secrets):
            return frozenset(SECRET)
        keys = {f"SCRAM-{secret.hash}" for secret in self.secrets if isinstance(secret, ScramKeys)}
        return frozenset((*PASSWORD, *keys))


def account(
    identity: str, stored: Iterable[str], *, clear: Iterable[str] = (), weak: bool = False, locked: bool = False
) -> Account:
    """Make one of texts: what `read` reads, and clear text. A text that locks, locks him. Unreadable."""
    texts = list(stored)
    found = [read(text, weak=weak) for text in texts if not is_locked(text)] + [of_clear(text) for text in clear]
    if len(found) > MOST:
        raise Unreadable(f"there are more than {MOST} passwords", "keep fewer")
    return Account(identity, tuple(found), locked or not found or any(map(is_locked, texts)))


def offered(offer: str | Iterable[str], *, name: str) -> tuple[str, ...]:
    """The mechanisms that a provider offers: all that need a password, and those that it was told to. ConfigError."""
    named = [offer] if isinstance(offer, str) else [*offer]
    return tuple(dict.fromkeys((*PASSWORD, *(option.choice(each, *SECRET, name=name) for each in named))))
