"""What is written in a configuration about next servers, checked: the values that a `Relay` is made of."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass

from ... import option
from ...option import ConfigError
from ..client import TLS, Login, Timeouts
from ..client.policy import LEVELS
from ..transport import Address

__all__ = ["Connections", "Options", "Place", "Recipients", "access", "places"]


@dataclass(frozen=True, slots=True)
class Place:
    """name -- as it is written in the log. address -- to connect to."""

    name: str
    address: Address


@dataclass(frozen=True, slots=True)
class Recipients:
    """asked -- for, at RCPT. vouched -- by the next server's word. single -- one per message, of SMTP clients."""

    asked: bool
    vouched: bool
    single: bool


@dataclass(frozen=True, slots=True)
class Connections:
    """To each server. most -- at a time. idle, seconds -- kept, for so long. messages -- over one. wait -- for one."""

    most: int
    idle: int
    seconds: float
    messages: int
    wait: float


class Options:
    """Reads options, with the names under which the user has written them. factory -- what the handler is called."""

    __slots__ = ("_factory",)

    def __init__(self, factory: str) -> None:
        self._factory = factory

    def name(self, field: str) -> str:
        return f"{self._factory}({field})"

    def seconds(self, value: str | float, field: str) -> float:
        return option.duration(value, name=self.name(field), minimum=0.01)

    def rotates(self, policy: str) -> bool:
        return option.choice(policy, "failover", "rotate", name=self.name("policy")) == "rotate"

    def hostname(self, given: str | None) -> str:
        return "" if given is None else option.domain(given, name=self.name("hostname"))

    def recipients(self, ask_recipients: bool, vouch: bool, single: bool) -> Recipients:
        found = Recipients(
            option.boolean(ask_recipients, name=self.name("ask_recipients")),
            option.boolean(vouch, name=self.name("vouch")),
            option.boolean(single, name=self.name("single")),
        )
        if found.vouched and not found.asked:
            raise ConfigError(f"{self.name('vouch')}: nobody is asked for", remedy="write ask_recipients=True too")
        return found

    def timeouts(self, connect: str | float, timeout: str | float, final: str | float) -> Timeouts:
        each = self.seconds(timeout, "timeout")
        return Timeouts(
            self.seconds(connect, "connect"), each, each, each, each, each, each, self.seconds(final, "final"), each
        )

    def connections(
        self, connections: int, pool: int, idle: str | float, messages: int, timeout: str | float
    ) -> Connections:
        return Connections(
            option.integer(connections, name=self.name("connections"), minimum=1),
            option.integer(pool, name=self.name("pool"), minimum=0),
            self.seconds(idle, "idle"),
            option.integer(messages, name=self.name("messages"), minimum=1),
            self.seconds(timeout, "timeout"),
        )


def places(factory: str, given: Sequence[str], port: int | None) -> list[Place]:
    """Where the next servers are. ConfigError without one."""
    if not given:
        raise ConfigError(f"{factory}: no server to pass mail on to", remedy=f'write {factory}("127.0.0.1:10025")')
    return [_place(factory, each, port) for each in given]


def _place(factory: str, given: str, port: int | None) -> Place:
    place = option.socket_address(given, name=factory, port=port)
    if place.path is not None:
        return Place(str(place), place.path)
    if not place.port or place.host is None:
        raise ConfigError(f"{factory}: {given!r} has port 0", remedy="write the port where the server listens")
    return Place(str(place), (place.host, place.port))


def access(
    factory: str,
    *,
    tls: str | TLS | None,
    implicit_tls: bool = False,
    user: str | None = None,
    password: str | None = None,
    password_file: str | os.PathLike[str] | None = None,
    login: Login | None,
) -> tuple[TLS | None, Login | None]:
    """What TLS is wanted, None: what the place suggests; and as whom we log in."""
    implicit = option.boolean(implicit_tls, name=f"{factory}(implicit_tls)")
    who = _login(factory, user, password, password_file, login)
    if isinstance(tls, TLS):
        if implicit and not tls.implicit:
            raise ConfigError(f"{factory}(implicit_tls): tls= says it all", remedy="write TLS(…, implicit=True)")
        return tls, who
    if tls is not None:
        return TLS(option.choice(tls, *LEVELS, name=f"{factory}(tls)"), implicit=implicit), who
    return TLS("verify", implicit=implicit) if implicit or who is not None else None, who


def _login(
    factory: str,
    user: str | None,
    password: str | None,
    password_file: str | os.PathLike[str] | None,
    login: Login | None,
) -> Login | None:
    if login is not None:
        if (user, password, password_file) != (None, None, None):
            raise ConfigError(f"{factory}(login): it says who we are, and so does user=", remedy="drop one of them")
        return login
    if user is not None:
        return Login(user, password=password, password_file=password_file)
    if password is not None or password_file is not None:
        raise ConfigError(f"{factory}: a password, and no user", remedy="write user= too")
    return None
