"""Who talks before the banner, or behind DATA, and who is left alone."""

import logging

import pytest

from mailstack import ConfigError, Limits, Postpone, Reply, Unless, predicate
from mailstack.middleware.earlytalker import EarlyTalker
from mailstack.testing import Dialog, Vouch
from tests.server.test_starttls import Tls
from tests.tls import client_context

HELLO = b"EHLO client.example.org\r\n"
ENVELOPE = b"MAIL FROM:<a@example.org>\r\nRCPT TO:<b@example.org>\r\nDATA\r\n"
MESSAGE = b"Subject: hi\r\n\r\nhello\r\n.\r\n"

SHORT = EarlyTalker(wait="5ms")


def waiting() -> EarlyTalker:
    """One whose wait is longer than any test: it ends because the client does something."""
    return EarlyTalker(wait="1h")


async def test_who_talks_before_the_banner_hears_554_and_is_cut_off() -> None:
    async with Dialog(waiting(), Vouch()) as smtp:
        await smtp.send(HELLO + ENVELOPE + MESSAGE)
        answer = await smtp.reply()
        assert (answer.code, answer.text) == (554, "you talk before it is your turn")
        await smtp.closed()
        assert not smtp.messages


async def test_who_waits_is_served() -> None:
    async with Dialog(EarlyTalker(wait="5ms"), Vouch()) as smtp:
        assert await smtp.message("a@example.org", "b@example.org") == 250


@pytest.mark.parametrize("half", [True, False])
async def test_who_leaves_has_not_talked(half: bool) -> None:
    async with Dialog(waiting(), Vouch()) as smtp:
        await (smtp.half_close() if half else smtp.hang_up())
        await smtp.finished()
        assert not list(smtp.evidence)
        assert smtp.session.error_count == 0


async def test_defer_is_421_and_the_end() -> None:
    async with Dialog(EarlyTalker(wait="1h", action="defer")) as smtp:
        await smtp.send(HELLO)
        assert await smtp.reply() == 421
        await smtp.closed()


async def test_log_only_tells(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO, "mailstack")
    async with Dialog(EarlyTalker(wait="1h", action="log"), Vouch()) as smtp:
        await smtp.send(HELLO)
        assert [answer.code for answer in await smtp.replies(2)] == [220, 250]
        assert [(each.who, each.phase, each.outcome) for each in smtp.evidence] == [("earlytalker", "connect", "noted")]
    assert "early talker" in caplog.text


async def test_a_refusal_of_one_s_own_may_leave_the_client_where_it_is() -> None:
    async with Dialog(EarlyTalker(wait="1h", reply=Reply(554, "no"))) as smtp:
        await smtp.send(b"NOOP\r\n")
        assert [answer.code for answer in await smtp.replies(2)] == [554, 503]


async def test_a_message_behind_its_own_data_is_early_and_nothing_of_it_is_a_command() -> None:
    async with Dialog(SHORT, Vouch()) as smtp:
        assert await smtp.say("EHLO client.example.org") == 250
        await smtp.send(ENVELOPE + MESSAGE + ENVELOPE)
        assert [answer.code for answer in await smtp.replies(3)] == [250, 250, 554]
        await smtp.closed()
        assert not smtp.messages


async def test_data_at_the_end_of_its_group_is_in_time() -> None:
    async with Dialog(SHORT, Vouch()) as smtp:
        assert await smtp.say("EHLO client.example.org") == 250
        await smtp.send(ENVELOPE)
        assert [answer.code for answer in await smtp.replies(3)] == [250, 250, 354]
        await smtp.send(MESSAGE)
        assert await smtp.reply() == 250


async def test_the_octets_of_bdat_are_in_time() -> None:
    async with Dialog(SHORT, Vouch()) as smtp:
        assert await smtp.say("EHLO client.example.org") == 250
        await smtp.send(ENVELOPE.removesuffix(b"DATA\r\n") + b"BDAT 5 LAST\r\nab: c")
        assert [answer.code for answer in await smtp.replies(3)] == [250, 250, 250]


@pytest.mark.parametrize(("at", "codes"), [("connect", [250, 250, 354, 250]), (["data"], [250, 250, 554])])
async def test_it_looks_where_it_is_told_to(at: str | list[str], codes: list[int]) -> None:
    async with Dialog(EarlyTalker(wait="5ms", at=at), Vouch()) as smtp:
        assert await smtp.say("EHLO client.example.org") == 250
        await smtp.send(ENVELOPE + MESSAGE)
        assert [answer.code for answer in await smtp.replies(len(codes))] == codes


async def test_a_look_at_data_alone_does_not_hold_the_banner_back() -> None:
    async with Dialog(EarlyTalker(wait="1h", at="data"), Vouch()) as smtp:
        assert await smtp.banner() == 220


async def test_a_refusal_at_data_closes_whatever_it_says() -> None:
    async with Dialog(EarlyTalker(wait="5ms", reply=Reply(550, "no")), Vouch()) as smtp:
        assert await smtp.say("EHLO client.example.org") == 250
        await smtp.send(ENVELOPE + MESSAGE)
        assert [answer.code for answer in await smtp.replies(3)] == [250, 250, 550]
        await smtp.closed()


async def test_postponed_it_lets_postmaster_alone() -> None:
    async with Dialog(Postpone(waiting()), Vouch()) as smtp:
        await smtp.send(HELLO)
        assert [answer.code for answer in await smtp.replies(2)] == [220, 250]
        assert await smtp.message("a@example.org", "b@example.org") == 554
        assert await smtp.say("RSET") == 250
        assert await smtp.message("a@example.org", "postmaster@example.org") == 250


async def test_the_known_need_not_wait() -> None:
    stack = Unless(predicate.client_in("192.0.2.0/24"), Postpone(waiting()))
    async with Dialog(stack, Vouch(), client="192.0.2.7") as smtp:
        assert await smtp.message("a@example.org", "b@example.org") == 250


async def test_under_tls_from_the_first_octet_the_wait_begins_after_the_handshake() -> None:
    async with Dialog(Tls(), waiting(), tls=True) as smtp:
        await smtp.start_tls(client_context())
        await smtp.send(HELLO)
        assert await smtp.reply() == 554


async def test_the_wait_is_not_counted_as_a_fault_of_the_entry() -> None:
    async with Dialog(EarlyTalker(wait="300ms"), Vouch(), limits=Limits(envelope="50ms", sweep="10ms")) as smtp:
        assert await smtp.banner() == 220


@pytest.mark.parametrize(
    "options",
    [
        {"wait": "soon"},
        {"at": "rcpt"},
        {"at": ()},
        {"action": "drop"},
        {"reply": Reply(250)},
        {"reply": Reply(554), "action": "log"},
    ],
)
def test_what_makes_no_sense_is_refused(options: dict[str, object]) -> None:
    with pytest.raises(ConfigError, match="EarlyTalker"):
        EarlyTalker(**options)  # type: ignore[arg-type]
