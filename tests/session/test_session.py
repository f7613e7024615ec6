"""What a plugin sees and may do: stashes, the journal, evidence, results, the two ends, clocks."""

import errno
import math
from functools import partial
from pathlib import Path
from types import SimpleNamespace
from typing import Any, ClassVar

import pytest
from anyio import create_task_group, current_time, sleep_forever, wait_all_tasks_blocked

from mailstack import Address, Key, Later, Reply, Session, hookimpl
from mailstack.contract.chain import Greeting
from mailstack.session.evidence import LIMIT, Evidence, Finding
from mailstack.session.hangup import Hangup, hangup_in
from mailstack.session.journal import Journal
from mailstack.session.keywords import Keywords
from mailstack.session.session import Peer
from mailstack.session.stash import Stash
from mailstack.session.transaction import Transaction
from mailstack.session.watch import Watch
from mailstack.testing import Dialog
from mailstack.testing.message import make_message, make_recipient, make_sender, make_session

# Stash.


def test_a_key_is_equal_only_to_itself() -> None:
    one, other = Key[int]("greylist"), Key[int]("greylist")
    stash = Stash()
    stash[one] = 1
    stash[other] = 2
    assert (stash[one], stash[other], len(stash)) == (1, 2, 2)
    assert repr(one) == "Key('greylist')"


def test_a_stash_is_a_mapping() -> None:
    key, stash = Key[str]("k"), Stash()
    assert key not in stash
    assert stash.get(key) is None
    assert stash.get(key, 7) == 7
    with pytest.raises(KeyError):
        stash[key]
    assert stash.setdefault(key, "a") == "a"
    assert stash.setdefault(key, "b") == "a"
    assert key in stash
    del stash[key]
    assert key not in stash
    with pytest.raises(KeyError):
        del stash[key]


def test_session_and_transaction_have_a_stash_each() -> None:
    key, session = Key[int](), make_session(sender="a@example.org")
    assert session.transaction is not None
    session.stash[key] = 1
    assert key not in session.transaction.stash
    session.transaction.stash[key] = 2
    assert (session.stash[key], session.transaction.stash[key]) == (1, 2)


# Journal.


def test_the_journal_undoes_the_newest_first_and_only_after_the_mark() -> None:
    journal, undone = Journal(), list[str]()
    for word in ("one", "two", "three"):
        if word == "two":
            mark = journal.mark()
        journal.record(word, partial(undone.append, word))
    assert journal.since(mark) == ["two", "three"]
    assert journal.rollback(mark) == ["two", "three"]
    assert undone == ["three", "two"]
    assert journal.since(0) == ["one"]
    journal.forget()
    assert journal.rollback(0) == []
    assert undone == ["three", "two"]


def everything_of(session: Session) -> object:
    """All that middleware can change of a session."""
    transaction = session.transaction
    assert transaction is not None
    message = transaction.message
    assert message is not None
    return (
        str(transaction.sender),
        [(str(each), each.accepted, each.verdict, len(each.expansion)) for each in transaction.recipients],
        message.header.raw,
        list(transaction.results),
    )


CHANGES: list[Any] = [
    ("rewrote the sender", lambda t: t.sender.rewrite(Address.parse("new@example.org"))),
    ("vouched for", lambda t: t.recipients[0].accept()),
    ("rewrote the recipient", lambda t: t.recipients[0].rewrite(Address.parse("new@example.org"))),
    (
        "expanded the recipient to <x@example.org>, <y@example.org>",
        lambda t: t.recipients[0].expand([Address.parse("x@example.org"), Address.parse("y@example.org")]),
    ),
    ("answered 550", lambda t: t.recipients[0].answer(Reply(550, "no"))),
    ("added X-New", lambda t: t.message.add_header("X-New", "value")),
    ("appended X-New", lambda t: t.message.append_header("X-New", "value")),
    ("replaced Subject", lambda t: t.message.replace_header("Subject", "new")),
    ("removed Subject", lambda t: t.message.remove_header("Subject")),
    ("renamed Subject", lambda t: t.message.rename_header("Subject", "X-Subject")),
    ("changed the header", lambda t: t.message.set_header(t.message.header.prepend("X-New", "v"))),
    ("found spf=pass", lambda t: t.results.add("spf", "pass")),
]


def full_session() -> Session:
    session = make_session(sender="a@example.org")
    assert session.transaction is not None
    session.transaction.recipients += [make_recipient(f"{name}@example.org", session) for name in "bc"]
    make_message("Subject: hi\nSubject: again\n\nhello\n", session)
    session.transaction.results.add("spf", "pass")
    session.transaction.results.add("dkim", "none")
    return session


@pytest.mark.parametrize(("words", "change"), CHANGES, ids=[words for words, _ in CHANGES])
def test_every_change_by_middleware_can_be_taken_back(words: str, change: Any) -> None:
    session = full_session()
    before, mark = everything_of(session), session.journal.mark()
    change(session.transaction)
    assert everything_of(session) != before
    [undone] = session.journal.rollback(mark)
    assert undone.startswith(words)
    assert everything_of(session) == before


def test_all_changes_together_are_taken_back_in_order() -> None:
    session = full_session()
    before, mark = everything_of(session), session.journal.mark()
    for _ in range(2):
        for _, change in CHANGES:
            change(session.transaction)
    session.journal.rollback(mark)
    assert everything_of(session) == before


def test_changes_that_stand_are_not_taken_back() -> None:
    session = full_session()
    for _, change in CHANGES:
        change(session.transaction)
    after = everything_of(session)
    session.journal.forget()
    session.journal.rollback(0)
    assert everything_of(session) == after


def test_vouching_twice_is_vouching_once() -> None:
    session = full_session()
    assert session.transaction is not None
    recipient = session.transaction.recipients[0]
    recipient.accept()
    mark = session.journal.mark()
    recipient.accept()
    session.journal.rollback(mark)
    assert recipient.accepted


def test_a_rewritten_address_leaves_what_the_client_said() -> None:
    sender, recipient = make_sender("a@example.org"), make_recipient("b@example.org")
    for each in (sender, recipient):
        given = each.given
        each.rewrite(Address.parse("new@example.net"))
        assert str(each) == str(each.address) == "new@example.net"
        assert each.given is given


def test_one_recipient_becomes_several_which_share_what_the_client_said() -> None:
    recipient = make_recipient("list@example.org")
    ann, bob = (Address.parse(f"{name}@example.net") for name in ("ann", "bob"))
    recipient.expand([ann, bob, ann])
    [other] = recipient.expansion
    assert (recipient.address, other.address) == (ann, bob)
    assert str(recipient.given) == str(other.given) == "list@example.org"
    assert (recipient.expanded_from, other.expanded_from) == (None, recipient)
    assert (recipient.accepted, other.accepted) == (False, True)


@pytest.mark.parametrize("number", [0, 101])
def test_one_recipient_becomes_neither_nobody_nor_a_crowd(number: int) -> None:
    recipient = make_recipient("list@example.org")
    with pytest.raises(ValueError, match="at least 1 and at most 100"):
        recipient.expand(Address(str(index), "example.org") for index in range(number))
    assert str(recipient) == "list@example.org"


# EHLO keywords.


def test_keywords_are_a_mapping_whose_changes_are_taken_back() -> None:
    journal = Journal()
    core = {"SIZE": "100", "PIPELINING": "", "HELP": ""}
    keywords = Keywords(core, journal)
    keywords["STARTTLS"] = ""
    keywords["SIZE"] = "7"
    del keywords["PIPELINING"]
    keywords.pop("CHUNKING", None)
    assert dict(keywords) == {"SIZE": "7", "HELP": "", "STARTTLS": ""}
    assert "PIPELINING" not in keywords
    assert len(keywords) == 3
    assert core == {"SIZE": "100", "PIPELINING": "", "HELP": ""}
    assert journal.rollback(0) == ["offered STARTTLS", "offered SIZE", "withdrew PIPELINING"]
    assert keywords.offered is core
    with pytest.raises(KeyError):
        del keywords["CHUNKING"]
    assert journal.since(0) == []


async def test_words_after_the_name_are_passed_on() -> None:
    class Hears:
        heard: ClassVar[list[tuple[str, tuple[str, ...]]]] = []

        @hookimpl
        def ehlo(self, hostname: str, words: tuple[str, ...]) -> None:
            self.heard.append((hostname, words))

    async with Dialog(Hears()) as smtp:
        assert await smtp.say("EHLO me") == 250
        assert await smtp.say("HELO me and  my cat") == 250
    assert Hears.heard == [("me", ()), ("me", ("and", "my", "cat"))]


async def test_a_change_of_the_keywords_that_is_taken_back_is_not_offered() -> None:
    class Tries:
        name = "tries"
        greeting: Greeting | None = None

        @hookimpl
        def ehlo(self, session: Session, keywords: Any) -> None:
            mark = session.journal.mark()
            keywords["X-TRIED"] = ""
            keywords.clear()
            session.journal.rollback(mark)
            keywords["X-STAYS"] = "1"

    async with Dialog(Tries()) as smtp:
        offered = (await smtp.say("EHLO me")).keywords
        assert offered["X-STAYS"] == "1"
        assert "PIPELINING" in offered
        assert "X-TRIED" not in offered
        assert smtp.session.keywords["X-STAYS"] == "1"
        assert smtp.session.journal.since(0) == []
        await smtp.say("HELO me")
        assert dict(smtp.session.keywords) == {}


# Evidence.


def test_evidence_is_bounded_and_forgets_the_oldest() -> None:
    evidence = Evidence()
    for number in range(LIMIT + 5):
        evidence.add(Finding("entry", "rcpt", "refused", detail=str(number)))
    assert len(evidence) == LIMIT
    assert evidence.forgotten == 5
    assert [each.detail for each in evidence][:1] == ["5"]


def test_evidence_may_grow_while_it_is_read() -> None:
    session = make_session()
    session.note("me", "rcpt", "first")
    for finding in session.evidence:
        session.note("me", "rcpt", f"after {finding.detail}")
    assert [each.detail for each in session.evidence] == ["first", "after first"]
    assert {each.outcome for each in session.evidence} == {"noted"}


# Later.


async def test_a_later_is_waited_for_by_several_and_given_again() -> None:
    later: Later[int] = Later()
    got: list[int] = []

    async def wait() -> None:
        got.append(await later.get())

    async with create_task_group() as group:
        group.start_soon(wait)
        group.start_soon(wait)
        await wait_all_tasks_blocked()
        assert not later.done
        later.resolve(7)
    assert got == [7, 7]
    assert later.done
    assert await later.get() == 7


async def test_a_later_may_be_none() -> None:
    later: Later[None] = Later()
    later.resolve(None)
    await later.get()
    assert later.done


async def test_the_failure_of_a_later_stays_inside_until_somebody_asks() -> None:
    later: Later[int] = Later()
    later.fail(OSError(errno.ENOENT, "not there"))
    assert later.done
    for _ in range(2):
        with pytest.raises(OSError, match="not there"):
            await later.get()


# Hangup.


def test_a_group_is_a_hangup_if_all_its_leaves_are_hangup_or_cancellation() -> None:
    hangup, cancelled = Hangup("left"), GeneratorExit()
    nested = BaseExceptionGroup("outer", [cancelled, BaseExceptionGroup("inner", [hangup, cancelled])])
    assert hangup_in(nested, GeneratorExit) is hangup
    assert hangup_in(BaseExceptionGroup("g", [cancelled]), GeneratorExit) is None
    assert hangup_in(BaseExceptionGroup("g", [hangup, ValueError()]), GeneratorExit) is None
    assert hangup_in(BaseExceptionGroup("g", [ValueError()]), GeneratorExit) is None


def test_a_hangup_is_nothing_that_a_plugin_catches_by_accident() -> None:
    assert not issubclass(Hangup, Exception)
    assert Hangup("idle", Reply(421)).why == "idle"


# The two ends.


@pytest.mark.parametrize(
    ("host", "port", "text", "literal", "ip"),
    [
        ("192.0.2.1", 25, "192.0.2.1:25", "[192.0.2.1]", "192.0.2.1"),
        ("2001:db8::1", 25, "[2001:db8::1]:25", "[IPv6:2001:db8::1]", "2001:db8::1"),
        ("/run/mail.sock", None, "/run/mail.sock", "", None),
        ("", None, "local", "", None),
    ],
)
def test_a_peer(host: str, port: int | None, text: str, literal: str, ip: str | None) -> None:
    peer = Peer(host, port)
    assert str(peer) == text
    assert peer.literal == literal
    assert (None if peer.ip is None else str(peer.ip)) == ip
    assert peer.ip is peer.ip


# Transaction files.


def test_temporary_files_are_private_and_go_with_the_transaction(tmp_path: Path) -> None:
    transaction = Transaction("t1", make_sender(), Journal(), tmp_path)
    file, folder = transaction.temp_file(), transaction.temp_dir()
    assert file.parent == folder.parent == tmp_path
    assert file.stat().st_mode & 0o777 == 0o600
    assert folder.stat().st_mode & 0o777 == 0o700
    assert file.read_bytes() == b""
    outside = tmp_path.parent / "outside"
    outside.mkdir(exist_ok=True)
    (outside / "precious").touch()
    (folder / "deep").mkdir()
    (folder / "deep" / "file").touch()
    (folder / "link").symlink_to(outside)
    transaction.clean_up()
    assert list(tmp_path.iterdir()) == []
    assert (outside / "precious").exists()
    transaction.clean_up()


def test_temporary_files_that_are_gone_already_are_no_matter(tmp_path: Path) -> None:
    transaction = Transaction("t1", make_sender(), Journal(), tmp_path)
    transaction.temp_file().unlink()
    transaction.temp_dir().rmdir()
    replaced = transaction.temp_dir()
    replaced.rmdir()
    replaced.symlink_to(tmp_path.parent)
    transaction.clean_up()
    assert list(tmp_path.iterdir()) == []
    assert tmp_path.exists()


async def test_temporary_files_go_when_the_transaction_is_over() -> None:
    class Makes:
        name = "makes"
        paths: list[Path] = []  # noqa: RUF012

        @hookimpl
        def mail(self, session: Session) -> None:
            assert session.transaction is not None
            self.paths = [session.transaction.temp_file(), session.transaction.temp_dir()]

    makes = Makes()
    async with Dialog(makes) as smtp:
        await smtp.say("EHLO me")
        for end in ("RSET", "EHLO me", "QUIT"):
            await smtp.say("MAIL FROM:<a@example.org>")
            assert all(path.exists() for path in makes.paths)
            await smtp.say(end)
            if end == "QUIT":
                await smtp.finished()
            assert not any(path.exists() for path in makes.paths)


# The clock.


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """What the watch takes for the time, set by hand."""
    now = [1000.0]
    monkeypatch.setattr("mailstack.session.watch.time", SimpleNamespace(monotonic=lambda: now[0]))
    return now


async def test_a_watch_counts_only_while_it_runs(clock: list[float]) -> None:
    watch = Watch()
    assert watch.deadline == math.inf
    watch.wind(30)
    assert watch.deadline == 1030
    clock[0] = 1010
    watch.pause()
    assert watch.deadline == math.inf
    clock[0] = 5000
    assert not watch.late
    watch.resume()
    assert watch.deadline == 5020
    clock[0] = 5020
    assert not watch.late
    clock[0] = 5020.1
    assert watch.late


async def test_a_watch_that_was_late_before_a_pause_is_late_after_it(clock: list[float]) -> None:
    watch = Watch()
    watch.wind(1)
    clock[0] += 2
    watch.pause()
    assert not watch.late
    watch.resume()
    assert watch.late


async def test_pauses_nest(clock: list[float]) -> None:
    watch = Watch()
    watch.wind(30)
    watch.pause()
    clock[0] += 100
    watch.pause()
    watch.resume()
    assert watch.deadline == math.inf
    clock[0] += 100
    watch.resume()
    assert watch.deadline == 1230


async def test_a_watch_is_wound_up_again(clock: list[float]) -> None:
    watch = Watch(shared=True)
    watch.wind(5)
    watch.stop()
    assert watch.deadline == math.inf
    clock[0] += 100
    watch.wind(5)
    assert watch.deadline == 1105


async def test_a_timer_stands_still_with_its_watch() -> None:
    watch = Watch(timer=True)
    watch.wind(100)
    assert 0 < watch.scope.deadline - current_time() <= 100
    watch.pause()
    assert watch.scope.deadline == math.inf
    watch.resume()
    assert 0 < watch.scope.deadline - current_time() <= 100
    assert Watch().scope.deadline == math.inf


async def test_an_expired_watch_cancels_what_runs_under_it() -> None:
    watch = Watch()
    watch.wind(100)
    async with create_task_group() as group:

        async def expire() -> None:
            watch.expire()

        with watch.scope:
            group.start_soon(expire)
            await sleep_forever()
    assert watch.expired
    assert watch.scope.cancelled_caught
