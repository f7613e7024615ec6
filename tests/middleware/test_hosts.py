"""hosts: whom the server talks to, by network, from the configuration or a file."""

from __future__ import annotations

import os
from collections.abc import Callable
from ipaddress import ip_address, ip_network
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mailstack import ConfigError, Observe, Postpone
from mailstack.middleware import hosts
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
    plugin = hosts.Hosts(file=path, deny="203.0.113.0/24", reply="no")
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
        ("10.0.0.0/8 allow", "two verdicts"),
    ],
)
def test_a_line_that_is_wrong_stops_the_start(file: Callable[[str], str], line: str, words: str) -> None:
    path = file(f"10.0.0.0/8 deny\n# comment\n{line}\n")
    with pytest.raises(ConfigError, match=words) as raised:
        hosts.Hosts(file=path)
    assert str(raised.value).startswith(f"{path}:3: ")


def test_a_file_that_is_not_there_stops_the_start(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="No such file"):
        hosts.Hosts(file=tmp_path / "absent")
    (tmp_path / "latin").write_bytes(b"\xff")
    with pytest.raises(ConfigError, match="not UTF-8"):
        hosts.Drop(file=tmp_path / "latin")


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({}, "knows no networks"),
        ({"deny": "example.org"}, r"Hosts\(deny\)"),
        ({"deny": "10.0.0.0/8", "default": "perhaps"}, "is no verdict"),
        ({"deny": "10.0.0.0/8", "allow": ["10.0.0.0/8"]}, "two verdicts"),
        ({"deny": "10.0.0.0/8", "reply": "a\r\n250 b"}, "cannot be said in a reply"),
    ],
)
def test_options_that_make_no_sense(options: dict[str, Any], words: str) -> None:
    with pytest.raises(ConfigError, match=words):
        hosts.Hosts(**options)


async def test_a_file_that_changes_is_read_anew(file: Callable[[str], str]) -> None:
    plugin = hosts.Hosts(file=file("192.0.2.0/24 deny\n"))
    dialog = Dialog(plugin, client="192.0.2.1")
    async with dialog as smtp:
        assert await smtp.banner() == 554
        file("192.0.3.0/24 deny # a line more\n")
        await plugin.lists.look_again()
        assert await (await dialog.connect()).banner() == 220
        assert await (await dialog.connect("192.0.3.1")).banner() == 554


async def test_the_server_looks_by_itself(file: Callable[[str], str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(hosts, "_LOOK", 0.01)
    plugin = hosts.Hosts(file=file("192.0.2.0/24 deny\n"))
    dialog = Dialog(plugin, client="192.0.2.1")
    async with dialog as smtp:
        assert await smtp.banner() == 554
        file("192.0.3.0/24 deny # a line more\n")
        while await (await dialog.connect()).banner() == 554:
            pass


async def test_a_file_that_has_become_bad_changes_nothing(
    file: Callable[[str], str], caplog: pytest.LogCaptureFixture
) -> None:
    path = file("192.0.2.0/24 deny\n")
    plugin = hosts.Hosts(file=path)
    dialog = Dialog(plugin, client="192.0.2.1")
    async with dialog as smtp:
        assert await smtp.banner() == 554
        file("192.0.2.0/24 deny\nnonsense\n")
        await plugin.lists.look_again()
        await plugin.lists.look_again()
        assert await (await dialog.connect()).banner() == 554
        assert caplog.text.count(f"{path}:2: ") == 1
        os.remove(path)
        await plugin.lists.look_again()
        assert await (await dialog.connect()).banner() == 554
        file("192.0.2.0/25 allow\n")
        await plugin.lists.look_again()
        assert await (await dialog.connect()).banner() == 220


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


@given(
    st.lists(st.tuples(st.integers(0, 255), st.integers(0, 8), st.sampled_from(["allow", "deny"])), max_size=30),
    st.integers(0, 255),
)
def test_a_lookup_finds_what_a_search_through_all_would(rules: list[tuple[int, int, Any]], last: int) -> None:
    table = hosts._Table()
    written: dict[Any, str] = {}
    for octet, length, verdict in rules:
        network = ip_network(f"192.0.2.{octet}/{24 + length}", strict=False)
        if network not in written:
            written[network] = verdict
            table.add(network, hosts._Rule(verdict, None))
    address = ip_address(f"192.0.2.{last}")
    around = [network for network in written if address in network]
    found = table.find(address)
    if not around:
        assert found is None
    else:
        assert found is not None
        assert found.verdict == written[max(around, key=lambda network: network.prefixlen)]


def test_a_hundred_thousand_networks_are_as_quick_as_a_few() -> None:
    """Steps are counted, not seconds: one for each length of prefix."""
    table = hosts._Table()
    for number in range(100_000):
        table.add(ip_network((number << 8, 24)), hosts._Rule("deny", None))
    assert len(table._by_length[4]) == 1
    assert table.find(ip_address("0.1.0.9")) is not None
    assert table.find(ip_address("2001:db8::1")) is None
