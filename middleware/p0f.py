"""p0f: what system a client runs, by how it speaks TCP (p0f, version 3).

    seen = p0f.P0f("/run/p0f.sock")
    Stack(seen, When(seen.system("windows"), greylist.Greylist()), …)

p0f listens on the wire and guesses; run it as `p0f -i eth0 -s /run/p0f.sock 'tcp dst port 25'`. It is asked in the
background when the client connects, and waited for at MAIL: place the entry above those whose conditions ask it. What
it knows (system, distance in hops, uptime, kind of link) is in the evidence. `system("windows", "linux 2.")` is a
predicate, known from MAIL on, true when the name of the system begins so, in any letter case. `deny` are such
beginnings: 550 5.7.1 at RCPT. With `fields=True` a message gets X-P0F-System and X-P0F-Link; such fields of others are
dropped.

A p0f that does not answer within `timeout`, or does not know the client, has no opinion; the log says when it is dead.
"""

from __future__ import annotations

import struct
from collections.abc import Iterable
from typing import Final, NamedTuple

from anyio import move_on_after

from mailstack import log, option
from mailstack.contract.hookspec import hookimpl
from mailstack.contract.postpone import must_be_heard
from mailstack.contract.predicate import Predicate
from mailstack.option import ConfigError
from mailstack.services.transport import connect
from mailstack.session.later import Later
from mailstack.session.message import Message
from mailstack.session.session import IPAddress, Session
from mailstack.session.stash import Key
from mailstack.session.transaction import Recipient
from mailstack.wire.reply import Reply

__all__ = ["P0f"]

_ASK: Final = struct.Struct("=IB16s")
_ASKED: Final = 0x50304601
_ANSWER: Final = struct.Struct("=9IhBB32s32s32s32s32s32s")  # README of p0f 3, section 4
_ANSWERED: Final = 0x50304602
_KNOWN: Final = 0x10

_DENIED: Final = Reply(550, "clients of your kind are not served", status="5.7.1")
_FIELDS: Final = ("X-P0F-System", "X-P0F-Link")


class Fingerprint(NamedTuple):
    """system, link -- "" when unknown. distance -- hops, -1 when unknown. uptime -- minutes, 0 when unknown."""

    system: str = ""
    link: str = ""
    distance: int = -1
    uptime: int = 0

    def __str__(self) -> str:
        words = [self.system or "unknown", self.link, f"{self.distance} hops" if self.distance >= 0 else ""]
        return ", ".join(filter(None, [*words, f"up {self.uptime} min" if self.uptime else ""]))


NOTHING: Final = Fingerprint()


class P0f:
    """socket -- p0f's UNIX socket. deny -- beginnings of systems. fields -- whether header fields tell. timeout.

    ConfigError for what makes no sense.
    """

    rehearsable = True

    def __init__(
        self, socket: str, *, deny: str | Iterable[str] = (), fields: bool = False, timeout: str | float = "2s"
    ) -> None:
        place = option.socket_address(socket, name="P0f")
        if place.path is None:
            raise ConfigError(f"P0f: {socket!r} is no UNIX socket", remedy='write P0f("/run/p0f.sock")')
        self._socket = place.path
        self._deny = _beginnings(deny, "P0f(deny)")
        self._fields = option.boolean(fields, name="P0f(fields)")
        self._timeout = option.duration(timeout, name="P0f(timeout)", minimum=0.01)
        self._asked: Key[Later[Fingerprint]] = Key("p0f")
        self._found: Key[Fingerprint] = Key("p0f.found")

    def system(self, *names: str) -> Predicate:
        """Whether the client's system is called so, or begins so."""
        wanted = _beginnings(names, "P0f.system")

        def ask(session: Session, _: object) -> bool:
            return session.stash.get(self._found, NOTHING).system.lower().startswith(wanted)

        return Predicate(ask, f"system({', '.join(wanted)})", "mail")

    @hookimpl
    def connect(self, session: Session) -> None:
        ip = session.client.ip
        if ip is not None and not ip.is_loopback:
            session.stash[self._asked] = session.start(self._ask, session, ip)

    async def _ask(self, session: Session, ip: IPAddress) -> Fingerprint:
        found, problem = NOTHING, "no answer in time"
        with move_on_after(self._timeout):
            try:
                found, problem = await self.look(ip), ""
            except (OSError, ValueError) as error:
                problem = str(error)
        if problem:
            log.warning("no fingerprint", session=session.id, who="p0f", socket=self._socket, reason=problem)
        session.note("p0f", "connect", f"{ip}: {problem or found}")
        return found

    async def look(self, ip: IPAddress) -> Fingerprint:
        """What p0f knows of an address. OSError, ValueError."""
        stream = await connect(self._socket)
        try:
            await stream.send(_ASK.pack(_ASKED, ip.version, ip.packed))
            octets = b""
            while len(octets) < _ANSWER.size:
                received = await stream.receive()
                if not received:
                    raise ValueError("the answer is cut off")
                octets += received
        finally:
            stream.abort()
        return read(octets)

    @hookimpl
    async def mail(self, session: Session) -> None:
        later = session.stash.get(self._asked)
        if later is not None and self._found not in session.stash:
            session.stash[self._found] = await later.get()

    @hookimpl
    def rcpt(self, session: Session, recipient: Recipient) -> Reply | None:
        if must_be_heard(recipient.given):
            return None
        system = session.stash.get(self._found, NOTHING).system.lower()
        return _DENIED if self._deny and system.startswith(self._deny) else None

    @hookimpl
    def message(self, session: Session, message: Message) -> None:
        if not self._fields:
            return
        for name in _FIELDS:
            message.remove_header(name)
        found = session.stash.get(self._found, NOTHING)
        for name, value in zip(_FIELDS, (found.system, found.link), strict=True):
            if value:
                message.add_header(name, value)


def read(octets: bytes) -> Fingerprint:
    """p0f's answer. ValueError for what is none."""
    if len(octets) < _ANSWER.size:
        raise ValueError("the answer is cut off")
    magic, status, _, _, _, uptime, _, _, _, distance, _, _, *texts = _ANSWER.unpack_from(octets)
    if magic != _ANSWERED:
        raise ValueError("the answer is not p0f's")
    if status != _KNOWN:
        return NOTHING
    name, flavour, _, _, link, _ = (_text(text) for text in texts)
    return Fingerprint(f"{name} {flavour}".strip(), link, distance, uptime)


def _text(octets: bytes) -> str:
    """A text that ends with NUL; what is not printable ASCII is left out."""
    text = octets.partition(b"\0")[0].decode("ascii", "ignore")
    return "".join(filter(str.isprintable, text))


def _beginnings(given: str | Iterable[str], name: str) -> tuple[str, ...]:
    words = tuple(word.lower() for word in option.texts(given, name=name))
    if not all(words):
        raise ConfigError(f"{name}: an empty name is every system", remedy='write "windows"')
    return words
