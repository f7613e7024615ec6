"""What people write in a configuration, parsed into typed values.

    delay = option.duration("1h30m", name="Greylist(delay=…)")       # 5400.0 seconds
    limit = option.size("50 MiB", name="Server(limits=…)")            # 52428800 octets

Each function takes the value as written (text, or a value that already has the type) and, as `name`, the option as its
user knows it; it returns the typed value or raises `ConfigError`, whose message begins with that name and whose remedy
says what to write instead. Nothing here opens a file, resolves a name or looks at the machine.
"""

import ipaddress
import math
import os
import re
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import timedelta
from typing import TYPE_CHECKING, Any, NoReturn, TypeVar

import idna

if TYPE_CHECKING:
    from mailstack.wire.address import Address

Network = ipaddress.IPv4Network | ipaddress.IPv6Network
Text = TypeVar("Text", bound=str)


class ConfigError(Exception):
    """A configuration that cannot be used, told to the person who wrote it.

    `message` says what is wrong and `remedy` what to write instead; `file` and `line` are added by the loader, which
    knows them. `str()` gives "file:line: message" and the remedy on a line of its own, as far as they are known.
    """

    def __init__(self, message: str, *, remedy: str = "", file: str | None = None, line: int | None = None) -> None:
        super().__init__(message)
        self.message = message
        self.remedy = remedy
        self.file = file
        self.line = line

    def __str__(self) -> str:
        place = "" if self.file is None else f"{self.file}: " if self.line is None else f"{self.file}:{self.line}: "
        return f"{place}{self.message}" + (f"\n  remedy: {self.remedy}" if self.remedy else "")


def _refuse(name: str, value: object, complaint: str, remedy: str) -> NoReturn:
    shown = repr(value)
    shown = shown if len(shown) <= 80 else shown[:79] + "…"
    raise ConfigError(f"{name}: {shown} {complaint}" if name else f"{shown} {complaint}", remedy=remedy) from None


def _written(value: object) -> str:
    return value.strip() if isinstance(value, str) else ""


# Numbers, times and sizes ------------------------------------------------------------------------------------------

_SECONDS = {"w": 604_800.0, "d": 86_400.0, "h": 3_600.0, "m": 60.0, "s": 1.0, "ms": 0.001}
_UNIT_OF_TIME = re.compile(r"([0-9]+(?:\.[0-9]+)?) ?(ms|[wdhms])")
_DURATION = re.compile(rf"{_UNIT_OF_TIME.pattern}(?: ?{_UNIT_OF_TIME.pattern})*")
_DECIMAL = re.compile(r"[0-9]+(?:\.[0-9]+)?")
_INTEGER = re.compile(r"[+-]?[0-9]{1,20}")
_SIZE = re.compile(r"([0-9]+(?:\.[0-9]+)?) ?(?:([kmgt])(?:i?b)?|b)?", re.IGNORECASE)
_POWER_OF_1024 = {"": 0, "k": 1, "m": 2, "g": 3, "t": 4}
_WORDS = dict.fromkeys(("true", "yes", "on", "1"), True) | dict.fromkeys(("false", "no", "off", "0"), False)


def duration(value: str | float | timedelta, *, name: str = "", minimum: float = 0.0) -> float:
    """Seconds, from "500ms", "90s", "5m", "1h30m", "2d", "1w", a number of seconds or a timedelta.

    Units are w d h m s ms, largest first, each at most once. Not negative, not infinite, not below `minimum` (seconds).
    """
    seconds = _seconds(value)
    if seconds is None or not 0 <= seconds < math.inf:
        _refuse(name, value, "is not a duration", 'write "30s", "5m", "1h30m" or a number of seconds')
    if seconds < minimum:
        _refuse(name, value, "is too short", f"write a duration of at least {minimum:g} seconds")
    return seconds


def _seconds(value: object) -> float | None:
    match value:
        case bool():
            return None
        case timedelta():
            return value.total_seconds()
        case int() | float():
            return _finite(value)
        case str() if _DECIMAL.fullmatch(value.strip()):
            return _finite(value)
        case str() if _DURATION.fullmatch(value.strip()):
            return _sum_of_units(_UNIT_OF_TIME.findall(value))
        case _:
            return None


def _sum_of_units(parts: list[tuple[str, str]]) -> float | None:
    units = [unit for _, unit in parts]
    if units != [unit for unit in _SECONDS if unit in units]:  # "30m1h" and "5m5m" are slips, not durations
        return None
    return math.fsum(float(number) * _SECONDS[unit] for number, unit in parts)


def _finite(value: str | float) -> float | None:
    try:
        number = float(value)
    except (OverflowError, TypeError, ValueError):
        return None
    return number if math.isfinite(number) else None


def size(value: str | int, *, name: str = "", minimum: int = 0) -> int:
    """Octets, at least `minimum`, from "64k", "50M", "50 MiB", "1.5G" or a number of octets.

    Units are always powers of 1024, in either case: k, KB and KiB are the same.
    """
    if isinstance(value, int) and not isinstance(value, bool) and value >= 0:
        _within(value, value, name, minimum, None)
        return value
    match = _SIZE.fullmatch(_written(value))
    number = _finite(match[1]) if match else None
    if match is None or number is None:
        _refuse(name, value, "is not a size", 'write "64k", "50 MiB", "2G" or a number of octets')
    power = 1024 ** _POWER_OF_1024[(match[2] or "").lower()]
    result = int(match[1]) * power if match[1].isdigit() else int(number * power)
    _within(result, value, name, minimum, None)
    return result


def integer(value: str | int, *, name: str = "", minimum: int | None = None, maximum: int | None = None) -> int:
    """A whole number within the bounds, both included, from a number or its decimal text."""
    whole = isinstance(value, int) and not isinstance(value, bool)
    if not whole and not _INTEGER.fullmatch(_written(value)):
        _refuse(name, value, "is not a whole number", f"write a whole number{_bounds(minimum, maximum)}")
    result = int(value)
    _within(result, value, name, minimum, maximum)
    return result


def number(value: str | float, *, name: str = "", minimum: float | None = None, maximum: float | None = None) -> float:
    """A finite number within the bounds, both included, from a number or its text."""
    result = None if isinstance(value, bool) else _finite(value)
    if result is None:
        _refuse(name, value, "is not a number", f"write a number{_bounds(minimum, maximum)}")
    _within(result, value, name, minimum, maximum)
    return result


def _within(result: float, value: object, name: str, minimum: float | None, maximum: float | None) -> None:
    if (minimum is not None and result < minimum) or (maximum is not None and result > maximum):
        _refuse(name, value, "is out of range", f"write a number{_bounds(minimum, maximum)}")


def _bounds(minimum: float | None, maximum: float | None) -> str:
    if minimum is not None and maximum is not None:
        return f" from {minimum} to {maximum}"
    return f" of at least {minimum}" if minimum is not None else f" of at most {maximum}" if maximum is not None else ""


def boolean(value: str | bool, *, name: str = "") -> bool:
    """True or False, also from the words yes/no, on/off, true/false, 1/0."""
    if isinstance(value, bool):
        return value
    result = _WORDS.get(_written(value).lower())
    return _refuse(name, value, "is neither true nor false", "write True or False") if result is None else result


def texts(value: object, *, name: str = "") -> tuple[str, ...]:
    """One text or several, without blanks around them."""
    several = [value] if isinstance(value, str) else list(value) if isinstance(value, Iterable) else [value]
    if not all(isinstance(each, str) for each in several):
        _refuse(name, value, "is not text", 'write "one" or ("one", "two")')
    return tuple(str(each).strip() for each in several)


def choice(value: str, *allowed: Text, name: str = "") -> Text:
    """The one of `allowed` that was written, letter case apart."""
    for word in allowed:
        if _written(value).lower() == word.lower():
            return word
    _refuse(name, value, "is not known here", "write " + " or ".join(f'"{word}"' for word in allowed))


# Networks and sockets ----------------------------------------------------------------------------------------------

_MAPPED = ipaddress.IPv6Network("::ffff:0:0/96")
_PREFIX_OF_OCTETS = re.compile(r"(?:(?:25[0-5]|2[0-4][0-9]|1?[0-9]?[0-9])\.){1,3}")
_PORT = re.compile(r"[0-9]{1,5}")
_LABEL = re.compile(r"(?!-)[a-z0-9_-]{1,63}(?<!-)", re.IGNORECASE)
_UNIX_PATH_OCTETS = 107  # sun_path, less its NUL


def network(value: str | Network | ipaddress.IPv4Address | ipaddress.IPv6Address, *, name: str = "") -> Network:
    """A network, from "192.0.2.0/24", "2001:db8::/32" or one address.

    Host bits must be zero. An IPv4-mapped network ("::ffff:192.0.2.0/120") becomes the IPv4 network it stands for.
    """
    text = value.strip() if isinstance(value, str) else str(value)
    try:
        wide = ipaddress.ip_network(text, strict=False)
    except ValueError:
        _refuse(name, value, "is not a network", _network_remedy(text))
    try:
        exact = ipaddress.ip_network(text)
    except ValueError:
        _refuse(name, value, "has bits set behind its prefix", f'write "{wide}"')
    return _unmapped(exact)


def _network_remedy(text: str) -> str:
    if _PREFIX_OF_OCTETS.fullmatch(text):
        octets = text.rstrip(".").split(".")
        return f'write "{".".join((octets + ["0"] * 3)[:4])}/{8 * len(octets)}"'
    return 'write "192.0.2.0/24", "2001:db8::/32" or one address'


def _unmapped(found: Network) -> Network:
    if isinstance(found, ipaddress.IPv4Network) or not found.subnet_of(_MAPPED):
        return found
    return ipaddress.IPv4Network((int(found.network_address) & 0xFFFFFFFF, found.prefixlen - 96))


def networks(*values: str | Network | Iterable[str | Network], name: str = "") -> tuple[Network, ...]:
    """Several networks, one by one or in iterables; order is kept, the second of two equals is dropped."""
    return tuple(dict.fromkeys(network(item, name=name) for value in values for item in _items(value)))


def _items(value: object) -> Iterable[Any]:
    one = isinstance(value, str | ipaddress.IPv4Network | ipaddress.IPv6Network)  # which iterate, but not over networks
    return value if isinstance(value, Iterable) and not one else (value,)


@dataclass(frozen=True, slots=True)
class SocketAddress:
    """Where to listen or connect: `host` and `port`, or `path` of a Unix socket.

    `host` is a canonical IP address (an IPv6 one without brackets) or a host name. `str()` gives text that
    `socket_address` reads as the same value.
    """

    host: str | None = None
    port: int | None = None
    path: str | None = None

    def __str__(self) -> str:
        if self.path is not None:
            return f"unix:{self.path}"
        return f"[{self.host}]:{self.port}" if ":" in (self.host or "") else f"{self.host}:{self.port}"


def socket_address(value: str | SocketAddress, *, name: str = "", port: int | None = None) -> SocketAddress:
    """A socket's address, from "127.0.0.1:25", "[::]:25", "localhost:2525", "/run/x.sock" or "unix:/run/x.sock".

    `port` is taken where none was written; without it, one must be written. Port 0 lets the system choose (listening).
    """
    if isinstance(value, SocketAddress):
        return value
    if not isinstance(value, str):
        _refuse(name, value, "is not a socket address", _SOCKET_REMEDY)
    text = value.strip()
    if text.startswith(("/", "unix:")):
        return SocketAddress(path=_unix_path(text.removeprefix("unix:"), value, name))
    written, separator, digits = _split_port(text)
    if not written or written == "*":
        _refuse(name, value, "names no host", f'write "[::]:{digits or 25}" for every address of the machine')
    host = _host(written, value, name)
    if separator and not (_PORT.fullmatch(digits) and int(digits) < 65536):
        _refuse(name, value, "has no port that exists", "write a port from 0 to 65535")
    if not separator and port is None:
        _refuse(name, value, "has no port", f'write "{text}:25"')
    return SocketAddress(host, int(digits) if separator else port)


_SOCKET_REMEDY = 'write "127.0.0.1:25", "[::]:25", "localhost:25" or "unix:/run/name.sock"'


def _split_port(text: str) -> tuple[str, str, str]:
    if text.startswith("["):
        host, bracket, rest = text.partition("]")
        return host + bracket, rest[:1], rest[1:] if rest.startswith(":") else "?"
    if text.count(":") > 1:
        return text, "", ""  # an IPv6 address without brackets: where would its port begin?
    return text.partition(":")


def _host(host: str, value: object, name: str) -> str:
    bracketed = host.startswith("[") and host.endswith("]")
    try:
        found = ipaddress.ip_address(host[1:-1] if bracketed else host)
    except ValueError:
        found = None
    if found is not None and bracketed == (found.version == 6):
        return str(found)
    if ":" in host and not host.startswith("["):
        _refuse(name, value, "has an IPv6 address without brackets", 'write "[2001:db8::1]:25"')
    if host.startswith("["):
        _refuse(name, value, "has no IPv6 address between its brackets", _SOCKET_REMEDY)
    canonical = _domain(host)
    if (
        canonical is None or canonical.rpartition(".")[2].isdigit()
    ):  # 300.0.0.1 is no name either (RFC 1123 section 2.1)
        _refuse(name, value, "names a host that cannot exist", _SOCKET_REMEDY)
    return canonical


def _unix_path(path: str, value: object, name: str) -> str:
    if not path or "\0" in path:
        _refuse(name, value, "has no path", 'write "unix:/run/name.sock"')
    if len(os.fsencode(path)) > _UNIX_PATH_OCTETS:
        _refuse(name, value, "is too long for a Unix socket", f"use a path of at most {_UNIX_PATH_OCTETS} octets")
    return path


# Names of mail -----------------------------------------------------------------------------------------------------


def domain(value: str, *, name: str = "") -> str:
    """A domain in its canonical form, A-labels in lower case without a final dot.

    "Bücher.Example" gives "xn--bcher-kva.example". Raises for an address, a pattern or a domain literal.
    """
    found = _domain(_written(value))
    if found is None or "_" in found:
        _, at, rest = _written(value).rpartition("@")
        _refuse(name, value, "is not a domain", f'write "{rest}"' if at and _domain(rest) else 'write "example.org"')
    return found


def _domain(text: str) -> str | None:
    """The canonical form or None; underscores pass (hosts inside a compose network have them)."""
    text = text.removesuffix(".")
    try:
        text = text.lower() if text.isascii() else idna.encode(text, uts46=True).decode("ascii")
        for label in text.split("."):
            if not _LABEL.fullmatch(label):
                return None
            if label.startswith("xn--"):
                idna.ulabel(label)
    except UnicodeError:  # idna.IDNAError is one
        return None
    return text if len(text) <= 253 else None  # RFC 1035 section 2.3.4


def address(value: "str | Address", *, name: str = "") -> "Address":
    """A mail address, with or without angle brackets."""
    from mailstack.wire.address import Address, AddressError

    if isinstance(value, Address):
        return value
    try:
        return Address.parse(value)
    except (AddressError, TypeError, AttributeError):
        _refuse(name, value, "is not a mail address", 'write "user@example.org"')


def field_name(value: str, *, name: str = "") -> str:
    """The name of a header field (RFC 5322 §2.2)."""
    from mailstack.wire.header import format_field

    try:
        format_field(value, "")
    except (TypeError, ValueError, AttributeError):
        _refuse(name, value, "is no header field", 'write "X-List"')
    return value


def field_text(value: str, *, name: str = "") -> str:
    """Text that can stand in a header field: no control characters."""
    from mailstack.wire.header import format_field

    try:
        format_field("Subject", value)
    except (TypeError, ValueError, AttributeError):
        _refuse(name, value, "cannot stand in a header field", 'write plain text, "[list]"')
    return value
