"""One conversation that does not happen: the real stack is asked, and every entry's verdict is kept.

    report = await rehearse(server, Script(client="203.0.113.5", helo="x", sender="a@b", recipients=("c@d",)))
    assert report.recipients[0].verdict == "refused"

A client in memory says what the script has: EHLO, MAIL, a RCPT for each recipient, DATA, the message; it stops where a
real one would have to. `Step` is what it said, what it heard, and a `Row` for each entry that listens to that phase.
`mailstack simulate` shows the report as tables or JSON.

Promises: no entry that is not rehearsable is asked, no handler at all, and the spool is a temporary folder that goes
with the rehearsal. How long it takes is up to the entries and the server's own limits. ConfigError as for a start.
"""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace

from anyio import TASK_STATUS_IGNORED, create_task_group
from anyio.abc import TaskStatus

from ..contract.chain import Branch, Node
from ..contract.compose import Stack
from ..contract.hookspec import CallNext, hookimpl
from ..contract.pipeline import Pipeline
from ..server.server import Server
from ..services.memory import MemoryStream, memory_stream_pair
from ..services.transport import Address, BrokenStream
from ..session.evidence import Finding
from ..session.message import Message
from ..session.session import Session
from ..wire.header import Header, HeaderSplitter
from ..wire.reply import Reply
from .answer import Answer, Reader
from .conversation import stuffed

__all__ = ["Outcome", "PhaseRows", "Report", "Row", "Script", "Step", "rehearse"]

_WITNESS = "(rehearsal)"


@dataclass(frozen=True, slots=True, kw_only=True)
class Script:
    """What the client of a rehearsal is, and what it says.

    client -- the address that it comes from: a numeric host, (host, port), or "" for a UNIX socket.
    server -- the address that it came to, (host, port). listener -- the name of the listener that took it.
    lmtp -- whether that speaks LMTP. verb, helo -- the greeting. sender -- "" for the null sender.
    recipients -- one RCPT for each. message -- its octets, dots not stuffed.
    user -- who has authenticated (after the greeting), or None. secure -- whether the session runs under TLS.
    mail_parameters, rcpt_parameters -- as they stand in the command: "SIZE=100".
    """

    client: str | tuple[str, int] = "192.0.2.1"
    server: tuple[str, int] = ("192.0.2.2", 25)
    listener: str = ""
    lmtp: bool = False
    verb: str = "EHLO"
    helo: str = "client.example.org"
    sender: str
    recipients: tuple[str, ...]
    message: bytes = b"Subject: test\r\n\r\ntest\r\n"
    user: str | None = None
    secure: bool = False
    mail_parameters: tuple[str, ...] = ()
    rcpt_parameters: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Row:
    """What one entry did in one phase.

    verdict -- "no opinion", "accepted", "refused", "fault", "late", "would have refused" …, as the evidence has it; or
        "not asked" (it is not rehearsable, or a handler), "not reached" (the phase was decided before its turn) or
        "left out" (its condition did not hold). conditions -- the `When` and `Unless` around it, in words.
    reply -- its answer, or None. details -- what it changed and noted; a fault's exception. seconds -- None if unknown.
    """

    entry: str
    origin: str
    verdict: str
    reply: Reply | None = None
    details: tuple[str, ...] = ()
    conditions: tuple[str, ...] = ()
    seconds: float | None = None


@dataclass(frozen=True, slots=True)
class PhaseRows:
    """A phase that somebody listens to, and its rows in the order of the stack."""

    phase: str
    rows: tuple[Row, ...]


@dataclass(frozen=True, slots=True)
class Step:
    """One thing that the client did. said -- the command, "" for connecting, "." for the message.

    replies -- what it heard: one, none when the server hung up, or in LMTP one for each recipient of a message.
    by -- the entry whose answer that was, or "core".
    """

    said: str
    replies: tuple[Answer, ...]
    phases: tuple[PhaseRows, ...]
    by: str = "core"


@dataclass(frozen=True, slots=True)
class Outcome:
    """What a recipient comes to. verdict -- "accepted", "deferred" (4xx, or the server hung up) or "refused".

    address -- as the client gave it. final -- all that it has become, "" where the message never came so far.
    """

    address: str
    verdict: str
    answer: Answer | None
    final: str = ""


@dataclass(slots=True)
class Report:
    """A rehearsal that is over.

    added, removed -- the header fields that the message would have gone on with, and without, in the octets of both.
    sender -- after rewriting; None where the message never came so far. not_asked -- entries and the hooks they are
    not asked in.
    """

    script: Script
    hostname: str
    steps: tuple[Step, ...]
    recipients: tuple[Outcome, ...]
    added: tuple[bytes, ...] = ()
    removed: tuple[bytes, ...] = ()
    sender: str | None = None
    not_asked: tuple[tuple[str, str, tuple[str, ...]], ...] = ()

    @property
    def verdict(self) -> str:
        """The worst of all recipients': "refused", "deferred" or "accepted"."""
        found = {each.verdict for each in self.recipients}
        return next((word for word in ("refused", "deferred") if word in found), "accepted")


async def rehearse(server: Server, script: Script) -> Report:
    """Play the script against a copy of `server`, which must not run."""
    twin = server.in_memory(rehearsal=True)
    witness = _Witness(script)
    twin.stack = Stack(twin.stack, witness)
    pipeline = twin.check()
    there, here = memory_stream_pair(_peer(script.client), script.server)
    client = _Client(here, script, pipeline)
    async with twin, create_task_group() as group:
        client.session = await group.start(_serve, twin, there, script, witness)
        outcomes = await client.talk()
        await here.close()
    client.remember("QUIT", (), ())  # what came after the last reply: notices that failed
    report = Report(script, twin.hostname, tuple(client.steps), tuple(outcomes))
    report.not_asked = tuple((each.name, str(each.origin), tuple(each.impls)) for each in pipeline.not_asked)
    witness.complete(report)
    return report


async def _serve(
    server: Server, stream: MemoryStream, script: Script, witness: _Witness, *, task_status: TaskStatus[Session | None]
) -> None:
    witness.begun = task_status
    await server.serve_stream(stream, script.listener, lmtp=script.lmtp, task_status=witness)


def _peer(client: str | tuple[str, int]) -> Address:
    return (client, 40001) if isinstance(client, str) and client else client


class _Witness:
    """Sees the session before it begins; and, at the end of the stack, the message as it would be handed on."""

    name = _WITNESS
    rehearsable = True

    def __init__(self, script: Script) -> None:
        self.begun: TaskStatus[Session | None] = TASK_STATUS_IGNORED
        self._script = script
        self._header: Header | None = None
        self._sender = ""
        self._final: dict[str, dict[str, None]] = {}  # each once, in order

    def started(self, session: Session | None = None) -> None:
        """The task status of `Server.serve_stream`: nobody was asked yet."""
        if session is not None:
            session.secure = self._script.secure
        self.begun.started(session)

    @hookimpl
    async def queue(self, session: Session, message: Message, call_next: CallNext) -> Reply:
        transaction = session.transaction
        assert transaction is not None
        self._header, self._sender = message.header, str(transaction.sender)
        for each in transaction.recipients:
            self._final.setdefault(each.given.original, {})[str(each)] = None
        return await call_next()

    def complete(self, report: Report) -> None:
        """Add to the report what would have been handed on."""
        if self._header is None:
            return
        report.sender = self._sender
        report.added, report.removed = _difference(_header_of(self._script.message), self._header)
        report.recipients = tuple(
            replace(each, final=", ".join(self._final.get(each.address, ()))) for each in report.recipients
        )


# The client.


class _Client:
    """Says what the script has, and keeps what it hears. `session` is known when the connection is there."""

    def __init__(self, stream: MemoryStream, script: Script, pipeline: Pipeline) -> None:
        self.session: Session | None = None
        self.steps: list[Step] = []
        self._stream = stream
        self._script = script
        self._pipeline = pipeline
        self._origins = {entry.name: str(entry.origin) for entry in pipeline.entries}
        self._reader = Reader()
        self._seen = 0

    async def talk(self) -> list[Outcome]:
        """All of it; what comes of each recipient."""
        outcomes = await self._transaction()
        await self._send(b"QUIT\r\n")
        await self._hear()
        return outcomes

    async def _transaction(self) -> list[Outcome]:
        script = self._script
        for said, phase in (
            ("", "connect"),
            (f"{script.verb} {script.helo}", "ehlo"),
            (_command("MAIL FROM", script.sender, script.mail_parameters), "mail"),
        ):
            answer = await self._say(said, phase)
            if answer is None or answer.code >= 400:
                return [_outcome(each, answer) for each in script.recipients]
            if phase == "ehlo" and self.session is not None:
                self.session.user = script.user
        told = [
            await self._say(_command("RCPT TO", each, script.rcpt_parameters), "rcpt") for each in script.recipients
        ]
        taken = [index for index, answer in enumerate(told) if answer is not None and answer.code < 400]
        if taken:
            answers = await self._message(len(taken))
            for index, answer in zip(taken, answers, strict=True):
                told[index] = answer
        return [_outcome(each, answer) for each, answer in zip(script.recipients, told, strict=True)]

    async def _message(self, recipients: int) -> list[Answer | None]:
        """DATA and the message; the answer for each of the recipients."""
        answer = await self._say("DATA", "data")
        if answer is None or answer.code != 354:
            return [answer] * recipients
        await self._send(stuffed(self._script.message))
        answers = [await self._hear() for _ in range(recipients if self._script.lmtp else 1)]
        self.remember(".", answers, ("headers", "message", "queue"))
        return answers if self._script.lmtp else answers * recipients

    async def _say(self, said: str, phase: str) -> Answer | None:
        if said:
            await self._send(said.encode() + b"\r\n")
        answer = await self._hear()
        self.remember(said, [answer], (phase,))
        return answer

    async def _send(self, octets: bytes) -> None:
        try:
            await self._stream.send(octets)
        except BrokenStream:
            pass  # it has closed; what it said before can still be read

    async def _hear(self) -> Answer | None:
        """The next reply; None when the server has closed instead."""
        while (answer := self._reader.next_answer()) is None:
            octets = await self._stream.receive()
            if not octets:
                return None
            self._reader.feed(octets)
        return answer

    # What it keeps.

    def remember(self, said: str, answers: Sequence[Answer | None], phases: tuple[str, ...]) -> None:
        """A step, with all findings since the one before; none that nobody has anything to do with and nobody said."""
        fresh = self._fresh()
        replies = tuple(answer for answer in answers if answer is not None)
        names = dict.fromkeys((*phases, *(each.phase for each in fresh)))
        decided = False
        found = []
        for phase in names:
            listeners = [each for each in _listeners(self._pipeline.nodes(phase)) if phase in phases]
            own = [each for each in fresh if each.phase == phase]
            rows = tuple(self._rows(listeners, own, decided))
            decided = decided or any(reply.code >= 400 for _, reply in _decisions(own))
            if rows:
                found.append(PhaseRows(phase, rows))
        if phases or found:
            self.steps.append(Step(said, replies, tuple(found), _by(fresh, replies)))

    def _fresh(self) -> list[Finding]:
        if self.session is None:
            return []
        self._seen, fresh = self.session.evidence.since(self._seen)
        return fresh

    def _rows(self, listeners: list[_Listener], findings: list[Finding], decided: bool) -> Iterator[Row]:
        by_name: dict[str, list[Finding]] = {}
        for each in findings:
            by_name.setdefault(each.who, []).append(each)
        conditions = dict(listeners)
        names = list(dict.fromkeys(_in_order(listeners, by_name)))
        ended = max((names.index(who) for who, _ in _decisions(findings)), default=None)
        reached = not decided and (bool(findings) or all(conditions.values()))
        for index, name in enumerate(names):
            if name == _WITNESS:
                continue
            around, origin = conditions.get(name, ()), self._origins.get(name, "")
            if name in by_name:
                yield _row(name, origin, around, by_name[name])
            else:
                passed = reached and (
                    ended is None or index < ended
                )  # without a word: where Postpone has nothing to give
                verdict = "not reached" if not passed else "left out" if around else "no opinion"
                yield Row(name, origin, verdict, conditions=around)


_Listener = tuple[str, tuple[str, ...]]  # an entry's name, and the conditions around it


def _listeners(nodes: Iterable[Node], around: tuple[str, ...] = ()) -> Iterator[_Listener]:
    for node in nodes:
        if isinstance(node, Branch):
            words = f"{'unless' if node.negated else 'when'} {node.predicate}"
            yield from _listeners(node.nodes, (*around, words))
        else:
            yield node.who, around


def _in_order(listeners: list[_Listener], found: Iterable[str]) -> Iterator[str]:
    """All names, in the order of the stack: a condition that failed stands where it is asked, a stranger at the end."""
    for name, around in listeners:
        yield from (each for each in around if each in found)
        yield name
    yield from found


def _decisions(findings: Iterable[Finding]) -> list[tuple[str, Reply]]:
    """Who ended a phase, with what; a refusal that was postponed or scored has ended nothing."""
    let_out = {(each.who, each.phase) for each in findings if each.outcome in ("postponed", "scored")}
    return [
        (each.who, each.reply)
        for each in findings
        if each.outcome in ("accepted", "refused", "fault", "late")
        and each.reply is not None
        and (each.who, each.phase) not in let_out
    ]


def _row(name: str, origin: str, around: tuple[str, ...], findings: list[Finding]) -> Row:
    said = [each for each in findings if each.outcome not in ("asked", "noted", "no opinion")]
    timed = [each for each in findings if each.outcome in ("asked", "no opinion")] or [
        each for each in said if each.seconds
    ]
    return Row(
        name,
        origin,
        ", ".join(dict.fromkeys(each.outcome for each in said)) or "no opinion",
        next((each.reply for each in reversed(said) if each.reply is not None), None),
        tuple(dict.fromkeys(each.detail for each in findings if each.detail)),
        around,
        timed[-1].seconds if timed else None,
    )


def _by(findings: list[Finding], replies: tuple[Answer, ...]) -> str:
    """Whose answer it was: the last one's that decided as the client was told (a fault before the banner as 421)."""
    refused = [answer.code >= 400 for answer in replies]
    return next((who for who, reply in reversed(_decisions(findings)) if [reply.code >= 400] == refused), "core")


def _command(opening: str, address: str, parameters: tuple[str, ...]) -> str:
    return " ".join([f"{opening}:<{address}>", *parameters])


def _outcome(address: str, answer: Answer | None) -> Outcome:
    verdict = "deferred" if answer is None else _VERDICTS[answer.code // 100]
    return Outcome(address, verdict, answer)


_VERDICTS = {2: "accepted", 3: "accepted", 4: "deferred", 5: "refused"}


# The header section.


def _header_of(message: bytes) -> Header:
    splitter = HeaderSplitter(max_size=_ALL, max_line=_ALL)
    splitter.feed(message if message.endswith(b"\r\n") else message + b"\r\n")
    if not splitter.complete:
        splitter.finish()
    return Header(splitter.raw)


_ALL = 1 << 40  # octets: how much is too much is the server's to say


def _difference(before: Header, after: Header) -> tuple[tuple[bytes, ...], tuple[bytes, ...]]:
    """The fields that came, and those that went."""
    old, new = ([part.raw for part in header.parts] for header in (before, after))
    changes = difflib.SequenceMatcher(None, old, new, autojunk=False).get_opcodes()
    added = [field for tag, _, _, start, end in changes if tag != "equal" for field in new[start:end]]
    removed = [field for tag, start, end, _, _ in changes if tag != "equal" for field in old[start:end]]
    return tuple(added), tuple(removed)
