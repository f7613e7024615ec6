"""How long a session's client is waited for, and how much of it is put up with: the part of the server's limits that
an entry may change for one session (`Session.limit`)."""

from __future__ import annotations

from typing import NamedTuple


class Patience(NamedTuple):
    """The fields mean what they mean in `mailstack.Limits`.

    idle, session, data_grace -- seconds. data_rate -- octets a second. errors -- permanent refusals until 421.
    """

    idle: float
    session: float
    data_rate: float
    data_grace: float
    errors: float
