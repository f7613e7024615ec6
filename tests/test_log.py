"""One event is one safe line on our own stream, or a record of the application's own logging."""

import ast
import io
import json
import logging
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import anyio.to_thread
import pytest
from hypothesis import given
from hypothesis import strategies as st

from mailstack import log
from mailstack.option import ConfigError

ROOT = Path(__file__).parent.parent
STAMP = r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z"
FORBIDDEN = {*map(chr, range(0x20)), *map(chr, range(0x7F, 0xA0)), "\u2028", "\u2029"}
FORBIDDEN |= {*map(chr, range(0x202A, 0x202F)), *map(chr, range(0x2066, 0x206A))}
HOSTILE = (
    "\x1b]0;owned\x07\r\n" + "timestamp=2026 level=info event=forged " + "".join(sorted(FORBIDDEN)) + '\udc80 \\ " é'
)


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


class Counting(io.StringIO):
    """Remembers each write by itself."""

    def __init__(self) -> None:
        super().__init__()
        self.writes: list[str] = []

    def write(self, text: str) -> int:
        self.writes.append(text)
        return super().write(text)


class Broken(io.StringIO):
    def write(self, text: str) -> int:
        raise BrokenPipeError


class Unprintable:
    def __str__(self) -> str:
        raise RuntimeError("no")


@pytest.fixture(autouse=True)
def _unconfigured() -> Iterator[None]:
    yield
    log.reset()


def written(format: str, event: str = "event", /, **fields: Any) -> str:
    """The line that one event makes, without its end."""
    stream = io.StringIO()
    log.configure("debug", format, stream)
    log.info(event, **fields)
    text = stream.getvalue()
    assert text.endswith("\n")
    return text[:-1]


def decoded(line: str) -> dict[str, str]:
    """A logfmt line as its readers see it: quoted values hold JSON's escapes."""
    pairs = re.findall(r'([^ ="]+)=("(?:[^"\\]|\\.)*"|[^ "]*)(?: |$)', line)
    assert " ".join(f"{key}={value}" for key, value in pairs) == line
    return {key: json.loads(value) if value.startswith('"') else value for key, value in pairs}


# One event, one line -----------------------------------------------------------------------------------------------


def test_a_logfmt_line_has_time_level_event_and_fields_in_order() -> None:
    line = written("logfmt", "message queued", session="5f3a", size=20480, seconds=0.123456789, tls=True, user=None)
    expected = 'level=info event="message queued" session=5f3a size=20480 seconds=0.123457 tls=true user=null'
    assert re.fullmatch(f"timestamp={STAMP} {re.escape(expected)}", line)


def test_a_json_line_keeps_the_types() -> None:
    record = json.loads(written("json", "message queued", size=20480, seconds=0.5, tls=True, user=None, to="é@example"))
    assert re.fullmatch(STAMP, record.pop("timestamp"))
    expected = {"size": 20480, "seconds": 0.5, "tls": True, "user": None, "to": "é@example"}
    assert record == {"level": "info", "event": "message queued"} | expected


def test_a_console_line_shows_event_and_fields() -> None:
    line = written("console", "message queued", session="5f3a", size=20480)
    assert re.fullmatch(rf"{STAMP} \[info +\] message queued +session=5f3a size=20480", line)


@pytest.mark.parametrize("format", ["logfmt", "json", "console"])
def test_hostile_text_stays_on_its_line(format: str) -> None:
    line = written(format, HOSTILE, helo=HOSTILE, data=HOSTILE.encode("utf-8", "surrogateescape"), **{HOSTILE: "x"})
    assert not FORBIDDEN & set(line)
    line.encode()  # no lone surrogate


@given(event=st.text(st.characters()), key=st.text(st.characters(), min_size=1), value=st.text(st.characters()))
def test_whatever_the_text_it_is_one_line_that_reads_back(event: str, key: str, value: str) -> None:
    line = written("logfmt", event, **{"x" + key: value})
    assert not FORBIDDEN & set(line)
    found = list(decoded(line).values())
    assert [escaped_surrogates(text) for text in found[2:]] == [escaped_surrogates(event), escaped_surrogates(value)]
    record = json.loads(written("json", event, **{"x" + key: value}))
    assert list(map(escaped_surrogates, list(record.values())[2:])) == list(map(escaped_surrogates, [event, value]))


def escaped_surrogates(text: str) -> bytes:
    return text.encode("utf-16", "surrogatepass")  # two escaped halves are read as one character


@pytest.mark.parametrize("format", ["logfmt", "json", "console"])
def test_a_line_is_one_write(format: str) -> None:
    stream = Counting()
    log.configure("info", format, stream)
    log.info("event", text="x" * 5000, more="y" * 5000)
    assert len(stream.writes) == 1


def test_lines_of_threads_do_not_mix(tmp_path: Path) -> None:
    with (tmp_path / "log").open("w") as stream:
        log.configure("info", "json", stream)

        async def main() -> None:
            async with anyio.create_task_group() as tasks:
                for number in range(8):
                    tasks.start_soon(anyio.to_thread.run_sync, _many, number)

        anyio.run(main)
    lines = [json.loads(line) for line in (tmp_path / "log").read_text().splitlines()]
    assert sorted((line["number"], line["count"]) for line in lines) == [(n, c) for n in range(8) for c in range(50)]


def _many(number: int) -> None:
    for count in range(50):
        log.info("event", number=number, count=count, padding="x" * 900)


async def test_events_are_written_inside_every_backend() -> None:
    line = written("logfmt", "event", session="5f3a")
    assert line.endswith("event=event session=5f3a")


# Values ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (b"EHLO x\xff", "EHLO x\\xff"),
        (bytearray(b"a"), "a"),
        (("a@x", "b@x"), "a@x,b@x"),
        ({"a": 1, "smtp_password": "hunter2"}, "a=1,smtp_password=[redacted]"),
        (float("inf"), "inf"),
        (2**70, str(2**70)),
        (-(2**63), str(-(2**63))),
        pytest.param(10**5000, "[int: ValueError]", id="an integer too long for str()"),
        (Unprintable(), "[Unprintable: RuntimeError]"),
        (ValueError("no"), "no"),
        ("", ""),
    ],
)
def test_any_value_is_written_flat(value: object, text: str) -> None:
    assert decoded(written("logfmt", field=value))["field"] == text
    assert str(json.loads(written("json", field=value))["field"]) == text


def test_a_mapping_that_holds_itself_is_written() -> None:
    loop: dict[str, Any] = {}
    loop["loop"] = loop
    assert "RecursionError" in written("logfmt", field=loop)


@pytest.mark.parametrize("format", ["logfmt", "json", "console"])
def test_a_long_value_is_cut(format: str) -> None:
    assert "x" * 1000 not in written(format, field="x" * 999)
    assert "x" * 1000 + "…" not in written(format, field="x" * 1000)
    line = written(format, "e" * 9999, field="x" * 1001, more=b"y" * 9999, **{"k" * 9999: 1})
    for letter in "exyk":
        assert letter * 1000 + "…" in line
        assert letter * 1001 not in line


@pytest.mark.parametrize(
    "name",
    [
        "password",
        "Password",
        "client_secret",
        "credentials",
        "API_TOKEN",
        "proxy-authorization",
        "response",
        "\nsecret",
    ],
)
@pytest.mark.parametrize("format", ["logfmt", "json", "console"])
def test_a_secret_is_not_written(format: str, name: str) -> None:
    line = written(format, **{name: "hunter2"})
    assert "hunter2" not in line
    assert "[redacted]" in line


@pytest.mark.parametrize("name", ["password_file", "tokens", "responses", "passwords", "secretary", "mytoken"])
def test_a_name_that_only_looks_like_a_secret_is_written(name: str) -> None:
    assert decoded(written("logfmt", **{name: "visible"}))[name] == "visible"


@pytest.mark.parametrize("name", ["timestamp", "level", "event", "exception", "exc_info", "stack"])
@pytest.mark.parametrize("format", ["logfmt", "json", "console"])
def test_a_field_cannot_replace_what_the_line_says_of_itself(format: str, name: str) -> None:
    log.configure("info", format, stream := io.StringIO())
    log.info("real", **{name: "forged"})
    line = stream.getvalue()
    assert "real" in line
    assert f"{name}_" in line


# Exceptions --------------------------------------------------------------------------------------------------------


def fail(text: str = "no\x1b[2J") -> None:
    password = "hunter2"
    raise ValueError(text + password[:0])


def traced(format: str, text: str = "no\x1b[2J") -> str:
    log.configure("info", format, stream := io.StringIO())
    try:
        fail(text)
    except ValueError:
        log.exception("middleware failed", who="greylist")
    return stream.getvalue()


@pytest.mark.parametrize("format", ["logfmt", "json"])
def test_a_traceback_is_one_field_of_the_line(format: str) -> None:
    text = traced(format)
    assert text.count("\n") == 1
    record = json.loads(text) if format == "json" else decoded(text[:-1])
    assert record["level"] == "error"
    assert record["who"] == "greylist"
    assert record["error"] == "ValueError: no\x1b[2J"
    assert re.search(r'File ".*test_log.py", line \d+, in fail\n', record["exception"])
    assert "\x1b" not in text


def test_a_traceback_on_the_console_is_lines_without_control_characters_or_local_variables() -> None:
    text = traced("console")
    assert re.search(r'^  File ".*test_log.py", line \d+, in fail$', text, re.MULTILINE)
    assert not FORBIDDEN - {"\n"} & set(text)
    assert "hunter2" not in text.replace('password = "hunter2"', "")


@pytest.mark.parametrize("format", ["logfmt", "json", "console"])
def test_a_traceback_is_cut_in_its_middle(format: str) -> None:
    text = traced(format, "begin" + "x" * 100_000 + "end")
    assert len(text) < 25_000
    assert "Traceback" in text
    assert "xend" in text


def test_an_exception_can_be_handed_over() -> None:
    log.configure("info", "json", stream := io.StringIO())
    log.exception("late", error=KeyError("user"))
    log.exception("none")
    first, second = map(json.loads, stream.getvalue().splitlines())
    assert first["error"] == "KeyError: 'user'"
    assert "exception" not in second


# Levels and formats ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("level", "count"), [("debug", 4), ("info", 3), ("warning", 2), ("error", 1)], ids=lambda value: str(value)
)
def test_levels_below_the_configured_one_are_not_written(level: str, count: int) -> None:
    log.configure(level, "logfmt", stream := io.StringIO())
    for event in (log.debug, log.info, log.warning, log.error):
        event("event")
    assert len(stream.getvalue().splitlines()) == count
    assert [log.enabled("debug"), log.enabled("info"), log.enabled("warning"), log.enabled("error")].count(
        True
    ) == count


def test_a_terminal_gets_the_coloured_console_and_a_pipe_logfmt(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("NO_COLOR", raising=False)
    log.configure(stream=(terminal := Terminal()))
    log.info("event")
    assert "\x1b[" in terminal.getvalue()
    log.configure(stream=(pipe := io.StringIO()))
    log.info("event")
    assert pipe.getvalue().startswith("timestamp=")


def test_no_color_is_respected(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("NO_COLOR", "1")
    log.configure(stream=(terminal := Terminal()))
    log.info("event")
    assert "\x1b" not in terminal.getvalue()


def test_stderr_is_the_stream_unless_another_is_given(capsys: pytest.CaptureFixture[str]) -> None:
    log.configure()
    log.info("event")
    out, err = capsys.readouterr()
    assert (out, err.count("event=event")) == ("", 1)


def test_an_unknown_level_or_format_is_a_config_error() -> None:
    with pytest.raises(ConfigError, match="log level: 'loud' is not known here"):
        log.configure("loud")
    with pytest.raises(ConfigError, match="log format: 'xml' is not known here"):
        log.configure(format="xml")


def test_a_broken_stream_does_not_reach_the_caller() -> None:
    log.configure("info", "logfmt", Broken())
    log.info("event")
    closed = io.StringIO()
    log.configure("info", "logfmt", closed)
    closed.close()
    log.info("event")


def test_a_stream_that_is_not_utf8_still_gets_the_line() -> None:
    octets = io.BytesIO()
    log.configure("info", "logfmt", io.TextIOWrapper(octets, "ascii"))
    log.info("event", user="bücher")
    assert octets.getvalue().endswith(b'user="b\\xfccher"\n')


def test_warnings_of_libraries_come_along() -> None:
    log.configure("info", "json", stream := io.StringIO())
    logging.getLogger("some.library").info("quiet")
    logging.getLogger("some.library").warning("slow: %s\n", 5)
    logging.getLogger("some.library").error("broken", exc_info=ValueError("no"))
    misfit_record = logging.makeLogRecord({"levelno": logging.WARNING, "msg": "misfit: %d", "args": ("five",)})
    (ours,) = (handler for handler in logging.getLogger().handlers if type(handler).__module__ == log.__name__)
    ours.handle(misfit_record)  # ours alone: pytest's own handler refuses such a record
    slow, broken, misfit = map(json.loads, stream.getvalue().splitlines())
    assert (slow["level"], slow["event"], slow["logger"]) == ("warning", "slow: 5\n", "some.library")
    assert (broken["level"], broken["error"]) == ("error", "ValueError: no")
    assert misfit["event"] == "misfit: %d"


def test_configuring_twice_writes_once() -> None:
    log.configure("info", "logfmt", first := io.StringIO())
    log.configure("info", "logfmt", second := io.StringIO())
    log.info("event")
    logging.getLogger("some.library").warning("event")
    assert (len(first.getvalue().splitlines()), len(second.getvalue().splitlines())) == (0, 2)


# Inside an application ---------------------------------------------------------------------------------------------


def test_without_configure_events_are_the_applications(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level("DEBUG", "mailstack")
    log.warning("slow client", session="5f3a", helo="a b\n", password="hunter2")
    (record,) = caplog.records
    assert record.getMessage() == 'slow client session=5f3a helo="a b\\n" password=[redacted]'
    assert (record.name, record.levelname, record.filename) == ("mailstack", "WARNING", Path(__file__).name)
    assert record.funcName == "test_without_configure_events_are_the_applications"
    assert vars(record)["fields"]["helo"] == "a b\n"


def test_without_configure_a_percent_sign_is_text(caplog: pytest.LogCaptureFixture) -> None:
    log.error("100 %s", share="%d")
    assert caplog.messages == ["100 %s share=%d"]


def test_without_configure_an_exception_keeps_its_traceback(caplog: pytest.LogCaptureFixture) -> None:
    error = ValueError("no")
    try:
        raise error
    except ValueError:
        log.exception("failed", who="greylist")
    (record,) = caplog.records
    assert record.exc_info is not None
    assert record.exc_info[1] is error
    assert record.funcName == "test_without_configure_an_exception_keeps_its_traceback"


def test_without_configure_the_applications_level_rules(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level("WARNING", "mailstack")
    assert not log.enabled("info")
    assert log.enabled("warning")
    log.info("not heard")
    caplog.set_level("DEBUG", "mailstack")
    assert log.enabled("debug")
    log.debug("heard")
    assert caplog.messages == ["heard"]


def test_importing_mailstack_leaves_the_applications_logging_alone() -> None:
    script = (
        "import logging, mailstack.log; print(logging.getLogger().handlers, logging.getLogger('mailstack').handlers)"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert done.stdout == "[] []\n"


# Everybody ---------------------------------------------------------------------------------------------------------

SOURCES = [path for room in ("mailstack", "middleware", "handlers", "conf") for path in (ROOT / room).rglob("*.py")]
LEVELS = {"debug", "info", "warning", "warn", "error", "exception", "critical", "fatal", "log", "msg"}
ASYNCIO_ONLY = {f"a{level}" for level in LEVELS}


def _uses(tree: ast.AST) -> set[str]:
    attributes = {node.attr for node in ast.walk(tree) if isinstance(node, ast.Attribute)} & ASYNCIO_ONLY
    imports = {
        alias.name.partition(".")[0] for node in ast.walk(tree) if isinstance(node, ast.Import) for alias in node.names
    }
    froms = {(node.module or "").partition(".")[0] for node in ast.walk(tree) if isinstance(node, ast.ImportFrom)}
    return attributes | ((imports | froms) & {"structlog"})


def test_nobody_logs_through_methods_that_only_asyncio_has() -> None:
    assert _uses(ast.parse("import structlog\nawait log.ainfo('x')")) == {"structlog", "ainfo"}
    uses = {
        path.relative_to(ROOT).as_posix(): found for path in SOURCES if (found := _uses(ast.parse(path.read_text())))
    }
    assert uses == {"mailstack/log.py": {"structlog"}}
