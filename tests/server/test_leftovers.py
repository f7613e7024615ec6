"""What a thousand sessions through all filters leave behind when the name server is dead: nothing.

They come over TCP by a PROXY header, for clients of the loopback are not asked for, and end in every way there is.
"""

from __future__ import annotations

import gc
import os
import socket
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager

import anyio
import pytest
from anyio import CapacityLimiter, create_task_group

from mailstack import Limits, Listener, Server, Session, Stack
from mailstack.handlers import discard
from mailstack.middleware import proxy
from mailstack.server.connection import Connection
from mailstack.services.resolver import Keep, Resolver
from mailstack.services.store import Memory
from mailstack.session.later import Later
from mailstack.session.transaction import Transaction
from tests import filtering

from .kit import Client, client, house, sessions_over

SESSIONS = 1000
AT_ONCE = 100


@contextmanager
def dead_name_server() -> Iterator[str]:
    """Somebody who takes questions and never answers one."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sink:
        sink.bind(("127.0.0.1", 0))
        yield f"127.0.0.1:{sink.getsockname()[1]}"


def living(*kinds: type) -> dict[str, int]:
    """How many objects of these kinds there are."""
    gc.collect()
    found = dict.fromkeys((kind.__name__ for kind in kinds), 0)
    for each in gc.get_objects():
        if type(each) in kinds:
            found[type(each).__name__] += 1
    return found


def open_files() -> int:
    return len(os.listdir("/proc/self/fd"))


# The ways in which a session ends. Each is given a client whose PROXY header is sent, and says what the server does.

Way = Callable[[Client, int], Awaitable[None]]


async def says_quit(smtp: Client, number: int) -> None:
    await greeted(smtp)
    assert (await smtp.say("QUIT")).startswith("221")


async def leaves_at_once(smtp: Client, number: int) -> None:
    pass


async def leaves_after_the_banner(smtp: Client, number: int) -> None:
    await smtp.reply()


async def leaves_while_rcpt_waits(smtp: Client, number: int) -> None:
    await greeted(smtp)
    await smtp.send(b"MAIL FROM:<a@d%d.test>\r\nRCPT TO:<bob@example.test>\r\n" % number)


async def is_put_off(smtp: Client, number: int) -> None:
    await greeted(smtp)
    assert (await smtp.say(f"MAIL FROM:<a@d{number}.test>")).startswith("250")
    assert (await smtp.say("RCPT TO:<bob@example.test>")).startswith("451 4.4.3 the domain")
    assert (await smtp.say("QUIT")).startswith("221")


async def sends_a_message(smtp: Client, number: int) -> None:
    """A bounce has no domain to be looked up, so that a dead DNS does not keep it; its body names hosts."""
    await greeted(smtp)
    await smtp.send(b"MAIL FROM:<>\r\nRCPT TO:<bob@example.test>\r\nDATA\r\n")
    answers = await smtp.replies(3)
    assert [each[:3] for each in answers] == ["250", "250", "354"], answers
    await smtp.send(b"Subject: hi\r\n\r\nhttp://h%d.test/\r\n.\r\n" % number)
    answer = await smtp.reply()
    assert answer.startswith("250"), answer


async def leaves_in_the_middle_of_a_message(smtp: Client, number: int) -> None:
    await greeted(smtp)
    await smtp.send(b"MAIL FROM:<>\r\nRCPT TO:<bob@example.test>\r\nDATA\r\n")
    await smtp.replies(3)
    await smtp.send(b"Subject: hi\r\n\r\n" + b"x" * 70_000)


async def leaves_while_the_message_is_judged(smtp: Client, number: int) -> None:
    await leaves_in_the_middle_of_a_message(smtp, number)
    await smtp.send(b" http://h%d.test/\r\n.\r\n" % number)


async def talks_nonsense(smtp: Client, number: int) -> None:
    await smtp.reply()
    await smtp.send(b"FOO\r\n" * 30)
    assert "421" in await smtp.rest()


async def says_rset_and_ehlo_again(smtp: Client, number: int) -> None:
    await greeted(smtp)
    for again in range(3):
        await smtp.send(b"MAIL FROM:<a@r%d.test>\r\nRSET\r\nEHLO e%d.test\r\n" % (number + again, number))
        await smtp.replies(3)


WAYS: tuple[Way, ...] = (
    says_quit,
    leaves_at_once,
    leaves_after_the_banner,
    leaves_while_rcpt_waits,
    is_put_off,
    sends_a_message,
    leaves_in_the_middle_of_a_message,
    leaves_while_the_message_is_judged,
    talks_nonsense,
    says_rset_and_ehlo_again,
)


async def greeted(smtp: Client) -> None:
    assert (await smtp.reply()).startswith("220")
    assert (await smtp.say("EHLO client.test")).startswith("250")


def introduction(number: int) -> bytes:
    """Each client has an address of its own, so that nothing about it is known; every third one of IPv6."""
    if number % 3 == 0:
        return b"PROXY TCP6 2001:db8:%x::1 2001:db8::1 4711 25\r\n" % number
    return b"PROXY TCP4 203.0.%d.%d 192.0.2.1 4711 25\r\n" % (113 + number // 250, 1 + number % 250)


@pytest.mark.slow
async def test_a_thousand_sessions_with_a_dead_name_server_leave_nothing_behind() -> None:
    grey, history = Memory(), Memory()
    others = living(Session, Connection, Transaction, Later)  # what other tests of this process have left
    with dead_name_server() as address:
        resolver = Resolver(address, timeout=0.05, tries=1, lifetime=0.1, keep=Keep(trouble=0.05), cache=50)
        filters = filtering.stack(grey=grey, history=history, sessions=(5, 5, 5), timeout="1s")
        server = Server(
            Stack(proxy.Proxy(), *filters, discard.Discard()),
            [Listener("127.0.0.1:0", proxy="127.0.0.1")],
            hostname="mx.test",
            limits=Limits(sweep=0.05),
            resolver=resolver,
        )
        with anyio.fail_after(150):
            async with server:
                await crowd(server, range(20))  # what is made once
                await sessions_over(server)
                before = measured(server)
                await crowd(server, range(20, 20 + SESSIONS))
                await sessions_over(server)
                assert resolver.statistics.timeouts > SESSIONS
                after = measured(server)
                # What ended last may hang in a frame of the event loop's; a thousand of anything may not.
                assert all(count - before[kind] <= (3 if kind[0].isupper() else 0) for kind, count in after.items())
                assert not resolver._shared._flights
                assert len(resolver._shared.cache) <= 50
                assert history.held == 0
    left = living(Session, Connection, Transaction, Later)
    assert {kind: count for kind, count in left.items() if count > others[kind]} == {}


async def crowd(server: Server, numbers: range) -> None:
    limiter = CapacityLimiter(AT_ONCE)

    async def come(number: int) -> None:
        async with limiter, client(server) as smtp:
            await smtp.send(introduction(number))
            await WAYS[number % len(WAYS)](smtp, number)

    async with create_task_group() as group:
        for number in numbers:
            group.start_soon(come, number)


def measured(server: Server) -> dict[str, int]:
    """What there is of all that a session may leave."""
    return {
        "tasks": len(anyio.get_running_tasks()),
        "open files": open_files(),
        "in the spool": house(server).spool.in_memory + house(server).spool.files,
        **living(Session, Connection, Transaction, Later),
    }
