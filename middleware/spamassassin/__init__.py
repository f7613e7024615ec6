"""spamassassin: let SpamAssassin's daemon judge each message, and do as its score says.

    spamassassin.SpamAssassin("127.0.0.1:783", reject_at=12)
    spamassassin.SpamAssassin("unix:/run/spamd.sock", "127.0.0.1:783", subject="[SPAM]", defer_at=8, reject_at=12)
    spamassassin.SpamAssassin(user="recipient", reject_at="user")     # each recipient's preferences

spamd is asked (SPAMC 1.5) when the message is complete, with its envelope sender on top as Return-Path. Several servers
are asked in turn: the first that answers counts, and one that failed is asked last for half a minute.

What becomes of the message, the severest that is reached:
* `reject_at`: 550 5.7.1. `defer_at`: 451 4.7.1. `reject_at="user"` takes spamd's own threshold, its required_score.
* `tag_at` (default: when spamd calls it spam): `subject` is put in front of the Subject, if one is given.

Fields: spamd's X-Spam-Checker-Version, -Flag, -Level and -Status come on top, each on lines of its own making, so that
no odd line end of spamd's gets into a mailbox. X-Spam-Report, which is long, comes when `report=True`. `fields=False`
adds none. X-Spam fields that were there before are somebody else's opinion: they become X-Old-Spam
(`foreign="rename"`), go ("drop"), or stay ("keep"). All this breaks the DKIM signatures that cover such a field or the
Subject: check those above this entry.

`user` is the user whose preferences spamd takes (its `--username`, SQL and LDAP preferences): a name, or "recipient",
which is the address of the recipient if there is one alone; with several, nobody's preferences count.

A message over `max_size` is not looked at ("skip"), looked at as far as it goes ("head") or put off ("defer"). If no
server answers within `timeout`, `on_fault` says whether mail waits ("defer", 451) or passes unseen ("pass"). At most
`connections` messages are with spamd at a time; as many as it has children is right.

The evidence and the log have score, threshold and the rules that hit. What spamd finds is for all recipients of the
message; in LMTP too. Mail to postmaster and abuse alone is tagged, and never refused. In a rehearsal spamd is asked; if
it learns by itself (bayes_auto_learn), it learns from that too.
"""

from __future__ import annotations

import re
from typing import Final, Literal

from mailstack import log, option
from mailstack.contract.hookspec import hookimpl
from mailstack.contract.postpone import all_must_be_heard
from mailstack.services.scan import Sample, Scanner, Thresholds
from mailstack.services.scan.scanner import OnFault, TooLarge, everything
from mailstack.services.scan.verdict import threshold
from mailstack.services.transport import BrokenStream, Stream
from mailstack.session.message import Message
from mailstack.session.session import Session
from mailstack.session.transaction import Transaction
from mailstack.wire.reply import Reply

from .spamc import LONGEST, Answer, is_whole, parse, request

__all__ = ["SpamAssassin"]

PORT: Final = 783

_REFUSED: Final = Reply(550, "the message looks like spam", status="5.7.1")
_NOT_NOW: Final = Reply(451, "the message looks like spam, try again later", status="4.7.1")
_SHOWN: Final = ("x-spam-checker-version", "x-spam-flag", "x-spam-level", "x-spam-status")
_LONGEST_WORD: Final = 900  # characters: a line has 998 (RFC 5322 §2.1.1)
_LONG: Final = re.compile(rf"\S{{{_LONGEST_WORD},}}")
_FOREIGN: Final = re.compile(r"x-spam-", re.IGNORECASE)


class SpamAssassin:
    """Ask spamd.

    servers -- "127.0.0.1:783" (the default), "unix:/run/spamd.sock", host names.
    tag_at, defer_at, reject_at -- scores; None is never. tag_at="spam": whatever spamd calls spam. reject_at="user":
        spamd's own threshold.
    subject -- what stands in front of the Subject of a message that is tagged; "" leaves it as it is.
    fields, report -- whether X-Spam fields are added, and the long one too. foreign -- what becomes of others'.
    user -- None, a name, or "recipient".
    connections, timeout, max_size, too_large, on_fault -- as in the manual; defaults 5, 60 s, 500 KiB, "skip", "defer".

    ConfigError for what makes no sense.
    """

    rehearsable = True

    def __init__(
        self,
        *servers: str,
        reject_at: float | Literal["user"] | None = None,
        defer_at: float | None = None,
        tag_at: float | Literal["spam"] | None = "spam",
        subject: str = "",
        fields: bool = True,
        report: bool = False,
        foreign: Literal["rename", "drop", "keep"] = "rename",
        user: str | None = None,
        connections: int = 5,
        timeout: str | float = "60s",
        max_size: str | int = "500 KiB",
        too_large: TooLarge = "skip",
        on_fault: OnFault = "defer",
    ) -> None:
        self._scanner = Scanner(
            "SpamAssassin",
            "spamassassin",
            servers or (f"127.0.0.1:{PORT}",),
            port=PORT,
            connections=connections,
            timeout=timeout,
            max_size=max_size,
            too_large=too_large,
            on_fault=on_fault,
        )
        self._by_user = reject_at == "user"
        self._tags_spam = tag_at == "spam"
        self._thresholds = Thresholds(
            None if self._tags_spam else threshold(tag_at, name="SpamAssassin(tag_at)"),
            threshold(defer_at, name="SpamAssassin(defer_at)"),
            None if self._by_user else threshold(reject_at, name="SpamAssassin(reject_at)"),
        )
        self._subject = option.field_text(subject, name="SpamAssassin(subject)")
        self._fields = option.boolean(fields, name="SpamAssassin(fields)")
        self._shown = (*_SHOWN, "x-spam-report") if option.boolean(report, name="SpamAssassin(report)") else _SHOWN
        self._foreign = option.choice(foreign, "rename", "drop", "keep", name="SpamAssassin(foreign)")
        self._user = user

    @hookimpl
    async def message(self, session: Session, message: Message) -> Reply | None:
        transaction = session.transaction
        assert transaction is not None
        opening = b"Return-Path: " + transaction.sender.address.path.encode("utf-8", "replace") + b"\r\n"
        user = self._user_of(transaction)

        async def talk(stream: Stream, sample: Sample) -> Answer:
            try:
                await stream.send(request(len(opening) + sample.size, user) + opening)
                async for chunk in sample.chunks():
                    await stream.send(chunk)
            except BrokenStream:
                pass  # it may have said why
            return parse(await everything(stream, LONGEST, is_whole))

        found = await self._scanner.scan(session, message, talk)
        self._forget_others(message)
        if found.value is None:
            return found.reply
        self._tell(session, message, found.value, found.server, found.seconds)
        return self._judge(message, found.value, heard=all_must_be_heard(session))

    def _user_of(self, transaction: Transaction) -> str | None:
        if self._user != "recipient":
            return self._user
        addresses = {recipient.address for recipient in transaction.recipients}
        return str(addresses.pop()).lower() if len(addresses) == 1 else None

    def _tell(self, session: Session, message: Message, answer: Answer, server: str, seconds: float) -> None:
        words = f"score {answer.score:g} of {answer.required:g}: {answer.tests or 'nothing'}"
        session.note("spamassassin", "message", f"{words} ({server}, {seconds:.3f} s)")
        log.info(
            "scanned",
            session=session.id,
            queue_id=message.id,
            who="spamassassin",
            score=answer.score,
            required=answer.required,
            tests=answer.tests,
            server=server,
            seconds=round(seconds, 3),
        )

    def _judge(self, message: Message, answer: Answer, *, heard: bool) -> Reply | None:
        """heard -- it is for postmaster and abuse alone, who are sent spam to complain of it."""
        thresholds = self._thresholds
        if self._by_user:
            thresholds = thresholds._replace(reject=answer.required)
        if self._tags_spam and answer.spam:
            thresholds = thresholds._replace(tag=answer.score)
        action = thresholds.action(answer.score)
        if action in ("defer", "reject") and not heard:
            return _NOT_NOW if action == "defer" else _REFUSED
        if self._fields:
            self._add(message, answer)
        if action != "pass" and self._subject:
            message.put_in_front("Subject", self._subject)
        return None

    def _forget_others(self, message: Message) -> None:
        names = {field.name for field in message.header.fields if _FOREIGN.match(field.name)}
        for name in sorted(names) if self._foreign != "keep" else ():
            if self._foreign == "drop":
                message.remove_header(name)
            else:
                message.rename_header(name, f"X-Old-{name[2:]}")

    def _add(self, message: Message, answer: Answer) -> None:
        for name, value in reversed(answer.fields):
            if name.lower() in self._shown:
                try:
                    message.add_header(name, " ".join(_LONG.sub(_parted, value).split()))
                except ValueError as error:  # not a field that may stand in a header: it stays out
                    log.warning("field left out", who="spamassassin", field=name, reason=str(error))


def _parted(word: re.Match[str]) -> str:
    """A list of rules without a blank, with some; and no line can be longer than a word of this."""
    names = word[0].replace(",", ", ")
    return " ".join(each[:_LONGEST_WORD] for each in names.split())
