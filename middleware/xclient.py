"""xclient: a proxy or filter that you trust says for which client it speaks (Postfix's XCLIENT).

    xclient.XClient("127.0.0.1", "192.0.2.10")

EHLO offers XCLIENT to clients from these networks alone; from anybody else it is refused with 550. Permission is
judged by the address that the connection came from (behind a PROXY header: the one that it named), never by what an
earlier XCLIENT said.

    C: XCLIENT ADDR=198.51.100.7 PORT=4711 HELO=mx.example.net LOGIN=anna
    S: 220 mx.example.org ESMTP mailstack

The conversation then begins anew as if that client had just connected: the `connect` chain is asked again, its answer
is the reply, and EHLO is due. What several commands say adds up until EHLO comes; after it nothing of that is
inherited but the address, so that one client never has the login of another.

    ADDR, PORT          become `session.client`
    NAME                its name, which counts as confirmed; without it the server looks for one itself
    DESTADDR, DESTPORT  become `session.server`
    HELO                `session.helo`, until the next HELO or EHLO
    LOGIN               `session.user`: the client counts as authenticated
    PROTO               changes nothing: the protocol is what EHLO or HELO says

Values are xtext; [UNAVAILABLE] and [TEMPUNAVAIL] mean that the proxy does not know. A client without address is
0.0.0.0, which no list holds: the proxy's own rights are never those of a stranger.

501 for what is malformed or unknown, 503 within a transaction.

Its place is above all entries that look at the client. Source: XCLIENT_README of Postfix.
"""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Callable, Mapping, MutableMapping
from typing import Any

from mailstack import log
from mailstack.contract.hookspec import hookimpl
from mailstack.option import Network
from mailstack.services import lookup
from mailstack.services.lookup.given import Given
from mailstack.session.lookup import ReverseName
from mailstack.session.session import Peer, Session
from mailstack.session.stash import Key
from mailstack.wire.command import Command
from mailstack.wire.parameter import decode_xtext
from mailstack.wire.reply import Reply

__all__ = ["XClient"]

_DENIED = Reply(550, "you may not speak for others", status="5.7.0")
_IN_TRANSACTION = Reply(503, "not within a transaction")
_SYNTAX = Reply(501, "the syntax is XCLIENT NAME=value ..., with values in xtext")

NOWHERE = "0.0.0.0"

# What the proxy has said since EHLO, and who it is. Both must outlive the restart, which takes the stash.
_SAID: Key[dict[str, Any]] = Key("xclient.said")
_ORIGIN: Key[Peer] = Key("xclient.origin")


class XClient:
    """Take XCLIENT from these peers.

    trusted -- networks: "127.0.0.1", "192.0.2.0/24", and lookups of them that answer at once (lookup.File). ConfigError
        for none, and for anything else.
    """

    rehearsable = True

    def __init__(self, *trusted: Given | Network) -> None:
        remedy = 'write XClient("127.0.0.1")'
        self._trusted = lookup.networks(*trusted, name="XClient", remedy=remedy).at_once()

    @hookimpl
    def ehlo(self, session: Session, verb: str, keywords: MutableMapping[str, str]) -> None:
        if _SAID in session.stash:
            del session.stash[_SAID]
        if verb != "HELO" and self._trusts(session):
            keywords["XCLIENT"] = " ".join(_ATTRIBUTES)

    @hookimpl
    async def command(self, session: Session, command: Command) -> Reply | None:
        if command.verb != "XCLIENT":
            return None
        if not self._trusts(session):
            return _DENIED
        if session.transaction is not None:
            return _IN_TRANSACTION
        try:
            given = _parse(command.argument)
        except ValueError:
            return _SYNTAX
        return await _restart(session, given)

    def _trusts(self, session: Session) -> bool:
        ip = session.stash.get(_ORIGIN, session.client).ip
        return ip is not None and self._trusted.find_now(ip) is not None


async def _restart(session: Session, given: Mapping[str, Any]) -> Reply:
    origin = session.stash.get(_ORIGIN, session.client)
    earlier: dict[str, Any] | None = session.stash.get(_SAID)
    said = {**(earlier or {}), **given}
    client = _named(_end(session.client, said, "ADDR", "PORT"), said)
    server = _end(session.server, said, "DESTADDR", "DESTPORT")
    log.info("xclient", session=session.id, peer=str(origin), client=str(client), user=said.get("LOGIN"))
    reply = await session.restart(client=client, server=server, helo=said.get("HELO"), user=said.get("LOGIN"))
    session.stash[_ORIGIN], session.stash[_SAID] = origin, said
    return reply


def _end(now: Peer, said: Mapping[str, Any], address: str, port: str) -> Peer:
    """One end of the connection, as far as it was told."""
    if address in said:
        return Peer(said[address] or NOWHERE, said.get(port) or 0)
    if port in said and now.port is not None:
        return Peer(now.host, said[port] or 0, now.reverse)
    return now


def _named(client: Peer, said: Mapping[str, Any]) -> Peer:
    """The client with the name that was told; the DNS knows none of an address that nobody knows."""
    nowhere = "ADDR" in said and said["ADDR"] is None
    name = said.get("NAME", _NAMELESS if nowhere else None)
    return client if name is None else Peer(client.host, client.port, name)


# The attributes: None is a value that the proxy does not know. ValueError for what cannot be.


def _parse(argument: str) -> dict[str, Any]:
    given: dict[str, Any] = {}
    for word in argument.split():
        name, _, text = word.partition("=")
        name = name.upper()
        if name not in _ATTRIBUTES or name in given:
            raise ValueError("no attribute, or one that was given twice")
        given[name] = _ATTRIBUTES[name](decode_xtext(text))
    if not given:
        raise ValueError("no attribute")
    return given


_PORT = re.compile(r"[0-9]{1,5}")


def _known(parse: Callable[[str], object]) -> Callable[[str], object]:
    return lambda text: None if text.upper() in ("[UNAVAILABLE]", "[TEMPUNAVAIL]") else parse(text)


def _address(text: str) -> str:
    if text[:5].upper() != "IPV6:":
        return str(ipaddress.IPv4Address(text))
    if "%" in text:
        raise ValueError("a scope has no meaning elsewhere")
    found = ipaddress.IPv6Address(text[5:])
    return str(found.ipv4_mapped or found)


def _port(text: str) -> int:
    if not _PORT.fullmatch(text) or int(text) > 65535:
        raise ValueError("no port")
    return int(text)


_NAMELESS = ReverseName(result="permerror")
_NAMES = {"[UNAVAILABLE]": _NAMELESS, "[TEMPUNAVAIL]": ReverseName(result="temperror")}
_NAME = re.compile(r"[A-Za-z0-9_.-]{1,255}")


def _reverse_name(text: str) -> ReverseName:
    """A name of the DNS, which the proxy has confirmed."""
    if (unknown := _NAMES.get(text.upper())) is not None:
        return unknown
    if not _NAME.fullmatch(text):
        raise ValueError("no name of the DNS")
    return ReverseName(text.lower().removesuffix("."), "pass")


def _hello(text: str) -> str:
    """As the argument of EHLO: printable ASCII without blanks."""
    if not text.isascii() or " " in text or len(text) > 255:
        raise ValueError("no name")
    return text


def _login(text: str) -> str:
    if len(text) > 255:
        raise ValueError("too long")
    return text


def _protocol(text: str) -> str:
    if text.upper() not in ("SMTP", "ESMTP"):
        raise ValueError("no protocol")
    return text.upper()


_ATTRIBUTES: Mapping[str, Callable[[str], object]] = {
    "NAME": _reverse_name,
    "ADDR": _known(_address),
    "PORT": _known(_port),
    "PROTO": _protocol,
    "HELO": _known(_hello),
    "LOGIN": _known(_login),
    "DESTADDR": _known(_address),
    "DESTPORT": _known(_port),
}
