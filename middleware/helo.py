"""helo: what the client calls itself, and whether that can be true.

    helo.Helo()                                # level "lenient": what no honest client says
    helo.Helo("rfc")
    Score(helo.Helo("strict"), 2)

The levels, each with those before it:

lenient    the name is "localhost", or this server's own name, or its address: a client that is somewhere else lies
           an address without brackets (192.0.2.1): no name at all
           an address literal that is not the client's address
rfc        a name without a dot, or with what names of hosts do not have (RFC 5321 §2.3.5, 4.1.1.1)
           a name that does not exist in the DNS, or has no address
strict     an address literal, though RFC 5321 §4.1.3 allows it
           a name none of whose addresses is the client's, nor near it (the same /24 or /48), while the client's own
           name is at another domain

The first rule that is broken refuses, at RCPT, with 550 5.7.1 (450 with `temporary=True`), so that the log has sender
and recipient; the DNS is asked from EHLO on, in the background. When it gives no answer the name is believed. Which
rules stay out is said with `without=("unknown", …)`; their names are in the evidence and here: "ours", "bare address",
"forged literal", "not qualified", "unknown", "literal", "elsewhere".

Programs of people in their own networks, printers and phones break many of these: `Unless(trusted, helo.Helo())`.
Clients on this machine pass. Names that you do not want at all are the business of `badhelo`.
"""

from __future__ import annotations

import ipaddress
import re
import time
from collections.abc import Iterable
from typing import Final, Literal

from mailstack import option
from mailstack.contract.hookspec import hookimpl
from mailstack.contract.postpone import must_be_heard
from mailstack.session.later import Later
from mailstack.session.lookup import NotFound, Temporary
from mailstack.session.session import IPAddress, Session
from mailstack.session.stash import Key
from mailstack.session.transaction import Recipient
from mailstack.wire.reply import Reply

__all__ = ["Helo"]

_RULES: Final = {
    "ours": ("lenient", "you are not {name}"),
    "bare address": ("lenient", "{name} is no name: an address stands in brackets"),
    "forged literal": ("lenient", "{name} is not your address"),
    "not qualified": ("rfc", "{name} is not the full name of a host"),
    "unknown": ("rfc", "{name} does not exist in the DNS"),
    "literal": ("strict", "address literals are not taken: {name}"),
    "elsewhere": ("strict", "{name} is somewhere else than you"),
}
_LEVELS: Final = ("lenient", "rfc", "strict")
_HOST: Final = re.compile(r"(?:[a-z0-9_](?:[a-z0-9_-]{0,61}[a-z0-9])?\.)+[a-z][a-z0-9-]*[a-z0-9]", re.IGNORECASE)
_NEAR: Final = {4: 24, 6: 48}  # bits of a network that counts as the same place


class Helo:
    """Judge the name in HELO, EHLO or LHLO.

    level -- "lenient", "rfc" or "strict". without -- rules that stay out. temporary -- 450 in place of 550.

    ConfigError for a level or a rule that does not exist.
    """

    rehearsable = True

    def __init__(
        self,
        level: Literal["lenient", "rfc", "strict"] = "lenient",
        *,
        without: str | Iterable[str] = (),
        temporary: bool = False,
    ) -> None:
        highest = _LEVELS.index(option.choice(level, *_LEVELS, name="Helo(level)"))
        left_out = {
            option.choice(rule, *_RULES, name="Helo(without)")
            for rule in ([without] if isinstance(without, str) else without)
        }
        self._rules = {
            rule: words
            for rule, (of_level, words) in _RULES.items()
            if _LEVELS.index(of_level) <= highest and rule not in left_out
        }
        self._code, self._status = (
            (450, "4.7.1") if option.boolean(temporary, name="Helo(temporary)") else (550, "5.7.1")
        )
        self._asked: Key[Later[str]] = Key("helo")

    @hookimpl
    def ehlo(self, session: Session, hostname: str) -> None:
        if self._asked in session.stash:
            del session.stash[self._asked]
        ip = session.client.ip
        if ip is not None and not ip.is_loopback:
            session.stash[self._asked] = session.start(self._judge, session, hostname, ip)

    async def _judge(self, session: Session, name: str, ip: IPAddress) -> str:
        """The first rule that is broken, or ""."""
        began = time.monotonic()
        broken = next((rule for rule in _broken_by_itself(session, name, ip) if rule in self._rules), "")
        if not broken and _HOST.fullmatch(name) and ("unknown" in self._rules or "elsewhere" in self._rules):
            broken = await self._ask(session, name, ip)
        session.note("helo", "ehlo", f"{name}: {broken or 'nothing against it'} ({time.monotonic() - began:.3f} s)")
        return broken

    async def _ask(self, session: Session, name: str, ip: IPAddress) -> str:
        try:
            addresses = (await session.resolver.addresses(name)).records
        except NotFound:
            return "unknown" if "unknown" in self._rules else ""
        except Temporary:
            return ""
        if "elsewhere" not in self._rules or any(_is_near(ip, address) for address in addresses):
            return ""
        return "" if _is_akin(name, await session.named()) else "elsewhere"

    @hookimpl
    async def rcpt(self, session: Session, recipient: Recipient) -> Reply | None:
        if must_be_heard(recipient.given):
            return None
        later = session.stash.get(self._asked)
        broken = await later.get() if later is not None else ""
        if not broken:
            return None
        return Reply(self._code, self._rules[broken].format(name=session.helo), status=self._status)


def _broken_by_itself(session: Session, name: str, ip: IPAddress) -> Iterable[str]:
    """The rules that the name breaks without a question, the gravest first."""
    address = _address(name)
    ours = {session.hostname.lower(), "localhost", "localhost.localdomain", session.server.host, "127.0.0.1", "::1"}
    if name.lower().rstrip(".") in ours or (address is not None and str(address) in ours and address != ip):
        yield "ours"
    if name.startswith("["):
        if address != ip:
            yield "forged literal"
        yield "literal"
    elif address is not None:
        yield "bare address"
    elif not _HOST.fullmatch(name):
        yield "not qualified"


def _address(name: str) -> IPAddress | None:
    """RFC 5321 §4.1.3: [192.0.2.1], [IPv6:2001:db8::1]; without brackets too."""
    text = name[1:-1] if name.startswith("[") and name.endswith("]") else name
    if text[:5].lower() == "ipv6:":
        text = text[5:]
    try:
        return ipaddress.ip_address(text)
    except ValueError:
        return None


def _is_near(ip: IPAddress, other: IPAddress) -> bool:
    if ip.version != other.version:
        return False
    network = ipaddress.ip_network(f"{ip}/{_NEAR[ip.version]}", strict=False)
    return other in network


def _is_akin(name: str, other: str | None) -> bool:
    """Whether the confirmed name of the client's address is at the same domain: the last two labels."""
    return other is not None and name.lower().rstrip(".").split(".")[-2:] == other.split(".")[-2:]
