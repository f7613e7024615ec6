"""Several lists, asked at the same time."""

from __future__ import annotations

import re
import time
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from anyio import create_task_group, move_on_after

from ... import log, option
from ...option import ConfigError
from ...session.lookup import DNSError, NotFound
from ...session.session import Session
from ...wire.reply import Reply
from .answer import Found, Listing
from .names import IPAddress, reversed_ip
from .zone import Zone, is_error

_TEXT = 200  # characters of a list's text that are told
_UNPRINTABLE = re.compile(r"[^ -~]")


@dataclass(slots=True)
class Statistics:
    """How a list is doing, since the start. seconds -- of waiting for it, in all."""

    asked: int = 0
    listed: int = 0
    errors: int = 0
    seconds: float = 0.0


class Lists:
    """Zones, and how they are asked.

    zones -- names, or `Zone`s. timeout -- for all of them together; who has not answered then has made an error.
    name -- the factory, for ConfigError; in lower case it is who asks, in the log and the evidence.
    texts -- whether the TXT of a listing is asked for. A listing whose text is late is one without text.
    statistics -- by the zone's name.
    """

    __slots__ = ("_texts", "_timeout", "statistics", "who", "zones")

    def __init__(self, zones: Sequence[str | Zone], *, timeout: str | float, name: str, texts: bool = True) -> None:
        self._texts = texts
        self.who = name.lower()
        if not zones:
            raise ConfigError(f"{name}() asks no list", remedy=f'write {name}("zen.spamhaus.org")')
        self.zones = tuple(zone if isinstance(zone, Zone) else Zone(zone) for zone in zones)
        names = [zone.name for zone in self.zones]
        for zone in names:
            if names.count(zone) > 1:
                raise ConfigError(f"{name}: {zone} stands there twice", remedy="give it once, with all its codes")
        self._timeout = option.duration(timeout, name=f"{name}(timeout)", minimum=0.01)
        self.statistics = {zone: Statistics() for zone in names}

    async def ask(
        self, session: Session, phase: str, names: Iterable[str] = (), ips: Iterable[IPAddress] = ()
    ) -> Found:
        """Whether any of these domains and addresses is listed. phase -- when that was asked, for the evidence."""
        wanted = [(name, name, 4) for name in dict.fromkeys(names)]
        wanted += [(str(ip), reversed_ip(ip), ip.version) for ip in dict.fromkeys(ips)]
        zones = self.zones
        questions = [(zone, who, key) for zone in zones for who, key, version in wanted if version == 4 or zone.ipv6]
        return await self._ask_all(session, phase, questions)

    async def _ask_all(self, session: Session, phase: str, questions: Sequence[tuple[Zone, str, str]]) -> Found:
        if not questions:
            return Found()
        found: dict[int, Listing] = {}

        async def ask(place: int, zone: Zone, subject: str, key: str) -> None:
            found[place] = listing = await self._ask(session, zone, subject, key)
            if self._texts and listing.points is not None and not zone.text:
                found[place] = listing._replace(text=await _text(session, f"{key}.{zone.name}"))

        began = time.monotonic()
        with move_on_after(self._timeout):
            async with create_task_group() as group:
                for place, question in enumerate(questions[1:], 1):
                    group.start_soon(ask, place, *question)
                await ask(0, *questions[0])
        late = time.monotonic() - began
        for place, (zone, subject, _) in enumerate(questions):
            if place not in found:
                found[place] = Listing(zone, subject, error="no answer in time", seconds=late)
        listings = [found[place] for place in range(len(questions))]
        for listing in listings:
            self._count(listing)
            session.note(self.who, phase, str(listing))
            if listing.error:
                log.warning("no answer", session=session.id, who=self.who, list=listing.zone.name, reason=listing.error)
        return Found(listings)

    async def _ask(self, session: Session, zone: Zone, subject: str, key: str) -> Listing:
        began = time.monotonic()
        name = f"{key}.{zone.name}"
        try:
            answers = (await session.resolver.a(name)).records
        except NotFound:
            return Listing(zone, subject, seconds=time.monotonic() - began)
        except DNSError as error:
            return Listing(zone, subject, error=str(error), seconds=time.monotonic() - began)
        seconds = time.monotonic() - began
        if all(map(is_error, answers)):
            said = ", ".join(map(str, answers)) or "no records"
            return Listing(zone, subject, answers, error=f"{said} is no answer of a list", seconds=seconds)
        return Listing(zone, subject, answers, zone.points(answers), seconds=seconds)

    def _count(self, listing: Listing) -> None:
        statistics = self.statistics[listing.zone.name]
        statistics.asked += 1
        statistics.listed += listing.points is not None
        statistics.errors += bool(listing.error)
        statistics.seconds += listing.seconds

    def report(self) -> None:
        """How the lists did, in the log."""
        for zone, each in self.statistics.items():
            log.info(
                "list",
                who=self.who,
                list=zone,
                asked=each.asked,
                listed=each.listed,
                errors=each.errors,
                seconds=round(each.seconds, 3),
            )


class Threshold:
    """From how many points on somebody is refused, and whether for good. name -- the factory, for ConfigError."""

    __slots__ = ("_code", "_least", "_status")

    def __init__(self, least: float, temporary: bool, *, name: str) -> None:
        self._least = option.number(least, name=f"{name}(threshold)")
        later = option.boolean(temporary, name=f"{name}(temporary)")
        self._code, self._status = (451, "4.7.1") if later else (550, "5.7.1")

    def reply(self, found: Found) -> Reply | None:
        """The refusal, if it is one; it names every list that hit."""
        if not found.hits or found.points < self._least:
            return None
        return Reply(self._code, found.reason, status=self._status)


async def _text(session: Session, name: str) -> str:
    """What the list tells of it, in one line of printable ASCII: it will stand in replies and header fields.

    A list without texts is no worse.
    """
    try:
        texts = (await session.resolver.txt(name)).records
    except DNSError:
        return ""
    return _UNPRINTABLE.sub("?", texts[0][:_TEXT].decode("latin-1")) if texts else ""
