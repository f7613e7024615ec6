"""`rehearse`: what the report says of conversations that end early, of conditions that fail, and of LMTP."""

import pytest

from mailstack import (
    Message,
    Postpone,
    Recipient,
    Reply,
    Server,
    Session,
    Stack,
    Unless,
    hookimpl,
    predicate,
)
from mailstack.contract.hookspec import LiveOn
from mailstack.testing import Vouch
from mailstack.testing.rehearsal import PhaseRows, Report, Script, rehearse
from mailstack.wire.address import Address


def handler(message: Message) -> None:
    raise AssertionError("a rehearsal stops before the handler")


def script(*recipients: str, **options: object) -> Script:
    return Script(sender="a@b.example", recipients=recipients or ("c@example.org",), **options)  # type: ignore[arg-type]


def server(*entries: object) -> Server:
    return Server(Stack(*entries, handler), [], hostname="mx.test")


def verdicts(report: Report, phase: str) -> dict[str, str]:
    return {row.entry: row.verdict for row in rows(report, phase)[0].rows}


def rows(report: Report, phase: str) -> list[PhaseRows]:
    return [each for step in report.steps for each in step.phases if each.phase == phase]


async def test_the_server_is_left_as_it_is_and_may_be_asked_again() -> None:
    asked = server(Vouch())
    for _ in range(2):
        assert (await rehearse(asked, script())).verdict == "accepted"
    assert not asked.rehearsal
    assert asked.check().not_asked == ()


class Slams:
    name = "slams"
    rehearsable = True

    @hookimpl
    async def session(self, call_next: LiveOn) -> None:
        return


class Hangs:
    """Closes in the middle."""

    name = "hangs"
    rehearsable = True

    @hookimpl
    def mail(self) -> Reply:
        return Reply(421, "not now", close=True)


async def test_a_connection_that_ends_defers_everybody() -> None:
    report = await rehearse(server(Slams(), Vouch()), script("c@example.org", "d@example.org"))
    assert [(each.verdict, each.answer) for each in report.recipients] == [("deferred", None)] * 2
    assert report.steps[0].replies == ()
    report = await rehearse(server(Hangs(), Vouch()), script())
    assert report.steps[-1].by == "hangs"
    [outcome] = report.recipients
    assert outcome.answer is not None
    assert (outcome.verdict, outcome.answer.code) == ("deferred", 421)


async def test_a_condition_that_fails_stands_at_its_place() -> None:
    def broken(session: Session) -> bool:
        raise KeyError("x")

    report = await rehearse(server(Vouch(), Unless(broken, Hangs())), script())
    assert verdicts(report, "mail") == {"unless broken": "fault", "hangs": "not reached"}
    assert rows(report, "mail")[0].rows[0].details == ("KeyError: 'x'",)


class Rewrites:
    name = "rewrites"
    rehearsable = True

    @hookimpl
    def rcpt(self, recipient: Recipient) -> None:
        recipient.accept()
        if recipient.address.local == "alias":
            recipient.rewrite(Address.parse("c@example.org"))


async def test_the_address_after_rewriting_is_told() -> None:
    report = await rehearse(server(Rewrites()), script("alias@example.org", "d@example.org"))
    assert [each.final for each in report.recipients] == ["c@example.org", "d@example.org"]
    assert report.sender == "a@b.example"


class Full:
    name = "full"
    rehearsable = True

    @hookimpl
    def message(self, session: Session) -> None:
        assert session.transaction is not None
        session.transaction.recipients[0].answer(Reply(452, "full"))


async def test_in_lmtp_each_recipient_has_its_own_answer() -> None:
    whom = script("a@example.org", "b@example.org", lmtp=True, verb="LHLO")
    report = await rehearse(server(Full(), Vouch()), whom)
    assert [each.verdict for each in report.recipients] == ["deferred", "accepted"]
    assert report.verdict == "deferred"
    assert rows(report, "message")[0].rows[0].details == ("answered 452 for <a@example.org>",)
    assert len(report.steps[-1].replies) == 2


class FailsAtTheEnd:
    name = "fails at the end"
    rehearsable = True

    @hookimpl
    async def disconnect(self) -> None:
        raise KeyError("x")


async def test_a_notice_that_fails_after_the_last_reply_is_told_too() -> None:
    report = await rehearse(server(FailsAtTheEnd(), Vouch()), script())
    assert report.steps[-1].said == "QUIT"
    assert verdicts(report, "disconnect") == {"fails at the end": "fault"}


async def test_many_recipients_push_nothing_out_of_the_report() -> None:
    report = await rehearse(
        server(Vouch(), Rewrites()), script(*(f"user{number}@example.org" for number in range(300)))
    )
    assert len(rows(report, "rcpt")) == 300
    assert all(row.verdict == "no opinion" for each in rows(report, "rcpt") for row in each.rows)


@pytest.mark.parametrize(
    "message",
    [
        b"",
        b"no header\r\n",
        b"Subject: x\r\n\r\n" + b"x" * 300_000,
        b"Subject: x\r\n\r\n.\r\n..\r\n",
        b"A: " + b"x" * 70_000,
    ],
)
async def test_messages_of_every_form(message: bytes) -> None:
    report = await rehearse(server(Vouch()), script(message=message))
    assert report.verdict == ("refused" if message.startswith(b"A:") else "accepted")


async def test_octets_that_the_server_does_not_take() -> None:
    report = await rehearse(server(Vouch()), script(message=b"Subject: x\r\n\r\nbare\nline feed\r\n"))
    assert report.verdict == "refused"
    assert (report.added, report.sender) == ((), None)


@pytest.mark.parametrize("client", ["2001:db8::1", ("192.0.2.9", 1234), ""])
async def test_clients_of_every_family(client: str | tuple[str, int]) -> None:
    seen = []

    class Looks:
        rehearsable = True

        @hookimpl
        def connect(self, session: Session) -> None:
            seen.append((session.client.host, session.client.port, session.secure, session.rehearsal))

    await rehearse(server(Looks(), Vouch()), script(client=client, secure=True))
    host, port = client if isinstance(client, tuple) else (client, 40001 if client else None)
    assert seen == [(host, port, True, True)]


class Blocks:
    name = "blocks"
    rehearsable = True

    @hookimpl
    def connect(self, session: Session) -> Reply | None:
        return Reply(554, "blocked") if session.client.host == "198.51.100.7" else None


async def test_what_was_to_be_postponed_is_left_out_only_where_its_condition_fails() -> None:
    asked = server(Unless(predicate.client_in("192.0.2.0/24"), Postpone(Blocks())), Vouch())
    for client, verdict in (("203.0.113.1", "no opinion"), ("198.51.100.7", "refused"), ("192.0.2.1", "left out")):
        report = await rehearse(asked, script(client=client))
        assert verdicts(report, "rcpt")["blocks"] == verdict
