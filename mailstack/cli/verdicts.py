"""A rehearsal's report, for eyes and for programs.

The document (`--json`) has the names of `testing.rehearsal`, and replies as {"code", "status", "text"}. Whatever a
client, a message or an exception says is shown with its control characters escaped.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from rich.console import RenderableType
    from rich.text import Text

    from ..testing.answer import Answer
    from ..testing.rehearsal import PhaseRows, Report, Row, Step
    from ..wire.reply import Reply

_COLOURS = {
    "accepted": "green",
    "refused": "red",
    "deferred": "yellow",
    "fault": "bold red",
    "late": "bold red",
    "not asked": "magenta",
    "not reached": "dim",
    "left out": "dim",
}
_WIDE = 10_000  # columns: where nobody looks, nothing is wrapped


# For programs.


def as_document(report: Report, source: str) -> dict[str, Any]:
    """Plain values, for JSON."""
    script = report.script
    return {
        "source": source,
        "hostname": report.hostname,
        "client": _peer(report),
        "listener": script.listener,
        "verb": script.verb,
        "helo": script.helo,
        "user": script.user,
        "secure": script.secure,
        "sender": script.sender,
        "steps": [_step(each) for each in report.steps],
        "recipients": [
            {
                "address": each.address,
                "verdict": each.verdict,
                "reply": None if each.answer is None else _answer(each.answer),
                "final": each.final or None,
            }
            for each in report.recipients
        ],
        "handed_on": None
        if report.sender is None
        else {
            "sender": report.sender,
            "header_added": [_field(each) for each in report.added],
            "header_removed": [_field(each) for each in report.removed],
        },
        "not_asked": [
            {"entry": entry, "origin": origin, "hooks": list(hooks)} for entry, origin, hooks in report.not_asked
        ],
        "verdict": report.verdict,
    }


def _step(step: Step) -> dict[str, Any]:
    return {
        "said": step.said,
        "phases": [{"phase": each.phase, "entries": [_entry(row) for row in each.rows]} for each in step.phases],
        "replies": [_answer(each) for each in step.replies],
        "by": step.by,
    }


def _entry(row: Row) -> dict[str, Any]:
    return {
        "entry": row.entry,
        "origin": row.origin or None,
        "conditions": list(row.conditions),
        "verdict": row.verdict,
        "reply": None if row.reply is None else _reply(row.reply),
        "details": list(row.details),
        "seconds": None if row.seconds is None else round(row.seconds, 6),
    }


def _answer(answer: Answer) -> dict[str, Any]:
    return {"code": answer.code, "status": answer.status, "text": answer.text}


def _reply(reply: Reply) -> dict[str, Any]:
    return {"code": reply.code, "status": reply.status, "text": reply.text}


def _field(raw: bytes) -> str:
    return raw.decode("utf-8", "backslashreplace").removesuffix("\r\n")


# For eyes.


def show(report: Report, source: str, *, terminal: bool) -> None:
    """Print it: coloured and as wide as the terminal; elsewhere plain, one line for each row."""
    import sys

    from rich.console import Console

    console = Console(highlight=False, width=None if terminal else _WIDE)
    for each in _page(report, source):
        if terminal:
            console.print(each)
        else:
            with console.capture() as caught:
                console.print(each)
            sys.stdout.writelines(f"{line.rstrip()}\n" for line in caught.get().splitlines())


def _page(report: Report, source: str) -> Iterator[RenderableType]:
    script = report.script
    facts = [f"rehearsal of {source} as {report.hostname}", f"client {_peer(report)}"]
    facts += [f"listener {script.listener}"] * bool(script.listener) + [f"user {script.user}"] * bool(script.user)
    yield _text(", ".join(facts + ["under TLS"] * script.secure), "bold")
    for step in report.steps:
        yield ""
        yield from _of_step(step)
    yield ""
    yield from _end(report)


def _of_step(step: Step) -> Iterator[RenderableType]:
    yield _text({"": "(connects)", ".": "(sends the message)"}.get(step.said, step.said), "bold")
    for each in step.phases:
        yield _table(each)
    by = "" if step.by == "core" else f"  (by {step.by})"
    for answer in step.replies:
        *lines, last = str(answer).splitlines()
        for line in lines:
            yield _text(f"→ {line}", _colour_of(answer))
        yield _text(f"→ {last}{by}", _colour_of(answer))
    if not step.replies and step.said != "QUIT":
        yield _text("→ (the server closes the connection without a word)", "yellow")


def _table(phase: PhaseRows) -> RenderableType:
    from rich.padding import Padding
    from rich.table import Table

    table = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0), header_style="dim")
    for name in (phase.phase, "verdict", "reply", "evidence"):
        table.add_column(name, overflow="fold")
    table.add_column("time", justify="right", no_wrap=True)
    for row in phase.rows:
        evidence = [*row.details, *(row.conditions if row.verdict == "left out" else ())]
        table.add_row(
            _text(row.entry, "cyan"),
            _text(row.verdict, _COLOURS.get(row.verdict.partition(",")[0], "")),
            _text("" if row.reply is None else " ".join(str(row.reply).splitlines())),
            _text("; ".join(evidence)),
            _time(row.seconds),
        )
    return Padding(table, (0, 0, 0, 2))


def _end(report: Report) -> Iterator[RenderableType]:
    for each in report.recipients:
        final = f", as <{each.final}>" if each.final not in ("", each.address) else ""
        answer = "the connection closed" if each.answer is None else " ".join(str(each.answer).splitlines())
        yield _text(f"<{each.address}> would be {each.verdict}{final}: {answer}", _COLOURS[each.verdict])
    if report.sender is not None and report.sender != report.script.sender:
        yield _text(f"sender would be <{report.sender}>")
    for sign, fields in (("+", report.added), ("-", report.removed)):
        for raw in fields:
            yield _text(f"{sign} {' '.join(_field(raw).split())}")
    for entry, origin, hooks in report.not_asked:
        yield _text(f"not asked: {entry} ({', '.join(hooks)})  {origin}", "magenta")


def _peer(report: Report) -> str:
    client = report.script.client
    if isinstance(client, str):
        return client or "local"
    host, port = client
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"


def _colour_of(answer: Answer) -> str:
    return {4: "yellow", 5: "red"}.get(answer.code // 100, "green")


def _time(seconds: float | None) -> str:
    if seconds is None:
        return ""
    return f"{seconds:.1f} s" if seconds >= 1 else f"{seconds * 1000:.1f} ms" if seconds >= 0.0001 else "<0.1 ms"


def _text(text: str, style: str = "") -> Text:
    from rich.text import Text

    visible = "".join(each if each.isprintable() else each.encode("unicode_escape").decode() for each in text)
    return Text(visible, style=style)
