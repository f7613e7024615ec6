"""geo: where in the world a client is, by its address (MaxMind databases).

    where = geo.Geo("/var/lib/GeoIP/GeoLite2-City.mmdb", "/var/lib/GeoIP/GeoLite2-ASN.mmdb", here=(52.5, 13.4))
    Stack(where, When(where.country("XX"), greylist.Greylist()), When(where.farther(8000), …), …)
    geo.Geo("GeoLite2-Country.mmdb", deny=("XX", "YY"))

The databases are looked into when the client connects; what they know (country, continent, autonomous system, distance
in kilometres from `here`) is in the evidence, and in predicates for conditions around entries below:
`country("DE", "FR")`, `network(64496)` for autonomous systems, `farther(8000)`. An address that nobody knows is in no
country, and not far.

`deny` and `only` are countries (ISO 3166, two letters): 550 5.7.1 at RCPT. Where people sit is not what their mail is:
a condition or a Score is kinder. With `fields=True` a message gets X-GeoIP-Country, -ASN and -Distance; such fields of
others are dropped.

A database that is replaced is opened anew within a second; one that cannot be read then stays as it was. Replace it in
one step (`mv`), as geoipupdate does: the file is mapped into memory.

Needs `pip install "mailstack[geoip]"`, and databases: GeoLite2 is free of charge, from MaxMind, in several kinds.
"""

from __future__ import annotations

import math
import os
from collections.abc import Iterable
from typing import Any, Final, NamedTuple

from mailstack import extra, log, option
from mailstack.contract import predicate
from mailstack.contract.hookspec import hookimpl
from mailstack.contract.postpone import must_be_heard
from mailstack.contract.predicate import Predicate
from mailstack.option import ConfigError
from mailstack.services.files import Latest
from mailstack.session.message import Message
from mailstack.session.session import Session
from mailstack.session.stash import Key
from mailstack.session.transaction import Recipient
from mailstack.wire.reply import Reply

__all__ = ["Geo"]

EXTRAS = ("geoip",)

_DENIED: Final = Reply(550, "mail from your part of the world is not accepted", status="5.7.1")
_RADIUS: Final = 6371.0  # kilometres, of the Earth
_LOOK: Final = 1.0  # seconds between two looks at a file
_FIELDS: Final = ("X-GeoIP-Country", "X-GeoIP-ASN", "X-GeoIP-Distance")


class Place(NamedTuple):
    """What is known. country, continent -- codes, "" when unknown. asn -- 0 when unknown. distance -- kilometres."""

    country: str = ""
    continent: str = ""
    asn: int = 0
    network: str = ""
    distance: float | None = None

    def __str__(self) -> str:
        words = [self.country or "nowhere", f"AS{self.asn} {self.network}" if self.asn else ""]
        words += ["" if self.distance is None else f"{self.distance:.0f} km"]
        return ", ".join(filter(None, words))


class Geo:
    """databases -- files of MaxMind's format: country, city, ASN. here -- latitude and longitude, for distances.

    deny, only -- countries. fields -- whether header fields tell. ConfigError for files that cannot be used.
    """

    rehearsable = True

    def __init__(
        self,
        *databases: str | os.PathLike[str],
        here: tuple[float, float] | None = None,
        deny: str | Iterable[str] = (),
        only: str | Iterable[str] = (),
        fields: bool = False,
    ) -> None:
        library = extra.require("maxminddb", "mailstack[geoip]")
        if not databases:
            raise ConfigError("Geo() has no database", remedy='write Geo("GeoLite2-Country.mmdb")')
        self._databases = [_Database(library, os.path.expanduser(path)) for path in databases]
        self._here = _coordinates(here)
        self._deny = _countries(deny, "Geo(deny)")
        self._only = _countries(only, "Geo(only)")
        self._fields = option.boolean(fields, name="Geo(fields)")
        self._place: Key[Place] = Key("geo")

    def country(self, *codes: str) -> Predicate:
        """Whether the client is in one of these countries."""
        wanted = _countries(codes, "Geo.country")
        return self._ask(lambda place: place.country in wanted, f"country({', '.join(sorted(wanted))})")

    def network(self, *numbers: int) -> Predicate:
        """Whether the client's address belongs to one of these autonomous systems."""
        wanted = {option.integer(number, name="Geo.network", minimum=1) for number in numbers}
        return self._ask(lambda place: place.asn in wanted, f"network({', '.join(map(str, sorted(wanted)))})")

    def farther(self, kilometres: float) -> Predicate:
        """Whether the client is known to be farther away than that. ConfigError without `here`."""
        most = option.number(kilometres, name="Geo.farther")
        if self._here is None:
            raise ConfigError("Geo.farther: from where?", remedy="write Geo(…, here=(52.5, 13.4))")
        return self._ask(lambda place: place.distance is not None and place.distance > most, f"farther({most:g})")

    def _ask(self, question: Any, words: str) -> Predicate:
        def ask(session: Session) -> bool:
            return bool(question(session.stash.get(self._place, Place())))

        ask.__name__ = words
        return predicate.known("connect")(ask)

    @hookimpl
    def connect(self, session: Session) -> None:
        ip = session.client.ip
        if ip is None or ip.is_loopback:
            return
        found: dict[str, Any] = {}
        for database in self._databases:
            found |= database.find(str(ip))
        place = session.stash[self._place] = self._read(found)
        session.note("geo", "connect", f"{ip}: {place}")

    def _read(self, found: dict[str, Any]) -> Place:
        location = found.get("location") or {}
        there = location.get("latitude"), location.get("longitude")
        far = None if self._here is None or None in there else _distance(self._here, there)  # type: ignore[arg-type]
        return Place(
            str((found.get("country") or found.get("registered_country") or {}).get("iso_code", "")),
            str((found.get("continent") or {}).get("code", "")),
            int(found.get("autonomous_system_number") or 0),
            str(found.get("autonomous_system_organization") or ""),
            far,
        )

    @hookimpl
    def rcpt(self, session: Session, recipient: Recipient) -> Reply | None:
        if must_be_heard(recipient.given):
            return None
        country = session.stash.get(self._place, Place()).country
        denied = country in self._deny or (self._only and country and country not in self._only)
        return _DENIED if denied else None

    @hookimpl
    def message(self, session: Session, message: Message) -> None:
        if not self._fields:
            return
        for name in _FIELDS:
            message.remove_header(name)
        place = session.stash.get(self._place)
        if place is None:
            return
        values = place.country, str(place.asn or ""), "" if place.distance is None else f"{place.distance:.0f} km"
        for name, value in zip(_FIELDS, values, strict=True):
            if value:
                message.add_header(name, value)


class _Database:
    """One file, opened anew when it has been replaced."""

    def __init__(self, library: Any, path: str) -> None:
        self._library = library
        self._path = path
        try:
            self._reader = Latest(lambda: library.open_database(path), path, complain=self._complain, every=_LOOK)
        except (OSError, ValueError, library.InvalidDatabaseError) as error:
            raise ConfigError(f"Geo: {path} cannot be used: {error}", remedy="name a database of MaxMind's") from error

    def find(self, ip: str) -> dict[str, Any]:
        try:
            found = self._reader.value.get(ip)
        except ValueError:  # an IPv6 address, and a database of IPv4 alone
            return {}
        except self._library.InvalidDatabaseError as error:
            log.error("database is broken", who="geo", path=self._path, reason=str(error))
            return {}
        return found if isinstance(found, dict) else {}

    def _complain(self, error: Exception) -> None:
        log.error("database not opened again", who="geo", path=self._path, reason=str(error))


def _countries(given: str | Iterable[str], name: str) -> frozenset[str]:
    codes = frozenset(code.upper() for code in option.texts(given, name=name))
    for code in codes:
        if len(code) != 2 or not code.isascii() or not code.isalpha():
            raise ConfigError(f"{name}: {code!r} is no country", remedy='write two letters, "DE"')
    return codes


def _coordinates(given: tuple[float, float] | None) -> tuple[float, float] | None:
    if given is None:
        return None
    try:
        latitude, longitude = given
    except (TypeError, ValueError) as error:
        raise ConfigError(f"Geo(here): {given!r} is no place", remedy="write here=(52.5, 13.4)") from error
    return (
        option.number(latitude, name="Geo(here)", minimum=-90, maximum=90),
        option.number(longitude, name="Geo(here)", minimum=-180, maximum=180),
    )


def _distance(one: tuple[float, float], other: tuple[float, float]) -> float:
    """Along a great circle, in kilometres."""
    (lat1, lon1), (lat2, lon2) = (tuple(map(math.radians, point)) for point in (one, other))
    half = math.sin((lat2 - lat1) / 2) ** 2 + math.cos(lat1) * math.cos(lat2) * math.sin((lon2 - lon1) / 2) ** 2
    return 2 * _RADIUS * math.asin(min(1.0, math.sqrt(half)))
