"""How long a connection took and what came of it, in one line."""

import logging

import pytest

from mailstack import ConfigError, Unless, predicate
from mailstack.middleware.connectiontime import ConnectionTime
from mailstack.middleware.proxy import Proxy
from mailstack.middleware.xclient import XClient
from mailstack.testing import Dialog, Vouch


def lines(caplog: pytest.LogCaptureFixture) -> list[str]:
    return [each.getMessage() for each in caplog.records if each.getMessage().startswith("connection time")]


async def test_each_connection_has_a_line_with_its_counts(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO, "mailstack")
    entry = ConnectionTime()
    async with Dialog(entry, Vouch(), client="192.0.2.7") as smtp:
        assert await smtp.message("a@example.org", ["b@example.org", "c@example.org"]) == 250
        assert await smtp.message("a@example.org", ["b@example.org"]) == 250
        assert await smtp.say("MAIL FROM:<a@example.org>") == 250
        assert await smtp.say("RSET") == 250
        assert await smtp.say("QUIT") == 221
        await smtp.closed()
    [line] = lines(caplog)
    assert "client=192.0.2.7:" in line
    for word in ("helo=client.example.org", "transactions=3", "messages=2", "recipients=3", "seconds=0."):
        assert word in line
    assert not entry._counts


async def test_a_connection_that_ends_before_the_banner_has_one_too(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO, "mailstack")
    async with Dialog(ConnectionTime(), Proxy(), proxy="192.0.2.0/24") as smtp:
        await smtp.hang_up()
        await smtp.finished()
        assert "commands=0" in lines(caplog)[0]


async def test_it_counts_on_after_xclient(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO, "mailstack")
    async with Dialog(ConnectionTime(), XClient("192.0.2.0/24"), Vouch()) as smtp:
        assert await smtp.message("a@example.org", ["b@example.org"]) == 250
        assert await smtp.say("XCLIENT ADDR=198.51.100.7") == 220
        assert await smtp.message("a@example.org", ["b@example.org"]) == 250
    [line] = lines(caplog)
    assert "client=198.51.100.7:0" in line
    assert "messages=2" in line


async def test_short_ones_may_be_left_out(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO, "mailstack")
    async with Dialog(ConnectionTime(over="1h"), Vouch()) as smtp:
        assert await smtp.message("a@example.org", ["b@example.org"]) == 250
    assert not lines(caplog)


async def test_the_level_is_as_told(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO, "mailstack")
    async with Dialog(ConnectionTime(level="debug"), ConnectionTime(level="warning")) as smtp:
        await smtp.banner()
    assert [each.levelname for each in caplog.records if "connection time" in each.getMessage()] == ["WARNING"]


async def test_who_is_left_out_by_a_condition_is_left_out(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO, "mailstack")
    async with Dialog(Unless(predicate.client_in("192.0.2.0/24"), ConnectionTime()), Vouch()) as smtp:
        assert await smtp.message("a@example.org", ["b@example.org"]) == 250
    assert not lines(caplog)


@pytest.mark.parametrize("options", [{"level": "error"}, {"over": "never"}])
def test_what_makes_no_sense_is_refused(options: dict[str, str]) -> None:
    with pytest.raises(ConfigError, match="ConnectionTime"):
        ConnectionTime(**options)
