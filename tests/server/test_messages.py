"""What becomes of a message on its way through a server: the options of `Server` that touch it, over real sockets."""

from typing import Any

import pytest

from mailstack import ConfigError, Message, Server, Session, Stack, Transaction, log
from mailstack.testing.dialog import Collect, Dialog, Vouch

from .kit import client, on, serving


@pytest.mark.parametrize("options", [{"greeting": "a\r\nb"}, {"greeting": "ü"}, {"greeting": 1}, {"received": "mx"}])
def test_what_cannot_be_said_is_found_at_once(options: dict[str, Any]) -> None:
    with pytest.raises(ConfigError, match=rf"Server\({next(iter(options))}\)"):
        Server(Stack(Vouch()), **options)


async def test_the_greeting_may_be_nothing() -> None:
    async with Dialog(Server(Stack(Vouch()), hostname="mx.test", greeting="")) as smtp:
        assert (await smtp.banner()).text == "mx.test ESMTP"


async def test_the_greeting_is_the_servers_own() -> None:
    async with serving(Collect(), greeting="at your service") as server, client(server) as smtp:
        assert await smtp.reply() == "220 mx.test at your service ESMTP"


async def test_bare_line_ends_are_refused_at_the_end_of_the_data() -> None:
    end = Collect()
    async with serving(Vouch(), end) as server, client(server) as smtp:
        await (await smtp.hello()).opened()
        await smtp.send(b"Subject: x\r\n\r\none\n.\ntwo\r\n.\r\n")
        assert (await smtp.rest()).startswith("554 5.6.0 ")
    assert end.messages == []


async def test_bare_line_ends_become_data_where_the_server_normalises() -> None:
    end = Collect()
    async with serving(Vouch(), end, normalise=True) as server, client(server) as smtp:
        await smtp.hello()
        assert (await smtp.message(b"Subject: x\r\n\r\none\n.\ntwo\rthree\0\r\n")).startswith("250 ")
        assert (await smtp.say("NOOP")).startswith("250 ")
    assert end.messages[0].content.endswith(b"Subject: x\r\n\r\none\r\n.\r\ntwo\r\nthree\r\n")


async def test_forged_results_go_and_ours_stand_on_top() -> None:
    def message(session: Session, message: Message) -> None:
        assert "Authentication-Results" not in message.header
        assert session.transaction is not None
        session.transaction.results.add("spf", "pass", {"smtp.mailfrom": "client.test"})

    end = Collect()
    forged = b"Authentication-Results: MX.test; dkim=pass\r\nSubject: x\r\n\r\n"
    async with serving(on(message=message), Vouch(), end) as server, client(server) as smtp:
        assert (await (await smtp.hello()).message(forged)).startswith("250 ")
    content = end.messages[0].content
    assert content.startswith(
        b"Authentication-Results: mx.test;\r\n\tspf=pass smtp.mailfrom=client.test\r\nReceived: from"
    )
    assert content.endswith(b"\r\nSubject: x\r\n\r\n")
    assert b"dkim" not in content


def text(session: Session, transaction: Transaction) -> str:
    return f"by {session.hostname} id {transaction.id}"


def octets(session: Session, transaction: Transaction) -> bytes:
    return b"Received: by me\r\n"


def nothing(session: Session, transaction: Transaction) -> None:
    return None


@pytest.mark.parametrize(
    ("field", "opening"),
    [(text, b"Received: by mx.test id "), (octets, b"Received: by me\r\n"), (nothing, b"Subject:")],
)
async def test_the_received_field_may_be_ones_own(field: object, opening: bytes) -> None:
    end = Collect()
    async with serving(Vouch(), end, received=field) as server, client(server) as smtp:
        assert (await (await smtp.hello()).message()).startswith("250 ")
    assert end.messages[0].content.startswith(opening)


async def test_a_received_field_that_cannot_be_made_defers_the_message_and_the_session_goes_on() -> None:
    end = Collect()
    made: list[bool] = [False]

    def received(session: Session, transaction: Transaction) -> str:
        if not made[0]:
            raise ZeroDivisionError
        return "by me"

    async with serving(Vouch(), end, received=received) as server, client(server) as smtp:
        await smtp.hello()
        assert (await smtp.message(b"Subject: x\r\n\r\n" + b"line\r\n" * 100_000)).startswith("451 4.3.0 ")
        made[0] = True
        assert (await smtp.message()).startswith("250 ")
    assert len(end.messages) == 1


@pytest.mark.parametrize("body", [b"abc", b"a", b"no header at all"])
async def test_a_message_that_might_have_become_a_header_field_is_kept_as_its_body(body: bytes) -> None:
    end = Collect()
    async with serving(Vouch(), end) as server, client(server) as smtp:
        await smtp.hello()
        await smtp.envelope()
        await smtp.send(b"BDAT %d LAST\r\n" % len(body) + body)
        assert (await smtp.reply()).startswith("250 ")
    assert end.messages[0].content.endswith(b"\r\n\r\n" + body)


async def test_a_log_line_that_cannot_be_written_does_not_take_back_a_250(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def broken(event: str, **facts: object) -> None:
        if event == "message":
            raise LookupError("no codec for it")

    monkeypatch.setattr(log, "info", broken)
    with caplog.at_level("INFO", logger="mailstack"):
        async with Dialog(Vouch()) as smtp:
            assert await smtp.message("a@example.org", "b@example.org") == 250
            assert len(smtp.messages) == 1
