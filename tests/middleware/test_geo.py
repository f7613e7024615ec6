"""Where clients are, and what they run."""

from __future__ import annotations

import os
import struct
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
from anyio import create_task_group, create_unix_listener, sleep_forever
from anyio.abc import SocketStream
from hypothesis import given
from hypothesis import strategies as st

from mailstack import Reply, When, hookimpl
from mailstack.middleware import geo, p0f
from mailstack.option import ConfigError
from mailstack.testing import Conversation, Dialog, Vouch
from tests.middleware.world import PLACES, world, write


class Refuse:
    @hookimpl
    def rcpt(self) -> Reply | None:
        return Reply(450, "found")


async def rcpt(smtp: Conversation) -> int:
    await smtp.banner()
    await smtp.say("EHLO client.example")
    await smtp.say("MAIL FROM:<ann@example.org>")
    return (await smtp.say("RCPT TO:<bob@example.net>")).code


BERLIN, AUCKLAND, PARIS, NOWHERE = "192.0.2.1", "192.0.2.200", "2001:db8::1", "198.51.100.1"


@pytest.mark.parametrize(
    ("condition", "found"),
    [
        (lambda where: where.country("de", "XX"), {BERLIN}),
        (lambda where: where.country("FR"), {PARIS}),
        (lambda where: where.network(64496), {BERLIN}),
        (lambda where: where.farther(10000), {AUCKLAND}),
        (lambda where: where.farther(100), {AUCKLAND}),
        (lambda where: ~where.country("DE", "NZ", "FR"), {NOWHERE}),
    ],
)
async def test_conditions_ask_where_a_client_is(condition: Any, found: set[str]) -> None:
    for client in (BERLIN, AUCKLAND, PARIS, NOWHERE):
        where = geo.Geo(world(), here=(52.5, 13.4))
        async with Dialog(where, When(condition(where), Refuse()), Vouch(), client=client) as smtp:
            assert await rcpt(smtp) == (450 if client in found else 250), client


@pytest.mark.parametrize(
    ("options", "refused"),
    [({"deny": "NZ"}, {AUCKLAND}), ({"only": ["DE", "FR"]}, {AUCKLAND}), ({"deny": ["DE", "NZ"]}, {BERLIN, AUCKLAND})],
)
async def test_countries_may_be_refused(options: dict[str, Any], refused: set[str]) -> None:
    for client in (BERLIN, AUCKLAND, PARIS, NOWHERE):
        async with Dialog(geo.Geo(world(), **options), Vouch(), client=client) as smtp:
            assert await rcpt(smtp) == (550 if client in refused else 250), client


async def test_fields_tell_and_those_of_others_go() -> None:
    async with Dialog(geo.Geo(world(), here=(52.5, 13.4), fields=True), Vouch(), client=AUCKLAND) as smtp:
        await smtp.message("a@example.org", "b@example.org", b"X-GeoIP-Country: DE\r\nX-GeoIP-ASN: 1\r\nA: b\r\n\r\n")
        content = smtp.messages[0].content
        assert b"X-GeoIP-Country: NZ\r\n" in content
        assert content.count(b"X-GeoIP-Country") == 1
        assert b"X-GeoIP-ASN" not in content
        assert b" km\r\n" in content
        assert next(each.detail for each in smtp.evidence if each.who == "geo").startswith("192.0.2.200: NZ, 17")


async def test_a_database_that_is_replaced_is_read_anew(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(geo, "_LOOK", 0.0)
    path, new = tmp_path / "a.mmdb", tmp_path / "b.mmdb"
    write(path, PLACES)
    where = geo.Geo(path, deny="NZ")
    write(new, {BERLIN + "/32": {"country": {"iso_code": "NZ"}}})
    os.replace(new, path)
    async with Dialog(where, Vouch()) as smtp:
        assert await rcpt(smtp) == 550
    new.write_bytes(b"broken")
    os.replace(new, path)
    async with Dialog(where, Vouch()) as smtp:
        assert await rcpt(smtp) == 550


@pytest.mark.parametrize(
    "make",
    [
        lambda: geo.Geo(),
        lambda: geo.Geo("/nobody/is/there.mmdb"),
        lambda: geo.Geo(__file__),
        lambda: geo.Geo(world(), deny="Germany"),
        lambda: geo.Geo(world(), here=(91, 0)),
        lambda: geo.Geo(world(), here=3),  # type: ignore[arg-type]
        lambda: geo.Geo(world()).farther(5),
        lambda: p0f.P0f("127.0.0.1:80"),
        lambda: p0f.P0f("/run/p0f.sock", deny=[""]),
    ],
)
def test_what_makes_no_sense_is_an_error(make: Any) -> None:
    with pytest.raises(ConfigError):
        make()


# p0f.


def fingerprint(system: str = "Windows", flavour: str = "7 or 8", link: str = "DSL", status: int = 0x10) -> bytes:
    texts = (system, flavour, "", "", link, "")
    numbers = (0x50304602, status, 1, 2, 3, 90, 0, 0, 0, 12, 0, 0)
    return struct.pack("=9IhBB32s32s32s32s32s32s", *numbers, *(text.encode() for text in texts))


@asynccontextmanager
async def answering(path: Path, answer: bytes | None) -> AsyncIterator[list[bytes]]:
    """A p0f that always says so; None: nothing."""
    asked: list[bytes] = []

    async def serve(stream: SocketStream) -> None:
        async with stream:
            asked.append(await stream.receive())
            if answer is None:
                await sleep_forever()
            else:
                await stream.send(answer[:100])
                await stream.send(answer[100:])

    async with await create_unix_listener(path) as listener, create_task_group() as group:
        group.start_soon(listener.serve, serve)
        yield asked
        group.cancel_scope.cancel()


@pytest.mark.parametrize(
    ("answer", "code"),
    [
        (fingerprint(), 450),
        (fingerprint("Linux", "3.x"), 250),
        (fingerprint(status=0x20), 250),
        (b"nonsense" * 40, 250),
    ],
)
async def test_conditions_ask_what_a_client_runs(tmp_path: Path, answer: bytes, code: int) -> None:
    async with answering(tmp_path / "s", answer) as asked:
        seen = p0f.P0f(str(tmp_path / "s"))
        async with Dialog(seen, When(seen.system("windows"), Refuse()), Vouch()) as smtp:
            assert await rcpt(smtp) == code
        assert asked == [struct.pack("=IB16s", 0x50304601, 4, bytes([192, 0, 2, 1]))]


async def test_systems_may_be_refused_and_told(tmp_path: Path) -> None:
    async with answering(tmp_path / "s", fingerprint(link="DSL\r\nBcc: x")):
        async with Dialog(p0f.P0f(str(tmp_path / "s"), deny="windows 7"), Vouch()) as smtp:
            assert await rcpt(smtp) == 550
        async with Dialog(p0f.P0f(str(tmp_path / "s"), fields=True), Vouch()) as smtp:
            await smtp.message("a@example.org", "b@example.org", b"X-P0F-System: Linux\r\n\r\n")
            assert b"X-P0F-Link: DSLBcc: x\r\nX-P0F-System: Windows 7 or 8\r\nReceived:" in smtp.messages[0].content


async def test_a_p0f_that_is_dead_or_hangs_has_no_opinion(tmp_path: Path) -> None:
    async with Dialog(p0f.P0f(str(tmp_path / "none"), deny="windows"), Vouch()) as smtp:
        assert await rcpt(smtp) == 250
    async with answering(tmp_path / "s", None):
        async with Dialog(p0f.P0f(str(tmp_path / "s"), deny="windows", timeout="20ms"), Vouch()) as smtp:
            assert await rcpt(smtp) == 250


@given(st.binary(max_size=300))
def test_any_octets_are_an_answer_or_none(octets: bytes) -> None:
    for given_octets in (octets, fingerprint()[:40] + octets):
        try:
            p0f.read(given_octets)
        except ValueError:
            pass
