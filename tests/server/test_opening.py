"""What a `session` onion may do before the banner, and how a conversation begins anew."""

from __future__ import annotations

import pytest

from mailstack import Limits, Reply, hookimpl
from mailstack.contract.hookspec import CallNext
from mailstack.session.session import Peer, Session
from mailstack.session.stash import Key
from mailstack.session.transaction import Transaction
from mailstack.testing import Dialog
from mailstack.wire.command import Command
from tests.server.test_starttls import Tls
from tests.tls import client_context

CLIENT = Peer("198.51.100.7", 4321)


class Proxy:
    """A header of one line, which names the client."""

    @hookimpl
    async def session(self, session: Session, call_next: CallNext) -> None:
        line = await session.read_line(64)
        if line == b"LOCAL":
            session.proxied()
        elif line.startswith(b"FROM "):
            session.proxied(Peer(line[5:].decode(), 4321))
        else:
            return
        await call_next()


async def test_a_header_before_the_banner_names_the_client() -> None:
    async with Dialog(Proxy(), client="192.0.2.1", proxy="192.0.2.0/24") as smtp:
        await smtp.send(b"FROM 198.51.100.7\r\n")
        assert await smtp.banner() == 220
        assert smtp.session.client.host == "198.51.100.7"
        assert smtp.session.proxy is not None
        assert smtp.session.proxy.host == "192.0.2.1"


async def test_what_came_with_the_header_is_read_as_commands() -> None:
    async with Dialog(Proxy(), proxy="192.0.2.0/24") as smtp:
        await smtp.send(b"FROM 198.51.100.7\r\nEHLO client.example\r\nNOOP\r\n")
        assert [answer.code for answer in await smtp.replies(3)] == [220, 250, 250]


async def test_a_hello_of_tls_in_the_header_s_segment_belongs_to_tls() -> None:
    async with Dialog(Proxy(), Tls(), tls=True, proxy="192.0.2.0/24") as smtp:
        await smtp.send(b"FROM 198.51.100.7\r\n")  # the memory holds it until the server reads: one segment
        await smtp.start_tls(client_context())
        assert await smtp.banner() == 220
        assert smtp.session.client.host == "198.51.100.7"


async def test_a_proxy_may_speak_for_itself() -> None:
    async with Dialog(Proxy(), client="192.0.2.1", proxy="192.0.2.0/24") as smtp:
        await smtp.send(b"LOCAL\r\n")
        assert await smtp.banner() == 220
        assert smtp.session.client.host == "192.0.2.1"
        assert smtp.session.proxy is None


async def test_an_onion_that_does_not_go_on_closes_without_a_word() -> None:
    async with Dialog(Proxy(), proxy="192.0.2.0/24") as smtp:
        await smtp.send(b"nonsense\r\n")
        await smtp.closed()


async def test_nobody_is_served_where_a_header_is_due_and_nobody_reads_it() -> None:
    async with Dialog(proxy="192.0.2.0/24") as smtp:
        await smtp.closed()


async def test_a_header_that_does_not_come_in_time_ends_the_session_without_a_fault() -> None:
    async with Dialog(Proxy(), proxy="192.0.2.0/24", limits=Limits(opening="0.05s")) as smtp:
        await smtp.send(b"FROM 198.51")
        await smtp.closed()
        assert not list(smtp.evidence)


async def test_a_client_that_leaves_before_the_banner_is_no_fault() -> None:
    async with Dialog(Proxy(), proxy="192.0.2.0/24") as smtp:
        await smtp.send(b"FROM 198.51")
        await smtp.hang_up()
        await smtp.finished()
        assert not list(smtp.evidence)


async def test_exactly_so_many_octets_are_read() -> None:
    read: list[bytes] = []

    class Binary:
        @hookimpl
        async def session(self, session: Session, call_next: CallNext) -> None:
            read.append(await session.read_exactly(4))
            read.append(await session.read_exactly(2))
            session.proxied(CLIENT)
            await call_next()

    async with Dialog(Binary(), proxy="192.0.2.0/24") as smtp:
        await smtp.send(b"abc")
        await smtp.send(b"defNOOP\r\n")
        assert await smtp.banner() == 220
        assert read == [b"abcd", b"ef"]
        assert await smtp.reply() == 250


@pytest.mark.parametrize("octets", [b"123456789\r\n", b"12\n4567\n9\r\n", b"1234567\r\n"])
async def test_a_line_that_is_too_long_is_a_value_error_and_nothing_more_is_read(octets: bytes) -> None:
    problems: list[str] = []

    class Strict:
        @hookimpl
        async def session(self, session: Session, call_next: CallNext) -> None:
            with pytest.raises(ValueError, match="longer than 8") as raised:
                await session.read_line(8)
            problems.append(str(raised.value))

    async with Dialog(Strict()) as smtp:
        await smtp.send(octets)
        await smtp.closed()
        assert problems


SEEN: Key[int] = Key("seen")


class Xclient:
    """XCLIENT with one attribute."""

    def __init__(self) -> None:
        self.connects: list[str] = []
        self.ended: list[str] = []

    @hookimpl
    def connect(self, session: Session) -> Reply | None:
        self.connects.append(session.client.host)
        assert session.stash.get(SEEN) is None
        session.stash[SEEN] = 1
        return Reply(554, "not you") if session.client.host == "203.0.113.66" else None

    @hookimpl
    async def command(self, session: Session, command: Command) -> Reply | None:
        if command.verb != "XCLIENT":
            return None
        session.forgive("brackets")
        client, server = Peer(command.argument, 99), Peer("203.0.113.1", 25)
        return await session.restart(client=client, server=server, helo="given.example", user="anna")

    @hookimpl
    def reset(self, transaction: Transaction, why: str) -> None:
        self.ended.append(why)


async def test_a_conversation_begins_anew_for_another_client() -> None:
    xclient = Xclient()
    async with Dialog(xclient) as smtp:
        await smtp.say("EHLO client.example")
        await smtp.say("MAIL FROM:<a@example.org>")
        assert await smtp.say("XCLIENT 203.0.113.5") == 220
        assert xclient.connects == ["192.0.2.1", "203.0.113.5"]
        assert xclient.ended == ["restart"]
        assert smtp.session.client.host == "203.0.113.5"
        assert str(smtp.session.server) == "203.0.113.1:25"
        assert smtp.session.helo == "given.example"
        assert smtp.session.user == "anna"
        assert await smtp.say("MAIL FROM:<a@example.org>") == 503
        assert await smtp.say("EHLO client.example") == 250
        assert await smtp.say("MAIL FROM:a@example.org") == 501  # what was forgiven is forgotten
        assert await smtp.say("MAIL FROM:<a@example.org>") == 250


async def test_a_client_that_is_refused_anew_hears_so_and_then_only_503() -> None:
    async with Dialog(Xclient()) as smtp:
        await smtp.say("EHLO client.example")
        assert await smtp.say("XCLIENT 203.0.113.66") == 554
        assert await smtp.say("EHLO client.example") == 503
        assert await smtp.say("QUIT") == 221


async def test_the_checks_of_the_new_beginning_have_clocks_of_their_own() -> None:
    class Waits:
        @hookimpl
        async def connect(self, session: Session) -> None:
            await session.start(_nothing).get()

    async with Dialog(Waits(), Xclient()) as smtp:
        await smtp.say("EHLO client.example")
        assert await smtp.say("XCLIENT 203.0.113.5") == 220
        assert await smtp.say("EHLO client.example") == 250


async def _nothing() -> None:
    """Background work that ends at once."""
