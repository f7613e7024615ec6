"""What the DNS says, as plugins see it: the questions of `session.resolver`, its values, and its errors.

    try:
        answer = await session.resolver.mx("example.org")
    except NotFound:
        return Reply(550, "that domain takes no mail")

An answer is records, or an error: `NotFound` is what the DNS says, `Temporary` that nobody knows. An error that a check
does not catch is a fault of its entry: 451. Names come out in lower case and A-labels, without a final dot, and hold
nothing but letters, digits, hyphens, underscores and dots: a record that names something else is left out.
"""

from __future__ import annotations

import ipaddress
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Final, Generic, Literal, NamedTuple, Protocol, TypeVar

__all__ = [
    "MX",
    "NO_NAME",
    "Answer",
    "DNSBudget",
    "DNSError",
    "Lookups",
    "NoRecords",
    "NoSuchName",
    "NotFound",
    "ReverseName",
    "Temporary",
]

R = TypeVar("R")

IPAddress = ipaddress.IPv4Address | ipaddress.IPv6Address


class DNSError(Exception):
    """No records. name, type -- of the question. secure -- as in `Answer`; never of what is temporary."""

    def __init__(self, name: str, type: str, words: str, *, secure: bool = False) -> None:
        super().__init__(f"{name} {type}: {words}")
        self.name = name
        self.type = type
        self.secure = secure


class NotFound(DNSError):
    """The DNS says that there are none."""


class NoSuchName(NotFound):
    """NXDOMAIN: nothing of that name exists; or what was asked for cannot be a name, and nobody was asked."""


class NoRecords(NotFound):
    """NODATA: the name exists, with no record of that type."""


class Temporary(DNSError):
    """Nobody knows: SERVFAIL, REFUSED, no answer in time, no name server. Another time it may be different."""


class DNSBudget(Temporary):
    """The session has asked enough: a client must not make the server work for ever."""


@dataclass(frozen=True, slots=True)
class Answer(Generic[R]):
    """The records of one name and type; iterates over them.

    name -- as it was asked for. records -- at most 100; empty when all of them were left out.
    canonical -- where CNAMEs led to. ttl -- seconds, as the answer said.
    secure -- whether a name server that we trust has validated it (RFC 4035 §3.2.3).
    """

    name: str
    records: tuple[R, ...]
    canonical: str
    ttl: int
    secure: bool = False

    def __iter__(self) -> Iterator[R]:
        return iter(self.records)

    def __len__(self) -> int:
        return len(self.records)


class MX(NamedTuple):
    """A mail exchanger. host -- "" in a null MX: the domain takes no mail (RFC 7505)."""

    preference: int
    host: str


class Lookups(Protocol):
    """The questions. Each raises `NotFound` or `Temporary`; a name is text, in any case, U-labels too."""

    async def a(self, name: str) -> Answer[ipaddress.IPv4Address]:
        """IPv4 addresses."""

    async def aaaa(self, name: str) -> Answer[ipaddress.IPv6Address]:
        """IPv6 addresses."""

    async def addresses(self, name: str) -> Answer[IPAddress]:
        """Both, asked for at the same time. `Temporary` only when neither was found."""

    async def mx(self, name: str) -> Answer[MX]:
        """Mail exchangers, the preferred first."""

    async def txt(self, name: str) -> Answer[bytes]:
        """Texts, the strings of each record joined."""

    async def ptr(self, ip: IPAddress | str) -> Answer[str]:
        """The names that an address says it has. Nobody has confirmed them."""

    async def query(self, name: str, type: str) -> Answer[Any]:
        """Any type: "NS" and "CNAME" give names, types without a method of their own records of dnspython."""


@dataclass(frozen=True, slots=True)
class ReverseName:
    """The name of a client's address. name -- or None; nobody's but the client's word unless `confirmed`.

    result -- as in RFC 8601 §2.7.3: "pass", an address of the name is the client's; "fail", none is, or nobody looked;
    "permerror", there is no name; "temperror", the DNS gave no answer in time; "none", nobody asked.
    """

    name: str | None = None
    result: Literal["none", "pass", "fail", "permerror", "temperror"] = "none"

    @property
    def confirmed(self) -> bool:
        """Whether an address record of the name leads back to the client."""
        return self.result == "pass"


NO_NAME: Final = ReverseName()
