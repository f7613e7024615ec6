"""The resolver against a name server that is good, bad, slow or hostile, over real sockets."""

from __future__ import annotations

import gc
import ipaddress
import socket
import struct
from collections.abc import Callable
from pathlib import Path
from typing import Any

import anyio
import dns.flags
import dns.message
import dns.rcode
import pytest
from anyio import create_task_group, move_on_after

from mailstack import ConfigError
from mailstack.services.resolver import (
    MX,
    Budget,
    DNSBudget,
    Keep,
    NoRecords,
    NoSuchName,
    NotFound,
    Resolver,
    Temporary,
    reverse_name,
)
from mailstack.services.resolver import servers as servers_module
from tests.nameserver import answer, name_server, nothing

IP = ipaddress.ip_address


def closed_port() -> int:
    """A port on which nobody listens."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


# What answers are.


async def test_records_are_typed_values() -> None:
    zone = {
        ("example.org", "A"): ["192.0.2.1", "192.0.2.2"],
        ("example.org", "AAAA"): "2001:db8::1",
        ("example.org", "MX"): ["20 mx2.example.org.", "10 MX1.example.org."],
        ("example.org", "TXT"): ['"v=spf1 " "-all"', '"second"'],
        ("1.2.0.192.in-addr.arpa", "PTR"): "Mail.Example.ORG.",
        ("1.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.8.b.d.0.1.0.0.2.ip6.arpa", "PTR"): "six.example.org.",
        ("_25._tcp.mx1.example.org", "TLSA"): "3 1 1 " + "ab" * 32,
        ("example.org", "NS"): "ns.example.org.",
    }
    async with name_server(zone) as server:
        resolver = Resolver(server.address)
        assert {*(await resolver.a("example.org")).records} == {IP("192.0.2.1"), IP("192.0.2.2")}
        assert list(await resolver.aaaa("Example.ORG.")) == [IP("2001:db8::1")]
        assert set(await resolver.addresses("example.org")) == {*map(IP, ("192.0.2.1", "192.0.2.2", "2001:db8::1"))}
        assert (await resolver.mx("example.org")).records == (MX(10, "mx1.example.org"), MX(20, "mx2.example.org"))
        assert set(await resolver.txt("example.org")) == {b"v=spf1 -all", b"second"}
        for ip in ("192.0.2.1", "::ffff:192.0.2.1"):
            assert (await resolver.ptr(ip)).records == ("mail.example.org",)
        assert (await resolver.ptr(IP("2001:db8::1"))).records == ("six.example.org",)
        assert (await resolver.query("_25._tcp.mx1.example.org", "tlsa")).records[0].mtype == 1
        assert (await resolver.query("example.org", "NS")).records == ("ns.example.org",)


async def test_a_null_mx_has_no_host() -> None:
    async with name_server({("example.org", "MX"): "0 ."}) as server:
        assert (await Resolver(server.address).mx("example.org")).records == (MX(0, ""),)


async def test_names_that_are_no_names_of_hosts_are_left_out() -> None:
    hostile = [
        "a\\013\\010b.example.",
        "a\\.b.example.",
        "a\\000.example.",
        "<script>.example.",
        "good_1.example.",
        "\\195\\164.x.",
    ]
    async with name_server({("1.2.0.192.in-addr.arpa", "PTR"): hostile}) as server:
        assert (await Resolver(server.address).ptr("192.0.2.1")).records == ("good_1.example",)


async def test_cnames_are_followed_and_the_end_is_told() -> None:
    zone = {
        ("www.example.org", "A"): [
            "CNAME a.example.org.",
            "a.example.org. CNAME b.example.org.",
            "b.example.org. A 192.0.2.9",
        ]
    }
    async with name_server(zone) as server:
        found = await Resolver(server.address).a("www.example.org")
        assert (found.records, found.canonical, found.name) == ((IP("192.0.2.9"),), "b.example.org", "www.example.org")


async def test_no_such_name_and_no_record_are_told_apart() -> None:
    def give(question: dns.message.Message, over: str) -> dns.message.Message:
        exists = str(question.question[0].name) == "exists.example."
        return nothing(question, rcode=dns.rcode.NOERROR if exists else dns.rcode.NXDOMAIN)

    async with name_server(give) as server:
        resolver = Resolver(server.address)
        with pytest.raises(NoSuchName, match=r"gone\.example A: no such name"):
            await resolver.a("gone.example")
        with pytest.raises(NoRecords) as error:
            await resolver.mx("exists.example")
        assert isinstance(error.value, NotFound)
        assert not isinstance(error.value, Temporary)
        with pytest.raises(NoSuchName):
            await resolver.addresses("gone.example")
        with pytest.raises(NoRecords):
            await resolver.addresses("exists.example")


async def test_addresses_takes_what_there_is() -> None:
    zone: dict[tuple[str, str], Any] = {
        ("four.example", "A"): "192.0.2.1",
        ("four.example", "AAAA"): dns.rcode.SERVFAIL,
        ("neither.example", "AAAA"): dns.rcode.SERVFAIL,
    }
    async with name_server(zone) as server:
        resolver = Resolver(server.address)
        assert (await resolver.addresses("four.example")).records == (IP("192.0.2.1"),)
        with pytest.raises(Temporary):
            await resolver.addresses("neither.example")


# What can be asked for.


@pytest.mark.parametrize(
    "name",
    [
        "",
        ".",
        "a..b",
        ".a",
        "a" * 64 + ".example",
        ".".join(["a" * 60] * 5),
        "a b.example",
        "a\r\nb",
        "ä" * 300,
        "\udce4.x",
    ],
)
async def test_what_cannot_be_a_name_does_not_exist_and_nobody_is_asked(name: str) -> None:
    async with name_server({}) as server:
        with pytest.raises(NoSuchName, match="no name of the DNS"):
            await Resolver(server.address).a(name)
        assert server.asked == []


async def test_other_alphabets_are_asked_for_in_a_labels() -> None:
    zone = {("xn--bcher-kva.example", "A"): "192.0.2.1", ("_dmarc.xn--bcher-kva.example", "TXT"): '"v=DMARC1"'}
    async with name_server(zone) as server:
        resolver = Resolver(server.address)
        assert await resolver.a("Bücher.Example")
        assert await resolver.a("xn--bcher-kva.example")
        assert await resolver.txt("_dmarc.bücher。example")
        assert server.count("xn--bcher-kva.example") == 1


async def test_odd_characters_reach_the_name_server_as_they_are() -> None:
    asked: list[bytes] = []

    def give(question: dns.message.Message, over: str) -> dns.message.Message:
        asked.append(question.question[0].name.labels[0])
        return nothing(question)

    async with name_server(give) as server:
        with pytest.raises(NoSuchName):
            await Resolver(server.address).a('us"er\\046+x.example.org')
        assert asked == [b'us"er\\046+x']


@pytest.mark.parametrize("type", ["ANY", "AXFR", "NONSENSE", "", "OPT"])
async def test_a_type_that_cannot_be_asked_for_is_a_mistake(type: str) -> None:
    with pytest.raises(ValueError, match="is no type of records"):
        await Resolver("127.0.0.1:9").query("example.org", type)


async def test_no_search_domain_is_ever_tried() -> None:
    async with name_server({}) as server:
        with pytest.raises(NoSuchName):
            await Resolver(server.address).a("host")
        assert server.asked == [("host", "A", "udp")]


# The cache.


async def test_an_answer_is_asked_for_once() -> None:
    async with name_server({("example.org", "A"): "192.0.2.1"}) as server:
        resolver = Resolver(server.address)
        for name in ("example.org", "EXAMPLE.org", "example.org."):
            assert await resolver.a(name)
        assert server.count("example.org") == 1
        assert (resolver.statistics.asked, resolver.statistics.cached, resolver.statistics.found) == (3, 2, 1)
        resolver.forget()
        assert await resolver.a("example.org")
        assert server.count("example.org") == 2


async def test_that_a_name_does_not_exist_holds_for_every_type() -> None:
    async with name_server({}) as server:
        resolver = Resolver(server.address)
        for ask in (resolver.a, resolver.mx, resolver.txt):
            with pytest.raises(NoSuchName):
                await ask("gone.example")
        assert len(server.asked) == 1


async def test_that_there_is_no_record_holds_for_its_type() -> None:
    def give(question: dns.message.Message, over: str) -> dns.message.Message:
        return nothing(question, rcode=dns.rcode.NOERROR)

    async with name_server(give) as server:
        resolver = Resolver(server.address)
        for ask in (resolver.a, resolver.a, resolver.mx):
            with pytest.raises(NoRecords):
                await ask("exists.example")
        assert [type for _, type, _ in server.asked] == ["A", "MX"]


async def test_a_failure_is_kept_for_a_moment() -> None:
    async with name_server({("bad.example", "A"): dns.rcode.SERVFAIL}) as server:
        resolver = Resolver(server.address)
        for _ in range(3):
            with pytest.raises(Temporary, match="SERVFAIL"):
                await resolver.a("bad.example")
        assert server.count("bad.example") == 1
        forgetful = Resolver(server.address, keep=Keep(trouble=0))
        for _ in range(2):
            with pytest.raises(Temporary):
                await forgetful.a("bad.example")
        assert server.count("bad.example") == 3


async def test_every_error_is_an_exception_of_its_own() -> None:
    async with name_server({}) as server:
        resolver = Resolver(server.address)
        errors = []
        for _ in range(2):
            with pytest.raises(NoSuchName) as error:
                await resolver.a("gone.example")
            errors.append(error.value)
        assert errors[0] is not errors[1]


# Equal questions at the same time.


class Counting:
    """A name server that answers when it is told to."""

    def __init__(self) -> None:
        self.arrived: list[anyio.Event] = [anyio.Event() for _ in range(5)]
        self.released = anyio.Event()
        self._count = 0

    async def __call__(self, question: dns.message.Message, over: str) -> dns.message.Message:
        self.arrived[self._count].set()
        self._count += 1
        await self.released.wait()
        return answer(question, "192.0.2.1")


async def test_equal_questions_at_the_same_time_are_one() -> None:
    give, found = Counting(), []
    async with name_server(give) as server:
        resolver = Resolver(server.address)

        async def ask() -> None:
            found.append((await resolver.a("example.org")).records)

        async with create_task_group() as group:
            for _ in range(10):
                group.start_soon(ask)
            await give.arrived[0].wait()
            while resolver.statistics.joined < 9:
                await anyio.lowlevel.checkpoint()
            give.released.set()
        assert found == [(IP("192.0.2.1"),)] * 10
        assert server.count("example.org") == 1


async def test_when_the_one_who_asks_is_cancelled_another_goes_in_its_place() -> None:
    give, found, scopes = Counting(), [], []
    async with name_server(give) as server:
        resolver = Resolver(server.address)

        async def ask(number: int) -> None:
            with anyio.CancelScope() as scope:
                scopes.append(scope)
                found.append((number, (await resolver.a("example.org")).records))

        async with create_task_group() as group:
            for number in range(4):
                group.start_soon(ask, number)
            await give.arrived[0].wait()
            while resolver.statistics.joined < 3:
                await anyio.lowlevel.checkpoint()
            goes = {0, 1, 2, 3}
            scopes[0].cancel()
            await give.arrived[1].wait()
            give.released.set()
        assert len(found) == 3
        assert {number for number, _ in found} < goes
        assert server.count("example.org") == 2


async def test_the_end_of_one_budget_is_not_the_end_of_who_joined() -> None:
    give, found = Counting(), []
    async with name_server(give) as server:
        resolver = Resolver(server.address)

        async def ask() -> None:
            await give.arrived[0].wait()
            found.append((await resolver.a("example.org")).records)

        async with create_task_group() as group:
            group.start_soon(ask)
            with pytest.raises(DNSBudget):
                await resolver.within(Budget(10, 0.2)).a("example.org")
            await give.arrived[1].wait()
            give.released.set()
        assert found == [(IP("192.0.2.1"),)]


async def test_a_question_that_fails_by_mistake_fails_all_who_asked() -> None:
    class Broken:
        async def fetch(self, question: Any) -> Any:
            await anyio.lowlevel.checkpoint()
            raise ZeroDivisionError

    resolver, failed = Resolver(source=Broken()), []

    async def ask() -> None:
        with pytest.raises(ZeroDivisionError):
            await resolver.a("example.org")
        failed.append(1)

    async with create_task_group() as group:
        for _ in range(3):
            group.start_soon(ask)
    assert len(failed) == 3


# Budgets.


async def test_a_session_may_ask_so_much_beyond_the_cache() -> None:
    zone = {(f"{number}.example", "A"): "192.0.2.1" for number in range(5)}
    async with name_server(zone) as server:
        resolver = Resolver(server.address)
        budget = Budget(3, 60)
        view = resolver.within(budget)
        for number in (0, 1, 2, 0, 1, 2):
            assert await view.a(f"{number}.example")
        with pytest.raises(DNSBudget) as error:
            await view.a("3.example")
        assert isinstance(error.value, Temporary)
        assert server.count("3.example") == 0
        assert await view.a("2.example")  # what is known costs nothing
        assert await resolver.a("4.example")  # nor is it anybody else's
        budget.renew()
        assert await view.a("3.example")
        assert resolver.statistics.refused == 1


async def test_a_session_may_wait_so_long() -> None:
    async with name_server({("slow.example", "A"): None, ("other.example", "A"): None}) as server:
        view = Resolver(server.address).within(Budget(100, 0.1))
        with pytest.raises(DNSBudget):
            await view.a("slow.example")
        with pytest.raises(DNSBudget):
            await view.a("other.example")
        assert server.count("other.example") == 0


# Servers that are bad, and strangers.


async def test_an_answer_that_did_not_fit_is_asked_for_over_tcp() -> None:
    zone = {("big.example", "TXT"): [f'"{number:03}{"x" * 200}"' for number in range(40)]}
    async with name_server(zone) as server:
        resolver = Resolver(server.address)
        assert len(await resolver.txt("big.example")) == 40
        assert [over for _, _, over in server.asked] == ["udp", "tcp"]
        assert (resolver.statistics.sent, resolver.statistics.tcp) == (1, 1)


def truncated(question: dns.message.Message, over: str) -> dns.message.Message:
    reply = answer(question)
    reply.flags |= dns.flags.TC
    return reply


def over_tcp(give: Callable[[dns.message.Message], Any]) -> Callable[[dns.message.Message, str], Any]:
    return lambda question, over: truncated(question, over) if over == "udp" else give(question)


@pytest.mark.every_backend
@pytest.mark.parametrize(
    "give",
    [
        truncated,
        over_tcp(lambda question: []),
        over_tcp(lambda question: b"nonsense"),
        over_tcp(lambda question: answer(dns.message.make_query("other.example", "A"), "192.0.2.6")),
        lambda question, over: dns.rcode.REFUSED,
        lambda question, over: dns.rcode.SERVFAIL,
        lambda question, over: dns.rcode.NOTIMP,
        lambda question, over: dns.rcode.FORMERR,
    ],
    ids=["truncated twice", "closed", "nonsense", "another answer", "refused", "servfail", "notimp", "formerr"],
)
async def test_a_server_that_is_of_no_use_is_a_temporary_failure(give: Any) -> None:
    async with name_server(give) as server:
        with pytest.raises(Temporary):
            await Resolver(server.address, timeout=0.5, tries=1).a("example.org")


def forged(change: Callable[[dns.message.Message], None]) -> Callable[[dns.message.Message, str], Any]:
    """First an answer that is none, then the true one."""

    def give(question: dns.message.Message, over: str) -> list[bytes]:
        lie = answer(question, "192.0.2.66")
        change(lie)
        return [lie.to_wire(), answer(question, "192.0.2.1").to_wire()]

    return give


def _other_id(message: dns.message.Message) -> None:
    message.id ^= 1


def _other_name(message: dns.message.Message) -> None:
    message.question = answer(dns.message.make_query("evil.example", "A")).question


def _other_type(message: dns.message.Message) -> None:
    message.question = answer(dns.message.make_query("example.org", "MX")).question


def _a_question(message: dns.message.Message) -> None:
    message.flags &= ~dns.flags.QR


@pytest.mark.parametrize("change", [_other_id, _other_name, _other_type, _a_question])
async def test_what_is_no_answer_to_the_question_is_passed_over(change: Callable[[dns.message.Message], None]) -> None:
    async with name_server(forged(change)) as server:
        assert (await Resolver(server.address).a("example.org")).records == (IP("192.0.2.1"),)


@pytest.mark.parametrize("octets", [b"", b"\0", b"\xff" * 11, b"\xff" * 2000, b"\0" * 12])
async def test_garbage_is_passed_over(octets: bytes) -> None:
    def give(question: dns.message.Message, over: str) -> list[bytes]:
        own = struct.pack("!H", question.id)
        return [octets, own, own + octets, own + b"\x81\x80" + octets, answer(question, "192.0.2.1").to_wire()]

    async with name_server(give) as server:
        assert (await Resolver(server.address).a("example.org")).records == (IP("192.0.2.1"),)


async def test_an_answer_for_another_name_in_the_answer_is_not_taken() -> None:
    async with name_server({("example.org", "A"): ["evil.example. A 192.0.2.66"]}) as server:
        with pytest.raises(NoRecords):
            await Resolver(server.address).a("example.org")


async def test_a_server_is_asked_over_a_new_port_with_a_new_id_each_time() -> None:
    async with name_server({}) as server:
        resolver = Resolver(server.address)
        for number in range(20):
            with pytest.raises(NoSuchName):
                await resolver.a(f"{number}.example")
        assert len(set(server.ids)) > 15
        assert len(set(server.ports)) > 15
        assert server.ports != sorted(server.ports)


async def test_a_thousand_records_are_a_hundred() -> None:
    many = [f"10.0.{number // 250}.{number % 250}" for number in range(1000)]
    async with name_server({("many.example", "A"): many}) as server:
        assert len(await Resolver(server.address).a("many.example")) == 100


async def test_what_stands_behind_an_answer_is_not_read_when_it_is_too_much() -> None:
    def give(question: dns.message.Message, over: str) -> dns.message.Message:
        reply = truncated(question, over) if over == "udp" else answer(question, "192.0.2.1")
        if over == "tcp":
            reply.additional += answer(question, *(f"x{number}.example. A 192.0.2.2" for number in range(500))).answer
        return reply

    async with name_server(give) as server:
        assert (await Resolver(server.address).a("example.org")).records == (IP("192.0.2.1"),)


async def test_a_circle_of_cnames_is_a_temporary_failure() -> None:
    zone = {("a.example", "A"): ["CNAME b.example.", "b.example. CNAME a.example."]}
    async with name_server(zone) as server:
        with pytest.raises(Temporary, match="too many CNAMEs"):
            await Resolver(server.address).a("a.example")


async def test_seventeen_cnames_are_too_many() -> None:
    chain = [f"c{number}.example. CNAME c{number + 1}.example." for number in range(17)]
    async with name_server({("c0.example", "A"): [*chain, "c17.example. A 192.0.2.1"]}) as server:
        with pytest.raises(Temporary, match="too many CNAMEs"):
            await Resolver(server.address).a("c0.example")


async def test_a_server_that_sends_one_elsewhere_does_not_know() -> None:
    def give(question: dns.message.Message, over: str) -> dns.message.Message:
        reply = answer(question)
        reply.flags &= ~dns.flags.RA
        return reply

    async with name_server(give) as server:
        with pytest.raises(Temporary, match="no recursion"):
            await Resolver(server.address).a("example.org")


async def test_the_next_server_is_asked_and_then_remembered() -> None:
    async with (
        name_server(lambda question, over: None) as silent,
        name_server(lambda question, over: dns.rcode.SERVFAIL) as broken,
        name_server({("a.example", "A"): "192.0.2.1", ("b.example", "A"): "192.0.2.2"}) as good,
    ):
        resolver = Resolver(silent.address, broken.address, good.address, timeout=0.1)
        assert await resolver.a("a.example")
        assert await resolver.a("b.example")
        assert [len(each.asked) for each in (silent, broken, good)] == [1, 1, 2]


async def test_a_server_that_was_silent_is_asked_again() -> None:
    replies = [None, "192.0.2.1"]

    async with name_server(lambda question, over: replies.pop(0)) as server:
        resolver = Resolver(server.address, timeout=0.1)
        assert await resolver.a("example.org")
        assert resolver.statistics.timeouts == 1


async def test_a_server_that_said_it_cannot_is_not_asked_again() -> None:
    async with name_server(lambda question, over: dns.rcode.REFUSED) as server:
        with pytest.raises(Temporary, match="REFUSED"):
            await Resolver(server.address, tries=5).a("example.org")
        assert len(server.asked) == 1


async def test_a_port_on_which_nobody_listens_is_a_temporary_failure() -> None:
    with pytest.raises(Temporary):
        await Resolver(f"127.0.0.1:{closed_port()}", timeout=30, lifetime=30).a("example.org")


async def test_a_question_ends_in_time() -> None:
    async with name_server(lambda question, over: None) as server:
        with pytest.raises(Temporary, match="no answer in time"):
            await Resolver(server.address, timeout=10, lifetime=0.1).a("example.org")


async def test_more_questions_than_the_server_can_wait_for_fail_at_once() -> None:
    give = Counting()
    async with name_server(give) as server:
        resolver = Resolver(server.address, at_once=1)
        async with create_task_group() as group:
            group.start_soon(resolver.a, "example.org")
            await give.arrived[0].wait()
            with pytest.raises(Temporary, match="too many questions"):
                await resolver.a("other.example")
            give.released.set()
        assert await resolver.a("other.example")


async def test_a_cancelled_question_leaves_no_socket() -> None:
    async with name_server(lambda question, over: None if over == "udp" else truncated(question, over)) as server:
        resolver = Resolver(server.address)
        async with create_task_group() as group:
            for number in range(50):
                group.start_soon(resolver.a, f"{number}.example")
            while len(server.asked) < 50:
                await anyio.lowlevel.checkpoint()
            group.cancel_scope.cancel()
        with move_on_after(0):
            await resolver.a("more.example")
    gc.collect()  # a socket that was left open would be a ResourceWarning, and that an error


# DNSSEC.


def validated(question: dns.message.Message, over: str) -> dns.message.Message:
    assert question.flags & dns.flags.AD
    reply = answer(question, "192.0.2.1") if question.question[0].name.labels[0] == b"a" else nothing(question)
    reply.flags |= dns.flags.AD
    return reply


async def test_what_a_server_on_this_machine_has_validated_is_secure() -> None:
    async with name_server(validated) as server:
        resolver = Resolver(server.address)
        assert (await resolver.a("a.example")).secure
        assert (await resolver.a("a.example")).secure
        with pytest.raises(NoSuchName) as error:
            await resolver.a("gone.example")
        assert error.value.secure


async def test_what_a_server_elsewhere_says_is_not(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("mailstack.services.resolver.network._is_here", lambda server: False)
    async with name_server(validated) as server:
        assert not (await Resolver(server.address).a("a.example")).secure
        assert (await Resolver(server.address, trust_ad=True).a("a.example")).secure


# Name servers.


async def test_the_servers_are_those_of_resolv_conf_as_it_is_now(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = tmp_path / "resolv.conf"
    monkeypatch.setattr(servers_module, "RESOLV_CONF", str(file))
    servers = servers_module.Servers()
    with pytest.raises(servers_module.NoServers, match=r"resolv\.conf: No such file"):
        servers.now()
    resolver = Resolver()
    with pytest.raises(
        Temporary, match=r'No such file or directory; write Server\(resolver=Resolver\("127\.0\.0\.1"\)\)'
    ):
        await resolver.a("example.org")
    file.write_text("search example.com\n# nothing\n")
    with pytest.raises(Temporary, match="names no name server"):
        await resolver.a("example.org")
    file.write_text(
        "nameserver 127.0.0.1\nnameserver bogus\nnameserver ::1 # six\noptions rotate\n"
        "nameserver 192.0.2.3\nnameserver 192.0.2.4\n"
    )
    assert servers.now() == [("127.0.0.1", 53), ("::1", 53), ("192.0.2.3", 53)]
    monkeypatch.setattr(servers_module, "_LOOK", 0)
    servers.prefer(("::1", 53))
    assert servers.now()[0] == ("::1", 53)
    file.write_text("nameserver 192.0.2.9\n")
    assert servers.now() == [("192.0.2.9", 53)]
    file.unlink()
    assert servers.now() == [("192.0.2.9", 53)]


@pytest.mark.parametrize(
    ("given", "problem"),
    [
        ("localhost", "not the address of a name server"),
        ("unix:/run/dns", "not the address"),
        ("127.0.0.1:x", "no port"),
    ],
)
def test_a_server_that_is_no_address_is_told(given: str, problem: str) -> None:
    with pytest.raises(ConfigError, match=problem):
        Resolver(given)


def test_a_server_is_written_as_people_write_it() -> None:
    resolver = Resolver("127.0.0.1", "[::1]:5353", "2001:db8::1", "192.0.2.1:54")
    assert str(resolver.servers) == "127.0.0.1:53, [::1]:5353, [2001:db8::1]:53, 192.0.2.1:54"
    assert str(Resolver().servers) == f"the name servers of {servers_module.RESOLV_CONF}"


@pytest.mark.parametrize(
    "wrong", [{"timeout": 0}, {"tries": 0}, {"cache": -1}, {"session_queries": 0}, {"lifetime": "x"}]
)
def test_options_that_make_no_sense_are_told(wrong: dict[str, Any]) -> None:
    with pytest.raises(ConfigError, match=next(iter(wrong))):
        Resolver(**wrong)


# The name of an address.


def reverse_zone(more: dict[str, Any]) -> dict[tuple[str, str], Any]:
    zone: dict[tuple[str, str], Any] = {("1.2.0.192.in-addr.arpa", "PTR"): "mail.example.org."}
    for key, records in more.items():
        name, type = key.split(" ")
        zone[name, type] = records
    return zone


@pytest.mark.parametrize(
    ("zone", "name", "result"),
    [
        ({"mail.example.org A": ["192.0.2.2", "192.0.2.1"]}, "mail.example.org", "pass"),
        (
            {
                "1.2.0.192.in-addr.arpa PTR": ["mail.example.org.", "other.example.org."],
                "other.example.org A": "192.0.2.1",
            },
            "other.example.org",
            "pass",
        ),
        ({"mail.example.org A": "192.0.2.2"}, "mail.example.org", "fail"),
        ({"mail.example.org A": dns.rcode.SERVFAIL}, "mail.example.org", "temperror"),
        ({"1.2.0.192.in-addr.arpa PTR": dns.rcode.SERVFAIL}, None, "temperror"),
        ({"1.2.0.192.in-addr.arpa PTR": "bad\\010name.example."}, None, "permerror"),
    ],
)
async def test_a_name_counts_when_it_leads_back(zone: dict[str, Any], name: str | None, result: str) -> None:
    async with name_server(reverse_zone(zone)) as server:
        found = await reverse_name(Resolver(server.address), IP("::ffff:192.0.2.1"))
        assert (found.name, found.result, found.confirmed) == (name, result, result == "pass")


async def test_an_address_without_a_name_has_none_and_one_may_not_look_back() -> None:
    async with name_server({("2.2.0.192.in-addr.arpa", "PTR"): "mail.example.org."}) as server:
        resolver = Resolver(server.address)
        assert (await reverse_name(resolver, IP("192.0.2.9"))).result == "permerror"
        found = await reverse_name(resolver, IP("192.0.2.2"), confirm=False)
        assert (found.name, found.result) == ("mail.example.org", "fail")
        assert server.count("mail.example.org") == 0


async def test_a_hundred_names_cost_six_questions() -> None:
    names = [f"n{number}.example." for number in range(100)]
    async with name_server({("1.2.0.192.in-addr.arpa", "PTR"): names}) as server:
        assert (await reverse_name(Resolver(server.address), IP("192.0.2.1"))).result == "fail"
        assert sum(type == "A" for _, type, _ in server.asked) == 5
