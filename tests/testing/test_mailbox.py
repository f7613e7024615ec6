"""The mailbox: a server for applications that send mail, in the test's own loop and in a thread."""

import smtplib
import socket
import threading
from collections.abc import MutableMapping
from functools import partial

import pytest
from anyio import CancelScope, create_task_group, to_thread, wait_all_tasks_blocked
from anyio.lowlevel import checkpoint

from mailstack import Command, ConfigError, Reply, Sender, Session, hookimpl
from mailstack.services.transport import connect
from mailstack.testing import Mailbox
from tests.tls import client_context, server_context

MAIL = "Subject: hi\r\n\r\n.dot\r\nhello\r\n"


def send(mailbox: Mailbox, *recipients: str, sender: str = "a@example.org") -> dict[str, tuple[int, bytes]]:
    """What an application does; gives the recipients that were refused."""
    with smtplib.SMTP(*mailbox.address, timeout=10) as client:
        return client.sendmail(sender, recipients or ("b@example.org",), MAIL)


async def sent(mailbox: Mailbox, *recipients: str, sender: str = "a@example.org") -> dict[str, tuple[int, bytes]]:
    return await to_thread.run_sync(partial(send, mailbox, *recipients, sender=sender))


def refuses(mailbox: Mailbox) -> bool:
    """Whether nobody listens there."""
    try:
        socket.create_connection(mailbox.address, timeout=10).close()
    except ConnectionRefusedError:
        return True
    return False


def threads_of_mailboxes() -> list[threading.Thread]:
    return [thread for thread in threading.enumerate() if thread.name == "mailbox"]


# In the test's own loop.


async def test_what_is_sent_is_there_when_the_sender_knows_it() -> None:
    async with Mailbox() as mailbox:
        assert await sent(mailbox, "b@example.org", "c@example.net") == {}
        [mail] = mailbox
        assert (mail.sender, mail.recipients) == ("a@example.org", ["b@example.org", "c@example.net"])
        assert (mail.content, mail.subject, mail.text) == (MAIL.encode(), "hi", ".dot\nhello\n")
        assert (mail.client, mail.user, mail.secure) == ("127.0.0.1", None, False)
        assert await mailbox.wait_for(1) == [mail] == mailbox.wait(1)
        assert mailbox.url == f"smtp://127.0.0.1:{mailbox.port}"
        mailbox.clear()
        assert (len(mailbox), mailbox.messages, mailbox.transcript) == (0, [], "")
        assert mailbox


async def test_it_runs_in_the_loop_that_is_there() -> None:
    async with Mailbox() as mailbox:
        stream = await connect(mailbox.address)
        assert (await stream.receive()).startswith(b"220 mail.test ESMTP")
        assert not threads_of_mailboxes()
        await stream.close()


async def test_who_waits_hears_of_mail_that_comes_later() -> None:
    async with Mailbox() as mailbox, create_task_group() as group:
        group.start_soon(sent, mailbox)
        group.start_soon(sent, mailbox)
        assert len(await mailbox.wait_for(2)) == 2


async def test_who_waits_in_vain_is_shown_the_conversations() -> None:
    async with Mailbox() as mailbox:
        with pytest.raises(AssertionError, match=r"0 of 1 messages arrived within 0 s\n(.|\n)*nobody connected"):
            await mailbox.wait_for(1, timeout=0)
        mailbox.reject(at="rcpt")
        with pytest.raises(smtplib.SMTPRecipientsRefused):
            await sent(mailbox)
        with pytest.raises(AssertionError, match=r"1 C: rcpt TO:<b@example.org>\n1 S: 550 5.1.1 no such user"):
            await mailbox.wait_for(1, timeout=0.01)


async def test_blocking_the_loop_that_the_server_needs_is_told_at_once() -> None:
    async with Mailbox() as mailbox:
        with pytest.raises(RuntimeError, match="await mailbox"):
            mailbox.wait(1)
        async with create_task_group() as group:  # another thread may wait
            group.start_soon(sent, mailbox)
            assert len(await to_thread.run_sync(mailbox.wait)) == 1


async def test_the_error_of_the_test_stays_what_it_is() -> None:
    with pytest.raises(KeyError):
        async with Mailbox() as mailbox:
            raise KeyError("the test's own")
    assert refuses(mailbox)


async def test_at_the_end_nobody_is_waited_for() -> None:
    """Neither a client that keeps its connection, nor an answer that is to come late."""
    async with Mailbox() as mailbox:
        fault = mailbox.slow("10m", at="mail")
        idle, waiting = await connect(mailbox.address), await connect(mailbox.address)
        assert await idle.receive()
        assert await waiting.receive()
        await waiting.send(b"HELO me\r\n")
        assert await waiting.receive() == b"250 mail.test\r\n"
        await waiting.send(b"MAIL FROM:<>\r\n")
        while not fault.struck:
            await checkpoint()
    assert await idle.receive() == b""
    assert await waiting.receive() == b""
    await idle.close()
    await waiting.close()
    assert refuses(mailbox)


async def test_who_still_waits_at_the_end_is_let_go() -> None:
    failures: list[str] = []

    async def wait() -> None:
        try:
            await mailbox.wait_for(1, timeout=600)
        except AssertionError as error:
            failures.append(str(error))

    async with create_task_group() as group:
        async with Mailbox() as mailbox:
            group.start_soon(wait)
            await wait_all_tasks_blocked()
    assert "before the mailbox closed" in failures[0]


async def test_a_cancelled_test_ends() -> None:
    with CancelScope() as scope:
        async with Mailbox() as mailbox:
            scope.cancel()
            await mailbox.wait_for(1)
    assert scope.cancelled_caught
    assert refuses(mailbox)


async def test_a_plugin_that_cannot_be_loaded_is_told_as_such() -> None:
    mailbox = Mailbox(object())
    with pytest.raises(ConfigError):
        async with mailbox:
            pass
    assert refuses(mailbox)


async def test_policy_of_ones_own_stands_above_the_mailbox() -> None:
    class Unwanted:
        @hookimpl
        def mail(self, sender: Sender) -> Reply | None:
            return Reply(550) if sender.address.domain == "example.com" else None

    async with Mailbox(Unwanted(), hostname="mx.example.net") as mailbox:
        with pytest.raises(smtplib.SMTPSenderRefused):
            await sent(mailbox, sender="eve@example.com")
        assert await sent(mailbox) == {}
        assert "S: 220 mx.example.net ESMTP" in mailbox.transcript


# In a thread.


def test_a_blocking_test_has_it_in_a_thread() -> None:
    with Mailbox() as mailbox:
        assert send(mailbox) == {}
        assert len(threads_of_mailboxes()) == 1
        [mail] = mailbox.wait(1)
        assert mail.subject == "hi"
        with pytest.raises(AssertionError, match="1 of 2 messages"):
            mailbox.wait(2, timeout=0.01)
    assert not threads_of_mailboxes()
    assert refuses(mailbox)
    assert mailbox.wait(1) == [mail]


def test_nothing_is_left_of_a_blocking_test_that_failed() -> None:
    with pytest.raises(KeyError):
        with Mailbox() as mailbox:
            mailbox.slow("10m", at="connect")
            socket.create_connection(mailbox.address).close()
            raise KeyError("the test's own")
    assert not threads_of_mailboxes()
    assert refuses(mailbox)


def test_a_blocking_test_hears_of_mail_that_comes_later() -> None:
    with Mailbox() as mailbox:
        sender = threading.Thread(target=send, args=(mailbox,))
        sender.start()
        assert len(mailbox.wait(1)) == 1
        sender.join()


async def test_an_async_test_may_have_it_in_a_thread_too() -> None:
    with Mailbox() as mailbox:
        send(mailbox)  # this loop stands still meanwhile
        assert len(await mailbox.wait_for(1)) == 1
        with pytest.raises(AssertionError, match="1 of 2 messages"):
            await mailbox.wait_for(2, timeout=0.01)


# Its life.


def test_a_port_is_known_before_anybody_listens() -> None:
    mailbox = Mailbox()
    with pytest.raises(RuntimeError, match="no port yet"):
        mailbox.port
    mailbox.bind()
    port = mailbox.port
    assert refuses(mailbox)
    with mailbox:
        assert mailbox.port == port
        send(mailbox)
    with pytest.raises(RuntimeError, match="has served"):
        mailbox.__enter__()


def test_several_do_not_meet() -> None:
    with Mailbox() as one, Mailbox() as other:
        assert one.port != other.port
        send(one)
        assert (len(one), len(other)) == (1, 0)


# Faults.


def test_the_nth_message_is_rejected() -> None:
    with Mailbox() as mailbox:
        fault = mailbox.reject(nth=2)
        send(mailbox, "1@example.org")
        with pytest.raises(smtplib.SMTPDataError) as refused:
            send(mailbox, "2@example.org")
        send(mailbox, "3@example.org")
        assert refused.value.smtp_code == 554
        assert [mail.recipients for mail in mailbox] == [["1@example.org"], ["3@example.org"]]
        assert fault.struck == 1


@pytest.mark.parametrize("at", ["connect", "ehlo", "mail", "rcpt", "data", "message"])
def test_each_phase_can_refuse(at: str) -> None:
    with Mailbox() as mailbox:
        mailbox.reject("550 5.7.1 go away", at=at, times=None)
        with socket.create_connection(mailbox.address, timeout=10) as client, client.makefile("rb") as replies:
            codes = [int(replies.readline()[:3])]
            for command in ("HELO me", "MAIL FROM:<a@example.org>", "RCPT TO:<b@example.org>", "DATA", "x\r\n."):
                if codes[-1] < 400:
                    client.sendall(f"{command}\r\n".encode())
                    codes.append(int(replies.readline()[:3]))
        assert codes == [*(220, 250, 250, 250, 354)[: len(codes) - 1], 550]
        assert len(codes) == ["connect", "ehlo", "mail", "rcpt", "data", "message"].index(at) + 1


def test_one_recipient_is_refused_while_the_others_get_the_mail() -> None:
    with Mailbox() as mailbox:
        mailbox.reject(at="rcpt", match="*@EXAMPLE.net", times=None)
        refused = send(mailbox, "b@example.org", "c@example.net")
        assert refused == {"c@example.net": (550, b"5.1.1 no such user")}
        assert mailbox.messages[0].recipients == ["b@example.org"]


def test_a_match_at_the_message_looks_at_every_recipient() -> None:
    with Mailbox() as mailbox:
        mailbox.defer(match="c@example.net")
        send(mailbox, "b@example.org")
        with pytest.raises(smtplib.SMTPDataError) as refused:
            send(mailbox, "b@example.org", "c@example.net")
        assert (refused.value.smtp_code, refused.value.smtp_error) == (451, b"4.3.0 try again later")
        send(mailbox, "c@example.net")


def test_an_unavailable_server_is_there_the_next_time() -> None:
    with Mailbox() as mailbox:
        mailbox.unavailable()
        with pytest.raises(smtplib.SMTPConnectError) as refused:
            send(mailbox)
        assert refused.value.smtp_code == 421
        send(mailbox)


@pytest.mark.parametrize("at", ["mail", "data", "message"])
def test_421_ends_the_connection_wherever_it_comes(at: str) -> None:
    with Mailbox() as mailbox:
        mailbox.unavailable(at=at)
        with smtplib.SMTP(*mailbox.address, timeout=10) as client:
            with pytest.raises(smtplib.SMTPResponseException) as refused:
                client.sendmail("a@example.org", ["b@example.org"], MAIL)
            assert refused.value.smtp_code == 421
            with pytest.raises(smtplib.SMTPServerDisconnected):
                client.noop()
        assert len(mailbox) == 0


@pytest.mark.parametrize("at", ["connect", "ehlo", "mail", "rcpt", "data", "message"])
def test_the_connection_is_cut_without_an_answer(at: str) -> None:
    with Mailbox() as mailbox:
        mailbox.drop(at=at)
        with pytest.raises((smtplib.SMTPServerDisconnected, ConnectionError)):
            send(mailbox)
        assert len(mailbox) == 0
        send(mailbox)
        assert len(mailbox) == 1


def test_a_message_may_be_kept_though_its_sender_never_hears_so() -> None:
    with Mailbox() as mailbox:
        fault = mailbox.drop(kept=True)
        with pytest.raises(smtplib.SMTPServerDisconnected):
            send(mailbox)
        send(mailbox)
        assert (len(mailbox), fault.struck) == (2, 1)
        with pytest.raises(ValueError, match="kept=True"):
            mailbox.drop(at="rcpt", kept=True)


def test_what_policy_refuses_is_not_kept() -> None:
    class Full:
        @hookimpl
        def queue(self) -> Reply:
            return Reply(452)

    with Mailbox(Full()) as mailbox:
        fault = mailbox.drop(kept=True)
        with pytest.raises(smtplib.SMTPDataError) as refused:
            send(mailbox)
        assert (refused.value.smtp_code, len(mailbox), fault.struck) == (452, 0, 0)


async def test_a_slow_server_answers_late() -> None:
    async with Mailbox() as mailbox:
        mailbox.slow("10m")
        stream = await connect(mailbox.address)
        await stream.receive()
        await stream.send(b"HELO me\r\nMAIL FROM:<>\r\nRCPT TO:<b@example.org>\r\nDATA\r\n")
        answers = b""
        while b"354" not in answers:
            answers += await stream.receive()
        await stream.send(b"hello\r\n.\r\n")
        with pytest.raises(AssertionError):
            await mailbox.wait_for(1, timeout=0.05)
        assert mailbox.transcript.endswith("C: .")
        await stream.close()


def test_a_slow_server_goes_on_when_its_time_is_over() -> None:
    with Mailbox() as mailbox:
        slow = mailbox.slow(0)
        mailbox.defer()
        with pytest.raises(smtplib.SMTPDataError):
            send(mailbox)
        send(mailbox)
        assert slow.struck == 2
        with pytest.raises(ValueError, match="at most 600"):
            mailbox.slow("11m")


def test_a_greylist_takes_the_second_attempt() -> None:
    with Mailbox() as mailbox:
        fault = mailbox.greylist()
        for recipient in ("b@example.org", "c@example.org"):
            with pytest.raises(smtplib.SMTPRecipientsRefused) as refused:
                send(mailbox, recipient)
            assert refused.value.recipients[recipient][0] == 450
            send(mailbox, recipient)
        with pytest.raises(smtplib.SMTPRecipientsRefused):
            send(mailbox, sender="other@example.org")
        assert (len(mailbox), fault.struck) == (2, 3)


def test_no_fault_outlives_its_end() -> None:
    with Mailbox() as mailbox:
        mailbox.reject(times=None)
        mailbox.drop(at="connect", nth=2)
        mailbox.behave()
        send(mailbox)
        send(mailbox)
        assert len(mailbox) == 2


def test_orders_that_make_no_sense_are_refused() -> None:
    mailbox = Mailbox()
    with pytest.raises(ValueError, match="no phase 'quit': one of connect"):
        mailbox.reject(at="quit")
    with pytest.raises(ValueError, match="count from 1"):
        mailbox.drop(nth=0)
    with pytest.raises(ValueError, match="reject\\(\\) answers 5xx"):
        mailbox.reject("450 later")
    with pytest.raises(ValueError, match="is no refusal"):
        mailbox.defer("4.5.0 later")


async def test_a_transcript_shows_what_was_not_said_to_its_end() -> None:
    async with Mailbox() as mailbox:
        stream = await connect(mailbox.address)
        await stream.receive()
        await stream.send(b"NOOP\r\nMAIL FR")
        assert await stream.receive()
        await stream.close()
        while "C: (closes)" not in mailbox.transcript:
            await checkpoint()
        assert "1 C: MAIL FR\n1 C: (closes)" in mailbox.transcript


def test_what_comes_under_tls_is_kept_and_not_shown() -> None:
    class Tls:
        @hookimpl
        def ehlo(self, session: Session, keywords: MutableMapping[str, str]) -> None:
            if not session.secure:
                keywords["STARTTLS"] = ""

        @hookimpl
        def command(self, command: Command) -> Reply | None:
            return Reply(220, start_tls=server_context("127.0.0.1")) if command.verb == "STARTTLS" else None

    with Mailbox(Tls()) as mailbox, smtplib.SMTP(*mailbox.address, timeout=10) as client:
        client.starttls(context=client_context())
        client.sendmail("a@example.org", "b@example.org", MAIL)
        assert mailbox.messages[0].secure
        assert mailbox.messages[0].content == MAIL.encode()
        assert mailbox.transcript.splitlines()[-3:] == [
            "1 C: STARTTLS",
            "1 S: 220 2.0.0 ready",
            "1 C: (TLS from here on)",
        ]


def test_a_transcript_shows_the_beginning_and_the_end_of_much() -> None:
    with Mailbox() as mailbox:
        with smtplib.SMTP(*mailbox.address, timeout=10) as client:
            client.sendmail("a@example.org", "b@example.org", "Subject: long\n\n" + "line\n" * 1000)
        lines = mailbox.transcript.splitlines()
        assert len(lines) < 60
        assert "1 C: Subject: long" in lines
        assert "1 C: ." in lines
        assert any("more lines" in line for line in lines)
