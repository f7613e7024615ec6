"""Each message is one file in a Maildir, whole and on the disk before the client hears 250, or there is none."""

import errno
import itertools
import mailbox
import os
import re
import stat
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from anyio import create_task_group, from_thread
from hypothesis import given
from hypothesis import strategies as st

from mailstack import Address, ConfigError, Message, Recipient, Reply, Session, hookimpl
from mailstack.handlers import maildir
from mailstack.handlers.maildir import Maildir
from mailstack.testing import Answer, Conversation, Dialog, Vouch

TEXT = b"Subject: hi\r\n\r\nhello\r\n"


class Keep:
    """Sees the message as the handler below it sees it."""

    octets = b""

    @hookimpl
    async def queue(self, message: Message) -> None:
        self.octets = await message.read()


async def deliver(handler: Maildir, *recipients: str, sender: str = "a@example.org", data: bytes = TEXT) -> Answer:
    async with Dialog(Vouch(), handler=handler, hostname="mx.example.org") as smtp:
        return await smtp.message(sender, recipients or ["b@example.org"], data)


async def by_bdat(smtp: Conversation, data: bytes) -> Answer:
    for line in ("EHLO me", "MAIL FROM:<a@example.org> BODY=8BITMIME", "RCPT TO:<b@example.org>"):
        assert await smtp.say(line) == 250
    await smtp.send(b"BDAT %d LAST\r\n" % len(data) + data)
    return await smtp.reply()


def everything(path: Path) -> list[str]:
    """All files below a folder."""
    return sorted(str(each.relative_to(path)) for each in path.rglob("*") if not each.is_dir())


def names(path: Path) -> list[str]:
    """What is in a folder."""
    return sorted(each.name for each in path.iterdir())


def only(path: Path) -> Path:
    [file] = path.glob("new/*")
    return file


# The file ----------------------------------------------------------------------------------------------------------


async def test_a_file_says_whence_and_for_whom_before_the_message(tmp_path: Path) -> None:
    answer = await deliver(Maildir(tmp_path), "b@example.org", '"c d"@example.org', "b@example.org", "B@example.org")
    assert answer == 250
    lines = only(tmp_path).read_bytes().split(b"\n")
    assert lines[:5] == [
        b"Return-Path: <a@example.org>",
        b"Delivered-To: b@example.org",
        b'Delivered-To: "c d"@example.org',
        b"Delivered-To: B@example.org",
        lines[4],
    ]
    assert lines[4].startswith(b"Received: from client.example.org")
    assert lines[-4:] == [b"Subject: hi", b"", b"hello", b""]


async def test_the_reply_names_the_queue_id(tmp_path: Path) -> None:
    answer = await deliver(Maildir(tmp_path))
    assert answer.status == "2.0.0"
    queue_id = re.search(rb"with ESMTP id (\w+)", only(tmp_path).read_bytes())
    assert queue_id is not None
    assert answer.text == f"queued as {queue_id[1].decode()}"


async def test_the_null_sender_and_bare_postmaster_have_their_names(tmp_path: Path) -> None:
    assert await deliver(Maildir(tmp_path / "{domain}" / "{local}"), "Postmaster", sender="") == 250
    start = only(tmp_path / "mx.example.org" / "postmaster").read_bytes()
    assert start.startswith(b"Return-Path: <>\nDelivered-To: postmaster@mx.example.org\nReceived:")


async def test_addresses_beyond_ascii_are_written_as_utf8(tmp_path: Path) -> None:
    async with Dialog(Vouch(), handler=Maildir(tmp_path / "{local}")) as smtp:
        for line in ("EHLO me", "MAIL FROM:<jörg@bücher.example> SMTPUTF8", "RCPT TO:<Ärger@example.org>"):
            assert await smtp.say(line) == 250
        assert await smtp.say("DATA") == 354
        await smtp.send(b"Subject: hi\r\n\r\n.\r\n")
        assert await smtp.reply() == 250
    start = only(tmp_path / "%C3%A4rger").read_bytes()
    assert start.startswith("Return-Path: <jörg@xn--bcher-kva.example>\nDelivered-To: Ärger@example.org\n".encode())


WEIRD = {
    "no header": b"\r\nonly a body\r\n",
    "a first line that is no field": b"this is no header\r\n\r\nbody\r\n",
    "no final newline": b"Subject: x\r\n\r\nthe end",
    "nothing but a header without its newline": b"Subject: x",
    "nothing": b"",
    "one newline": b"\r\n",
    "8-bit": b"Subject: \xff\xfe\r\n\r\n" + bytes(octet for octet in range(1, 256) if octet not in b"\r\n"),
    "dots": b".\r\n..\r\n.\r\n\r\n.\r\n...a\r\n.\r\n",
    "From lines": b"From x\r\n\r\nFrom y\r\n",
    "empty lines": b"A: b\r\n" + b"\r\n" * 5000,
    "a long line": b"A: b\r\n\r\n" + b"x" * 100_000,
    "on the disk": b"A: b\r\n\r\n" + b"0123456789abcd\r\n" * 100_000,
    "on the disk, each newline cut by a border": b"A: b\r\n\r\n" + (b"x" * (2**19 - 2) + b"\r\n") * 3 + b"end",
    "on the disk, newlines at odd places": b"A: b\r\n\r\nx" + b"\r\n" * 800_000,
}


@pytest.mark.parametrize("eol", ["lf", "crlf"])
@pytest.mark.parametrize("data", WEIRD.values(), ids=WEIRD.keys())
async def test_all_octets_are_kept_but_for_the_line_ends(tmp_path: Path, data: bytes, eol: str) -> None:
    keep = Keep()
    async with Dialog(Vouch(), keep, handler=Maildir(tmp_path, eol=eol)) as smtp:
        assert await by_bdat(smtp, data) == 250
    content = only(tmp_path).read_bytes()
    head, delivered_to, rest = content.split(b"\n", 2)
    assert keep.octets.endswith(data)
    assert rest == (keep.octets if eol == "crlf" else keep.octets.replace(b"\r\n", b"\n"))
    assert head.startswith(b"Return-Path:")
    assert head.endswith(b"\r") == delivered_to.endswith(b"\r") == (eol == "crlf")
    assert only(tmp_path).name.endswith(f",S={len(content)}")


@given(st.lists(st.text("\r\na", max_size=6)))
def test_line_ends_are_converted_wherever_the_pieces_are_cut(pieces: list[str]) -> None:
    octets = [piece.encode() for piece in pieces]
    assert b"".join(maildir._with_lf(octets)) == b"".join(octets).replace(b"\r\n", b"\n")


async def test_a_large_message_is_written_in_pieces(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    sizes: list[int] = []
    write = os.write

    def watched(descriptor: int, octets: Any) -> int:
        if path_of(descriptor).startswith(str(tmp_path)):
            sizes.append(len(octets))
        return write(descriptor, octets)

    monkeypatch.setattr(os, "write", watched)
    assert await deliver(Maildir(tmp_path), data=b"A: b\r\n\r\n" + b"0123456789abcd\r\n" * 200_000) == 250
    assert sum(sizes) > 2_900_000
    assert max(sizes) <= 512 * 1024


async def test_a_write_that_takes_less_than_it_was_given_goes_on(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write = os.write
    monkeypatch.setattr(os, "write", lambda descriptor, octets: write(descriptor, octets[:7]))
    assert await deliver(Maildir(tmp_path)) == 250
    assert only(tmp_path).read_bytes().endswith(b"Subject: hi\n\nhello\n")


async def test_other_programs_read_it(tmp_path: Path) -> None:
    assert await deliver(Maildir(tmp_path), data="Subject: Grüße\r\n\r\nhello\r\n".encode()) == 250
    box = mailbox.Maildir(tmp_path, create=False)
    [message] = list(box)
    assert message["Delivered-To"] == "b@example.org"
    assert message.get_payload() == "hello\n"


# Names and modes ---------------------------------------------------------------------------------------------------


def test_a_name_is_of_the_moment_the_process_and_the_machine() -> None:
    names = [maildir._unique_name("a/b:c.example") for _ in range(100)]
    assert len(set(names)) == 100
    assert all(re.fullmatch(rf"[0-9]+\.M[0-9]{{6}}P{os.getpid()}Q[0-9]+\.a\\057b\\072c\.example", n) for n in names)


@pytest.mark.slow
async def test_names_stay_unique_when_many_deliver_at_once(tmp_path: Path) -> None:
    async def client(smtp: Conversation) -> None:
        for _ in range(25):
            assert await smtp.message("a@example.org", "b@example.org", TEXT) == 250

    async with Dialog(Vouch(), handler=Maildir(tmp_path)) as smtp:
        async with create_task_group() as group:
            for each in await smtp.several(20):
                group.start_soon(client, each)
    assert len(names(tmp_path / "new")) == 500
    assert names(tmp_path / "tmp") == []


async def test_folders_and_files_are_for_the_owner_alone(tmp_path: Path) -> None:
    before = os.umask(0)
    try:
        assert await deliver(Maildir(tmp_path / "deep" / "{domain}" / "{local}")) == 250
    finally:
        os.umask(before)
    made = list((tmp_path / "deep").rglob("*"))
    assert {stat.S_IMODE(each.stat().st_mode) for each in made if each.is_dir()} == {0o700}
    assert {stat.S_IMODE(each.stat().st_mode) for each in made if each.is_file()} == {0o600}


# One Maildir for each recipient --------------------------------------------------------------------------------------


async def test_each_recipient_has_a_copy_of_his_own(tmp_path: Path) -> None:
    handler = Maildir(tmp_path / "{domain}" / "{local}")
    assert await deliver(handler, "bob@one.example", "bob@two.example", "Eve@Two.Example") == 250
    assert len(everything(tmp_path)) == 3
    content = only(tmp_path / "two.example" / "eve").read_bytes()
    assert re.findall(rb"^Delivered-To: (.*)$", content, re.MULTILINE) == [b"Eve@two.example"]


async def test_recipients_whose_paths_are_the_same_share_one_file(tmp_path: Path) -> None:
    assert await deliver(Maildir(tmp_path / "{domain}"), "bob@one.example", "x@two.example", "Eve@one.example") == 250
    assert len(everything(tmp_path)) == 2
    content = only(tmp_path / "one.example").read_bytes()
    assert content.count(b"Delivered-To: ") == 2


async def test_a_recipient_who_was_refused_gets_nothing(tmp_path: Path) -> None:
    class NotEve:
        @hookimpl
        def queue(self, session: Session) -> None:
            assert session.transaction is not None
            session.transaction.recipients[1].answer(Reply(550))

    async with Dialog(Vouch(), NotEve(), handler=Maildir(tmp_path / "{local}")) as smtp:
        assert await smtp.message("a@example.org", ["bob@example.org", "eve@example.org"]) == 451
    assert names(tmp_path) == ["bob"]


async def test_lmtp_delivers_to_those_who_have_no_answer_yet(tmp_path: Path) -> None:
    class SomeAreDone:
        @hookimpl
        def queue(self, session: Session) -> None:
            assert session.transaction is not None
            for recipient, code in zip(session.transaction.recipients, (550, 250), strict=False):
                recipient.answer(Reply(code))

    async with Dialog(Vouch(), SomeAreDone(), handler=Maildir(tmp_path / "{local}"), lmtp=True) as smtp:
        answers = await smtp.deliver("a@example.org", ["eve@example.org", "joe@example.org", "bob@example.org"])
        assert [answer.code for answer in answers] == [550, 250, 250]
    assert names(tmp_path) == ["bob"]


async def test_a_binary_message_is_stored_as_received(tmp_path: Path) -> None:
    octets = b"A: b\r\n\r\n\0\r\n\n\r.\r\n" + bytes(range(256))
    async with Dialog(Vouch(), handler=Maildir(tmp_path)) as smtp:
        await smtp.say("EHLO client.example.org")
        await smtp.say("MAIL FROM:<a@example.org> BODY=BINARYMIME")
        await smtp.say("RCPT TO:<b@example.org>")
        await smtp.send(b"BDAT %d LAST\r\n%s" % (len(octets), octets))
        assert await smtp.reply() == 250
    content = only(tmp_path).read_bytes()
    assert content.endswith(octets)
    assert content.startswith(b"Return-Path: <a@example.org>\r\nDelivered-To: b@example.org\r\nReceived: ")


async def test_a_rewritten_recipient_is_delivered_where_policy_says(tmp_path: Path) -> None:
    class Rewrite:
        @hookimpl
        def rcpt(self, recipient: Recipient) -> None:
            recipient.rewrite(Address("root", "example.net"))

    async with Dialog(Vouch(), Rewrite(), handler=Maildir(tmp_path / "{address}")) as smtp:
        assert await smtp.message("a@example.org", "b@example.org") == 250
    assert names(tmp_path) == ["root@example.net"]


PATHS = [
    ("b", "example.org", "b", "example.org"),
    ("Bob+Tag", "example.org", "bob+tag", "example.org"),
    ("..", "example.org", "%2E.", "example.org"),
    (".", "example.org", "%2E", "example.org"),
    ("../../etc/passwd", "example.org", "%2E.%2F..%2Fetc%2Fpasswd", "example.org"),
    ("/etc", "example.org", "%2Fetc", "example.org"),
    ("", "example.org", "%", "example.org"),
    ("%", "example.org", "%25", "example.org"),
    ("{domain}", "example.org", "%7Bdomain%7D", "example.org"),
    ("a\\b:c|d*", "example.org", "a%5Cb%3Ac%7Cd%2A", "example.org"),
    ("a b\t\n\0", "example.org", "a%20b%09%0A%00", "example.org"),
    ("ü", "[192.0.2.1]", "%C3%BC", "%5B192.0.2.1%5D"),
    ("x", "[IPv6:2001:db8::1]", "x", "%5Bipv6%3A2001%3Adb8%3A%3A1%5D"),
]


@pytest.mark.parametrize(("local", "domain", "local_name", "domain_name"), PATHS)
def test_what_a_client_wrote_is_a_name_and_never_a_path(
    local: str, domain: str, local_name: str, domain_name: str
) -> None:
    assert Maildir("/v/{domain}/{local}").folder_of(Address(local, domain)) == f"/v/{domain_name}/{local_name}"


@given(st.text(st.characters(exclude_categories=["Cs"]), max_size=300), st.text(st.characters(codec="ascii")))
def test_no_address_leads_out_of_the_folder(local: str, domain: str) -> None:
    for keep_case in (False, True):
        path = Maildir("/var/mail/{domain}/{local}/{address}", keep_case=keep_case).folder_of(Address(local, domain))
        assert os.path.normpath(path) == path
        names = path.split("/")
        assert names[:3] == ["", "var", "mail"]
        assert len(names) == 6
        assert all(name and not name.startswith(".") and len(name) <= 255 and name.isprintable() for name in names[3:])
        assert path.isascii()


@given(st.lists(st.text("ab%.~/é", max_size=400), unique=True, min_size=2, max_size=2))
def test_different_addresses_have_different_folders(locals: list[str]) -> None:
    handler = Maildir("/var/mail/{address}")
    one, other = (handler.folder_of(Address(local, "example.org")) for local in locals)
    assert one != other


def test_letter_case_counts_only_when_it_is_asked_for() -> None:
    bob = Address("Bob", "example.org")
    assert Maildir("/v/{local}").folder_of(bob) == "/v/bob"
    assert Maildir("/v/{local}", keep_case=True).folder_of(bob) == "/v/Bob"


def test_a_name_that_is_too_long_ends_in_a_hash() -> None:
    handler = Maildir("/v/pre-{address}")
    one, other = (handler.folder_of(Address(64 * "ü" + end, "example.org")) for end in "ab")
    assert len(one) == len(other) == 255 + len("/v/")
    assert one[:-40] == other[:-40]
    assert one[-41] == "~"
    assert one != other


async def test_a_hostile_address_stays_in_the_folder(tmp_path: Path) -> None:
    handler = Maildir(tmp_path / "in" / "{local}")
    assert await deliver(handler, r'"../../out"@example.org', r'"\.\."@example.org', '""@example.org') == 250
    assert names(tmp_path) == ["in"]
    assert names(tmp_path / "in") == ["%", "%2E.", "%2E.%2F..%2Fout"]


# Durability ----------------------------------------------------------------------------------------------------------


def path_of(descriptor: int) -> str:
    return os.readlink(f"/proc/self/fd/{descriptor}")


@pytest.fixture
def steps(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """What is made, synced and renamed below tmp_path, in order; a file is called by its folder."""
    seen: list[str] = []

    def short(path: str) -> str:
        return re.sub(r"[0-9]+\.M[^/]*", "*", path.removeprefix(str(tmp_path)))

    def watch(name: str, of: Callable[..., str]) -> None:
        real = getattr(os, name)

        def watched(*args: Any) -> Any:
            seen.append(f"{name} {of(*args)}")
            return real(*args)

        monkeypatch.setattr(os, name, watched)

    watch("fsync", lambda descriptor: short(path_of(descriptor)))
    watch("rename", lambda old, new: f"{short(old)} {short(new)}")
    watch("mkdir", lambda path, mode=0o777: short(path))
    return seen


async def test_each_step_is_on_the_disk_before_the_next_relies_on_it(tmp_path: Path, steps: list[str]) -> None:
    async with Dialog(Vouch(), handler=Maildir(tmp_path / "{domain}" / "{local}")) as smtp:
        steps.clear()
        assert await smtp.message("a@example.org", "b@example.org") == 250
        assert steps == [
            "mkdir /example.org",
            "fsync ",
            "mkdir /example.org/b",
            "fsync /example.org",
            "mkdir /example.org/b/new",
            "fsync /example.org/b",
            "mkdir /example.org/b/cur",
            "fsync /example.org/b",
            "mkdir /example.org/b/tmp",
            "fsync /example.org/b",
            "fsync /example.org/b/tmp/*",
            "rename /example.org/b/tmp/* /example.org/b/new/*",
            "fsync /example.org/b/new",
        ]
        again = steps[-3:]
        steps.clear()
        assert await smtp.message("a@example.org", ["b@example.org"]) == 250
        assert steps == again


async def test_nothing_is_shown_before_all_copies_are_synced(tmp_path: Path, steps: list[str]) -> None:
    async with Dialog(Vouch(), handler=Maildir(tmp_path / "{local}")) as smtp:
        for _ in range(2):
            steps.clear()
            assert await smtp.message("a@example.org", ["b@example.org", "c@example.org"]) == 250
    assert steps == [
        "fsync /b/tmp/*",
        "fsync /c/tmp/*",
        "rename /b/tmp/* /b/new/*",
        "rename /c/tmp/* /c/new/*",
        "fsync /b/new",
        "fsync /c/new",
    ]


def failing(real: Callable[..., Any], number: int, code: int, tmp_path: Path) -> Callable[..., Any]:
    """The function, whose call of that number, of those below tmp_path, raises."""
    calls = itertools.count(1)

    def call(*args: Any) -> Any:
        where = path_of(args[0]) if isinstance(args[0], int) else str(args[0])
        if where.startswith(str(tmp_path)) and next(calls) == number:
            raise OSError(code, os.strerror(code))
        return real(*args)

    return call


FULL, BROKEN = (452, "4.3.1"), (451, "4.3.0")


@pytest.mark.parametrize(
    ("code", "answer"),
    [(errno.ENOSPC, FULL), (errno.EDQUOT, FULL), (errno.EIO, BROKEN), (errno.EACCES, BROKEN), (errno.EMFILE, BROKEN)],
    ids=errno.errorcode.get,
)
@pytest.mark.parametrize(
    ("function", "number"),
    [
        *(("write", 1), ("write", 2), ("fsync", 1), ("fsync", 2), ("close", 1), ("close", 2)),
        *(("rename", 1), ("rename", 2), ("fsync", 3), ("fsync", 4), ("close", 3), ("close", 4)),
    ],
)
async def test_a_delivery_that_fails_anywhere_leaves_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, function: str, number: int, code: int, answer: tuple[int, str]
) -> None:
    recipients = ["b@example.org", "c@example.org"]
    async with Dialog(Vouch(), handler=Maildir(tmp_path / "{local}")) as smtp:
        assert await smtp.message("a@example.org", recipients) == 250
        before = everything(tmp_path)
        with monkeypatch.context() as patch:
            patch.setattr(os, function, failing(getattr(os, function), number, code, tmp_path))
            failed = await smtp.message("a@example.org", recipients)
        assert (failed.code, failed.status) == answer
        assert str(tmp_path) not in failed.text
        assert everything(tmp_path) == before
        assert await smtp.message("a@example.org", recipients) == 250
        assert len(everything(tmp_path)) == len(before) + 2


async def test_the_log_says_which_path_failed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    async with Dialog(Vouch(), handler=Maildir(tmp_path)) as smtp:
        monkeypatch.setattr(os, "fsync", failing(os.fsync, 1, errno.EIO, tmp_path))
        assert await smtp.message("a@example.org", "b@example.org") == 451
    assert f"{tmp_path}/tmp/" in caplog.text
    assert "Input/output error" in caplog.text


async def test_a_file_that_a_reader_took_away_at_once_is_no_obstacle_to_cleaning_up(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with Dialog(Vouch(), handler=Maildir(tmp_path)) as smtp:

        def taken(descriptor: int) -> None:
            for file in tmp_path.glob("new/*"):
                file.rename(tmp_path / "cur" / file.name)
                raise OSError(errno.EIO, "broken")

        monkeypatch.setattr(os, "fsync", taken)
        assert await smtp.message("a@example.org", "b@example.org") == 451


async def test_a_file_that_cannot_be_removed_is_told_in_the_log(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    async with Dialog(Vouch(), handler=Maildir(tmp_path)) as smtp:
        monkeypatch.setattr(os, "fsync", failing(os.fsync, 1, errno.EIO, tmp_path))
        monkeypatch.setattr(os, "unlink", failing(os.unlink, 1, errno.EROFS, tmp_path))
        assert await smtp.message("a@example.org", "b@example.org") == 451
        assert "could not remove a file" in caplog.text


async def test_a_maildir_that_went_away_is_made_again(tmp_path: Path) -> None:
    async with Dialog(Vouch(), handler=Maildir(tmp_path / "in")) as smtp:
        for name in ("tmp", "new", "cur"):
            (tmp_path / "in" / name).rmdir()
        assert await smtp.message("a@example.org", "b@example.org") == 250
    assert only(tmp_path / "in").exists()


async def test_many_may_make_the_same_maildir_at_once(tmp_path: Path) -> None:
    async def client(smtp: Conversation) -> None:
        assert await smtp.message("a@example.org", "b@example.org", TEXT) == 250

    async with Dialog(Vouch(), handler=Maildir(tmp_path / "{domain}" / "{local}")) as smtp:
        async with create_task_group() as group:
            for each in await smtp.several(10):
                group.start_soon(client, each)
    assert len(everything(tmp_path)) == 10


async def test_a_delivery_that_was_late_and_was_made_is_not_asked_for_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The clock cannot stop a thread: once the file is there, a 451 would bring the message a second time."""
    async with Dialog(Vouch(), handler=Maildir(tmp_path)) as smtp:

        def time_is_up() -> None:
            watch = smtp.session.watch
            assert watch is not None
            watch.deadline = 0.0
            connection: Any = smtp.session._link
            connection._connection.sweep(1.0)

        def slow(descriptor: int) -> None:
            from_thread.run_sync(time_is_up)

        monkeypatch.setattr(os, "fsync", slow)
        assert await smtp.message("a@example.org", "b@example.org") == 250
        assert len(names(tmp_path / "new")) == 1


async def test_writers_bounds_the_threads_of_this_handler_alone(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    busy: list[float] = []
    handler = Maildir(tmp_path, writers=2)

    def watched(descriptor: int) -> None:
        assert handler._limiter is not None
        busy.append(handler._limiter.borrowed_tokens)

    async def client(smtp: Conversation) -> None:
        assert await smtp.message("a@example.org", "b@example.org") == 250

    async with Dialog(Vouch(), handler=handler) as smtp:
        monkeypatch.setattr(os, "fsync", watched)
        async with create_task_group() as group:
            for each in await smtp.several(6):
                group.start_soon(client, each)
    assert 1 <= min(busy) <= max(busy) <= 2
    assert len(busy) == 12


# Rehearsal and start -------------------------------------------------------------------------------------------------


async def test_a_rehearsal_makes_no_maildir_and_writes_nothing(tmp_path: Path) -> None:
    for handler in (Maildir(tmp_path / "in"), Maildir(tmp_path / "{domain}")):
        async with Dialog(Vouch(), handler=handler, rehearsal=True) as smtp:
            answer = await smtp.message("a@example.org", "b@example.org")
            assert (answer.code, answer.text[:28]) == (250, "would have been queued as " + answer.text[26:28])
    assert names(tmp_path) == []


async def test_a_maildir_for_all_is_made_at_the_start_and_left_empty(tmp_path: Path) -> None:
    async with Dialog(handler=Maildir(tmp_path / "var" / "in")):
        assert names(tmp_path / "var" / "in") == ["cur", "new", "tmp"]
        assert everything(tmp_path) == []


@pytest.fixture
def occupied(tmp_path: Path) -> Iterator[Path]:
    path = tmp_path / "occupied"
    path.write_text("a file")
    yield path
    assert path.read_text() == "a file"


async def test_a_maildir_that_cannot_be_made_stops_the_start(occupied: Path) -> None:
    for path in (occupied, occupied / "below"):
        with pytest.raises(
            ConfigError, match=r"cannot write to (.|\n)*remedy: make .* a folder that user \d+ may write"
        ):
            async with Dialog(handler=Maildir(path)):
                raise AssertionError("it started")


async def test_a_maildir_that_cannot_be_written_stops_the_start(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(os, "access", lambda *args, **keywords: False)
    with pytest.raises(ConfigError, match=f"cannot write to {tmp_path}/new: Permission denied"):
        async with Dialog(handler=Maildir(tmp_path)):
            raise AssertionError("it started")
    assert everything(tmp_path) == []


@pytest.mark.parametrize("path", ["", "/var/{user}", "/var/{local", "/var/local}", "/var/{}", "/var/{{local}}", "a\0b"])
def test_a_path_that_makes_no_sense_is_refused(path: str) -> None:
    with pytest.raises(ConfigError, match="is not a path"):
        Maildir(path)


def test_options_that_make_no_sense_are_refused() -> None:
    with pytest.raises(ConfigError, match="eol"):
        Maildir("/x", eol="cr")
    with pytest.raises(ConfigError, match="writers"):
        Maildir("/x", writers=0)
    with pytest.raises(ConfigError, match="nobody's home"):
        Maildir("~no-such-user/Mail")


def test_the_path_is_made_whole_where_it_is_written(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", "/home/eve")
    monkeypatch.chdir(tmp_path)
    assert Maildir("~/Mail").path == "/home/eve/Mail"
    assert Maildir("./var/mail").path == f"{tmp_path}/var/mail"
