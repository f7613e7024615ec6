"""Questions and answers of the DNS as octets: dnspython reads and writes them, what they mean is decided here.

No I/O. What a server sends is bounded before it is parsed: an answer may hold thousands of records, which no policy
wants and Python takes long to read.
"""

from __future__ import annotations

import ipaddress
import struct
from collections.abc import Callable
from typing import Any, Final, Literal, NamedTuple

import dns.exception
import dns.flags
import dns.message
import dns.name
import dns.rcode
import dns.rdata
import dns.rdataclass
import dns.rdatatype

from ...session.lookup import MX, Answer
from .name import Question, host
from .outcome import Outcome, no_records, no_such_name, trouble

__all__ = ["RECORDS", "TRUNCATED", "Query", "Reading", "read_record"]

RECORDS: Final = 100  # of one answer; the rest is not looked at
_PAYLOAD: Final = 1232  # octets over UDP: no fragments (DNS flag day 2020)
_HEADER: Final = struct.Struct("!HHHHHH")

TRUNCATED: Final = "truncated"  # the answer did not fit: ask again over TCP


class Reading(NamedTuple):
    """What an answer says, and how large it was in octets."""

    outcome: Outcome
    octets: int


class Query:
    """One question on its way. octets -- to be sent. Its id is random, from the system's source of randomness.

    ValueError for a type that does not exist or cannot be asked for, such as "ANY".
    """

    __slots__ = ("_message", "octets", "question")

    def __init__(self, question: Question) -> None:
        try:
            type = dns.rdatatype.from_text(question.type)
        except (dns.exception.DNSException, ValueError):
            type = dns.rdatatype.NONE
        if type == dns.rdatatype.NONE or dns.rdatatype.is_metatype(type):
            raise ValueError(f"{question.type!r} is no type of records")
        name = dns.name.Name([*(label.encode("ascii") for label in question.name.split(".")), b""])
        # AD asks for the AD bit of the answer (RFC 6840 §5.7).
        flags = dns.flags.RD | dns.flags.AD
        self.question = question
        self._message = dns.message.make_query(name, type, use_edns=0, payload=_PAYLOAD, flags=flags)
        self.octets = self._message.to_wire()

    def read(self, octets: bytes, *, trusted: bool) -> Reading | Literal["truncated"] | None:
        """What `octets` say; None when they are no answer to this question. trusted -- whether its AD bit counts."""
        if octets[:2] != self.octets[:2]:
            return None
        try:
            message = dns.message.from_wire(_bounded(octets), ignore_trailing=True)
            if not isinstance(message, dns.message.QueryMessage) or not self._message.is_response(message):
                return None
        except (dns.exception.DNSException, struct.error, ValueError):
            return None
        if message.flags & dns.flags.TC:
            return TRUNCATED
        return Reading(self._outcome(message, trusted=trusted), len(octets))

    def _outcome(self, message: dns.message.QueryMessage, *, trusted: bool) -> Outcome:
        question, rcode = self.question, message.rcode()
        if rcode not in (dns.rcode.NOERROR, dns.rcode.NXDOMAIN):
            return trouble(question, dns.rcode.to_text(rcode))
        try:
            chain = message.resolve_chaining()  # at most 16 CNAMEs
        except dns.message.ChainTooLong:
            return trouble(question, "too many CNAMEs")
        except dns.exception.DNSException as error:
            return trouble(question, f"unusable answer: {type(error).__name__}")
        secure = trusted and bool(message.flags & dns.flags.AD)
        if rcode == dns.rcode.NXDOMAIN:
            return no_such_name(question, chain.minimum_ttl, secure=secure)
        if chain.answer is None:
            if not message.flags & dns.flags.RA and not _has_soa(message):
                return trouble(question, "the server does not look further (no recursion)")
            return no_records(question, chain.minimum_ttl, secure=secure)
        records = tuple(found for rdata in chain.answer if (found := read_record(rdata)) is not None)
        if question.type == "MX":
            records = tuple(sorted(records))
        canonical = host(chain.canonical_name.labels) or question.name
        return Answer(question.name, records, canonical, chain.minimum_ttl, secure)


def _bounded(octets: bytes) -> bytes:
    """The same message with no more than `RECORDS` records in its answer and behind it, as far as its header says."""
    if len(octets) < _HEADER.size:
        return octets
    id, flags, questions, answers, authorities, others = _HEADER.unpack_from(octets)
    if questions > 1:
        return b""
    if answers <= RECORDS and authorities + others <= RECORDS:
        return octets
    return _HEADER.pack(id, flags, questions, min(answers, RECORDS), 0, 0) + octets[_HEADER.size :]


def _has_soa(message: dns.message.QueryMessage) -> bool:
    return any(each.rdtype == dns.rdatatype.SOA for each in message.authority)


def read_record(rdata: dns.rdata.Rdata) -> Any:
    """A record as a value; None for one that is left out, because what it names is no name of a host."""
    read = _READ.get(dns.rdatatype.to_text(rdata.rdtype))
    return rdata if read is None else read(rdata)


def _mx(rdata: Any) -> MX | None:
    exchange = host(rdata.exchange.labels)
    return None if exchange is None else MX(rdata.preference, exchange)


def _target(rdata: Any) -> str | None:
    return host(rdata.target.labels) or None


_READ: dict[str, Callable[[Any], Any]] = {
    "A": lambda rdata: ipaddress.IPv4Address(rdata.address),
    "AAAA": lambda rdata: ipaddress.IPv6Address(rdata.address),
    "CNAME": _target,
    "MX": _mx,
    "NS": _target,
    "PTR": _target,
    "TXT": lambda rdata: b"".join(rdata.strings),
}
