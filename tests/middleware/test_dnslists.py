"""dnsbl, rhsbl and dnswl: asked in the background, collected when the answer counts."""

from __future__ import annotations

from typing import Any

import pytest

from mailstack import Reply, Unless, hookimpl
from mailstack.middleware import dnsbl, dnswl, rhsbl
from mailstack.option import ConfigError
from mailstack.testing import SERVFAIL, Conversation, Dialog, FakeResolver, Vouch

LISTED = {"1.2.0.192.bl.example": {"A": "127.0.0.2", "TXT": "see example.net"}}


async def asked(smtp: Conversation, sender: str = "ann@example.org", hello: str = "EHLO client.example.org") -> str:
    """The reply to RCPT."""
    await smtp.banner()
    await smtp.say(hello)
    assert await smtp.say(f"MAIL FROM:<{sender}>") == 250
    return str(await smtp.say("RCPT TO:<bob@example.net>"))


def of_lists(dns: FakeResolver) -> list[tuple[str, str]]:
    """What was asked, but for the names of clients."""
    return [question for question in dns.asked if question[1] != "PTR"]


# dnsbl.


async def test_a_listed_client_hears_why_at_rcpt() -> None:
    dns = FakeResolver(LISTED)
    async with Dialog(dnsbl.DNSBL("bl.example"), Vouch(), resolver=dns) as smtp:
        assert await asked(smtp) == "550 5.7.1 192.0.2.1 is listed by bl.example: see example.net"
        assert str(await smtp.say("RCPT TO:<other@example.net>")).startswith("550")
        assert await smtp.say("RCPT TO:<postmaster>") == 250
        assert of_lists(dns) == [("1.2.0.192.bl.example", "A"), ("1.2.0.192.bl.example", "TXT")]


async def test_a_listing_whose_text_does_not_come_is_a_listing() -> None:
    dns, entry = FakeResolver(LISTED), dnsbl.DNSBL("bl.example", timeout="100ms")
    dns.hold("1.2.0.192.bl.example", "TXT")
    async with Dialog(entry, Vouch(), resolver=dns) as smtp:
        assert await asked(smtp) == "550 5.7.1 192.0.2.1 is listed by bl.example"
    assert (entry.statistics["bl.example"].listed, entry.statistics["bl.example"].errors) == (1, 0)


@pytest.mark.parametrize("records", [{}, {"1.2.0.192.bl.example": SERVFAIL}])
async def test_who_is_not_listed_and_who_nobody_knows_of_may_pass(records: dict[str, Any]) -> None:
    async with Dialog(dnsbl.DNSBL("bl.example"), Vouch(), resolver=FakeResolver(records)) as smtp:
        assert (await asked(smtp)).startswith("250")


@pytest.mark.parametrize("client", ["127.0.0.1", "10.0.0.1", "::1", "fe80::1"])
async def test_our_own_addresses_are_not_asked_for(client: str) -> None:
    dns = FakeResolver()
    async with Dialog(dnsbl.DNSBL("bl.example"), Vouch(), resolver=dns, client=client) as smtp:
        assert (await asked(smtp)).startswith("250")
        assert of_lists(dns) == []


async def test_weights_add_up_to_the_threshold() -> None:
    records = {**LISTED, "1.2.0.192.two.example": {"A": "127.0.0.4"}}
    zones = (dnsbl.Zone("bl.example", 1.5), dnsbl.Zone("two.example", codes={"127.0.0.4": 1}))
    for threshold, code in ((2.5, "550"), (2.6, "250")):
        async with Dialog(dnsbl.DNSBL(*zones, threshold=threshold), Vouch(), resolver=FakeResolver(records)) as smtp:
            assert (await asked(smtp)).startswith(code)


async def test_a_temporary_refusal_and_one_in_place_of_the_banner() -> None:
    dns = FakeResolver(LISTED)
    async with Dialog(dnsbl.DNSBL("bl.example", temporary=True), Vouch(), resolver=dns) as smtp:
        assert (await asked(smtp)).startswith("451 4.7.1 192.0.2.1 is listed")
    async with Dialog(dnsbl.DNSBL("bl.example", at="connect"), Vouch(), resolver=FakeResolver(LISTED)) as smtp:
        assert await smtp.banner() == 550
        assert await smtp.say("EHLO x") == 503


async def test_a_client_that_leaves_ends_what_was_asked_for_it() -> None:
    dns = FakeResolver(LISTED)
    held = dns.hold("1.2.0.192.bl.example")
    async with Dialog(dnsbl.DNSBL("bl.example"), resolver=dns) as smtp:
        await smtp.banner()
        await held.asked.wait()
        await smtp.hang_up()
        await smtp.finished()


@pytest.mark.parametrize(
    ("variable", "reply"),
    [
        ("", "250"),
        ("go away", "451 4.7.1 go away"),
        ("-go away", "553 5.7.1 go away"),
        (None, "550"),
    ],
)
async def test_rblsmtpd_decides_where_it_is_obeyed(
    variable: str | None, reply: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("RBLSMTPD", raising=False)
    if variable is not None:
        monkeypatch.setenv("RBLSMTPD", variable)
    for obeys in (True, False):
        dns = FakeResolver(LISTED)
        async with Dialog(dnsbl.DNSBL("bl.example", environment=obeys), Vouch(), resolver=dns) as smtp:
            assert (await asked(smtp)).startswith(reply if obeys else "550")
            assert bool(of_lists(dns)) == (variable is None or not obeys)


async def test_an_entry_whose_connect_was_passed_over_asks_at_rcpt() -> None:
    class Admit:
        @hookimpl
        def connect(self) -> Reply | None:
            return Reply(220, "welcome")

    dns = FakeResolver(LISTED)
    async with Dialog(Admit(), dnsbl.DNSBL("bl.example"), Vouch(), resolver=dns) as smtp:
        assert (await asked(smtp)).startswith("550")


# rhsbl.

DOMAINS = {
    "spam.example.dbl.example": {"A": "127.0.1.2"},
    "evil.test.dbl.example": {"A": "127.0.1.4"},
}


@pytest.mark.parametrize(
    ("sender", "reply"),
    [
        ("a@spam.example", "550 5.7.1 spam.example is listed by dbl.example"),
        ("a@x.y.z.spam.example", "550 5.7.1 spam.example is listed by dbl.example"),
        ("a@other.example", "250"),
        ("a@[192.0.2.1]", "250"),
        ("", "250"),
    ],
)
async def test_a_sender_s_domain_and_its_parents_are_asked_for(sender: str, reply: str) -> None:
    async with Dialog(rhsbl.RHSBL("dbl.example"), Vouch(), resolver=FakeResolver(DOMAINS)) as smtp:
        assert (await asked(smtp, sender)).startswith(reply)


async def test_the_second_sender_is_judged_for_himself() -> None:
    async with Dialog(rhsbl.RHSBL("dbl.example"), Vouch(), resolver=FakeResolver(DOMAINS)) as smtp:
        assert (await asked(smtp, "a@spam.example")).startswith("550")
        await smtp.say("RSET")
        await smtp.say("MAIL FROM:<a@other.example>")
        assert await smtp.say("RCPT TO:<bob@example.net>") == 250


async def test_helo_is_asked_for_if_wanted_and_only_then() -> None:
    for which, code in (("helo", "550"), (("sender",), "250"), (("sender", "helo"), "550")):
        entry = rhsbl.RHSBL("dbl.example", which=which)
        async with Dialog(entry, Vouch(), resolver=FakeResolver(DOMAINS)) as smtp:
            assert (await asked(smtp, hello="EHLO evil.test")).startswith(code)


def test_what_cannot_be_asked_for_is_an_error() -> None:
    for options in ({"which": ()}, {"which": "subject"}, {"levels": 0}, {"threshold": "x"}):
        with pytest.raises(ConfigError, match="RHSBL"):
            rhsbl.RHSBL("dbl.example", **options)


# dnswl.


class Refuse:
    @hookimpl
    def rcpt(self) -> Reply | None:
        return Reply(450, "not you")


@pytest.mark.parametrize(
    ("answer", "trusted"),
    [("127.0.5.0", 0), ("127.0.9.1", 1), ("127.0.15.3", 3), ("127.0.0.255", -1), ("127.255.255.254", -1), (None, -1)],
)
async def test_trust_is_what_the_list_says(answer: str | None, trusted: int) -> None:
    records = {"1.2.0.192.wl.example": {"A": answer}} if answer else {}
    for least in range(4):
        known = dnswl.DNSWL("wl.example")
        stack = known, Unless(known.trusted(least), Refuse()), Vouch()
        async with Dialog(*stack, resolver=FakeResolver(records)) as smtp:
            assert (await asked(smtp)).startswith("250" if least <= trusted else "450")


async def test_a_zone_may_have_levels_of_its_own() -> None:
    known = dnswl.DNSWL(dnswl.Zone("wl.example", codes={"127.0.0.2": 7}))
    stack = known, Unless(known.trusted(7), Refuse()), Vouch()
    async with Dialog(*stack, resolver=FakeResolver({"1.2.0.192.wl.example": {"A": "127.0.0.2"}})) as smtp:
        assert (await asked(smtp)).startswith("250")


async def test_the_line_of_a_refusal_tells_what_was_asked_and_what_came_back(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level("INFO", "mailstack")
    dns = FakeResolver({**DOMAINS, "1.2.0.192.bl.example": {"A": "127.0.0.9"}})
    entries = dnsbl.DNSBL("bl.example", threshold=2), rhsbl.RHSBL("dbl.example")
    async with Dialog(*entries, Vouch(), resolver=dns) as smtp:
        await asked(smtp, "a@spam.example")
        await smtp.say("RSET")
        await smtp.say("MAIL FROM:<a@evil.test>")
        await smtp.say("RCPT TO:<bob@example.net>")
    first, second = [each.getMessage() for each in caplog.records if each.getMessage().startswith("refused")]
    assert 'because="spam.example dbl.example: 127.0.1.2 (' in first
    assert 'because="evil.test dbl.example: 127.0.1.4 (' in second
    assert "spam.example dbl" not in second


@pytest.mark.parametrize("recipient", ["postmaster", "postmaster@example.net", "ABUSE@example.net"])
async def test_postmaster_and_abuse_are_heard_whatever_a_list_says(recipient: str) -> None:
    entries = dnsbl.DNSBL("bl.example"), rhsbl.RHSBL("dbl.example", which=("sender", "helo"))
    async with Dialog(*entries, Vouch(), resolver=FakeResolver({**LISTED, **DOMAINS})) as smtp:
        assert (await asked(smtp, "a@spam.example", "EHLO evil.test")).startswith("550")
        assert await smtp.say(f"RCPT TO:<{recipient}>") == 250


async def test_trust_is_known_at_mail_where_that_is_wanted() -> None:
    class RefuseAtMail:
        @hookimpl
        def mail(self) -> Reply | None:
            return Reply(450, "not you")

    dns = FakeResolver({"1.2.0.192.wl.example": {"A": "127.0.5.2"}})
    known = dnswl.DNSWL("wl.example", wait="mail")
    assert known.trusted(1).known == "mail"
    async with Dialog(known, Unless(known.trusted(1), RefuseAtMail()), Vouch(), resolver=dns) as smtp:
        assert (await asked(smtp)).startswith("250")
    with pytest.raises(ConfigError, match="DNSWL"):
        dnswl.DNSWL("wl.example", wait="ehlo")  # type: ignore[arg-type]


async def test_a_list_that_trusts_is_not_asked_for_its_texts() -> None:
    dns = FakeResolver({"1.2.0.192.wl.example": {"A": "127.0.5.2", "TXT": "a bank"}})
    known = dnswl.DNSWL("wl.example")
    assert known.trusted(1).known == "rcpt"
    async with Dialog(known, Vouch(), resolver=dns) as smtp:
        assert (await asked(smtp)).startswith("250")
        assert of_lists(dns) == [("1.2.0.192.wl.example", "A")]


async def test_the_client_s_name_is_asked_for_when_it_has_led_back() -> None:
    records = {**DOMAINS, "192.0.2.1": "mail.evil.test", "mail.evil.test": {"A": "192.0.2.1"}}
    for table, code in ((records, "550"), ({**records, "mail.evil.test": {"A": "192.0.2.9"}}, "250")):
        entry = rhsbl.RHSBL("dbl.example", which="ptr")
        async with Dialog(entry, Vouch(), resolver=FakeResolver(table)) as smtp:
            assert (await asked(smtp)).startswith(code)
