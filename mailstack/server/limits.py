"""What a client may take: every limit, its default, and its unit.

Server(stack, limits=Limits(message_size="20 MiB", idle="2m"))
"""

from __future__ import annotations

from dataclasses import dataclass, fields

from .. import option


@dataclass(frozen=True, slots=True)
class Limits:
    """Durations take "5m" or seconds, sizes "50 MiB" or octets. A value that makes no sense is a ConfigError.

    command_line, auth_line -- octets of a command line, end included (RFC 5321 §4.5.3.1.4 asks for 512 and more).
    header_line, header_section -- octets; received_fields -- more Received fields than this are a loop.
    recipients -- per message; the next ones hear 452 (RFC 5321 §4.5.3.1.10).
    expanded -- the same, after aliases have made several of one.
    message_size -- octets; announced with SIZE (RFC 1870).
    errors -- permanent refusals until 421, counted anew after each message that was taken.
    idle -- seconds without a complete command, or without an octet of a body. session -- seconds in all.
    opening -- seconds for a TLS handshake, and for each read before the banner (a PROXY header).
    data_rate -- octets a second that a body must make after its first `data_grace` seconds.
    connections -- sessions at once.
    memory_each, memory_total -- octets of bodies that stay in memory, one and all together.
    envelope -- seconds for each run of checks from connect to data. hand_over -- for `message` and `queue` together.
    shutdown -- seconds that running commands get when the server stops.
    sweep -- seconds between two looks at the clocks, which is how exact all of these are.
    """

    command_line: int = 2048
    auth_line: int = 12288
    header_line: int | str = "64 KiB"
    header_section: int | str = "256 KiB"
    received_fields: int = 100
    recipients: int = 1000
    expanded: int = 2000
    message_size: int | str = "50 MiB"
    errors: int = 20
    idle: float | str = "5m"
    session: float | str = "1h"
    opening: float | str = "30s"
    data_rate: int = 500
    data_grace: float | str = "1m"
    connections: int = 1000
    memory_each: int | str = "64 KiB"
    memory_total: int | str = "256 MiB"
    envelope: float | str = "30s"
    hand_over: float | str = "5m"
    shutdown: float | str = "30s"
    sweep: float | str = "1s"

    def __post_init__(self) -> None:
        for field in fields(self):
            name = f"Limits({field.name})"
            value = getattr(self, field.name)
            if field.name in _DURATIONS:
                parsed: float = option.duration(value, name=name, minimum=_SHORTEST.get(field.name, 0.0))
            elif field.name in _SIZES:
                parsed = option.size(value, name=name, minimum=_SMALLEST.get(field.name, 0))
            else:
                parsed = option.integer(value, name=name, minimum=_LEAST.get(field.name, 0))
            object.__setattr__(self, field.name, parsed)


_DURATIONS = frozenset({"idle", "session", "opening", "data_grace", "envelope", "hand_over", "shutdown", "sweep"})
_SIZES = frozenset({"header_line", "header_section", "message_size", "memory_each", "memory_total"})
_SHORTEST = {"sweep": 0.01}  # or the sweeper would do nothing else
# A line of RFC 5322 §2.1.1; and SIZE 0 would mean that there is no limit (RFC 1870 §4).
_SMALLEST = {"header_line": 1000, "header_section": 1000, "message_size": 1}
# RFC 5321 §4.5.3.1: what every server must take.
_LEAST = {"command_line": 512, "auth_line": 512, "recipients": 100, "expanded": 100, "errors": 1, "connections": 1}
