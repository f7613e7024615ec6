"""Keyword, parameter and field, for whom, and what every plugin must survive."""

from collections.abc import Callable

import mailstack
import pytest
from mailstack import ConfigError, Stack, Unless, When, predicate
from mailstack.testing import Conversation, Dialog, Vouch
from mailstack.testing.contract import CONTRACT_CHECKS, Check

from mailstack_mtpriority import Forget, Priority

FORGED = "MT-Priority: 9\nSubject: hi\n\nhello\n"


async def send(smtp: Conversation, parameter: str) -> list[bytes]:
    """The MT-Priority fields of a message that was sent with this parameter."""
    await smtp.say("EHLO client.example.org")
    assert await smtp.say(f"MAIL FROM:<ann@example.org> {parameter}".rstrip()) == 250
    assert await smtp.say("RCPT TO:<bob@example.net>") == 250
    assert await smtp.say("DATA") == 354
    assert await smtp.say(FORGED.replace("\n", "\r\n") + ".") == 250
    return [line for line in smtp.messages[-1].content.split(b"\r\n") if line.startswith(b"MT-Priority:")]


@pytest.mark.parametrize(
    ("parameter", "field"),
    [("MT-PRIORITY=5", 5), ("MT-PRIORITY=-9", -9), ("mt-priority=0", 0), ("", 0)],
)
async def test_the_priority_is_written_into_the_message(parameter: str, field: int) -> None:
    async with Dialog(Priority(), Vouch()) as smtp:
        assert await send(smtp, parameter) == [b"MT-Priority: %d" % field]


@pytest.mark.parametrize("value", ["=10", "=-10", "=+3", "=03", "=high", "=", ""])
async def test_what_is_no_priority_is_a_syntax_error(value: str) -> None:
    async with Dialog(Priority(), Vouch()) as smtp:
        await smtp.say("EHLO client.example.org")
        assert await smtp.say(f"MAIL FROM:<ann@example.org> MT-PRIORITY{value}") in (501, 553)


async def test_ehlo_tells_the_profile() -> None:
    for entry, argument in ((Priority(), ""), (Priority(profile="MIXER"), "MIXER")):
        async with Dialog(entry, Vouch()) as smtp:
            assert (await smtp.say("EHLO client.example.org")).keywords["MT-PRIORITY"] == argument


async def test_more_than_is_allowed_becomes_the_highest_and_the_client_is_told() -> None:
    async with Dialog(Priority(highest=4), Vouch()) as smtp:
        await smtp.say("EHLO client.example.org")
        answer = await smtp.say("MAIL FROM:<ann@example.org> MT-PRIORITY=9")
        assert (answer.code, answer.status, answer.text) == (250, "2.3.6", "4 is the priority now")
        await smtp.say("RSET")
        assert await send(smtp, "MT-PRIORITY=9") == [b"MT-Priority: 4"]
        assert await send(smtp, "MT-PRIORITY=3") == [b"MT-Priority: 3"]


async def test_only_those_we_know_are_offered_it_and_the_field_of_others_goes() -> None:
    ours = predicate.client_in("192.0.2.0/24")
    policy = Stack(When(ours, Priority()), Unless(ours, Forget()), Vouch())
    async with Dialog(policy, client="192.0.2.7") as smtp:
        assert await send(smtp, "MT-PRIORITY=7") == [b"MT-Priority: 7"]
    async with Dialog(policy, client="198.51.100.7") as smtp:
        assert "MT-PRIORITY" not in (await smtp.say("EHLO client.example.org")).keywords
        assert await smtp.say("MAIL FROM:<ann@example.org> MT-PRIORITY=7") == 555
        assert await send(smtp, "") == []


async def test_a_rehearsal_asks_it_too() -> None:
    async with Dialog(Priority(), Vouch(), rehearsal=True) as smtp:
        assert "MT-PRIORITY" in (await smtp.say("EHLO client.example.org")).keywords
        assert await smtp.say("MAIL FROM:<ann@example.org> MT-PRIORITY=7") == 250


@pytest.mark.parametrize("options", [{"highest": 10}, {"highest": -10}, {"profile": "urgent"}])
def test_what_cannot_be_is_told_at_the_start(options: dict[str, object]) -> None:
    with pytest.raises(ConfigError):
        Priority(**options)  # type: ignore[arg-type]


def test_it_is_found_by_its_name() -> None:
    assert mailstack.plugin("mtpriority").Priority is Priority


@pytest.mark.parametrize("make", [Priority, Forget])
@pytest.mark.parametrize("check", CONTRACT_CHECKS, ids=lambda check: check.__name__)
async def test_it_keeps_the_contract(check: Check, make: Callable[[], object]) -> None:
    await check(make)
