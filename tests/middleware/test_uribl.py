"""The hosts that a message leads to, found as a browser would, and asked for."""

from __future__ import annotations

import base64
import ipaddress
import quopri
from email import policy
from email.message import EmailMessage
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mailstack.middleware import uribl
from mailstack.middleware.uribl.uris import hosts
from mailstack.option import ConfigError
from mailstack.testing import Dialog, FakeResolver, Vouch

PLAIN = b"Subject: hi\r\n\r\n"


def ip(text: str) -> Any:
    return ipaddress.ip_address(text)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("see http://Spam.Example/path?q", ["spam.example"]),
        ("HTTPS://a.example:8080#x and ftp://b.example.", ["a.example", "b.example"]),
        ("<a href='http://user:pass@good.example@evil.example/'>", ["evil.example"]),
        ("www.spam.example, and awww.not.example", ["www.spam.example"]),
        ("http:\\\\back.example\\x", ["back.example"]),
        ("http://192.0.2.1/ http://[2001:db8::1]:80/", [ip("192.0.2.1"), ip("2001:db8::1")]),
        (
            "http://3221225985/ http://0xC0000202/ http://0300.0.2.3/",
            [ip("192.0.2.1"), ip("192.0.2.2"), ip("192.0.2.3")],
        ),
        ("http://sp%61m.example/", ["spam.example"]),
        ("http://bücher.example/", ["xn--bcher-kva.example"]),
        ("http://a.example http://a.example http://A.EXAMPLE.", ["a.example"]),
        ("http:// http://localhost/ http://-/ http://[x]/ mailto:a@b.example", []),
        ("http://" + "a" * 5000, []),
    ],
)
def test_hosts_in_plain_text(text: str, expected: list[Any]) -> None:
    assert hosts(PLAIN + text.encode(), 20) == expected


@pytest.mark.parametrize(
    ("header", "body"),
    [
        ("Content-Transfer-Encoding: base64", base64.encodebytes(b"click http://spam.example/ now")),
        ("Content-Transfer-Encoding: quoted-printable", quopri.encodestring(b"http://sp") + b"=\r\nam.exam=70le/"),
        ("Content-Type: text/html", b"<a href=http://spam&#46;example/>x</a>"),
        ("Content-Type: text/html; charset=nonsense", b"<a href=http://spam.example/>\xff</a>"),
        (
            "Content-Type: multipart/mixed; boundary=x",
            b"--x\r\nContent-Type: image/png\r\n\r\nhttp://no.example\r\n--x\r\n\r\nhttp://spam.example\r\n",
        ),
        ("Content-Type: message/rfc822", b"Subject: x\r\n\r\nhttp://spam.example\r\n"),
    ],
)
def test_hosts_behind_encodings(header: str, body: bytes) -> None:
    assert hosts(f"{header}\r\n\r\n".encode() + body, 20) == ["spam.example"]


@pytest.mark.parametrize(
    ("body", "expected"),
    [
        ("<a href='//spam.example/x'>", ["spam.example"]),
        ("<a href=http:/spam.example/x>", ["spam.example"]),
        ("<a href='http:spam.example'>", ["spam.example"]),
        ('<img src="ht\r\ntp://spam\r\n.example/">', ["spam.example"]),
        ("<a href = '\\\\spam.example'>", ["spam.example"]),
        ("<a href=http://spam&#0000000000046;example/>", ["spam.example"]),
        ("<a href=http://spam&#x00000000002e;example/>", ["spam.example"]),
        ("<a href='/local'> <a href='#x'> <a href='mailto:a@spam.example'>", []),
        ("&#" + "9" * 5000 + "; http://spam.example/", ["spam.example"]),
    ],
)
def test_links_of_html_are_read_as_browsers_do(body: str, expected: list[str]) -> None:
    assert hosts(b"Content-Type: text/html\r\n\r\n" + body.encode(), 20) == expected


def nested(depth: int) -> bytes:
    """A text that leads somewhere, within so many multiparts."""
    opening = b"".join(b"Content-Type: multipart/mixed; boundary=b%d\r\n\r\n--b%d\r\n" % (n, n) for n in range(depth))
    return opening + b"\r\nhttp://spam.example/\r\n" + b"".join(b"--b%d--\r\n" % n for n in reversed(range(depth)))


@pytest.mark.parametrize(("depth", "expected"), [(1, ["spam.example"]), (50, ["spam.example"]), (5000, [])])
def test_parts_within_parts_cost_no_more_than_their_octets(depth: int, expected: list[str]) -> None:
    assert hosts(nested(depth) + b"x\n" * 50_000, 20) == expected


@pytest.mark.parametrize("charset", ["utf-16", "utf-16le", "utf-7", "UTF-8", "zip", "punycode", "idna"])
def test_charsets_in_which_ascii_is_something_else_are_read(charset: str) -> None:
    text = "http://spam.example/".encode(charset if charset.lower().startswith("utf") else "ascii")
    header = f"Content-Type: text/plain; charset={charset}\r\nContent-Transfer-Encoding: base64\r\n\r\n"
    assert hosts(header.encode() + base64.encodebytes(text), 20) == ["spam.example"]


def test_parts_behind_parts_are_found_as_the_standard_library_finds_them() -> None:
    message = EmailMessage()
    message.set_content("http://one.example/")
    message.add_alternative("<a href='http://two.example/'>x</a>", subtype="html", cte="base64")
    message.add_attachment(b"http://no.example/", maintype="application", subtype="octet-stream", cte="7bit")
    inner = EmailMessage()
    inner.set_content("http://three.example/", cte="quoted-printable")
    message.add_attachment(inner)
    assert hosts(message.as_bytes(policy=policy.SMTP), 20) == ["one.example", "two.example", "three.example"]


def test_no_more_hosts_than_asked_for() -> None:
    text = " ".join(f"http://h{number}.example/" for number in range(100))
    assert len(hosts(PLAIN + text.encode(), 20)) == 20


HEADERS = st.sampled_from(
    [
        "",
        "Content-Transfer-Encoding: base64\n",
        "Content-Transfer-Encoding: x-uuencode\n",
        "Content-Transfer-Encoding: qp\n",
        "Content-Type: text/html\n",
        "Content-Type: multipart/mixed; boundary=a\n",
        "Content-Type: \xff\n",
    ]
)


@given(HEADERS, st.binary(max_size=400))
def test_any_octets_are_read(header: str, body: bytes) -> None:
    hosts(header.encode("latin-1") + b"\n" + body, 20)
    hosts(header.encode("latin-1") + b"\nhttp://" + body, 20)


LISTED = {
    "spam.example.uri.example": {"A": "127.0.0.4"},
    "1.2.0.192.uri.example": {"A": "127.0.0.2", "TXT": "phishing"},
}


async def answered(text: str, dns: FakeResolver, **options: Any) -> tuple[str, bytes]:
    async with Dialog(Vouch(), uribl.URIBL("uri.example", **options), resolver=dns) as smtp:
        reply = await smtp.message("a@example.org", "b@example.org", PLAIN + text.encode())
        return str(reply), smtp.messages[0].content if smtp.messages else b""


@pytest.mark.parametrize(
    ("text", "reply"),
    [
        ("http://a.b.spam.example/", "550 5.7.1 spam.example is listed by uri.example"),
        ("http://192.0.2.1/", "550 5.7.1 192.0.2.1 is listed by uri.example: phishing"),
        ("http://good.example/", "250"),
        ("nothing", "250"),
    ],
)
async def test_a_message_that_leads_to_a_listed_host_is_refused(text: str, reply: str) -> None:
    assert (await answered(text, FakeResolver(LISTED)))[0].startswith(reply)


async def test_hits_below_the_threshold_leave_a_mark() -> None:
    reply, content = await answered("http://spam.example/", FakeResolver(LISTED), threshold=2, mark="X-URIBL")
    assert reply.startswith("250")
    assert content.startswith(b"X-URIBL: spam.example is listed by uri.example\r\n")


async def test_what_is_ignored_and_what_is_beyond_the_scan_are_not_asked_for() -> None:
    dns = FakeResolver(LISTED)
    reply, _ = await answered("http://www.spam.example/", dns, ignore=["spam.example"])
    assert reply.startswith("250")
    reply, _ = await answered("x" * 3000 + " http://spam.example/", dns, scan=2048)
    assert reply.startswith("250")
    assert [name for name, type in dns.asked if type == "A"] == []


@pytest.mark.parametrize(
    "options", [{"hosts": 0}, {"levels": 9}, {"mark": "a b"}, {"ignore": "not a domain"}, {"scan": "much"}]
)
def test_what_makes_no_sense_is_an_error(options: dict[str, Any]) -> None:
    with pytest.raises(ConfigError, match="URIBL"):
        uribl.URIBL("uri.example", **options)
