"""The test kit's driver: what it hears, what it says, and how it fails."""

from typing import NoReturn

import pytest
from anyio import move_on_after, sleep_forever

from mailstack import Limits, Listener, Reply, Server, Session, Stack, hookimpl
from mailstack.contract.hookspec import LiveOn
from mailstack.testing import Answer, Dialog, Vouch
from mailstack.testing import conversation as conversation_module
from mailstack.testing.answer import Reader


async def test_a_message_reaches_the_end_of_the_stack() -> None:
    async with Dialog(Vouch(), hostname="mx.example.org") as smtp:
        assert (await smtp.banner()).text == "mx.example.org ESMTP mailstack"
        answer = await smtp.message("a@example.org", ["b@example.org", "c@example.org"], "Subject: hi\n\n.dot\nend\n")
        assert answer == 250
        [delivery] = smtp.messages
        assert (delivery.sender, delivery.recipients) == ("a@example.org", ["b@example.org", "c@example.org"])
        assert delivery.content.endswith(b"Subject: hi\r\n\r\n.dot\r\nend\r\n")
        assert delivery.id in answer.text
        assert await smtp.say("QUIT") == 221
        await smtp.closed()


async def test_a_server_of_ones_own_is_taken_with_its_settings() -> None:
    server = Server(Stack(Vouch()), [Listener("127.0.0.1:25")], hostname="own.example.org", greeting="hello there")
    async with Dialog(server, client="2001:db8::1", listener="mx") as smtp:
        assert "own.example.org hello there" in str(await smtp.banner())
        assert str(smtp.session.client.ip) == "2001:db8::1"
        assert smtp.session.listener == "mx"
    assert server.listeners
    assert server.addresses == []


async def test_several_connections_share_one_server() -> None:
    async with Dialog(Vouch()) as smtp:
        for other in await smtp.several(3, client="192.0.2.7"):
            assert await other.message("a@example.org", "b@example.org") == 250
            assert str(other.session.client.ip) == "192.0.2.7"
        assert len(smtp.messages) == 3


async def test_without_a_handler_nobody_takes_the_message() -> None:
    async with Dialog(Vouch(), handler=None) as smtp:
        assert await smtp.message("a@example.org", "b@example.org") == 451
        assert smtp.messages == []


async def test_the_connection_beyond_the_limit_has_no_session() -> None:
    async with Dialog(Vouch(), limits=Limits(connections=1)) as smtp:
        [other] = await smtp.several(1)
        assert await other.banner() == 421
        await other.closed()
        with pytest.raises(AssertionError, match="too many connections"):
            other.session


async def test_a_missing_reply_fails_with_the_conversation_so_far(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(conversation_module, "PATIENCE", 0.01)
    with pytest.raises(AssertionError, match=r"no reply(.|\n)*C: EHLO me"):
        async with Dialog(Vouch()) as smtp:
            await smtp.say("EHLO me")
            await smtp.reply()


async def test_an_end_instead_of_a_reply_fails_the_test() -> None:
    with pytest.raises(AssertionError, match="the connection ended"):
        async with Dialog(Vouch()) as smtp:
            await smtp.say("QUIT")
            await smtp.reply()


async def test_a_reply_too_many_fails_the_test() -> None:
    with pytest.raises(AssertionError, match="said more"):
        async with Dialog(Vouch()) as smtp:
            await smtp.banner()
            await smtp.send(b"QUIT\r\n")
            await smtp.closed()


class Stuck:
    @hookimpl
    async def session(self, session: Session, call_next: object) -> None:
        await sleep_forever()


async def test_a_session_that_never_ends_fails_the_test(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("mailstack.testing.dialog.PATIENCE", 0.01)
    with pytest.raises(AssertionError, match="did not end"):
        async with Dialog(Stuck()):
            pass


async def test_a_failing_test_keeps_its_own_exception_and_ends_at_once() -> None:
    with pytest.raises(ZeroDivisionError):
        async with Dialog(Stuck()):
            raise ZeroDivisionError


async def test_a_cancelled_test_leaves_nothing_running() -> None:
    with move_on_after(0.01) as scope:
        async with Dialog(Stuck()) as smtp:
            await smtp.banner()
    assert scope.cancelled_caught


async def test_a_dialog_that_does_not_open_leaves_nothing_running_either(monkeypatch: pytest.MonkeyPatch) -> None:
    lives: list[str] = []

    class Lives:
        @hookimpl
        async def lifespan(self, call_next: LiveOn) -> None:
            lives.append("begun")
            try:
                await call_next()
            finally:
                lives.append("ended")

    async def connect(dialog: Dialog) -> NoReturn:
        raise ZeroDivisionError

    monkeypatch.setattr(Dialog, "connect", connect)
    with pytest.raises(ZeroDivisionError):
        async with Dialog(Lives()):
            pass
    assert lives == ["begun", "ended"]


async def test_half_a_close_still_lets_the_client_listen() -> None:
    async with Dialog(Vouch()) as smtp:
        await smtp.send(b"NOOP\r\nNOOP\r\n")
        await smtp.half_close()
        assert await smtp.replies(3) == [220, 250, 250]
        await smtp.closed()


async def test_a_rehearsal_is_known_to_the_session() -> None:
    async with Dialog(Vouch(), rehearsal=True) as smtp:
        assert smtp.session.rehearsal


class Refusing:
    @hookimpl
    def mail(self) -> Reply:
        return Reply(550, "no\nnever", status="5.7.1")


async def test_an_answer_is_its_code_status_and_lines() -> None:
    async with Dialog(Refusing()) as smtp:
        answer = await smtp.message("a@example.org", "b@example.org")
        assert answer == 550
        assert answer != 250
        assert (answer.code, answer.status, answer.text) == (550, "5.7.1", "no\nnever")
        assert answer.lines == ("5.7.1 no", "5.7.1 never")
        assert str(answer) == "550-5.7.1 no\n550 5.7.1 never"
        assert [(finding.who, finding.outcome) for finding in smtp.evidence] == [("test_dialog", "refused")]


def test_an_answer_to_ehlo_has_keywords_and_no_status() -> None:
    answer = Answer(250, ("mx.example.org", "SIZE 1000", "HELP"))
    assert answer.keywords == {"SIZE": "1000", "HELP": ""}
    assert answer.status is None
    assert hash(answer) == hash(250)
    assert answer == Answer(250, answer.lines)


@pytest.mark.parametrize(
    "octets",
    [b"250 ok\n", b"hello\r\n", b"250-a\r\n251 b\r\n", b"250 " + b"x" * 520 + b"\r\n", b"250 \xff\r\n", b"199 x\r\n"],
)
def test_what_is_no_legal_reply_fails_the_test(octets: bytes) -> None:
    reader = Reader()
    reader.feed(octets)
    with pytest.raises(AssertionError):
        reader.next_answer()


class Misfit:
    @hookimpl
    async def lifespan(self, call_next: object) -> None:
        raise ZeroDivisionError


async def test_a_stack_that_cannot_start_fails_with_its_own_error() -> None:
    with pytest.raises(ZeroDivisionError):
        async with Dialog(Misfit()):
            pass


async def test_what_cannot_be_said_or_waited_for_fails_the_test(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(conversation_module, "PATIENCE", 0.01)
    async with Dialog(Vouch()) as smtp:
        await smtp.banner()
        with pytest.raises(AssertionError, match="does not close"):
            await smtp.closed()
        with pytest.raises(AssertionError, match="does not end"):
            await smtp.finished()
        with pytest.raises(AssertionError, match="does not read"):
            await smtp.send(b"HELP\r\n" * 100_000)


async def test_what_is_said_to_a_server_that_has_closed_fails_the_test() -> None:
    async with Dialog(Vouch()) as smtp:
        await smtp.say("QUIT")
        await smtp.closed()
        with pytest.raises(AssertionError, match="has closed"):
            await smtp.send(b"NOOP\r\n")
        with pytest.raises(AssertionError, match="has closed"):
            await smtp.half_close()


class Picky:
    def __init__(self, line: str) -> None:
        self.line = line

    def answer(self, line: str) -> Reply | None:
        return Reply(450, f"no {line}") if line == self.line else None

    @hookimpl
    def ehlo(self) -> Reply | None:
        return self.answer("ehlo")

    @hookimpl
    def mail(self) -> Reply | None:
        return self.answer("mail")

    @hookimpl
    def rcpt(self) -> Reply | None:
        return self.answer("rcpt")

    @hookimpl
    def data(self) -> Reply | None:
        return self.answer("data")


@pytest.mark.parametrize("line", ["ehlo", "mail", "rcpt", "data"])
async def test_the_answer_to_a_message_is_the_first_refusal(line: str) -> None:
    async with Dialog(Picky(line), Vouch()) as smtp:
        answer = await smtp.message("a@example.org", "b@example.org")
        assert (answer.code, answer.text) == (450, f"no {line}")
