"""hosts: whom the server talks to, by network, from the configuration or a file."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from mailstack import ConfigError, Observe, Postpone, lookup
from mailstack.middleware import hosts
from mailstack.services.lookup import File, listing
from mailstack.testing import Dialog, Vouch
from tests.server.test_starttls import Tls


async def said(plugin: object, *clients: str) -> list[tuple[int, str]]:
    """Code and text of the banner for each client."""
    dialog = Dialog(plugin, client=clients[0])
    answers = []
    async with dialog as first:
        for smtp in [first, *[await dialog.connect(client) for client in clients[1:]]]:
            answer = await smtp.banner()
            answers.append((answer.code, answer.text))
            if answer.code >= 400:
                await smtp.closed()
    return answers


async def codes(plugin: object, *clients: str) -> list[int]:
    return [code for code, _ in await said(plugin, *clients)]


@pytest.fixture
def file(tmp_path: Path) -> Callable[[str], str]:
    """A file with these lines."""

    def write(text: str) -> str:
        path = tmp_path / "hosts"
        path.write_text(text)
        return str(path)

    return write


async def test_the_most_specific_network_decides() -> None:
    plugin = hosts.Hosts(deny=["192.0.2.0/24", "2001:db8::/32"], allow=["192.0.2.7", "2001:db8:1::/48"])
    clients = ("192.0.2.6", "192.0.2.7", "192.0.3.7", "2001:db8::1", "2001:db8:1::1", "2001:db9::1")
    assert await codes(plugin, *clients) == [554, 220, 220, 554, 220, 220]


async def test_who_is_in_no_network_gets_the_default() -> None:
    plugin = hosts.Hosts(allow="192.0.2.0/24", default="deny")
    assert await codes(plugin, "192.0.2.1", "192.0.3.1", "2001:db8::1") == [220, 554, 554]
    assert await codes(hosts.Hosts(allow="192.0.2.0/24", default="defer"), "192.0.3.1") == [421]


async def test_a_unix_socket_is_allowed() -> None:
    assert await codes(hosts.Hosts(allow="192.0.2.0/24", default="deny"), "") == [220]


async def test_the_text_may_be_ones_own() -> None:
    plugin = hosts.Hosts(deny="192.0.2.0/24", reply="see https://example.org/blocked")
    assert await said(plugin, "192.0.2.1") == [(554, "see https://example.org/blocked")]


async def test_a_file_has_verdicts_and_texts(file: Callable[[str], str]) -> None:
    path = file(
        "# whom we do not like\n"
        "192.0.2.0/24\tdeny  your network sends spam #1\n"
        "192.0.2.7 allow # but this one\n"
        "\n"
        "198.51.100.0/24  defer\n"
        "2001:db8::/32 deny\n"
    )
    plugin = hosts.Hosts(File(path), deny="203.0.113.0/24", reply="no")
    assert await said(plugin, "192.0.2.1", "198.51.100.1", "203.0.113.1") == [
        (554, "your network sends spam"),
        (421, "no"),
        (554, "no"),
    ]
    assert await codes(plugin, "192.0.2.7", "2001:db8::1", "10.0.0.1") == [220, 554, 220]


@pytest.mark.parametrize(
    ("line", "words"),
    [
        ("192.0.2.0/33 deny", "is not a network"),
        ("192.0.2.1/24 deny", "192.0.2.0/24"),
        ("192.0.2.0/24", "'' is no verdict"),
        ("192.0.2.0/24 DENY", "write allow, deny or defer"),
        ("192.0.2.0/24 allow because", "allow has no text"),
        ("192.0.2.0/24 deny grüß \x07 gott", "cannot be said in a reply"),
        ("10.0.0.0/8 allow", "twice, with different values"),
    ],
)
def test_a_line_that_is_wrong_stops_the_start(file: Callable[[str], str], line: str, words: str) -> None:
    path = file(f"10.0.0.0/8 deny\n# comment\n{line}\n")
    with pytest.raises(ConfigError, match=words) as raised:
        hosts.Hosts(File(path))
    assert str(raised.value).startswith(f"{path}:3: ")


def test_a_file_that_is_not_there_stops_the_start(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="No such file"):
        hosts.Hosts(File(tmp_path / "absent"))
    (tmp_path / "latin").write_bytes(b"\xff")
    with pytest.raises(ConfigError, match="not UTF-8"):
        hosts.Drop(File(tmp_path / "latin"))


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({}, "nothing in it"),
        ({"deny": "example.org"}, "Hosts: 'example.org' is not a network"),
        ({"deny": "10.0.0.0/8", "default": "perhaps"}, "is no verdict"),
        ({"deny": "10.0.0.0/8", "allow": ["10.0.0.0/8"]}, "twice, with different values"),
        ({"deny": "10.0.0.0/8", "reply": "a\r\n250 b"}, "cannot be said in a reply"),
    ],
)
def test_options_that_make_no_sense(options: dict[str, Any], words: str) -> None:
    with pytest.raises(ConfigError, match=words):
        hosts.Hosts(**options)


async def test_a_file_that_changes_is_read_anew(file: Callable[[str], str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(listing, "STILL", 0.0)
    plugin = hosts.Hosts(File(file("192.0.2.0/24 deny\n"), every=0))
    dialog = Dialog(plugin, client="192.0.2.1")
    async with dialog as smtp:
        assert await smtp.banner() == 554
        file("192.0.3.0/24 deny # a line more\n")
        assert await (await dialog.connect()).banner() == 220
        assert await (await dialog.connect("192.0.3.1")).banner() == 554


async def test_a_list_may_have_one_verdict_for_all_of_it(file: Callable[[str], str]) -> None:
    plugin = hosts.Hosts(deny=File(file("192.0.2.0/24 because\n198.51.100.0/24\n")), allow=lookup.Inline("192.0.2.7"))
    assert await said(plugin, "192.0.2.1", "198.51.100.1") == [
        (554, "because"),
        (554, "you are not allowed to send mail here"),
    ]
    assert await codes(plugin, "192.0.2.7", "203.0.113.1") == [220, 220]
    with pytest.raises(ConfigError, match="two verdicts") as raised:
        hosts.Hosts(deny=File(file("# no\n192.0.2.0/24 allow\n")))
    assert raised.value.line == 2
    with pytest.raises(ConfigError, match="allow has no text"):
        hosts.Hosts(allow=File(file("192.0.2.0/24 deny\n")))


@pytest.mark.parametrize("waits", [False, True])
async def test_lookups_are_asked_for_the_address_and_the_networks_around_it(waits: bool) -> None:
    verdicts = {"192.0.2.0/24": "deny see why", "192.0.2.7": "allow"}
    denied = {"2001:db8::/32": "", "198.51.100.1": ""}
    plugin = hosts.Hosts(answering(verdicts, waits), deny=answering(denied, waits), allow="2001:db8:1::/48")
    clients = {"192.0.2.1": 554, "192.0.2.7": 220, "2001:db8::1": 554, "2001:db8:1::1": 220, "198.51.100.1": 554}
    assert await codes(plugin, *clients) == [*clients.values()]
    assert (await said(plugin, "192.0.2.1"))[0] == (554, "see why")
    drop = hosts.Drop(deny=answering(denied, waits))
    dialog = Dialog(drop, client="198.51.100.1")
    async with dialog as smtp:
        await smtp.closed()
        assert await (await dialog.connect("192.0.2.1")).banner() == 220


async def test_a_lookup_that_cannot_say_is_a_fault() -> None:
    async def dead(key: str) -> str:
        raise ConnectionRefusedError

    assert await codes(hosts.Hosts(deny=lookup.Function(dead)), "192.0.2.1") == [421]
    assert await codes(hosts.Hosts(answering({"192.0.2.1": "maybe"}, True)), "192.0.2.1") == [421]


def answering(table: dict[str, str], waits: bool) -> lookup.Function:
    """What a database answers, at once or not."""

    async def ask(key: str) -> str | None:
        return table.get(key)

    return lookup.Function(ask if waits else table.get)


async def test_dropped_means_not_a_word() -> None:
    plugin = hosts.Drop(deny="192.0.2.0/24", allow="192.0.2.128/25")
    dialog = Dialog(plugin, client="192.0.2.1")
    async with dialog as smtp:
        await smtp.closed()
        assert [finding.detail for finding in smtp.evidence] == ["dropped"]
        assert await (await dialog.connect("192.0.2.200")).banner() == 220


async def test_dropped_before_a_handshake_too() -> None:
    async with Dialog(hosts.Drop(deny="192.0.2.0/24"), Tls(), tls=True, client="192.0.2.1") as smtp:
        await smtp.closed()


async def test_postponed_it_lets_postmaster_be_written_to() -> None:
    async with Dialog(Postpone(hosts.Hosts(deny="192.0.2.0/24")), Vouch(), client="192.0.2.1") as smtp:
        assert await smtp.message("a@example.org", ["b@example.org"]) == 554
        await smtp.say("RSET")
        assert await smtp.message("a@example.org", ["postmaster"]) == 250


async def test_it_can_be_tried() -> None:
    async with Dialog(Observe(hosts.Hosts(deny="192.0.2.0/24")), client="192.0.2.1") as smtp:
        assert await smtp.banner() == 220
        assert [finding.outcome for finding in smtp.evidence] == ["would have refused"]
