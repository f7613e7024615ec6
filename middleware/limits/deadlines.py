"""limits.Deadlines and limits.Stress: limits of the server's, others for some clients or when it is nearly full."""

from __future__ import annotations

from mailstack import option
from mailstack.contract.hookspec import hookimpl
from mailstack.option import ConfigError
from mailstack.session.session import Session


class Deadlines:
    """Limits of the server's that are others here: see `mailstack.Limits`.

    idle, session, data_grace -- durations. data_rate -- octets a second. errors -- permanent refusals until 421.

        When(predicate.listener("inside"), limits.Deadlines(idle="30m", session="12h"))

    They hold from the moment the client connects. ConfigError without any.
    """

    name = "limits"
    rehearsable = True

    def __init__(
        self,
        *,
        idle: float | str | None = None,
        session: float | str | None = None,
        data_rate: int | None = None,
        data_grace: float | str | None = None,
        errors: int | None = None,
    ) -> None:
        durations = {"idle": idle, "session": session, "data_grace": data_grace}
        self._changes = _changes("Deadlines", durations, data_rate, errors)

    @hookimpl
    def connect(self, session: Session) -> None:
        session.limit(**self._changes)


class Stress:
    """Wait less for clients while the server is nearly full, those that are connected already included.

    above -- the part of `Limits(connections=…)` that is taken: 0.8.
    idle, session, data_grace, data_rate, errors -- as those of Deadlines; default: 10 s idle, 3 errors.

        Unless(predicate.client_in("192.0.2.0/24"), limits.Stress())

    RFC 5321 §4.5.3.2 wants five minutes for a client to go on, and so do some slow but honest ones: without stress they
    have them. Who is cut hears 421 and comes back.
    """

    name = "limits"
    rehearsable = True

    def __init__(
        self,
        above: float = 0.8,
        *,
        idle: float | str | None = "10s",
        session: float | str | None = None,
        data_rate: int | None = None,
        data_grace: float | str | None = None,
        errors: int | None = 3,
    ) -> None:
        self._above = option.number(above, name="Stress(above)")
        if not 0 < self._above < 1:
            raise ConfigError(f"Stress(above): {above!r} is no part of the connections", remedy="write 0.8")
        durations = {"idle": idle, "session": session, "data_grace": data_grace}
        self._changes = _changes("Stress", durations, data_rate, errors)

    @hookimpl
    def connect(self, session: Session) -> None:
        session.limit(above=self._above, **self._changes)


def _changes(
    entry: str, durations: dict[str, float | str | None], data_rate: int | None, errors: int | None
) -> dict[str, float]:
    changes: dict[str, float] = {
        name: option.duration(value, name=f"{entry}({name})") for name, value in durations.items() if value is not None
    }
    if data_rate is not None:
        changes["data_rate"] = option.integer(data_rate, name=f"{entry}(data_rate)", minimum=0)
    if errors is not None:
        changes["errors"] = option.integer(errors, name=f"{entry}(errors)", minimum=1)
    if not changes:
        raise ConfigError(f"{entry}() limits nothing", remedy=f'write {entry}(idle="1m")')
    return changes
