"""A DNS for tests: a table of records behind the real resolver's questions, budgets and errors. Nothing is sent.

    fake = FakeResolver({
        "example.org": {"A": "192.0.2.7", "MX": ["10 mx1.example.org", "20 mx2.example.org"], "TXT": "v=spf1 -all"},
        "www.example.org": {"CNAME": "example.org"},
        "192.0.2.7": "mail.example.org",                    # its name: a PTR record
        "2.0.0.127.dnsbl.example": SERVFAIL,
        "slow.example": {"A": TIMEOUT, "MX": "0 ."},         # a null MX
    })
    async with Dialog(DNSBL("dnsbl.example"), resolver=fake) as smtp: ...
    assert fake.asked == [("1.2.0.192.dnsbl.example", "A")]

What is not in the table does not exist. A record is written as in a zone file, except that a TXT record is its text as
it is, or octets. There is no cache: every question is seen. A mistake in the table is a ValueError when it is made.
"""

from __future__ import annotations

import ipaddress
from collections.abc import Iterable, Mapping
from enum import Enum
from typing import Any, Final

import dns.exception
import dns.name
import dns.rdata
import dns.rdataclass
import dns.rdatatype
from anyio import Event

from ..services.resolver import Answer, Resolver
from ..services.resolver.message import RECORDS, Reading, read_record
from ..services.resolver.name import Question, canonical
from ..services.resolver.outcome import Outcome, no_records, no_such_name, trouble

__all__ = ["SERVFAIL", "TIMEOUT", "FakeResolver", "Held", "Trouble"]


class Trouble(Enum):
    """What stands in a table in place of records: the answer is `Temporary`. No time passes."""

    SERVFAIL = "SERVFAIL"
    TIMEOUT = "no answer in time"


SERVFAIL: Final = Trouble.SERVFAIL
TIMEOUT: Final = Trouble.TIMEOUT

Record = str | bytes
Records = Trouble | Record | Iterable[Record]


class Held:
    """A question that waits. asked -- an Event: somebody has asked. `release()` lets it be answered."""

    def __init__(self) -> None:
        self.asked = Event()
        self._released = Event()

    def release(self) -> None:
        """Answer, now and henceforth."""
        self._released.set()

    async def wait(self) -> None:
        """The source's own."""
        self.asked.set()
        await self._released.wait()


class FakeResolver(Resolver):
    """A resolver over a table: names (or addresses) to `Trouble`, a PTR name, or a mapping of types to records.

    secure -- whether its answers count as validated. options -- those of `Resolver`, such as session_queries.
    asked -- (name, type) of every question in order, names canonical.
    """

    def __init__(self, records: Mapping[str, Any] | None = None, *, secure: bool = False, **options: Any) -> None:
        self._source = _Source(records or {}, secure)
        super().__init__(source=self._source, cache=0, **options)

    @property
    def asked(self) -> list[tuple[str, str]]:
        """Every question so far."""
        return self._source.asked

    def hold(self, name: str, type: str = "") -> Held:
        """Let questions for `name` wait, in an event loop: `await held.asked.wait()`, then `held.release()`.

        type -- of the questions that wait, "TXT"; "": all of them.
        """
        held = self._source.held[_key(name), type] = Held()
        return held


class _Source:
    """The table. Implements `Source`."""

    def __init__(self, records: Mapping[str, Any], secure: bool) -> None:
        self.asked: list[tuple[str, str]] = []
        self.held: dict[tuple[str, str], Held] = {}  # by name and type
        self._secure = secure
        self._table = {_key(name): _row(records) for name, records in records.items()}

    async def fetch(self, question: Question) -> Reading:
        self.asked.append((question.name, question.type))
        for each in ((question.name, ""), (question.name, question.type)):
            if each in self.held:
                await self.held[each].wait()
        return Reading(self._find(question, question.name, 16), 0)

    def _find(self, question: Question, name: str, hops: int) -> Outcome:
        row = self._table.get(name)
        if row is None:
            return no_such_name(question, 60, secure=self._secure)
        found = row if isinstance(row, Trouble) else row.get(question.type)
        if isinstance(found, Trouble):
            return trouble(question, found.value)
        if found is not None:
            return Answer(question.name, found[:RECORDS], name, 60, self._secure)
        assert not isinstance(row, Trouble)
        alias = row.get("CNAME")
        if isinstance(alias, tuple):
            return self._find(question, alias[0], hops - 1) if hops else trouble(question, "too many CNAMEs")
        return no_records(question, 60, secure=self._secure)


_Row = Trouble | dict[str, "Trouble | tuple[Any, ...]"]


def _key(name: str) -> str:
    try:
        name = ipaddress.ip_address(name).reverse_pointer
    except ValueError:
        pass
    found = canonical(name)
    if found is None:
        raise ValueError(f"{name!r} cannot be a name in the DNS")
    return found


def _row(given: Trouble | str | Mapping[str, Records]) -> _Row:
    if isinstance(given, Trouble):
        return given
    if isinstance(given, str):
        given = {"PTR": given}
    return {type.upper(): _records(type.upper(), records) for type, records in given.items()}


def _records(type: str, given: Records) -> Trouble | tuple[Any, ...]:
    if isinstance(given, Trouble):
        return given
    texts = [given] if isinstance(given, (str, bytes)) else given
    found = [_record(type, text) for text in texts]
    values = [value for value in found if value is not None]
    return tuple(sorted(values) if type == "MX" else values)


def _record(type: str, text: Record) -> Any:
    if type == "TXT":
        return text if isinstance(text, bytes) else text.encode()
    try:
        rdata = dns.rdata.from_text(dns.rdataclass.IN, dns.rdatatype.from_text(type), str(text), origin=_ROOT)
    except dns.exception.DNSException as error:
        raise ValueError(f"{text!r} is no {type} record: {error}") from None
    return read_record(rdata)


_ROOT: Final = dns.name.root
