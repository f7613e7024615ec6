"""hosts: whom the server talks to at all, by the client's address.

    hosts.Hosts(deny=["192.0.2.0/24", "2001:db8::/32"])
    hosts.Hosts(allow=["10.0.0.0/8"], deny="10.9.0.0/16", default="deny")
    hosts.Hosts(file="/etc/mailstack/hosts", reply="not from there, see https://example.org/blocked")
    hosts.Drop(file="/etc/mailstack/dropped")               # not even a word to these

`Hosts` answers in place of the banner: 554 5.7.1 to who is denied, 421 4.7.0 to who is deferred, and closes. `Drop`
closes without a word, before a TLS handshake too.

The most specific network decides, in whatever order they are written: with 192.0.2.0/24 denied and 192.0.2.7 allowed,
that one may talk. Whoever is in none of them gets the `default`. A network that has two verdicts is an error. Who comes
by a UNIX socket has no address, and is allowed.

A file has a line for each network: the network, `allow`, `deny` or `defer`, and for the last two the text to answer
with, if it is to be another. What follows a "#" at the beginning of a line, or behind a blank, is a comment.

    192.0.2.0/24     deny    your network sends spam, write to postmaster@example.org
    192.0.2.7        allow
    198.51.100.0/24  defer   # being looked into

The file is looked at every second and read anew when it has changed. One that cannot be used stops the start, with file
and line; later the networks that were read last stay in force, and the log says so once for each change.

A lookup takes one step for each length of prefix that is in use, whatever the number of networks.

`Hosts` belongs below `proxy`, so that it sees the client, and in a Postpone if postmaster is to be written to. `Drop`
is around the session and cannot be postponed, observed or scored.
"""

from __future__ import annotations

import os
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Literal

from anyio import create_task_group, sleep, to_thread

from mailstack import log, option
from mailstack.contract.hookspec import LiveOn, hookimpl
from mailstack.option import ConfigError, Network
from mailstack.session.session import IPAddress, Session
from mailstack.wire.reply import Reply

__all__ = ["Drop", "Hosts"]

Verdict = Literal["allow", "deny", "defer"]
Written = str | Iterable[str]

_VERDICTS: tuple[Verdict, ...] = ("allow", "deny", "defer")
_LOOK = 1.0  # seconds between two looks at a file
_TEXTS = {"deny": "you are not allowed to send mail here", "defer": "you are not allowed to send mail here now"}
_CODES = {"deny": (554, "5.7.1"), "defer": (421, "4.7.0")}


@dataclass(frozen=True, slots=True)
class _Rule:
    verdict: Verdict
    reply: Reply | None


class _Table:
    """Networks and what becomes of them; the most specific one counts."""

    __slots__ = ("_by_length",)

    def __init__(self) -> None:
        # Of IPv4 and IPv6: (bits to drop from an address, the rules by what is left), the longest prefix first.
        self._by_length: dict[int, list[tuple[int, dict[int, _Rule]]]] = {4: [], 6: []}

    def add(self, network: Network, rule: _Rule) -> None:
        """ValueError when it is there with another verdict."""
        drop = network.max_prefixlen - network.prefixlen
        lengths = self._by_length[network.version]
        rules = next((rules for each, rules in lengths if each == drop), None)
        if rules is None:
            rules = {}
            lengths.append((drop, rules))
            lengths.sort(key=lambda each: each[0])
        number = int(network.network_address) >> drop
        if rules.setdefault(number, rule) != rule:
            raise ValueError(f"{network} has two verdicts")

    def find(self, ip: IPAddress) -> _Rule | None:
        number = int(ip)
        for drop, rules in self._by_length[ip.version]:
            rule = rules.get(number >> drop)
            if rule is not None:
                return rule
        return None


class _Lists:
    """What was written in the configuration, and the file as it was when it was read last."""

    def __init__(
        self,
        entry: str,
        allow: Written,
        deny: Written,
        file: str | os.PathLike[str] | None,
        default: Verdict,
        text: str,
    ) -> None:
        self._entry = entry
        self._inline = {"allow": allow, "deny": deny}
        self._texts = dict.fromkeys(_TEXTS, text) if text else _TEXTS
        self._file = None if file is None else os.path.expanduser(file)
        if default not in _VERDICTS:
            raise ConfigError(f"{entry}(default): {default!r} is no verdict", remedy=f"one of {', '.join(_VERDICTS)}")
        if not allow and not deny and file is None:
            raise ConfigError(f"{entry}() knows no networks", remedy=f'write {entry}(deny=["192.0.2.0/24"]) or file=…')
        self._default = self._rule(default)
        self._stamp = self._look()
        self._table = self._read()

    def verdict(self, session: Session) -> _Rule:
        ip = session.client.ip
        return _ALLOWED if ip is None else self._table.find(ip) or self._default

    async def watch(self) -> None:
        """Read the file when it has changed, until cancelled."""
        while self._file is not None:
            await sleep(_LOOK)
            await self.look_again()

    async def look_again(self) -> None:
        stamp = await to_thread.run_sync(self._look)
        if stamp == self._stamp:
            return
        self._stamp = stamp
        try:
            self._table = await to_thread.run_sync(self._read)
        except ConfigError as error:
            log.error("hosts", problem=str(error), then="what was read before stays")
        else:
            log.info("hosts", file=self._file, did="read anew")

    def _look(self) -> tuple[int, ...] | None:
        if self._file is None:
            return None
        try:
            found = os.stat(self._file)
        except OSError:
            return None
        return found.st_mtime_ns, found.st_size, found.st_ino

    def _read(self) -> _Table:
        table = _Table()
        for verdict in ("allow", "deny"):
            name = f"{self._entry}({verdict})"
            for network in option.networks(self._inline[verdict], name=name):
                try:
                    table.add(network, self._rule(verdict))
                except ValueError as error:
                    raise ConfigError(f"{name}: {error}", remedy="name it in one of the lists") from None
        if self._file is not None:
            self._read_file(self._file, table)
        return table

    def _read_file(self, path: str, table: _Table) -> None:
        try:
            with open(path, encoding="utf-8") as file:
                lines = file.read().splitlines()
        except (OSError, UnicodeError) as error:
            words = error.strerror if isinstance(error, OSError) else "it is not UTF-8"
            raise ConfigError(
                f"the networks cannot be read: {words}", remedy="name a file that this user may read", file=path
            ) from error
        for number, line in enumerate(lines, 1):
            if not (words := _without_comment(line)):
                continue
            try:
                self._add(words, table)
            except ConfigError as error:
                raise ConfigError(error.message, remedy=error.remedy, file=path, line=number) from None

    def _add(self, line: str, table: _Table) -> None:
        written, verdict, text = [*line.split(None, 2), "", ""][:3]
        network = option.network(written)
        if verdict not in _VERDICTS:
            raise ConfigError(f"{verdict!r} is no verdict", remedy="write allow, deny or defer behind the network")
        if verdict == "allow" and text:
            raise ConfigError("allow has no text", remedy="put a # in front of what is a comment")
        try:
            table.add(network, self._rule(verdict, text))
        except ValueError as error:
            raise ConfigError(str(error), remedy="leave one of them out") from None

    def _rule(self, verdict: str, text: str = "") -> _Rule:
        if verdict == "allow":
            return _ALLOWED
        text = text or self._texts[verdict]
        if not (text.isascii() and text.replace("\n", "").isprintable()):
            raise ConfigError(f"{self._entry}: {text!r} cannot be said in a reply", remedy="write it in plain ASCII")
        code, status = _CODES[verdict]
        return _Rule("deny" if verdict == "deny" else "defer", Reply(code, text, status=status, close=True))


_ALLOWED = _Rule("allow", None)


def _without_comment(line: str) -> str:
    return "" if line.startswith("#") else line.split(" #")[0].split("\t#")[0].strip()


class Hosts:
    """Refuse clients by their networks: 554, or 421 where a file says `defer`, in place of the banner.

    allow, deny -- networks: "192.0.2.0/24", "2001:db8::1", or several. file -- a list of networks with their verdicts.
    default -- "allow", "deny" or "defer": for who is in none. reply -- the text for who is refused.

    ConfigError, with file and line, for what is no network or has two verdicts.
    """

    rehearsable = True

    def __init__(
        self,
        *,
        allow: Written = (),
        deny: Written = (),
        file: str | os.PathLike[str] | None = None,
        default: Verdict = "allow",
        reply: str = "",
    ) -> None:
        self.lists = _Lists("Hosts", allow, deny, file, default, reply)

    @hookimpl
    async def lifespan(self, call_next: LiveOn) -> None:
        await _watched(self.lists, call_next)

    @hookimpl
    def connect(self, session: Session) -> Reply | None:
        return self.lists.verdict(session).reply


class Drop:
    """Close connections by their networks without a word, before TLS and the banner.

    The options are those of Hosts; `deny` and `defer` are the same here.
    """

    rehearsable = True

    def __init__(
        self,
        *,
        allow: Written = (),
        deny: Written = (),
        file: str | os.PathLike[str] | None = None,
        default: Verdict = "allow",
    ) -> None:
        self.lists = _Lists("Drop", allow, deny, file, default, "")

    @hookimpl
    async def lifespan(self, call_next: LiveOn) -> None:
        await _watched(self.lists, call_next)

    @hookimpl
    async def session(self, session: Session, call_next: LiveOn) -> None:
        if self.lists.verdict(session).reply is None:
            await call_next()
            return
        session.note("hosts", "session", "dropped")
        log.info("refused", session=session.id, client=str(session.client), phase="session", by="hosts", reply="none")


async def _watched(lists: _Lists, call_next: LiveOn) -> None:
    async with create_task_group() as group:
        group.start_soon(lists.watch)
        await call_next()
        group.cancel_scope.cancel()
