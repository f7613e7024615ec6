"""All filters with real name servers: nsd has lists and domains, unbound asks it; some are slow, fail, or are dead."""

from __future__ import annotations

import signal
import time
from collections.abc import Awaitable, Callable, Iterator
from pathlib import Path

import anyio
import dns.message
import pytest

from mailstack.handlers import maildir
from mailstack.services.resolver import Keep, Resolver
from mailstack.services.resolver.exchange import udp
from mailstack.services.store import SQLite
from mailstack.testing import Conversation, Dialog
from tests import filtering
from tests.filtering import CLEAN, HALF, LIGHT, LISTED, SIX_CLEAN, SIX_LISTED, TRUSTED
from tests.interop.frozen import freeze
from tests.interop.nameservers import HEAD, NameServers, name_servers
from tests.nameserver import name_server

pytestmark = pytest.mark.interop

MESSAGE = b"Subject: hi\r\n\r\nsee http://shop.other.test/ for more\r\n"
PILLS = b"Subject: hi\r\n\r\nsee http://www.PILLS.test/ for more\r\n"

# Answers that do not fit into a datagram: a listing with 200 addresses, and one with texts of 20,000 octets.
LARGE = "".join(f"15.2.0.192 A 127.0.{number // 250}.{2 + number % 250}\n" for number in range(200))
LARGE += "".join(f'16.2.0.192 TXT "{number:04} {"x" * 200}"\n' for number in range(100)) + "16.2.0.192 A 127.0.0.2\n"


@pytest.fixture
def servers(tmp_path: Path, program: Callable[[str], str]) -> Iterator[NameServers]:
    """Both, with the zones of the filters; nobody is there to answer for broken.test."""
    zones = {**filtering.ZONES, "test": ""}
    zones["bl.test"] += LARGE
    texts = {name: HEAD.replace("{zone}", name) + "ns A 127.0.0.1\n" + text for name, text in zones.items()}
    with name_servers(tmp_path, program, texts, silent="broken.test") as running:
        yield running


def quick(*servers: str, **options: object) -> Resolver:
    """It asks as ever, but is not patient, and remembers no trouble."""
    settings: dict[str, object] = {"timeout": 0.3, "tries": 1, "lifetime": 0.6, "keep": Keep(trouble=0.0), **options}
    return Resolver(*servers, **settings)  # type: ignore[arg-type]


async def outcome(
    smtp: Conversation, sender: str = "ann@mail.test", hello: str = "c20.mail.test", message: bytes = MESSAGE
) -> str:
    """What becomes of a message: the answer at its end, or the first refusal."""
    await smtp.say(f"EHLO {hello}")
    for line in (f"MAIL FROM:<{sender}>", "RCPT TO:<bob@example.test>", "DATA", message + b"."):
        answer = await smtp.say(line)
        if answer.code >= 400:
            await smtp.say("RSET")
            return str(answer)
    return str(answer)


async def through(client: str, resolver: Resolver, **about: object) -> str:
    """The same, of a session of its own."""
    async with Dialog(*filtering.stack(), client=client, resolver=resolver, hostname="mx.test") as smtp:
        return await outcome(smtp, **about)  # type: ignore[arg-type]


@pytest.mark.every_backend
async def test_who_is_listed_hears_which_lists_have_him_and_who_is_not_may_pass(servers: NameServers) -> None:
    resolver = Resolver(servers.unbound)
    both = "550 5.7.1 {0} is listed by bl.test{1}; {0} is listed by light.test"
    assert await through(LISTED, resolver) == both.format(LISTED, ": sends spam")
    assert await through(SIX_LISTED, resolver) == both.format(SIX_LISTED, "")
    assert await through(HALF, resolver) == f"550 5.7.1 {HALF} is listed by bl.test"
    assert (await through(CLEAN, resolver)).startswith("250")
    assert (await through(SIX_CLEAN, resolver, hello="six.mail.test")).startswith("250")
    assert (await through(TRUSTED, resolver, hello="c30.mail.test")).startswith("250")


async def test_what_is_an_error_of_a_list_is_no_listing(servers: NameServers, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level("WARNING", "mailstack")
    resolver = Resolver(servers.unbound)
    for client, says in ((LIGHT, "127.255.255.254"), ("192.0.2.14", "192.0.2.99")):
        stack = filtering.stack()
        async with Dialog(*stack, client=client, resolver=resolver) as smtp:
            assert (await outcome(smtp, hello="mx.mail.test")) == "550 5.7.1 mx.mail.test is somewhere else than you"
        assert f"{says} is no answer of a list" in caplog.text
        assert sum(each.errors for each in stack[4].statistics.values()) == 1


async def test_every_filter_has_its_say(servers: NameServers) -> None:
    resolver = Resolver(servers.unbound)
    expected = {
        ("ann@spammer.test", "c20.mail.test"): "550 5.7.1 spammer.test is listed by dbl.test",
        ("ann@mail.test", "evil.helo.test"): "550 5.7.1 evil.helo.test does not exist in the DNS",
        ("ann@mail.test", "mx2.mail.test"): "250",
        ("ann@none.mail.test", "c20.mail.test"): "550 5.7.27 the sender's domain none.mail.test cannot be answered",
        ("ann@inside.mail.test", "c20.mail.test"): "550 5.1.8 the sender's domain inside.mail.test cannot be answered",
        ("ann@gone.mail.test", "c20.mail.test"): "550 5.1.8 the sender's domain gone.mail.test cannot be answered",
        ("ann@bare.mail.test", "c20.mail.test"): "250",
        ("ann@broken.test", "c20.mail.test"): "451 4.4.3 the domain broken.test cannot be looked up now",
        ("", "c20.mail.test"): "250",
    }
    for (sender, hello), answer in expected.items():
        assert (await through(CLEAN, resolver, sender=sender, hello=hello)).startswith(answer), sender
    assert await through(CLEAN, resolver, message=PILLS) == "550 5.7.1 pills.test is listed by uri.test: pills"


async def test_an_answer_that_does_not_fit_into_a_datagram_counts(servers: NameServers) -> None:
    resolver = Resolver(servers.unbound)
    assert await through("192.0.2.15", resolver) == "550 5.7.1 192.0.2.15 is listed by bl.test"
    assert resolver.statistics.tcp == 1
    reply = await through("192.0.2.16", resolver)
    assert reply.startswith("550 5.7.1 192.0.2.16 is listed by bl.test: 00")
    assert len(reply) < 300
    assert resolver.statistics.tcp == 2


async def test_the_greylist_and_the_maildir_at_the_end_of_it_all(servers: NameServers, tmp_path: Path) -> None:
    now = [1_000_000.0]
    resolver = Resolver(servers.unbound)

    def dialog(client: str) -> Dialog:
        grey, history = (SQLite(tmp_path / name, clock=lambda: now[0]) for name in ("grey.db", "karma.db"))
        stack = filtering.stack(wait=0.01, delay="5m", grey=grey, history=history, clock=lambda: now[0])
        return Dialog(*stack, client=client, resolver=resolver, handler=maildir.Maildir(str(tmp_path / "mail")))

    for passed, answer in ((0, "451 4.7.1 greylisted, try again in 300 s"), (299, "451"), (1, "250"), (99999, "250")):
        now[0] += passed
        async with dialog(CLEAN) as smtp:
            assert (await outcome(smtp)).startswith(answer)
    async with dialog(TRUSTED) as smtp:  # dnswl speaks for it
        assert (await outcome(smtp, hello="c30.mail.test")).startswith("250")
    [*delivered] = (tmp_path / "mail" / "new").iterdir()
    assert len(delivered) == 3
    text = min(delivered, key=lambda path: path.stat().st_mtime_ns).read_text()
    assert "(c20.mail.test [192.0.2.20])" in text
    assert "iprev=pass policy.iprev=192.0.2.20" in text


class Slow:
    """A name server in front of another that takes its time for every answer. asked -- when each began and ended."""

    def __init__(self, behind: str, seconds: float, only: str = "") -> None:
        host, _, port = behind.rpartition(":")
        self._behind = host, int(port)
        self._seconds = seconds
        self._only = only
        self.asked: list[tuple[float, float, str]] = []

    def __call__(self, question: dns.message.Message, over: str) -> Awaitable[bytes]:
        return self._answer(question)

    async def _answer(self, question: dns.message.Message) -> bytes:
        began, name = time.monotonic(), str(question.question[0].name)
        answer = await udp(self._behind, question.to_wire(), lambda octets: octets)
        if self._only in name:
            await anyio.sleep(self._seconds)
        self.asked.append((began, time.monotonic(), name))
        return answer

    def in_a_row(self) -> int:
        """The most questions of which each was asked when the one before had its answer."""
        count, last = 0, 0.0
        for began, ended, _ in sorted(self.asked, key=lambda each: each[1]):
            if began >= last:
                count, last = count + 1, ended
        return count


@pytest.mark.every_backend
async def test_when_every_answer_takes_200_ms_few_are_waited_for_in_a_row(servers: NameServers) -> None:
    slow = Slow(servers.unbound, 0.2)
    async with name_server(slow) as server:
        assert (await through(CLEAN, Resolver(server.address))).startswith("250")
    assert len(slow.asked) >= 15
    assert slow.in_a_row() <= 4  # PTR and MX, their addresses, the list of hosts; and one for a machine that is busy


async def test_a_list_that_is_slow_is_waited_for_so_long_and_lists_nobody_then(servers: NameServers) -> None:
    async with name_server(Slow(servers.unbound, 0.3, only="bl.test.")) as server:
        patient, hasty = filtering.stack(), filtering.stack(timeout=0.1)
        async with Dialog(*hasty, client=HALF, resolver=Resolver(server.address)) as smtp:
            assert (await outcome(smtp, hello="c11.mail.test")).startswith("250")
            assert any("bl.test: no answer in time" in each.detail for each in smtp.evidence)
        async with Dialog(*patient, client=HALF, resolver=Resolver(server.address)) as smtp:
            assert (await outcome(smtp)).startswith(f"550 5.7.1 {HALF} is listed by bl.test")


@pytest.mark.parametrize("how", ["stopped", "gone", "failing"])
async def test_with_a_dead_name_server_mail_waits_or_passes_as_configured(servers: NameServers, how: str) -> None:
    """failing: unbound is well, but what it asks is not, so that it says SERVFAIL."""
    resolver = quick(servers.unbound)
    kill(servers, how)
    try:
        for trouble, answer in (("defer", "451 4.4.3"), ("pass", "250")):
            async with Dialog(*filtering.stack(trouble=trouble), client=LISTED, resolver=resolver) as smtp:
                assert (await outcome(smtp)).startswith(answer)
                assert (await outcome(smtp, sender="")).startswith("250")
                assert b"iprev=temperror" in smtp.messages[-1].content
    finally:
        for daemon in servers.daemons.values():
            daemon.send_signal(signal.SIGCONT)
    if how == "stopped":  # it is back, and the next session knows everything
        for each in (resolver, Resolver(servers.unbound)):
            assert (await through(LISTED, each)).startswith(f"550 5.7.1 {LISTED} is listed by")


def kill(servers: NameServers, how: str) -> None:
    daemon = servers.daemons["nsd" if how == "failing" else "unbound"]
    if how == "stopped":
        freeze(daemon.pid)
    else:
        daemon.terminate()
        daemon.wait(30)
