"""greylist: put off the mail of who has not written before (RFC 6647).

    greylist.Greylist()
    Unless(trusted | known.trusted(1), greylist.Greylist(delay="5m", store=SQLite("/var/lib/mailstack/greylist.db")))

A mail server tries again, most senders of spam do not. A triplet (the client's network, sender, recipient) that was not
seen before hears 451 4.7.1 at RCPT. When it comes again after `delay`, and before `window` has passed, it is let in and
known from then on, until it has not written for `keep`. A client's network that has been let in with `trust` different
triplets is let in with any other, for it has shown that it is a mail server.

Whose mail is known to be good should not wait: put the entry into `Unless`, with networks, logins, or a `dnswl`'s
trust. Mail to postmaster and abuse is never put off. Below `recipients`, nobody waits only to hear that a user does not
exist.

`optout` are recipients whose mail is never put off, `optin` the only ones whose mail is: addresses, domains, or lookups
of such. So users decide for themselves: `optin=lookup.SQL(…)`. A lookup that cannot say is as a dead store.

`by` says what of the triplet counts; without "sender" a client waits once for each recipient. Networks are /24 and /64
(`prefix`), because large senders try again from another machine. Senders count without what changes with each message:
BATV and SRS tags, details behind "+", numbers.

The null sender is put off at DATA, so that servers that only ask whether a recipient exists hear yes. `late=True` does
that for everybody: the log then has all recipients, and one that is put off puts off the whole message.

Records are in `store`, an SQLite file `greylist.db` in $STATE_DIRECTORY or ./var unless another is given; `Redis` for
several machines. They are written within a second; a crash may forget that second. When the store gives no answer, mail
waits (`on_fault="defer"`) or passes ("pass").

    mailstack greylist list -c conf/mx.py
    mailstack greylist allow 192.0.2.0/24 -c conf/mx.py       # let this network in, as if it had been seen often
    mailstack greylist expire 192.0.2.0/24 -c conf/mx.py      # forget what has to do with this network or address
"""

from __future__ import annotations

import ipaddress
import time
from collections.abc import Callable, Iterable, Sequence
from contextlib import AsyncExitStack
from functools import lru_cache, partial
from typing import Literal

from mailstack import log, option
from mailstack.contract.hookspec import Host, LiveOn, hookimpl
from mailstack.contract.postpone import must_be_heard
from mailstack.option import ConfigError
from mailstack.services import lookup
from mailstack.services.lookup.given import Given
from mailstack.services.store import Store, StoreError, chosen, key
from mailstack.services.unavailable import Unavailable
from mailstack.session.session import Session
from mailstack.session.stash import Key
from mailstack.session.transaction import Recipient
from mailstack.wire.reply import Reply

from .record import Record, normal_sender

__all__ = ["Greylist"]

PARTS = ("client", "sender", "recipient")


class Greylist:
    """Put off who is new.

    delay -- how long a new triplet must wait. window -- until when it may come again. keep -- how long it stays known.
    trust -- after how many triplets a client's network is known; 0 is never.
    by -- what counts, of "client", "sender", "recipient". prefix -- bits of networks, of IPv4 and IPv6.
    optin, optout -- recipients; text or lookups.
    late -- refuse at DATA. tell -- whether the reply says how long to wait.
    store -- where it is remembered. on_fault -- "defer" or "pass". clock -- what time it is, for tests.

    ConfigError for what makes no sense.
    """

    rehearsable = True

    def __init__(
        self,
        *,
        delay: str | float = "5m",
        window: str | float = "2d",
        keep: str | float = "36d",
        trust: int = 5,
        by: Iterable[str] = PARTS,
        prefix: Sequence[int] = (24, 64),
        optin: Given | None = None,
        optout: Given | None = None,
        late: bool = False,
        tell: bool = True,
        store: Store | None = None,
        on_fault: Literal["defer", "pass"] = "defer",
        clock: Callable[[], float] = time.time,
    ) -> None:
        self._delay = option.duration(delay, name="Greylist(delay)")
        self._window = option.duration(window, name="Greylist(window)", minimum=1.0)
        self._keep = option.duration(keep, name="Greylist(keep)", minimum=1.0)
        if self._delay >= self._window:
            raise ConfigError("Greylist: nobody could come again in time", remedy="make window longer than delay")
        self._trust = option.integer(trust, name="Greylist(trust)", minimum=0)
        wanted = {option.choice(part, *PARTS, name="Greylist(by)") for part in ([by] if isinstance(by, str) else by)}
        if not wanted:
            raise ConfigError("Greylist(by) is empty: everybody would be one", remedy='write by=("client", "sender")')
        self._by = tuple(part for part in PARTS if part in wanted)
        self._bits = _bits(prefix)
        self._optin = None if optin is None else lookup.addresses(optin, name="Greylist(optin)")
        self._optout = None if optout is None else lookup.addresses(optout, name="Greylist(optout)")
        self._late = option.boolean(late, name="Greylist(late)")
        self._tell = option.boolean(tell, name="Greylist(tell)")
        self._passes = option.choice(on_fault, "defer", "pass", name="Greylist(on_fault)") == "pass"
        self._clock = clock
        self.store = chosen(store, name="Greylist(store)", file="greylist.db")
        self._late_seconds: Key[float] = Key("greylist.late")

    @hookimpl
    async def lifespan(self, server: Host, call_next: LiveOn) -> None:
        async with AsyncExitStack() as stack:
            await stack.enter_async_context(self.store.opened(read_only=server.rehearsal))
            for door in filter(None, (self._optin, self._optout)):
                await stack.enter_async_context(door.opened())
            await call_next()

    @hookimpl
    async def rcpt(self, session: Session, recipient: Recipient) -> Reply | None:
        transaction = session.transaction
        assert transaction is not None
        wait = 0.0 if must_be_heard(recipient.given) else await self._judge(session, recipient)
        if not wait:
            return None
        if self._late or transaction.sender.address.null:
            transaction.stash[self._late_seconds] = max(wait, transaction.stash.get(self._late_seconds, 0.0))
            return None
        return self._refusal(wait)

    @hookimpl
    def data(self, session: Session) -> Reply | None:
        assert session.transaction is not None
        wait = session.transaction.stash.get(self._late_seconds, 0.0)
        return self._refusal(wait) if wait else None

    def _refusal(self, wait: float) -> Reply:
        words = f", try again in {max(1, round(wait))} seconds" if self._tell else ", try again later"
        return Reply(451, f"greylisted{words}", status="4.7.1")

    async def _judge(self, session: Session, recipient: Recipient) -> float:
        """0.0, or how long to wait."""
        try:
            return await self._decide(session, recipient)
        except (StoreError, Unavailable) as error:
            if not self._passes:
                raise
            log.warning("greylist passed over", session=session.id, who="greylist", reason=str(error))
            return 0.0

    async def _wants(self, session: Session, recipient: Recipient) -> bool:
        """Whether this recipient's mail is put off at all."""
        address, told = recipient.address, partial(session.note, "greylist", "rcpt")
        if self._optin is not None and await self._optin.find(address, told) is None:
            return False
        return self._optout is None or await self._optout.find(address, told) is None

    async def _decide(self, session: Session, recipient: Recipient) -> float:
        assert session.transaction is not None
        if (self._optin or self._optout) and not await self._wants(session, recipient):
            return 0.0
        network = self._network(session.client.host, session.client.port is not None)
        now = self._clock()
        trusted = await self._trusted(network, now)
        if trusted is not None:
            session.note("greylist", "rcpt", f"{network} is known ({trusted.passed} times)")
            return 0.0
        sender = normal_sender(str(session.transaction.sender.address))
        facts = {"client": network, "sender": sender, "recipient": str(recipient.address).lower()}
        parts = [facts[part] for part in self._by]
        name = key("grey", *parts)
        before = Record.unpack(await self.store.get(name))
        if before is None or not (before.passed or now - before.first <= self._window):
            before = Record(now, now, 0, " ".join(part or "<>" for part in parts))
            await self.store.put(name, before.pack(), self._window, soon=True)
        wait = 0.0 if before.passed else max(0.0, before.first + self._delay - now)
        words = "known" if before.passed else f"new since {now - before.first:.0f} s"
        session.note("greylist", "rcpt", f"{before.words}: {words}" + (f", waits {wait:.0f} s" if wait else ""))
        if not wait:
            await self._let_in(name, before, network, now)
        return wait

    async def _let_in(self, name: str, record: Record, network: str, now: float) -> None:
        if not record.passed or now - record.last > 3600:  # often enough for a memory of weeks
            known = record._replace(last=now, passed=record.passed + 1)
            await self.store.put(name, known.pack(), self._keep, soon=True)
        if not record.passed and self._trust:
            name = key("grey-client", network)
            before = Record.unpack(await self.store.get(name)) or Record(now, now, 0, network)
            await self.store.put(
                name, before._replace(last=now, passed=before.passed + 1).pack(), self._keep, soon=True
            )

    async def _trusted(self, network: str, now: float) -> Record | None:
        """What is known of the client's network, if that is enough."""
        if not self._trust:
            return None
        name = key("grey-client", network)
        record = Record.unpack(await self.store.get(name))
        if record is None or record.passed < self._trust:
            return None
        if now - record.last > 3600:
            await self.store.put(name, record._replace(last=now).pack(), self._keep, soon=True)
        return record

    def _network(self, host: str, is_ip: bool) -> str:
        return _network(host, self._bits) if is_ip else host or "local"

    # For `mailstack greylist`.

    async def records(self) -> list[tuple[str, Record, float]]:
        """Everything that is remembered: its key, what it is, and the seconds until it is forgotten."""
        found = [item async for item in self.store.items("grey/")]
        found += [item async for item in self.store.items("grey-client/")]
        return [(name, record, left) for name, value, left in found if (record := Record.unpack(value)) is not None]

    async def allow(self, host: str) -> str:
        """Know the network of this address from now on; its name. ValueError for what is none, or has several."""
        given = ipaddress.ip_interface(host)
        bits = self._bits[given.version == 6]
        if given.network.prefixlen < bits:
            raise ValueError(f"{host} has several networks of /{bits}, which is how clients are known here")
        network, now = _network(str(given.ip), self._bits), self._clock()
        record = Record(now, now, max(self._trust, 1), network)
        await self.store.put(key("grey-client", network), record.pack(), self._keep)
        return network

    async def expire(self, what: str) -> int:
        """Forget what has to do with this network, address of a client, sender or recipient; "" is everything. How many
        records that were."""
        try:
            what = _network(str(ipaddress.ip_interface(what).ip), self._bits)
        except ValueError:
            what = what.lower()
        gone = [name for name, record, _ in await self.records() if not what or what in record.words.split()]
        for name in gone:
            await self.store.delete(name)
        return len(gone)


@lru_cache(maxsize=4096)
def _network(host: str, bits: tuple[int, int]) -> str:
    ip = ipaddress.ip_address(host)
    return str(ipaddress.ip_network(f"{ip}/{bits[ip.version == 6]}", strict=False))


def _bits(given: Sequence[int]) -> tuple[int, int]:
    try:
        four, six = given
    except (TypeError, ValueError) as error:
        raise ConfigError(f"Greylist(prefix): {given!r} is not two numbers", remedy="write prefix=(24, 64)") from error
    return (
        option.integer(four, name="Greylist(prefix)", minimum=1, maximum=32),
        option.integer(six, name="Greylist(prefix)", minimum=1, maximum=128),
    )
