"""auth: what is offered to whom, and RFC 4954 to the letter."""

from __future__ import annotations

import json
from typing import Any

import pytest

from mailstack import ConfigError, Limits, Reply, Stack, When, hookimpl, lookup, predicate
from mailstack.middleware import tls
from mailstack.middleware.auth import Auth, cram_md5
from mailstack.session.session import Session
from mailstack.session.transaction import Sender
from mailstack.testing import Conversation, Dialog, Vouch
from mailstack.wire.command import Command
from tests.middleware.auth.users import EVERY, Users, b64, begin, open_auth, plain, scram, unb64
from tests.tls import client_context, pem


async def offered(smtp: Conversation) -> str | None:
    return (await smtp.say("EHLO client.example")).keywords.get("AUTH")


async def answer(smtp: Conversation, line: str) -> str:
    said = await smtp.say(line)
    return f"{said.code} {said.status} {said.text}" if said.code != 334 else str(said)


async def login(smtp: Conversation, line: str = f"AUTH PLAIN {plain()}") -> None:
    await begin(smtp)
    assert await smtp.say(line) == 235


# What is offered.


async def test_offered_is_what_is_wanted_and_can_be_judged_the_strongest_first() -> None:
    class Few:
        mechanisms = ("LOGIN", "PLAIN", "SCRAM-SHA-256", "X-OWN")

        @hookimpl
        def auth(self) -> Reply | None:
            return None

    async with Dialog(Auth(insecure=True), Few()) as smtp:
        assert await offered(smtp) == "SCRAM-SHA-256 PLAIN LOGIN"
    async with Dialog(Auth(insecure=True), Users()) as smtp:
        assert await offered(smtp) == "SCRAM-SHA-256 SCRAM-SHA-1 OAUTHBEARER XOAUTH2 PLAIN LOGIN"
    async with Dialog(Auth(insecure=True)) as smtp:
        assert await offered(smtp) is None
        assert await answer(smtp, f"AUTH PLAIN {plain()}") == "504 5.5.4 mechanism not offered"


async def test_in_clear_nothing_is_offered_and_nothing_is_judged() -> None:
    users = Users(ann="right")
    async with Dialog(tls.TLS(pem()), Auth(delay=0), users, Vouch()) as smtp:
        assert await offered(smtp) is None
        wanted = "538 5.7.11 encryption required: must issue a STARTTLS command first"
        assert await answer(smtp, f"AUTH PLAIN {plain()}") == wanted
        assert users.asked == []
        assert await smtp.say("STARTTLS") == 220
        await smtp.start_tls(client_context())
        assert await offered(smtp) is not None
        assert await smtp.say(f"AUTH PLAIN {plain()}") == 235
        assert await smtp.message("ann@example.org", "b@example.net") == 250
        assert b"with ESMTPSA" in smtp.messages[0].content


async def test_without_an_entry_for_tls_it_is_closed_all_the_same() -> None:
    users = Users(ann="right")
    async with Dialog(Auth(), users) as smtp:
        assert await offered(smtp) is None
        assert await smtp.say(f"AUTH PLAIN {plain()}") == 538
        assert await smtp.say("AUTH CRAM-MD5") == 504
    assert users.asked == []


@pytest.mark.parametrize(("client", "code"), [("127.0.0.1", 235), ("192.0.2.1", 538), ("", 538)])
async def test_in_clear_for_some_networks(client: str, code: int) -> None:
    async with Dialog(open_auth(insecure=["127.0.0.0/8", "::1"]), Users(ann="right"), client=client) as smtp:
        assert (await offered(smtp) is not None) is (code == 235)
        assert await smtp.say(f"AUTH PLAIN {plain()}") == code


async def test_a_condition_around_it_and_one_around_a_provider_hold() -> None:
    near = predicate.client_in("192.0.2.0/24")
    async with Dialog(When(near, open_auth()), When(~near, Users(ann="right")), client="192.0.2.9") as smtp:
        assert await offered(smtp) is None
    async with Dialog(When(near, open_auth()), Users(ann="right"), client="198.51.100.1") as smtp:
        assert await offered(smtp) is None
        assert await smtp.say(f"AUTH PLAIN {plain()}") == 502


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"mechanisms": ()}, "nobody could log in"),
        ({"mechanisms": ("DIGEST-MD5",)}, "DIGEST-MD5"),
        ({"insecure": "localhost"}, "insecure"),
        ({"longest": "1m"}, "too long a delay"),
        ({"failures": 0}, "failures"),
        ({"discovery": "http://login.example"}, "discovery"),
    ],
)
def test_what_cannot_be_is_told_at_the_start(options: dict[str, Any], words: str) -> None:
    with pytest.raises(ConfigError, match=words):
        Auth(**options)


# The dialog.


@pytest.mark.parametrize(
    "lines",
    [
        [f"AUTH PLAIN {plain()}"],
        [f"auth plain {plain()}"],
        [f"AUTH PLAIN {plain(authority='ann')}"],
        ["AUTH PLAIN", plain()],
        ["AUTH LOGIN", b64("ann"), b64("right")],
        [f"AUTH LOGIN {b64('ann')}", b64("right")],
        [f"AUTH OAUTHBEARER {b64('n,a=ann,' + chr(1) + 'auth=Bearer tok-ann' + 2 * chr(1))}"],
        [f"AUTH OAUTHBEARER {b64('n,,' + chr(1) + 'host=a' + chr(1) + 'auth=bearer tok-ann' + 2 * chr(1))}"],
        ["AUTH XOAUTH2", b64("user=ann\1auth=Bearer tok-ann\1\1")],
    ],
)
async def test_the_right_words_are_235(lines: list[str]) -> None:
    async with Dialog(open_auth(), Users(ann="right")) as smtp:
        await begin(smtp)
        for line in lines[:-1]:
            assert await smtp.say(line) == 334
        assert await answer(smtp, lines[-1]) == "235 2.7.0 authenticated"
        assert smtp.session.user == "ann"
        assert smtp.session.mechanism == lines[0].split()[1].upper()


async def test_the_prompts_are_those_that_programs_know() -> None:
    async with Dialog(open_auth(), Users()) as smtp:
        await begin(smtp)
        assert str(await smtp.say("AUTH LOGIN")) == "334 VXNlcm5hbWU6"
        assert str(await smtp.say(b64("ann"))) == "334 UGFzc3dvcmQ6"
        await smtp.say("*")
        assert str(await smtp.say("AUTH PLAIN")) == "334 "


@pytest.mark.parametrize("password", ["right", "wrong"])
async def test_cram_md5(password: str) -> None:
    async with Dialog(open_auth(), Users({"ann b": "right"})) as smtp:
        await begin(smtp)
        challenge = unb64((await smtp.say("AUTH CRAM-MD5")).text)
        assert challenge.endswith("@mx.test>")
        digest = cram_md5.digest(password, challenge.encode())
        assert await smtp.say(b64(f"ann b {digest}")) == (235 if password == "right" else 535)
        if password == "wrong":
            assert unb64((await smtp.say("AUTH CRAM-MD5")).text) != challenge


def test_the_example_of_rfc_2195() -> None:
    challenge = b"<1896.697170952@postoffice.reston.mci.net>"
    assert cram_md5.digest("tanstaaftanstaaf", challenge) == "b913a602c7eda7a495b4e6e7334d3890"


@pytest.mark.parametrize(
    ("line", "reply"),
    [
        ("AUTH", "501 5.5.4 the syntax is AUTH mechanism [initial-response]"),
        (f"AUTH PLAIN {plain()} more", "501 5.5.4 the syntax is AUTH mechanism [initial-response]"),
        (f"AUTH PLAIN  {plain()}", "501 5.5.4 the syntax is AUTH mechanism [initial-response]"),
        ("AUTH PLAIN not-base64!", "501 5.5.2 cannot decode that base64"),
        ("AUTH PLAIN QQ", "501 5.5.2 cannot decode that base64"),
        ("AUTH PLAIN *", "501 5.5.2 cannot decode that base64"),
        ("AUTH PLAIN =", "501 5.5.2 that is not what this mechanism says"),
        (f"AUTH PLAIN {b64('ann right')}", "501 5.5.2 that is not what this mechanism says"),
        (f"AUTH PLAIN {b64(chr(0).join(['', 'ann', 'right', '']))}", "501 5.5.2 that is not what this mechanism says"),
        (f"AUTH PLAIN {plain('')}", "501 5.5.2 that is not what this mechanism says"),
        (f"AUTH PLAIN {plain('a' * 513)}", "501 5.5.2 that is not what this mechanism says"),
        (f"AUTH PLAIN {b64(bytes([0, 255, 0, 255]))}", "501 5.5.2 that is not what this mechanism says"),
        (f"AUTH PLAIN {plain(authority='bob')}", "535 5.7.8 you may not act for others"),
        (f"AUTH PLAIN {plain(password='')}", "535 5.7.8 authentication failed"),
        (f"AUTH PLAIN {plain(password='wrong')}", "535 5.7.8 authentication failed"),
        (f"AUTH PLAIN {plain('nobody')}", "535 5.7.8 authentication failed"),
        (f"AUTH CRAM-MD5 {b64('ann')}", "501 5.7.0 this mechanism has no initial response"),
        (f"AUTH OAUTHBEARER {b64('n,,')}", "501 5.5.2 that is not what this mechanism says"),
        (f"AUTH XOAUTH2 {b64('user=ann')}", "501 5.5.2 that is not what this mechanism says"),
        (f"AUTH SCRAM-SHA-256 {b64('p=tls-unique,,n=ann,r=x')}", "501 5.5.2 that is not what this mechanism says"),
        (f"AUTH SCRAM-SHA-256 {b64('n,a=bob,n=ann,r=x')}", "535 5.7.8 you may not act for others"),
        ("AUTH SCRAM-SHA-256-PLUS", "504 5.5.4 mechanism not offered"),
        ("AUTH EXTERNAL =", "504 5.5.4 mechanism not offered"),
        ("AUTH §", "501 5.5.2 non-ASCII characters in the command"),
    ],
)
async def test_everything_else_is_refused_and_the_session_goes_on(line: str, reply: str) -> None:
    async with Dialog(open_auth(failures=9), Users(ann="right")) as smtp:
        await begin(smtp)
        assert await answer(smtp, line) == reply
        assert smtp.session.user is None
        assert [each for each in smtp.evidence if each.outcome == "fault"] == []
        assert await smtp.say(f"AUTH PLAIN {plain()}") == 235


@pytest.mark.parametrize("mechanism", EVERY)
async def test_each_mechanism_can_be_cancelled(mechanism: str) -> None:
    async with Dialog(open_auth(), Users(ann="right")) as smtp:
        await begin(smtp)
        assert await smtp.say(f"AUTH {mechanism}") == 334
        assert await answer(smtp, "*") == "501 5.7.0 authentication cancelled"
        assert await smtp.say("NOOP") == 250


async def test_it_has_its_time() -> None:
    async with Dialog(open_auth(), Users(ann="right"), Vouch()) as smtp:
        assert await answer(smtp, f"AUTH PLAIN {plain()}") == "503 5.5.1 send EHLO first"
        await smtp.say("HELO client.example")
        assert await answer(smtp, f"AUTH PLAIN {plain()}") == "503 5.5.1 send EHLO first"
        await begin(smtp)
        await smtp.say("MAIL FROM:<ann@example.org>")
        assert await answer(smtp, f"AUTH PLAIN {plain()}") == "503 5.5.1 not within a transaction"
        await smtp.say("RSET")
        assert await smtp.say(f"AUTH PLAIN {plain()}") == 235
        assert await answer(smtp, f"AUTH PLAIN {plain()}") == "503 5.5.1 you have logged in already"
        await begin(smtp)
        assert smtp.session.user == "ann"


async def test_who_is_known_by_a_certificate_may_log_in() -> None:
    certified = tls.TLS(
        pem(), client_certificates="optional", client_ca=_authority(), identity={"email:host@example.org": "host"}
    )
    async with Dialog(certified, Auth(delay=0, required=True), Users(ann="right"), Vouch(), tls=True) as smtp:
        await smtp.start_tls(client_context("host@example.org"))
        await smtp.banner()
        await begin(smtp)
        assert smtp.session.user == "host"
        assert await smtp.say("MAIL FROM:<>") == 250
        await smtp.say("RSET")
        assert await smtp.say(f"AUTH PLAIN {plain()}") == 235
        assert smtp.session.user == "ann"


def _authority() -> Any:
    from tests.tls import authority_pem

    return authority_pem()


async def test_a_program_that_sends_all_at_once_is_served() -> None:
    async with Dialog(open_auth(required=True), Users(ann="right"), Vouch()) as smtp:
        await begin(smtp)
        lines = (f"AUTH PLAIN {plain()}", "MAIL FROM:<ann@example.org> AUTH=<>", "RCPT TO:<b@example.net>", "DATA")
        await smtp.send("".join(f"{line}\r\n" for line in lines).encode())
        assert [each.code for each in await smtp.replies(4)] == [235, 250, 250, 354]


async def test_lines_may_have_12288_octets_and_no_more() -> None:
    async with Dialog(open_auth(failures=9), Users(), limits=Limits(errors=50)) as smtp:
        await begin(smtp)
        long = plain(password="x" * 9180)
        assert 12200 < len(long) < 12270
        assert await smtp.say(f"AUTH PLAIN {long}") == 535
        await smtp.say("AUTH PLAIN")
        assert await smtp.say(long) == 535
        assert await smtp.say(f"AUTH PLAIN {'A' * 65536}") == 500
        await smtp.say("AUTH LOGIN")
        assert await answer(smtp, "A" * 65536) == "500 5.5.6 authentication exchange line is too long"
        assert await smtp.say("NOOP") == 250


async def test_a_refused_token_is_explained_and_the_dummy_is_heard() -> None:
    discovery = "https://login.example.org/.well-known/openid-configuration"
    async with Dialog(open_auth(discovery=discovery), Users(ann="right")) as smtp:
        await begin(smtp)
        said = await smtp.say(f"AUTH OAUTHBEARER {b64('n,,' + chr(1) + 'auth=Bearer bad' + 2 * chr(1))}")
        assert json.loads(unb64(said.text)) == {"status": "invalid_token", "openid-configuration": discovery}
        assert await answer(smtp, b64("\1")) == "535 5.7.8 authentication failed"
        said = await smtp.say(f"AUTH XOAUTH2 {b64('user=ann' + chr(1) + 'auth=Bearer tok-bob' + 2 * chr(1))}")
        assert json.loads(unb64(said.text))["status"] == "401"
        assert await answer(smtp, "") == "535 5.7.8 authentication failed"


async def test_trouble_with_a_token_is_454_at_once() -> None:
    class Down:
        mechanisms = EVERY

        @hookimpl
        def auth(self) -> Reply | None:
            raise OSError("no route to the database")

    async with Dialog(open_auth(), Down()) as smtp:
        await begin(smtp)
        assert await smtp.say(f"AUTH XOAUTH2 {b64('auth=Bearer x' + 2 * chr(1))}") == 454
        assert await scram(smtp, "SCRAM-SHA-256", "ann", "right") == 454
        assert await smtp.say(f"AUTH PLAIN {plain()}") == 454


async def test_after_some_failures_the_session_ends() -> None:
    async with Dialog(open_auth(failures=2), Users(ann="right")) as smtp:
        await begin(smtp)
        assert await smtp.say(f"AUTH PLAIN {plain('x')}") == 535
        assert await smtp.say(f"AUTH LOGIN {b64('ann')}") == 334
        await smtp.send(f"{b64('wrong')}\r\nAUTH PLAIN {plain()}\r\n".encode())
        assert [each.code for each in await smtp.replies(2)] == [535, 421]
        await smtp.closed()
        assert smtp.session.user is None


# Required.


async def test_where_it_is_required_nothing_is_done_without() -> None:
    class Verbs:
        @hookimpl
        def command(self, command: Command) -> Reply | None:
            return Reply(250) if command.verb in ("VRFY", "XOWN") else None

    async with Dialog(open_auth(required=True), Users(ann="right"), Verbs(), Vouch()) as smtp:
        await begin(smtp)
        for line in ("MAIL FROM:<>", "VRFY b", "XOWN", "HELP"):
            assert await answer(smtp, line) == "530 5.7.0 authentication required"
        for line in ("NOOP", "RSET", "HELO client.example", "EHLO client.example"):
            assert await smtp.say(line) == 250
        assert await smtp.say(f"AUTH PLAIN {plain()}") == 235
        assert await smtp.say("VRFY b") == 250
        assert await smtp.message("ann@example.org", "b@example.net") == 250


async def test_it_leaves_starttls_alone() -> None:
    async with Dialog(Auth(required=True), tls.TLS(pem()), Users()) as smtp:
        await begin(smtp)
        assert await smtp.say("MAIL FROM:<>") == 530
        assert await smtp.say("STARTTLS") == 220


# AUTH= of MAIL.


class Submitter:
    """What forwarders will read."""

    def __init__(self) -> None:
        self.seen: list[str | None] = []

    @hookimpl
    def mail(self, sender: Sender) -> None:
        named = sender.parameters.get("AUTH")
        self.seen.append(None if named is None else f"<{named}>")


@pytest.mark.parametrize(
    ("user", "given", "seen"),
    [
        ("", "ann@example.org", "<>"),
        ("", "<>", "<>"),
        ("ann@example.org", "Ann@example.org", "<Ann@example.org>"),
        ("ann@example.org", "bob@example.org", "<>"),
        ("ann@example.org", "<>", "<>"),
        ("ann@example.org", None, None),
        ("gateway", "bob+2Bx@example.org", "<bob+x@example.org>"),
    ],
)
async def test_who_sent_it_first_is_believed_of_oneself(user: str, given: str | None, seen: str | None) -> None:
    submitter = Submitter()
    trusted = lookup.Inline("gateway", "relay")
    stack = Stack(open_auth(trusted=trusted), Users({user: "right"}), submitter, Vouch())
    async with Dialog(stack) as smtp:
        await begin(smtp)
        if user:
            assert await smtp.say(f"AUTH PLAIN {plain(user)}") == 235
        assert await smtp.say("MAIL FROM:<ann@example.org>" + (f" AUTH={given}" if given else "")) == 250
        assert submitter.seen == [seen]


async def test_the_parameter_is_for_who_was_offered_auth() -> None:
    async with Dialog(Auth(), Users(), Vouch()) as smtp:
        await begin(smtp)
        assert await smtp.say("MAIL FROM:<ann@example.org> AUTH=<>") == 555
    async with Dialog(open_auth(), Users(), Vouch()) as smtp:
        await begin(smtp)
        assert await smtp.say("MAIL FROM:<ann@example.org> AUTH=a+b") == 501


# SCRAM, with another's client.


@pytest.mark.parametrize("mechanism", ["SCRAM-SHA-256", "SCRAM-SHA-1"])
async def test_scram_proves_both_sides(mechanism: str) -> None:
    async with Dialog(open_auth(failures=9), Users({"ann": "right", "a,b=c": "right", "jürgen": "pässword"})) as smtp:
        await begin(smtp)
        assert await scram(smtp, mechanism, "ann", "wrong") == 535
        assert await scram(smtp, mechanism, "nobody", "right") == 535
        assert await scram(smtp, mechanism, "ann", "right", initial=False) == 235
        session: Session = smtp.session
        assert (session.user, session.mechanism) == ("ann", mechanism)
    for user, password in (("a,b=c", "right"), ("ju\u0308rgen", "pa\u0308ssword")):
        async with Dialog(open_auth(), Users({"a,b=c": "right", "jürgen": "pässword"})) as smtp:
            await begin(smtp)
            assert await scram(smtp, mechanism, user, password) == 235
