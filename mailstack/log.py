"""One event, one line: what happened, for the person who keeps the server.

    log.info("greylisted", session=session.id, sender=str(sender), wait=300)
    if log.enabled("debug"): log.debug("line", session=session.id, octets=line)      # when the fields cost something

Without `configure()` (mailstack inside somebody's application) events go to the standard library's logger "mailstack",
whose level, handlers and filters are the application's. `mailstack serve` calls `configure()` and writes to stderr.

Promised: an event never raises and, on our own stream, is one line and one `write` (a console's traceback excepted);
characters that could forge a line or turn the reader's terminal against him are escaped; values are cut at 1,000
characters; a field named like a secret is not written. The last is a net, not a policy: do not log secrets.
Everything is plain `def`, so it works on each backend; a stderr that blocks, blocks the server.
"""

import json
import logging
import math
import os
import re
import sys
import time
import traceback
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from contextvars import ContextVar
from functools import lru_cache
from itertools import islice
from typing import Literal, TextIO

from mailstack import option

Level = Literal["debug", "info", "warning", "error"]
Plain = str | int | float | bool | None
Renderer = Callable[[object, str, dict[str, Plain]], str]
Sink = Callable[[Level, str, Mapping[str, object], BaseException | None], None]

LONGEST_VALUE = 1_000  # characters
LONGEST_TRACEBACK = 20_000

_RANK: dict[Level, int] = {
    "debug": logging.DEBUG,
    "info": logging.INFO,
    "warning": logging.WARNING,
    "error": logging.ERROR,
}
_standard = logging.getLogger("mailstack")
_silent: ContextVar[bool] = ContextVar("silent", default=False)
_threshold = 0  # 0: not configured, the standard library's logger decides


def enabled(level: Level) -> bool:
    """Whether an event of this level would be written; cheap enough for each line of a conversation."""
    return _RANK[level] >= _threshold if _threshold else _standard.isEnabledFor(_RANK[level])


def debug(event: str, /, **fields: object) -> None:
    """For the developer: what the machine did."""
    if _threshold <= logging.DEBUG:
        _emit("debug", event, fields, None)


def info(event: str, /, **fields: object) -> None:
    """For the record: what the server did with a message or a client."""
    if _threshold <= logging.INFO:
        _emit("info", event, fields, None)


def warning(event: str, /, **fields: object) -> None:
    """Something that the postmaster should look at when he has time."""
    if _threshold <= logging.WARNING:
        _emit("warning", event, fields, None)


def error(event: str, /, **fields: object) -> None:
    """Something that the postmaster has to mend."""
    _emit("error", event, fields, None)


def exception(event: str, /, *, error: BaseException | None = None, **fields: object) -> None:
    """An error with its traceback; `error` defaults to the exception being handled."""
    _emit("error", event, fields, error if error is not None else sys.exception())


def configure(level: str = "info", format: str = "auto", stream: TextIO | None = None) -> None:
    """Write events of `level` and above to `stream` (stderr), and warnings of libraries with them.

    `format` is "console" (for eyes), "logfmt", "json", or "auto": console on a terminal, logfmt elsewhere.
    Raises `ConfigError` for an unknown level or format.
    """
    import structlog  # brings rich along: a fifth of a second, which only a server of its own spends

    global _emit, _threshold
    threshold = _RANK[option.choice(level, *_RANK, name="log level")]
    chosen = option.choice(format, "auto", "console", "logfmt", "json", name="log format")
    stream = sys.stderr if stream is None else stream
    if chosen == "auto":
        chosen = "console" if stream.isatty() else "logfmt"
    render = _console(stream) if chosen == "console" else _RENDERERS[chosen]
    _emit, _threshold = _to_stream(render, structlog.WriteLogger(stream).msg), threshold
    _LIBRARIES.setLevel(max(threshold, logging.WARNING))
    logging.getLogger().addHandler(_LIBRARIES)  # twice is once


def reset() -> None:
    """Undo `configure`: events go to the standard library's logger again."""
    global _emit, _threshold
    _emit, _threshold = _to_standard, 0
    logging.getLogger().removeHandler(_LIBRARIES)


@contextmanager
def silenced() -> Iterator[None]:
    """Nothing that happens here, or in tasks and threads that are begun here, is news: for rehearsals."""
    before = _silent.set(True)
    try:
        yield
    finally:
        _silent.reset(before)


# The way of an event -----------------------------------------------------------------------------------------------


def _to_standard(level: Level, event: str, fields: Mapping[str, object], error: BaseException | None) -> None:
    """Into the application's own logging: one readable line, and `record.fields` for handlers that write fields.

    The place that the record shows is the one that called `info` and its kin.
    """
    rank = _RANK[level]
    if _standard.isEnabledFor(rank) and not _silent.get():
        record = _tidy(fields)
        message = " ".join([_escape(_text(event)), *map(_pair, record, record.values())])
        _standard.log(rank, message, exc_info=error, stacklevel=3, extra={"fields": record})


def _to_stream(render: Renderer, write: Callable[[str], None]) -> Sink:
    def emit(level: Level, event: str, fields: Mapping[str, object], error: BaseException | None) -> None:
        if _silent.get():
            return
        record = {"timestamp": _now(), "level": level, "event": _text(event), **_tidy(fields)}
        if error is not None:
            record["error"] = _text(f"{type(error).__name__}: {_text(error)}")
            record["exception"] = _traceback(error)
        try:
            _write(write, render(None, level, record))
        except Exception:
            pass  # a stderr that is closed, full or gone must not take the server with it

    return emit


def _write(write: Callable[[str], None], line: str) -> None:
    try:
        write(line)
    except UnicodeEncodeError:  # a stream that is not UTF-8
        write(line.encode("ascii", "backslashreplace").decode())


_emit: Sink = _to_standard


class _Libraries(logging.Handler):
    """Brings what libraries (the event loop, the resolver) tell the standard library's logging onto our stream."""

    def emit(self, record: logging.LogRecord) -> None:
        level: Level = "error" if record.levelno >= logging.ERROR else "warning"
        error = record.exc_info[1] if record.exc_info else None
        try:
            message = record.getMessage()
        except Exception:  # arguments that do not fit
            message = str(record.msg)
        _emit(level, message, {"logger": record.name}, error)


_LIBRARIES = _Libraries()


_second = (0, "")


def _now() -> str:
    """UTC with milliseconds; the part up to the seconds is made once a second."""
    global _second
    now = time.time_ns() // 1_000_000
    second, prefix = _second
    if second != now // 1000:
        second = now // 1000
        _second = (second, prefix := time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(second)))
    return f"{prefix}.{now % 1000:03d}Z"


def _traceback(error: BaseException) -> str:
    text = "".join(traceback.format_exception(error)).rstrip("\n")
    if len(text) <= LONGEST_TRACEBACK:
        return text
    return text[: LONGEST_TRACEBACK // 2] + "\n…\n" + text[-LONGEST_TRACEBACK // 2 :]


# Fields ------------------------------------------------------------------------------------------------------------

_SECRET = re.compile(r"(?:^|[\W_])(?:password|secret|credentials|token|authorization|response)\Z", re.IGNORECASE)
_TAKEN = frozenset(("timestamp", "level", "event", "exception", "exc_info", "stack"))  # ours and the console renderer's


def _tidy(fields: Mapping[str, object]) -> dict[str, Plain]:
    """The fields with keys that are free, values that are flat and cut, and secrets redacted."""
    return {(key := _key(name))[0]: "[redacted]" if key[1] else _plain(value) for name, value in fields.items()}


@lru_cache(1024)
def _key(name: str) -> tuple[str, bool]:
    """The key as written, and whether what it names is a secret."""
    key = _UNSAFE_IN_KEY.sub(_code, _cut(name)) or "_"
    return f"{key}_" if key in _TAKEN else key, bool(_SECRET.search(name))


def _plain(value: object) -> Plain:
    if isinstance(value, str):
        return value if len(value) <= LONGEST_VALUE else _cut(value)
    if value is None or isinstance(value, bool) or (isinstance(value, int) and -(2**63) <= value < 2**63):
        return value
    if isinstance(value, float) and math.isfinite(value):
        return round(value, 6)
    return _text(value)


def _text(value: object) -> str:
    try:
        return _cut(_described(value))
    except Exception as error:  # a broken __str__ is no reason to lose the event
        return f"[{type(value).__name__}: {type(error).__name__}]"


def _described(value: object) -> str:
    match value:
        case bytes() | bytearray() | memoryview():
            return bytes(value[: LONGEST_VALUE + 1]).decode("utf-8", "backslashreplace")
        case list() | tuple() | set() | frozenset():
            return ",".join(str(item) for item in islice(value, LONGEST_VALUE))
        case Mapping():
            tidy = _tidy({str(key): item for key, item in islice(value.items(), LONGEST_VALUE)})
            return ",".join(f"{key}={item}" for key, item in tidy.items())
        case _:
            return str(value)


def _cut(text: str) -> str:
    return text if len(text) <= LONGEST_VALUE else text[:LONGEST_VALUE] + "…"


# Characters --------------------------------------------------------------------------------------------------------

# C0, DEL, C1, line and paragraph separators, bidirectional overrides and isolates, lone surrogates
_RANGES = "\x00-\x1f\x7f-\x9f\u2028\u2029\u202a-\u202e\u2066-\u2069\ud800-\udfff"
_UNSAFE = re.compile(f"[{_RANGES}]")
_UNSAFE_IN_KEY = re.compile(f'[{_RANGES} ="\\\\]')
_BARE = re.compile(r"[!#-<>-\[\]-~]+").fullmatch  # printable ASCII without space " = \
_SHORT = {"\n": "\\n", "\r": "\\r", "\t": "\\t"}


def _code(match: re.Match[str]) -> str:
    return _SHORT.get(match[0]) or f"\\u{ord(match[0]):04x}"


def _escape(text: str) -> str:
    return text if text.isprintable() else _UNSAFE.sub(_code, text)


# Formats -----------------------------------------------------------------------------------------------------------


_WORDS = {True: "true", False: "false", None: "null"}


def _pair(key: str, value: Plain) -> str:
    """key=value as logfmt readers decode it: quoted where needed, escapes as in JSON."""
    if not isinstance(value, str):
        return f"{key}={_WORDS[value] if value is None or isinstance(value, bool) else value}"
    if _BARE(value):
        return f"{key}={value}"
    quoted = _escape(value.replace("\\", "\\\\").replace('"', '\\"'))
    return f'{key}="{quoted}"'


def _logfmt(_: object, __: str, record: dict[str, Plain]) -> str:
    return " ".join(map(_pair, record, record.values()))


def _json(_: object, __: str, record: dict[str, Plain]) -> str:
    return _escape(_ENCODE(record))  # what JSON leaves as it is stands inside a string, where our escapes mean the same


_ENCODE = json.JSONEncoder(ensure_ascii=False, separators=(",", ":")).encode
_RENDERERS: dict[str, Renderer] = {"logfmt": _logfmt, "json": _json}


def _console(stream: TextIO) -> Renderer:
    """structlog's console; its own traceback would print local variables, passwords among them."""
    import structlog

    render = structlog.dev.ConsoleRenderer(colors=stream.isatty() and not os.environ.get("NO_COLOR"), sort_keys=False)

    def lines(_: object, level: str, record: dict[str, Plain]) -> str:
        safe = {key: _escape(value) if isinstance(value, str) else value for key, value in record.items()}
        if "exception" in record:
            safe["exception"] = "\n".join(map(_escape, str(record["exception"]).split("\n")))
        return str(render(None, level, safe))

    return lines
