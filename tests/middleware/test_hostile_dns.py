"""What a hostile name server says does no harm: huge answers, odd texts, bombs, error codes, answers for everything."""

from __future__ import annotations

import re
from collections import Counter
from typing import Any

import dns.message
import dns.rcode
import pytest

from mailstack.middleware import dnsbl, fcrdns, resolvable, uribl
from mailstack.services.resolver import Resolver
from mailstack.testing import Dialog, FakeResolver, Vouch
from tests import filtering
from tests.nameserver import answer, name_server

LISTED = {"1.2.0.192.bl.test": {"A": "127.0.0.2"}}
TEXTS = {
    "line ends": b"spam\r\n250 ok\r\n",
    "a fold": b"spam\r\n Bcc: eve@example.org",
    "a header field": b"spam\nBcc: eve@example.org",
    "a terminal": b"\x1b]0;root\x07\x1b[2Jspam",
    "eight bits": b"spam \xff\xc3\xa4\x85\xe2\x80\xa8",
    "NUL": b"spam\0ham",
    "braces": b"{zone} {0} %s spam",
    "much": b"spam " * 13_000,
}


@pytest.mark.parametrize("text", TEXTS.values(), ids=TEXTS.keys())
async def test_the_text_of_a_list_is_one_line_of_ascii_wherever_it_is_told(
    text: bytes, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("INFO", "mailstack")
    records: dict[str, Any] = {
        "1.2.0.192.bl.test": {"A": "127.0.0.2", "TXT": text},
        "pills.test.uri.test": {"A": "127.0.0.2", "TXT": text},
    }
    dns = FakeResolver(records)
    async with Dialog(dnsbl.DNSBL("bl.test"), Vouch(), resolver=dns) as smtp:
        reply = await smtp.message("ann@example.org", "bob@example.net")
        [line] = reply.lines
        assert line.startswith("5.7.1 192.0.2.1 is listed by bl.test: ")
        assert len(line) < 300
        assert "spam" in line
    entry = uribl.URIBL("uri.test", threshold=2, mark="X-URIBL")
    async with Dialog(entry, Vouch(), resolver=dns) as smtp:
        answer = await smtp.message("ann@example.org", "bob@example.net", "Subject: hi\n\nhttp://pills.test/\n")
        assert answer == 250
        header = smtp.messages[0].content.partition(b"\r\n\r\n")[0]
        assert re.search(rb"^X-URIBL: pills\.test is listed by\s+uri\.test", header, re.MULTILINE)
        assert b"\r\nBcc" not in header
        assert not re.search(rb"[^ -~\r\n\t]", header)
    assert not re.search(r"[\x00-\x08\x0b-\x1f\x7f-\x9f]", caplog.text)
    assert all("\n" not in record.getMessage() for record in caplog.records)


NAMES = {
    "line end": "evil\\010name.test.",
    "comment": "\\(name.test.",
    "terminal": "\\027[2J.test.",
    "brackets": "a]\\ by\\ mx.test.",
    "eight bits": "\\228.test.",
}


@pytest.mark.parametrize("name", NAMES.values(), ids=NAMES.keys())
async def test_a_name_that_is_none_is_nobody_s_name(name: str, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level("INFO", "mailstack")
    records: dict[str, Any] = {"192.0.2.1": name, "example.org": {"MX": [f"10 {name}", "20 mx.example.org."]}}
    records["mx.example.org"] = {"A": "198.18.0.1"}
    dns = FakeResolver(records)
    stack = fcrdns.FCrDNS(), resolvable.Resolvable(impossible=())
    async with Dialog(*stack, Vouch(), resolver=dns) as smtp:
        assert await smtp.message("ann@example.org", "bob@example.net") == 250
        content = smtp.messages[0].content
        assert b"(unknown [192.0.2.1])\r\n" in content
        assert b"iprev=permerror" in content
    assert {asked for asked, _ in dns.asked} == {"1.2.0.192.in-addr.arpa", "example.org", "mx.example.org"}


def bomb(question: dns.message.Message, over: str) -> dns.message.Message:
    """Of everything more than is read, each of another name; and every list lists everybody, with all it can say."""
    asked = question.question[0]
    label = str(asked.name).partition(".")[0]
    match asked.rdtype.name:
        case "PTR":
            return answer(question, *(f"p{number}.test." for number in range(150)))
        case "MX":
            return answer(question, *(f"{number} m{number}-{label}.test." for number in range(150)))
        case "TXT":
            return answer(question, *(f'"{number} {"x" * 40}"' for number in range(150)))
        case "AAAA":
            return answer(question, *(f"2001:db8::{number:x}" for number in range(150)))
        case _:
            return answer(question, *(f"127.0.{number // 250}.{2 + number % 250}" for number in range(150)))


async def test_bombs_cost_a_bounded_number_of_questions_and_a_bounded_memory() -> None:
    async with name_server(bomb) as server:
        resolver = Resolver(server.address)
        dialog = Dialog(*filtering.stack(which=("sender", "helo", "ptr")), client=filtering.CLEAN, resolver=resolver)
        async with dialog as smtp:
            await smtp.say("EHLO c20.mail.test")
            await smtp.say("MAIL FROM:<ann@mail.test>")
            reply = await smtp.say("RCPT TO:<bob@example.test>")
            assert reply == 550
            assert len(reply.lines) == 1
            assert all(len(each.detail) < 3000 for each in smtp.evidence)
            questions = {(name, type) for name, type, _ in server.asked}
            by_type = Counter(type for _, type in questions)
        assert by_type["PTR"] == 1
        assert by_type["MX"] == 1
        assert by_type["AAAA"] <= 11  # ten servers of the sender's, and HELO
        assert sum(by_type.values()) <= 40
        assert resolver._shared.cache.octets < 5_000_000


async def test_a_session_has_asked_enough_before_its_questions_become_an_attack() -> None:
    """A message full of links, to lists that know none of them."""
    dns = FakeResolver(session_queries=60)
    links = " ".join(f"http://a.b{number}.test/" for number in range(500))
    entry = uribl.URIBL("one.test", "two.test", "three.test", hosts=50)
    async with Dialog(entry, Vouch(), resolver=dns) as smtp:
        assert await smtp.message("ann@example.org", "bob@example.net", f"Subject: hi\n\n{links}\n") == 250
        assert len(dns.asked) <= 60
    assert sum(each.errors for each in entry.statistics.values()) > 0
    assert sum(each.listed for each in entry.statistics.values()) == 0


@pytest.mark.parametrize("rcode", ["SERVFAIL", "REFUSED", "FORMERR", "NOTIMP", "NOTAUTH", "YXDOMAIN"])
async def test_an_error_code_lists_nobody(rcode: str) -> None:
    async with name_server({("1.2.0.192.bl.test", "A"): dns.rcode.from_text(rcode)}) as server:
        entry = dnsbl.DNSBL("bl.test")
        async with Dialog(entry, Vouch(), resolver=Resolver(server.address, timeout=1, tries=1)) as smtp:
            assert await smtp.message("ann@example.org", "bob@example.net") == 250
        assert (entry.statistics["bl.test"].errors, entry.statistics["bl.test"].listed) == (1, 0)


async def test_a_resolver_that_has_an_answer_for_everything_lists_and_trusts_nobody() -> None:
    """Some providers answer for names that do not exist, with the address of a page of theirs."""

    def give(question: dns.message.Message, over: str) -> dns.message.Message:
        kinds = {"A": "198.51.100.1", "MX": "10 page.test.", "PTR": "page.test.", "AAAA": "2001:db8::1", "TXT": '"x"'}
        return answer(question, kinds[question.question[0].rdtype.name])

    async with name_server(give) as server:
        stack = filtering.stack()
        async with Dialog(*stack, client=filtering.CLEAN, resolver=Resolver(server.address)) as smtp:
            await smtp.say("EHLO [192.0.2.20]")
            await smtp.say("MAIL FROM:<ann@mail.test>")
            assert (
                str(await smtp.say("RCPT TO:<bob@example.test>"))
                == "550 5.7.1 address literals are not taken: [192.0.2.20]"
            )
        for place in (3, 4):  # dnswl, dnsbl
            assert all((each.errors, each.listed) == (1, 0) for each in stack[place].statistics.values())
