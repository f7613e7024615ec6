"""authfile: logins whose passwords lie in a file.

    authfile.File("/etc/mailstack/users")
    authfile.File("/etc/apache2/htpasswd", domain="example.org", weak=True)

One user a line; blank lines and what begins with "#" are passed over; UTF-8. `mailstack password ann@example.org`
prints lines to add. Read are

    ann:$2y$10$…                                    htpasswd: any hash of services/passwords/stored.py
    ann@example.org:{SSHA512}…                      with Dovecot's schemes
    bob:{PLAIN}secret:1000:1000::/home/bob::nologin Dovecot's passwd-file, of which mailstack uses the extra fields
                                                    nologin, allow_nets=192.0.2.0/24,… and user=identity

A password ends at the next ":"; write `{PLAIN.B64}` for one with a colon. Several lines of one user all hold: several
passwords, or a hash and keys for SCRAM (`{SCRAM-SHA-256}…`, "SCRAM-SHA-256$…"), at most 20. A password is compared with
the hashes, and with the keys only where there is no hash. "!", "*" or nothing as password, or nologin, locks the user.
Hashes that are no protection (DES-CRYPT, SHA without a salt, …) are refused, unless `weak=True`.

Names are compared without regard to letter case, unless `case_sensitive=True`; who has logged in is known by the name
as the file writes it first. With `domain`, names without one, in the file and from clients, are at that domain, and
known with it: "ann" is ann@example.org.

EHLO offers PLAIN and LOGIN, and SCRAM or CRAM-MD5 if all users who are not locked have what that needs, keys of that
hash or clear text: a client takes SCRAM because it is offered, and then it must not fail. `offer="SCRAM-SHA-256"`
offers it all the same. An unknown user costs what the slowest password in the file costs, so keep one scheme and cost
for all.

The file is looked at each second, and read again when it has changed and lain still for a second. What is wrong with
it when the server starts is told with its line, and the server does not start; so is a file without users. Later that
is an error in the log, and the users stay as they were. A server that gives up root (`Server(user=…)`) reads it again
as that user: let it be his group that may read. A file that everybody may read is a warning in the log.

Needs `pip install "mailstack[auth]"` for most hashes.
"""

from __future__ import annotations

import os
import re
import stat
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Final, NamedTuple

from mailstack import log, option
from mailstack.contract.hookspec import LiveOn, hookimpl
from mailstack.option import ConfigError, Network
from mailstack.services import passwords
from mailstack.services.files import mark
from mailstack.services.lookup.item import Item
from mailstack.services.lookup.lines import Marks, lines
from mailstack.services.lookup.listing import Listing
from mailstack.session.credentials import PASSWORD, SECRET, Challenge, Credentials, Password
from mailstack.session.session import Session
from mailstack.wire.reply import Reply

__all__ = ["File"]

_FIELDS: Final = 6  # of Dovecot's, between the password and the extra fields
_KEYS: Final = re.compile(r"(SCRAM-SHA-[0-9]+\$[0-9]+:[^:$]+\$[^:$]+:[^:$]+)(?::(.*))?")  # PostgreSQL's


class Line(NamedTuple):
    """A line, taken apart. networks -- from where alone the user logs in; none: from everywhere."""

    user: str
    stored: str
    locked: bool = False
    networks: tuple[Network, ...] = ()
    identity: str = ""


def parse(line: str) -> Line:
    """A line that is no comment. ConfigError."""
    user, colon, rest = line.partition(":")
    user = user.strip()
    if not colon or not user or not user.isprintable():
        raise ConfigError("this is no user with a password", remedy='write "user:{SCHEME}hash"')
    keys = _KEYS.fullmatch(rest)
    stored, _, others = (keys[1], "", keys[2] or "") if keys else rest.partition(":")
    extra = others.split(":", _FIELDS - 1)[-1] if others.count(":") >= _FIELDS - 1 else ""
    fields = dict(_pair(word) for word in extra.split())
    if "nopassword" in fields:
        raise ConfigError("nopassword would let everybody log in", remedy="leave it out, or write nologin")
    networks = option.networks(*filter(None, fields.get("allow_nets", "").split(",")), name="allow_nets")
    if "allow_nets" in fields and not networks:
        raise ConfigError("allow_nets has no networks", remedy="write allow_nets=192.0.2.0/24")
    return Line(user, stored, "nologin" in fields, networks, fields.get("user", ""))


def _pair(word: str) -> tuple[str, str]:
    name, _, value = word.partition("=")
    return name, value


@dataclass(slots=True)
class _User:
    """What the lines of one user say, while they are read."""

    identity: str
    stored: list[str] = field(default_factory=list)
    locked: bool = False
    networks: tuple[Network, ...] = ()
    account: passwords.Account | None = None


class Users:
    """A file, read. judge -- knows its slowest password. mechanisms -- what all of its users can be judged by."""

    __slots__ = ("_users", "judge", "mechanisms")

    def __init__(self, users: dict[str, _User]) -> None:
        self._users = users
        open_ones = [user.account for user in users.values() if user.account and not user.account.locked]
        self.judge = passwords.Judge(open_ones)
        common = frozenset(SECRET).intersection(*(each.mechanisms for each in open_ones)) if open_ones else frozenset()
        self.mechanisms = tuple(dict.fromkeys((*PASSWORD, *sorted(common))))

    def find(self, key: str) -> tuple[passwords.Account | None, tuple[Network, ...]]:
        """The account of this key, and from where alone it may log in."""
        user = self._users.get(key)
        return (None, ()) if user is None else (user.account, user.networks)


class File:
    """path -- the file. weak -- whether hashes that are no protection are taken.

    domain -- of names that have none. case_sensitive -- whether letter case counts in names.
    offer -- mechanisms that are offered although not all users can use them. every -- the time between two looks.

    ConfigError with file and line for what is wrong in it.
    """

    name = "authfile"
    rehearsable = True

    def __init__(
        self,
        path: str | os.PathLike[str],
        *,
        weak: bool = False,
        domain: str | None = None,
        case_sensitive: bool = False,
        offer: str | Iterable[str] = (),
        every: float | str = "1s",
    ) -> None:
        self._weak = option.boolean(weak, name="File(weak)")
        self._domain = "" if domain is None else option.domain(domain, name="File(domain)")
        self._case = option.boolean(case_sensitive, name="File(case_sensitive)")
        self._offer = passwords.offered(offer, name="File(offer)")
        self._lines = _Lines(path, option.duration(every, name="File(every)"))
        self._listing = Listing([self._lines], self._read, name=self.name)

    @property
    def mechanisms(self) -> tuple[str, ...]:
        return tuple(dict.fromkeys((*self._listing.current.mechanisms, *self._offer)))

    @hookimpl
    async def lifespan(self, call_next: LiveOn) -> None:
        self._lines.warn_of_readers()
        await call_next()

    @hookimpl
    async def auth(self, session: Session, credentials: Credentials) -> Reply | None:
        if not isinstance(credentials, Password | Challenge):
            return None
        users = self._listing.current
        account, networks = users.find(self._key(credentials.user))
        reply = await users.judge.judge(credentials, account)
        if reply is not None and reply.code == 235 and networks and not _is_in(session, networks):
            log.info("login from elsewhere", session=session.id, client=str(session.client), user=credentials.user)
            return Reply(535)
        return reply

    def _key(self, name: str) -> str:
        """A name as it is compared."""
        local, _, domain = name.rpartition("@") if "@" in name else (name, "", self._domain)
        local = local if self._case else local.lower()
        return f"{local}@{_folded(domain)}" if domain else local

    def _read(self, items: Sequence[Item]) -> Users:
        """In a thread, when the file is large."""
        if not items:
            raise ConfigError(
                "there are no users in it", remedy="add what `mailstack password` prints", file=self._lines.path
            )
        users: dict[str, _User] = {}
        for item in items:
            with item.blamed():
                try:
                    self._add(users, parse(item.text))
                except passwords.Unreadable as error:
                    raise ConfigError(str(error), remedy=error.remedy) from None
        return Users(users)

    def _add(self, users: dict[str, _User], line: Line) -> None:
        complete = line.user if "@" in line.user or not self._domain else f"{line.user}@{self._domain}"
        user = users.setdefault(self._key(line.user), _User(complete))
        user.identity = line.identity or user.identity
        user.stored.append(line.stored)
        user.locked |= line.locked
        user.networks += line.networks
        user.account = passwords.account(user.identity, user.stored, weak=self._weak, locked=user.locked)


class _Lines:
    """The lines of the file that say something."""

    __slots__ = ("every", "path")

    def __init__(self, path: str | os.PathLike[str], every: float) -> None:
        self.path = os.path.abspath(os.path.expanduser(path))
        self.every = every

    def read(self, marks: Marks) -> Iterator[Item]:
        """ConfigError when they cannot be read."""
        marks[self.path] = mark(self.path)
        for number, line in enumerate(lines(self.path), 1):
            text = line.strip()
            if text and not text.startswith("#"):
                yield Item(text, "", text, self.path, number)

    def warn_of_readers(self) -> None:
        try:
            mode = os.stat(self.path).st_mode
        except OSError:
            return
        if mode & (stat.S_IROTH | stat.S_IWOTH):
            words, remedy = "everybody on this machine may read the passwords", f"chmod o= {self.path}"
            log.warning(words, who="authfile", file=self.path, remedy=remedy)


def _folded(domain: str) -> str:
    try:
        return option.domain(domain)
    except ConfigError:
        return domain.lower()


def _is_in(session: Session, networks: Iterable[Network]) -> bool:
    ip = session.client.ip
    return ip is not None and any(ip in network for network in networks)
