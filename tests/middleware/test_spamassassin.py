"""spamd's verdict, and what becomes of the message. What is said here for spamd was heard from spamd 4.0.1."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from pathlib import Path
from typing import Any

import pytest
from anyio import BrokenResourceError, EndOfStream, create_task_group, create_unix_listener, fail_after
from anyio.abc import SocketStream
from hypothesis import given
from hypothesis import strategies as st

from mailstack import Server, Stack
from mailstack.middleware.spamassassin import SpamAssassin
from mailstack.middleware.spamassassin.spamc import Answer, parse, request
from mailstack.option import ConfigError
from mailstack.services.scan.scanner import ScanError
from mailstack.testing import Dialog, Vouch
from mailstack.wire.header import Header


def said(score: float, fields: str = "", *, required: float = 5.0, end: str = "\r\n") -> bytes:
    """spamd's answer to HEADERS."""
    spam = score >= required
    status = f"X-Spam-Status: {'Yes' if spam else 'No'}, score={score} required={required} tests=GTUBE,"
    lines = ["Received: from localhost by vm", "\twith SpamAssassin (version 4.0.1)", "From: a@b.c"]
    lines += ["X-Spam-Checker-Version: SpamAssassin 4.0.1 (2024-03-25) on vm", *fields.splitlines()]
    body = end.join([*lines, status, "\tHELO_NO_DOMAIN autolearn=no autolearn_force=no", "", ""])
    head = f"SPAMD/1.1 0 EX_OK\r\nContent-length: {len(body)}\r\nSpam: {spam} ; {score} / {required}\r\n\r\n"
    return f"{head}{body}".encode()


class Spamd:
    """A spamd that says what it is told to."""

    def __init__(self, *answers: bytes) -> None:
        self.answers = list(answers)
        self.heard: list[bytes] = []

    async def serve(self, stream: SocketStream) -> None:
        async with stream:
            heard = b""
            while b"\r\n\r\n" not in heard:
                heard += await stream.receive()
            length = int(heard.partition(b"Content-length: ")[2].partition(b"\r\n")[0])
            while len(heard) - heard.index(b"\r\n\r\n") - 4 < length:
                heard += await stream.receive()
            self.heard.append(heard)
            await stream.send(self.answers.pop(0) if len(self.answers) > 1 else self.answers[0])

    @asynccontextmanager
    async def listening(self, path: Path) -> AsyncIterator[str]:
        async with await create_unix_listener(path) as listener, create_task_group() as group:
            group.start_soon(listener.serve, self.serve)
            yield f"unix:{path}"
            group.cancel_scope.cancel()


MAIL = b"Subject: hi\r\nX-Spam-Flag: NO\r\nx-spam-status: No\r\n\r\nbody\r\n"


async def judged(tmp_path: Path, answer: bytes, **options: Any) -> tuple[str, Header, Spamd]:
    """The reply to a message, the header section that the handler got, and the spamd."""
    spamd = Spamd(answer)
    async with spamd.listening(tmp_path / "s") as address:
        server = Server(Stack(Vouch(), SpamAssassin(address, **options)), received=lambda session, transaction: None)
        async with Dialog(server) as smtp:
            reply = await smtp.message("a@example.org", "B@example.org", MAIL)
            content = smtp.messages[0].content if smtp.messages else b""
            return str(reply), Header(content.partition(b"\r\n\r\n")[0] + b"\r\n"), spamd


async def test_ham_passes_with_spamd_s_fields_on_top_and_others_renamed(tmp_path: Path) -> None:
    reply, header, spamd = await judged(tmp_path, said(1.5))
    assert reply.startswith("250 ")
    assert [field.name for field in header.fields] == [
        "X-Spam-Checker-Version",
        "X-Spam-Status",
        "Subject",
        "X-Old-Spam-Flag",
        "X-Old-spam-status",
    ]
    assert header.get("X-Spam-Status") == (
        "No, score=1.5 required=5.0 tests=GTUBE, HELO_NO_DOMAIN autolearn=no autolearn_force=no"
    )
    assert b"\r\r" not in header.raw
    opening, _, seen = spamd.heard[0].partition(b"\r\n\r\n")
    assert opening.startswith(b"HEADERS SPAMC/1.5\r\n")
    assert b"User:" not in opening
    assert seen == b"Return-Path: <a@example.org>\r\n" + MAIL


@pytest.mark.parametrize("word", [",".join(f"RULE_OF_SOME_LENGTH_{n}" for n in range(120)), "x" * 3000])
async def test_a_field_without_blanks_is_folded_all_the_same(tmp_path: Path, word: str) -> None:
    _, header, _ = await judged(tmp_path, said(9, f"X-Spam-Status: Yes, score=9 tests={word}\r\n"))
    status = header.get_all("X-Spam-Status")[0]
    assert status.startswith("Yes, score=9 tests=")
    assert "RULE_OF_SOME_LENGTH_119" in status or "x" * 800 in status
    assert max(map(len, header.raw.split(b"\r\n"))) <= 998


@pytest.mark.parametrize("end", ["\n", "\r\n", "\r\r\n"])
async def test_odd_line_ends_of_spamd_stay_outside(tmp_path: Path, end: str) -> None:
    _, header, _ = await judged(tmp_path, said(1.5, end=end))
    assert header.count("X-Spam-Status") == 1
    assert header.raw.count(b"\r") == header.raw.count(b"\n") == header.raw.count(b"\r\n")


@pytest.mark.parametrize(
    ("score", "reply", "subject"),
    [
        (4.9, "250", "hi"),
        (5.0, "250", "[SPAM] hi"),
        (7.9, "250", "[SPAM] hi"),
        (8.0, "451 4.7.1 the message looks like spam, try again later", None),
        (12.0, "550 5.7.1 the message looks like spam", None),
        (1005.7, "550 5.7.1 the message looks like spam", None),
    ],
)
async def test_the_score_decides(tmp_path: Path, score: float, reply: str, subject: str | None) -> None:
    answer, header, _ = await judged(tmp_path, said(score), subject="[SPAM]", defer_at=8, reject_at=12)
    assert answer.startswith(reply)
    assert header.get("Subject") == subject


async def test_the_user_s_own_threshold_may_be_what_refuses(tmp_path: Path) -> None:
    assert (await judged(tmp_path, said(6.0, required=7.0), reject_at="user"))[0].startswith("250")
    (tmp_path / "x").mkdir()
    assert (await judged(tmp_path / "x", said(7.0, required=7.0), reject_at="user"))[0].startswith("550")


async def test_the_tag_has_a_threshold_of_its_own_if_wanted(tmp_path: Path) -> None:
    _, header, _ = await judged(tmp_path, said(6.0), subject="[SPAM]", tag_at=6.5)
    assert header.get("Subject") == "hi"


@pytest.mark.parametrize(
    ("options", "names"),
    [
        ({"foreign": "drop"}, {"X-Spam-Checker-Version", "X-Spam-Level", "X-Spam-Status", "Subject"}),
        ({"foreign": "keep", "fields": False}, {"Subject", "X-Spam-Flag", "x-spam-status"}),
        (
            {"foreign": "drop", "report": True},
            {"X-Spam-Checker-Version", "X-Spam-Status", "X-Spam-Report", "X-Spam-Level", "Subject"},
        ),
    ],
)
async def test_fields_are_as_wanted(tmp_path: Path, options: dict[str, Any], names: set[str]) -> None:
    answer = said(1.5, "X-Spam-Report: all\n\tis well\nX-Spam-Level: *\nX-Spam-Odd: 1")
    _, header, _ = await judged(tmp_path, answer, **options)
    assert {field.name for field in header.fields} == names


@pytest.mark.parametrize(
    ("user", "line"), [("ann", b"User: ann\r\n"), ("recipient", b"User: b@example.org\r\n"), ("a\r\nb", b"")]
)
async def test_spamd_is_told_whose_preferences_count(tmp_path: Path, user: str, line: bytes) -> None:
    _, _, spamd = await judged(tmp_path, said(1.5), user=user)
    opening = spamd.heard[0].partition(b"\r\n\r\n")[0] + b"\r\n"
    assert opening.endswith(line)
    assert (b"User:" in opening) == bool(line)


async def test_an_answer_is_over_when_all_of_it_is_there(tmp_path: Path) -> None:
    class Stays(Spamd):
        async def serve(self, stream: SocketStream) -> None:
            async with stream:
                await stream.receive()
                await stream.send(self.answers[0][:60])
                await stream.send(self.answers[0][60:])
                with suppress(EndOfStream, BrokenResourceError):
                    while await stream.receive():  # until the other one has had enough
                        pass

    async with Stays(said(1.5)).listening(tmp_path / "s") as address:
        async with Dialog(Vouch(), SpamAssassin(address)) as smtp:
            with fail_after(20):
                assert await smtp.message("a@example.org", "b@example.org", MAIL) == 250


async def test_of_several_recipients_nobody_s_preferences_count(tmp_path: Path) -> None:
    spamd = Spamd(said(1.5))
    async with spamd.listening(tmp_path / "s") as address:
        async with Dialog(Vouch(), SpamAssassin(address, user="recipient")) as smtp:
            await smtp.message("a@example.org", ["b@example.org", "c@example.org"], MAIL)
            assert b"User:" not in spamd.heard[0].partition(b"\r\n\r\n")[0]


@pytest.mark.parametrize(
    "answer",
    [
        b"",
        b"nonsense",
        b"SPAMD/1.1 75 EX_TEMPFAIL\r\n\r\n",
        b"SPAMD/1.1 0 EX_OK\r\nContent-length: 2\r\n\r\nab",
        b"SPAMD/1.1 0 EX_OK\r\nContent-length: 99\r\nSpam: False ; 1.0 / 5.0\r\n\r\nab",
        b"SPAMD/1.1 0 EX_OK\r\nContent-length: 0\r\nSpam: False ; 1.0.0 / 5.0\r\n\r\n",
        b"SPAMD/1.1 0 EX_OK\r\nContent-length: 0\r\nSpam: False ; " + b"9" * 400 + b" / 5.0\r\n\r\n",
        b"SPAMD/1.1 0 EX_OK\r\nSpam: False ; 1.0 / 5.0\r\n\r\nX-Spam-Fl",
    ],
)
async def test_what_is_no_answer_is_no_verdict(tmp_path: Path, answer: bytes) -> None:
    reply, _, _ = await judged(tmp_path, answer)
    assert reply == "451 4.7.1 the message cannot be scanned now, try again later"
    (tmp_path / "x").mkdir()
    reply, header, _ = await judged(tmp_path / "x", answer, on_fault="pass")
    assert reply.startswith("250")
    assert "X-Spam-Status" not in header
    assert "X-Old-Spam-Flag" in header


async def test_the_verdict_is_evidence(tmp_path: Path) -> None:
    spamd = Spamd(said(15))
    async with spamd.listening(tmp_path / "s") as address:
        async with Dialog(Vouch(), SpamAssassin(address, reject_at=12)) as smtp:
            await smtp.message("a@example.org", "b@example.org", MAIL)
            noted = [each for each in smtp.evidence if each.who == "spamassassin"]
            assert noted[0].detail.startswith(f"score 15 of 5: GTUBE,HELO_NO_DOMAIN ({address}, ")
            assert noted[1].outcome == "refused"


@given(st.binary(max_size=300))
def test_any_octets_are_an_answer_or_none(octets: bytes) -> None:
    for prefix in (b"", b"SPAMD/1.1 0 EX_OK\r\n", b"SPAMD/1.1 0 EX_OK\r\nSpam: True ; 1 / 2\r\n\r\n"):
        try:
            parse(prefix + octets)
        except ScanError:
            pass


def test_a_user_that_is_no_word_is_left_out() -> None:
    assert request(5, "a b") == request(5, None) == b"HEADERS SPAMC/1.5\r\nContent-length: 5\r\n\r\n"


@pytest.mark.parametrize(
    "options",
    [
        {"reject_at": "often"},
        {"tag_at": "sometimes"},
        {"foreign": "burn"},
        {"subject": "a\r\nBcc: b"},
        {"on_fault": "cry"},
        {"connections": 0},
        {"too_large": "cut"},
    ],
)
def test_what_makes_no_sense_is_an_error(options: dict[str, Any]) -> None:
    with pytest.raises(ConfigError, match="SpamAssassin"):
        SpamAssassin(**options)


@pytest.mark.parametrize(
    ("status", "tests"),
    [
        ("No, score=-1.0 required=5.0 tests=ALL_TRUSTED\r\n\tautolearn=unavailable version=3.4.6", "ALL_TRUSTED"),
        ("Yes, score=9.0 required=5.0 tests=GTUBE,\r\n\tHELO_NO_DOMAIN autolearn=no", "GTUBE,HELO_NO_DOMAIN"),
        ("No, score=0.0 required=5.0 tests=none autolearn=ham", ""),
        ("No, score=0.0", ""),
    ],
)
def test_the_names_of_the_rules_end_where_the_next_word_begins(status: str, tests: str) -> None:
    field = Header(f"X-Spam-Status: {status}\r\n".encode()).get("X-Spam-Status")
    assert field is not None
    assert Answer(False, 0.0, 5.0, (("X-Spam-Status", field),)).tests == tests
