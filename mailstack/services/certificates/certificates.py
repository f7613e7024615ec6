"""Those of one place: which one a client gets, and how new files take the place of old ones.

A client gets the certificate for the name that it asks for (SNI, RFC 6066 §3); else that for the default, or the
hostname that was given; else the first. Certificates for the same names, one with an ECDSA and one with an RSA key, are
offered together; of two with the same kind of key the longer-lived one counts.

The files are looked at when a context is asked for, at most once in `every` seconds, and read in a thread; who asked
waits for it. New ones that cannot be used are logged, once, and what was there stays until they are repaired: a file
that is half written, a certificate whose key comes a moment later.

Failure: when it is made, ConfigError with file and remedy. Later nothing but the log.
"""

from __future__ import annotations

import os
import ssl
import time
from datetime import UTC, datetime
from pathlib import Path

from anyio import to_thread

from ... import log
from ...option import ConfigError
from ..files import Mark, mark
from ..transport import tls
from .choice import Choice, Group, Loaded, same_names
from .place import Pair, Place
from .terms import Terms

Path_ = str | os.PathLike[str]

DAY = 86400.0  # seconds
SOON = 7 * DAY  # before a certificate's end, when the log begins to say so


class Certificates:
    """place, key -- see `place`; a folder needs no key. terms -- how contexts are made.

    default -- the name whose certificate is for clients that ask for none, or for an unknown one; "": the hostname that
    is given to `context`. every -- seconds. missing_ok -- start without any; they are taken when they come. expired_ok
    -- take those too that are over, or not valid yet.
    """

    def __init__(
        self,
        place: Path_,
        key: Path_ | None = None,
        *,
        terms: Terms | None = None,
        default: str = "",
        every: float = 1.0,
        missing_ok: bool = False,
        expired_ok: bool = False,
    ) -> None:
        self._place = Place(Path(place), None if key is None else Path(key))
        self._terms = terms or Terms()
        self._default = default
        self._every = every
        self._expired_ok = expired_ok
        self._choice = Choice()
        self._again = 0.0  # time.monotonic() from which on the files are looked at again
        self._reads = False
        self._told: dict[Loaded, float] = {}  # of which the log has said that they end, and when
        self._terms.context()  # what is wrong with them is wrong without certificates too
        pairs = self._place.pairs()
        self._seen = self._marks(pairs)
        if not pairs and not missing_ok:
            raise self._place.missing()
        self._choice = Choice([self._group(members) for members in same_names(map(self._load, pairs))])
        if default and pairs and self._choice.named(default) is None:
            problem = f"no certificate in {place} is for {default}"
            raise ConfigError(problem, remedy="give a name that one of them has, or none")
        self._look_at_dates()

    @property
    def usable(self) -> bool:
        """Whether there is any."""
        return bool(self._choice.groups)

    async def context(self, hostname: str = "") -> ssl.SSLContext | None:
        """What `ssl` needs for the next handshake, or None. hostname -- of the server."""
        if time.monotonic() >= self._again:
            await self.look()
        return self._choice.front(self._default or hostname)

    async def look(self) -> None:
        """Look at the files, and read all of them when one has changed. Who comes meanwhile goes on with the old."""
        if self._reads:
            return
        self._reads = True
        try:
            await to_thread.run_sync(self._look)
        finally:
            self._reads = False
            self._again = time.monotonic() + self._every

    def _look(self) -> None:
        problem = None
        try:
            pairs = self._place.pairs()
        except ConfigError as error:
            pairs, problem = [], error
        seen = self._marks(pairs)
        if seen != self._seen:
            self._seen = seen
            if pairs:
                self._renew(pairs)
            else:
                _complain(problem or self._place.missing())
        self._look_at_dates()

    def _marks(self, pairs: list[Pair]) -> dict[Path, tuple[Mark, bool]]:
        """What tells of a change; that we may read no more what root could read, is one."""
        files = {file for pair in pairs for file in pair}
        everything = files | set(filter(None, [self._terms.authorities]))
        return {file: (mark(file), os.access(file, os.R_OK)) for file in everything}

    def _renew(self, pairs: list[Pair]) -> None:
        """What can be used takes the place of what was there; what cannot leaves it as it was."""
        good: list[Loaded] = []
        bad: set[Pair] = set()
        for pair in pairs:
            try:
                good.append(self._load(pair))
            except ConfigError as error:
                bad.add(pair)
                _complain(error)
        if not good:
            return
        before = {group.about: group for group in self._choice.groups}
        groups = {about: group for about, group in before.items() if not bad.isdisjoint(m.pair for m in group.members)}
        for members in same_names(good):
            try:
                group = self._group(members)
            except ConfigError as error:
                _complain(error)
                return
            groups.setdefault(group.about, group)
        self._choice = Choice(list(groups.values()))
        log.info("certificates loaded", files=" ".join(str(each.pair.chain) for each in good))

    def _load(self, pair: Pair) -> Loaded:
        return Loaded(pair, pair.check(expired_ok=self._expired_ok))

    def _group(self, members: tuple[Loaded, ...]) -> Group:
        context = self._terms.context(each.pair for each in members)
        context.sni_callback = self._asked
        return Group(members, context)

    def _asked(self, connection: ssl.SSLObject, name: str | None, context: ssl.SSLContext) -> None:
        """The client has said whom it wants to talk to."""
        if name:
            tls.remember_name(connection, name)
            chosen = self._choice.named(name)
            if chosen is not None and chosen is not context:
                connection.context = chosen

    def _look_at_dates(self) -> None:
        """What is over, or soon will be, is told once a day."""
        now = time.time()
        for group in self._choice.groups:
            for each in group.members:
                if each.facts.ends - now < SOON and now - self._told.get(each, 0.0) >= DAY:
                    self._told[each] = now
                    _warn(each, now)


def _warn(each: Loaded, now: float) -> None:
    ends = datetime.fromtimestamp(each.facts.ends, UTC).isoformat()
    if each.facts.ends < now:
        log.error("certificate expired", file=str(each.pair.chain), on=ends)
    else:
        log.warning("certificate expires soon", file=str(each.pair.chain), on=ends)


def _complain(error: ConfigError) -> None:
    log.error("certificate not loaded", problem=error.message, remedy=error.remedy)
