"""hosts: whom the server talks to at all, by the client's address.

    hosts.Hosts(deny=["192.0.2.0/24", "2001:db8::/32"])
    hosts.Hosts(allow=["10.0.0.0/8"], deny="10.9.0.0/16", default="deny")
    hosts.Hosts(lookup.File("/etc/mailstack/hosts"), reply="not from there, see https://example.org/blocked")
    hosts.Drop(lookup.File("/etc/mailstack/dropped"))       # not even a word to these

`Hosts` answers in place of the banner: 554 5.7.1 to who is denied, 421 4.7.0 to who is deferred, and closes. `Drop`
closes without a word, before a TLS handshake too.

The most specific network decides, in whatever order they are written: with 192.0.2.0/24 denied and 192.0.2.7 allowed,
that one may talk. Whoever is in none of them gets the `default`. A network that has two verdicts is an error. Who comes
by a UNIX socket has no address, and is allowed.

Networks are text or lookups (docs/lookups.md). Those without a name have the verdict as their value: `allow`, `deny` or
`defer`, and for the last two the text to answer with, if it is to be another. So a file has a line for each network:

    192.0.2.0/24     deny    your network sends spam, write to postmaster@example.org
    192.0.2.7        allow
    198.51.100.0/24  defer   # being looked into

Values in a lookup for `deny` are texts to answer with. A file that cannot be used stops the start, with file and line;
later the networks that were read last stay in force, and the log says so once for each change. A lookup that cannot say
is a fault: 421.

`Hosts` belongs below `proxy`, so that it sees the client, and in a Postpone if postmaster is to be written to. `Drop`
is around the session and cannot be postponed, observed or scored.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from functools import partial
from typing import Literal

from mailstack import log
from mailstack.contract.bind import bind, hold_open
from mailstack.contract.hookspec import LiveOn, hookimpl
from mailstack.option import ConfigError
from mailstack.services import lookup
from mailstack.services.lookup.given import Given, sort
from mailstack.services.lookup.lines import Marks
from mailstack.session.session import IPAddress, Session
from mailstack.wire.reply import Reply

__all__ = ["Drop", "Hosts"]

Verdict = Literal["allow", "deny", "defer"]

_VERDICTS: tuple[Verdict, ...] = ("allow", "deny", "defer")
_TEXTS = {"deny": "you are not allowed to send mail here", "defer": "you are not allowed to send mail here now"}
_CODES = {"deny": (554, "5.7.1"), "defer": (421, "4.7.0")}


@dataclass(frozen=True, slots=True)
class _Rule:
    verdict: Verdict
    reply: Reply | None


_ALLOWED = _Rule("allow", None)


class _Lists:
    """All the networks of an entry, and what becomes of who is in none."""

    def __init__(
        self, entry: str, given: tuple[Given, ...], allow: Given, deny: Given, default: Verdict, text: str
    ) -> None:
        self._entry = entry
        self._texts = dict.fromkeys(_TEXTS, text) if text else _TEXTS
        if default not in _VERDICTS:
            raise ConfigError(f"{entry}(default): {default!r} is no verdict", remedy=f"one of {', '.join(_VERDICTS)}")
        self._default = self._rule(default)
        self.networks: lookup.Door[IPAddress, _Rule] = lookup.networks(
            *given,
            *_with_verdict(allow, "allow", f"{entry}(allow)"),
            *_with_verdict(deny, "deny", f"{entry}(deny)"),
            name=entry,
            parse=self._rule,
            remedy=f'write {entry}(deny=["192.0.2.0/24"]) or {entry}(lookup.File(…))',
        )

    def verdict_now(self, session: Session) -> _Rule:
        ip = session.client.ip
        return _ALLOWED if ip is None else self.networks.find_now(ip) or self._default

    async def verdict(self, session: Session) -> _Rule:
        ip = session.client.ip
        return (
            _ALLOWED
            if ip is None
            else await self.networks.find(ip, partial(session.note, "hosts", "connect")) or self._default
        )

    def _rule(self, value: str) -> _Rule:
        """A verdict, and the text to answer with."""
        verdict, _, text = value.replace("\t", " ").partition(" ")
        if verdict not in _VERDICTS:
            raise ConfigError(f"{verdict!r} is no verdict", remedy="write allow, deny or defer behind the network")
        if verdict == "allow":
            if text.strip():
                raise ConfigError("allow has no text", remedy="put a # in front of what is a comment")
            return _ALLOWED
        text = text.strip() or self._texts[verdict]
        if text.partition(" ")[0] in _VERDICTS:
            raise ConfigError(f"{value!r} has two verdicts", remedy="leave one of them out")
        if not (text.isascii() and text.replace("\n", "").isprintable()):
            raise ConfigError(f"{self._entry}: {text!r} cannot be said in a reply", remedy="write it in plain ASCII")
        code, status = _CODES[verdict]
        return _Rule("deny" if verdict == "deny" else "defer", Reply(code, text, status=status, close=True))


# Lookups that have a verdict, whatever is in them.


def _with_verdict(given: Given, verdict: Verdict, name: str) -> Iterator[object]:
    """What is given, with the verdict in front of each value."""
    sorted = sort([given], name)
    for each in sorted.listed:
        yield _judged(each, verdict) if isinstance(each, lookup.Item) else _List(each, verdict)
    for source in sorted.asked:
        yield _Source(source, verdict)
    for negated in sorted.negated:
        yield lookup.Not(*negated.source.sources, value=verdict)


def _judged(item: lookup.Item, verdict: Verdict) -> lookup.Item:
    return item._replace(value=f"{verdict} {item.value}".strip())


class _List:
    """A list with one verdict."""

    def __init__(self, given: lookup.Listed, verdict: Verdict) -> None:
        self.every = given.every
        self._given = given
        self._verdict = verdict

    def read(self, marks: Marks) -> Iterable[lookup.Item]:
        return [_judged(item, self._verdict) for item in self._given.read(marks)]


class _Source:
    """A lookup with one verdict."""

    def __init__(self, source: lookup.Source, verdict: Verdict) -> None:
        self.opened = source.opened
        self.ready = getattr(source, "ready", False)
        self._source = source
        self._verdict = verdict
        if isinstance(source, lookup.Table):
            self.find_now = lambda key: self._answer(source.find_now(key))

    async def find(self, key: str) -> str | None:
        return self._answer(await self._source.find(key))

    def _answer(self, found: str | None) -> str | None:
        return None if found is None else self._verdict if self._verdict == "allow" else f"{self._verdict} {found}"


class Hosts:
    """Refuse clients by their networks: 554, or 421 where a file says `defer`, in place of the banner.

    verdicts -- lookups of networks with their verdicts. allow, deny -- networks: "192.0.2.0/24", "2001:db8::1",
        several, or lookups of them.
    default -- "allow", "deny" or "defer": for who is in none. reply -- the text for who is refused.

    ConfigError, with file and line, for what is no network or has two verdicts.
    """

    rehearsable = True

    def __init__(
        self,
        *verdicts: Given,
        allow: Given = (),
        deny: Given = (),
        default: Verdict = "allow",
        reply: str = "",
    ) -> None:
        self.lists = _Lists("Hosts", verdicts, allow, deny, default, reply)
        hold_open(self, self.lists.networks)
        if self.lists.networks.waits:
            bind(self, connect=_connect)

    @hookimpl
    def connect(self, session: Session) -> Reply | None:
        return self.lists.verdict_now(session).reply


async def _connect(self: Hosts, session: Session) -> Reply | None:
    """Where a lookup waits."""
    return (await self.lists.verdict(session)).reply


class Drop:
    """Close connections by their networks without a word, before TLS and the banner.

    The options are those of Hosts; `deny` and `defer` are the same here.
    """

    rehearsable = True

    def __init__(
        self,
        *verdicts: Given,
        allow: Given = (),
        deny: Given = (),
        default: Verdict = "allow",
    ) -> None:
        self.lists = _Lists("Drop", verdicts, allow, deny, default, "")
        hold_open(self, self.lists.networks)

    @hookimpl
    async def session(self, session: Session, call_next: LiveOn) -> None:
        if (await self.lists.verdict(session)).reply is None:
            await call_next()
            return
        session.note("hosts", "session", "dropped")
        log.info("refused", session=session.id, client=str(session.client), phase="session", by="hosts", reply="none")
