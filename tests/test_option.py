"""What people write in a configuration becomes a typed value, or an error that says what to write instead."""

import ipaddress
import os
from collections.abc import Callable
from contextlib import suppress
from datetime import timedelta
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mailstack import option
from mailstack.option import ConfigError, SocketAddress


def refused(parse: Callable[..., Any], *values: Any, **keywords: Any) -> ConfigError:
    with pytest.raises(ConfigError) as caught:
        parse(*values, **keywords)
    return caught.value


# The error ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("error", "text"),
    [
        (ConfigError("no"), "no"),
        (ConfigError("no", remedy="yes"), "no\n  remedy: yes"),
        (ConfigError("no", file="mx.py"), "mx.py: no"),
        (ConfigError("no", file="mx.py", line=7, remedy="yes"), "mx.py:7: no\n  remedy: yes"),
        (ConfigError("no", line=7), "no"),
    ],
)
def test_an_error_tells_what_is_known(error: ConfigError, text: str) -> None:
    assert str(error) == text


def test_the_loader_can_add_the_place_later() -> None:
    error = refused(option.duration, "5 minits", name="Greylist(delay=…)")
    error.file, error.line = "conf/mx.py", 12
    assert str(error) == (
        "conf/mx.py:12: Greylist(delay=…): '5 minits' is not a duration\n"
        '  remedy: write "30s", "5m", "1h30m" or a number of seconds'
    )


def test_an_error_without_a_name_begins_with_the_value() -> None:
    assert refused(option.size, "much").message == "'much' is not a size"


def test_an_error_shows_hostile_values_short_and_escaped() -> None:
    message = refused(option.size, "\x1b[2J\n" + "x" * 5000).message
    assert len(message) < 120
    assert message.isprintable()


# Numbers, times and sizes ------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("written", "seconds"),
    [
        ("5m", 300.0),
        ("1h30m", 5400.0),
        ("1h 30m", 5400.0),
        ("1w2d3h4m5s6ms", 788_645.006),
        ("90s", 90.0),
        ("500ms", 0.5),
        ("1.5h", 5400.0),
        (" 30 s ", 30.0),
        ("90", 90.0),
        ("0.25", 0.25),
        (2.5, 2.5),
        (0, 0.0),
        (timedelta(minutes=2), 120.0),
    ],
)
def test_a_duration_is_seconds(written: Any, seconds: float) -> None:
    result = option.duration(written)
    assert result == pytest.approx(seconds)
    assert type(result) is float


@pytest.mark.parametrize(
    "written",
    [
        *("", "m", "5 minits", "5 minutes", "-5m", "30m1h", "5m5m", "1h30", "5M", "inf", "nan", "1e3", "٥m"),
        *("9" * 400 + "s", -1, float("inf"), float("nan"), 10**400, True, None, b"5m", timedelta(seconds=-1), [5]),
    ],
)
def test_what_is_not_a_duration_is_refused(written: Any) -> None:
    assert "is not a duration" in refused(option.duration, written).message


def test_a_duration_can_be_too_short() -> None:
    assert option.duration("1s", minimum=1) == 1
    error = refused(option.duration, "500ms", minimum=1)
    assert (error.message, error.remedy) == ("'500ms' is too short", "write a duration of at least 1 seconds")


@given(st.integers(1, 99), st.integers(1, 23), st.integers(1, 59), st.integers(1, 59))
def test_a_duration_is_the_sum_of_its_parts(days: int, hours: int, minutes: int, seconds: int) -> None:
    written = f"{days}d{hours}h{minutes}m{seconds}s"
    expected = timedelta(days=days, hours=hours, minutes=minutes, seconds=seconds)
    assert option.duration(written) == expected.total_seconds()


@pytest.mark.parametrize(
    ("written", "octets"),
    [
        (1024, 1024),
        (0, 0),
        ("1024", 1024),
        ("64k", 65_536),
        ("64K", 65_536),
        ("50M", 52_428_800),
        ("50 MiB", 52_428_800),
        ("50MB", 52_428_800),
        ("50mib", 52_428_800),
        ("2G", 2_147_483_648),
        ("1.5G", 1_610_612_736),
        ("1TiB", 1_099_511_627_776),
        ("10 B", 10),
        ("9007199254740993k", 9_007_199_254_740_993 * 1024),
    ],
)
def test_a_size_is_octets_in_powers_of_1024(written: Any, octets: int) -> None:
    assert option.size(written) == octets


@pytest.mark.parametrize("written", ["", "k", "50 Mo", "50 i", "-1", "1e6", "1,5M", -1, 1.5, True, None, b"5"])
def test_what_is_not_a_size_is_refused(written: Any) -> None:
    assert "is not a size" in refused(option.size, written).message


@pytest.mark.parametrize(("written", "value"), [(5, 5), ("5", 5), (" -3 ", -3), ("+7", 7), ("0", 0)])
def test_an_integer_is_read(written: Any, value: int) -> None:
    assert option.integer(written) == value


@pytest.mark.parametrize("written", ["", "5.0", "0x10", "1_000", "five", "٥", "9" * 5000, 5.0, True, None])
def test_what_is_not_an_integer_is_refused(written: Any) -> None:
    assert "is not a whole number" in refused(option.integer, written).message


def test_the_bounds_of_a_number_are_included() -> None:
    assert option.integer(1, minimum=1, maximum=9) == 1
    assert option.integer("9", minimum=1, maximum=9) == 9
    assert refused(option.integer, 0, minimum=1, maximum=9).remedy == "write a number from 1 to 9"
    assert refused(option.integer, 10, minimum=1, maximum=9).message == "10 is out of range"
    assert refused(option.integer, 0, minimum=1).remedy == "write a number of at least 1"
    assert refused(option.number, 2, maximum=1.5).remedy == "write a number of at most 1.5"


@pytest.mark.parametrize(("written", "value"), [(12, 12.0), (-0.5, -0.5), ("4.5", 4.5), ("-1", -1.0)])
def test_a_number_is_read(written: Any, value: float) -> None:
    assert option.number(written) == value


@pytest.mark.parametrize("written", ["", "many", "nan", "inf", float("nan"), True, None, [], 10**400])
def test_what_is_not_a_number_is_refused(written: Any) -> None:
    assert "is not a number" in refused(option.number, written).message


@pytest.mark.parametrize("written", [True, "yes", "On", "TRUE", "1"])
def test_words_for_true(written: Any) -> None:
    assert option.boolean(written) is True


@pytest.mark.parametrize("written", [False, "no", "Off", "FALSE", "0"])
def test_words_for_false(written: Any) -> None:
    assert option.boolean(written) is False


@pytest.mark.parametrize("written", ["", "maybe", 1, 0, None])
def test_what_is_neither_true_nor_false_is_refused(written: Any) -> None:
    assert "is neither true nor false" in refused(option.boolean, written).message


def test_a_choice_is_one_of_the_allowed_words() -> None:
    assert option.choice("Defer", "defer", "pass") == "defer"
    error = refused(option.choice, "drop", "defer", "pass", name="Limit(on_fault=…)")
    assert error.message == "Limit(on_fault=…): 'drop' is not known here"
    assert error.remedy == 'write "defer" or "pass"'
    refused(option.choice, None, "defer")


# Networks ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("written", "network"),
    [
        ("192.0.2.0/24", "192.0.2.0/24"),
        ("192.0.2.0/255.255.255.0", "192.0.2.0/24"),
        ("192.0.2.1", "192.0.2.1/32"),
        ("2001:DB8::/32", "2001:db8::/32"),
        (" ::1 ", "::1/128"),
        ("::ffff:192.0.2.0/120", "192.0.2.0/24"),
        ("::ffff:192.0.2.1", "192.0.2.1/32"),
        ("::/0", "::/0"),
        (ipaddress.ip_network("10.0.0.0/8"), "10.0.0.0/8"),
        (ipaddress.ip_address("10.1.2.3"), "10.1.2.3/32"),
    ],
)
def test_a_network_is_read(written: Any, network: str) -> None:
    assert option.network(written) == ipaddress.ip_network(network)


@pytest.mark.parametrize(
    ("written", "remedy"),
    [
        ("192.0.2.5/24", 'write "192.0.2.0/24"'),
        ("2001:db8::1/32", 'write "2001:db8::/32"'),
        ("192.0.2.", 'write "192.0.2.0/24"'),
        ("10.", 'write "10.0.0.0/8"'),
        ("999.", 'write "192.0.2.0/24", "2001:db8::/32" or one address'),
        ("example.org", 'write "192.0.2.0/24", "2001:db8::/32" or one address'),
    ],
)
def test_what_is_not_a_network_is_refused_with_what_was_meant(written: str, remedy: str) -> None:
    assert refused(option.network, written).remedy == remedy


@pytest.mark.parametrize("written", ["", "192.0.2.0/33", "1.2.3", 3_221_225_985, b"\xc0\x00\x02\x01", None, ()])
def test_what_the_ipaddress_module_would_guess_is_refused(written: Any) -> None:
    assert "is not a network" in refused(option.network, written).message


def test_networks_come_one_by_one_or_in_iterables() -> None:
    ten = ipaddress.ip_network("10.0.0.0/8")
    found = option.networks("192.0.2.1", ["10.0.0.0/8", ten], ten, ("::1" for _ in range(1)))
    assert found == (ipaddress.ip_network("192.0.2.1/32"), ten, ipaddress.ip_network("::1/128"))
    assert option.networks() == ()


@pytest.mark.parametrize("written", [None, 5, b"10.", ["10.0.0.1/8"], [None], [["10.0.0.0/8"]]])
def test_networks_refuse_what_one_network_refuses(written: Any) -> None:
    assert refused(option.networks, "::1", written, name="client_in").message.startswith("client_in: ")


# Sockets -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("written", "address", "text"),
    [
        ("[::]:25", SocketAddress("::", 25), "[::]:25"),
        ("[2001:DB8:0::1]:25", SocketAddress("2001:db8::1", 25), "[2001:db8::1]:25"),
        ("[fe80::1%eth0]:25", SocketAddress("fe80::1%eth0", 25), "[fe80::1%eth0]:25"),
        ("127.0.0.1:0", SocketAddress("127.0.0.1", 0), "127.0.0.1:0"),
        ("LocalHost:2525", SocketAddress("localhost", 2525), "localhost:2525"),
        ("clam_av:3310", SocketAddress("clam_av", 3310), "clam_av:3310"),
        ("bücher.example:25", SocketAddress("xn--bcher-kva.example", 25), "xn--bcher-kva.example:25"),
        ("unix:/run/x.sock", SocketAddress(path="/run/x.sock"), "unix:/run/x.sock"),
        ("/run/x.sock", SocketAddress(path="/run/x.sock"), "unix:/run/x.sock"),
        ("unix:run/x:1", SocketAddress(path="run/x:1"), "unix:run/x:1"),
    ],
)
def test_a_socket_address_is_read_and_written(written: str, address: SocketAddress, text: str) -> None:
    assert option.socket_address(written) == address
    assert str(address) == text
    assert option.socket_address(text) == address == option.socket_address(address)


def test_a_port_can_have_a_default() -> None:
    assert option.socket_address("127.0.0.1", port=783) == SocketAddress("127.0.0.1", 783)
    assert option.socket_address("[::1]", port=783) == SocketAddress("::1", 783)
    assert option.socket_address("127.0.0.1:784", port=783) == SocketAddress("127.0.0.1", 784)


@pytest.mark.parametrize(
    ("written", "complaint", "remedy"),
    [
        (":2525", "names no host", '"[::]:2525"'),
        ("*:25", "names no host", '"[::]:25"'),
        ("", "names no host", '"[::]:25"'),
        ("localhost", "has no port", '"localhost:25"'),
        ("[::1]", "has no port", '"[::1]:25"'),
        ("localhost:", "has no port that exists", "from 0 to 65535"),
        ("localhost:smtp", "has no port that exists", "from 0 to 65535"),
        ("localhost:65536", "has no port that exists", "from 0 to 65535"),
        ("localhost:-1", "has no port that exists", "from 0 to 65535"),
        ("[::1]25", "has no port that exists", "from 0 to 65535"),
        ("2001:db8::1", "without brackets", '"[2001:db8::1]:25"'),
        ("[127.0.0.1]:25", "between its brackets", "[::]:25"),
        ("[::1:25", "between its brackets", "[::]:25"),
        ("300.0.0.1:25", "names a host that cannot exist", "127.0.0.1:25"),
        ("mx..example:25", "names a host that cannot exist", "127.0.0.1:25"),
        ("a b:25", "names a host that cannot exist", "127.0.0.1:25"),
        ("unix:", "has no path", "unix:/run/name.sock"),
        ("/run/\0", "has no path", "unix:/run/name.sock"),
        ("/" + "x" * 107, "too long for a Unix socket", "107 octets"),
        (25, "is not a socket address", "127.0.0.1:25"),
        (("::", 25), "is not a socket address", "127.0.0.1:25"),
    ],
)
def test_what_is_not_a_socket_address_is_refused(written: Any, complaint: str, remedy: str) -> None:
    error = refused(option.socket_address, written)
    assert complaint in error.message
    assert remedy in error.remedy


def test_the_longest_unix_path_is_accepted() -> None:
    path = "/" + "é" * 53
    assert len(os.fsencode(path)) == 107
    assert option.socket_address(path).path == path


# Names of mail -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("written", "domain"),
    [
        ("Example.ORG", "example.org"),
        ("example.org.", "example.org"),
        (" localhost ", "localhost"),
        ("Bücher.Example", "xn--bcher-kva.example"),
        ("XN--BCHER-KVA.example", "xn--bcher-kva.example"),
        ("r3---sn.example", "r3---sn.example"),
        ("1and1.example", "1and1.example"),
    ],
)
def test_a_domain_is_made_canonical(written: str, domain: str) -> None:
    assert option.domain(written) == domain


@pytest.mark.parametrize(
    "written",
    [
        "",
        ".",
        "a..b",
        "-a.example",
        "a-.example",
        "_dmarc.example",
        "*.example.org",
        "[192.0.2.1]",
        "a b",
        "xn--a.x",
        "x" * 64 + ".example",
        ".".join(["x" * 60] * 5),
        "exam\nple.org",
        "\udc80.example",
        "a\u2028.example",
        None,
        5,
    ],
)
def test_what_is_not_a_domain_is_refused(written: Any) -> None:
    assert "is not a domain" in refused(option.domain, written).message


def test_an_address_in_place_of_a_domain_is_told_apart() -> None:
    assert refused(option.domain, "user@example.org").remedy == 'write "example.org"'


@pytest.mark.parametrize("written", ["User@Example.ORG", "<User@Example.ORG>"])
def test_an_address_is_read(written: str) -> None:
    found = option.address(written)
    assert (found.local, found.domain) == ("User", "example.org")
    assert option.address(found) is found


@pytest.mark.parametrize("written", ["", "example.org", "a@b@", "a@-b", None, 5, b"a@example.org"])
def test_what_is_not_an_address_is_refused(written: Any) -> None:
    error = refused(option.address, written, name="alias")
    assert (error.message, error.remedy) == (f"alias: {written!r} is not a mail address", 'write "user@example.org"')


PARSERS = [option.duration, option.size, option.integer, option.number, option.boolean, option.network]
PARSERS_OF_NAMES = [option.socket_address, option.domain, option.address]


@pytest.mark.parametrize("parse", [*PARSERS, *PARSERS_OF_NAMES], ids=lambda parse: parse.__name__)
@given(written=st.text(st.characters(), max_size=30) | st.text("0123456789.:[]/%@-kmhsd ", max_size=20))
def test_any_text_gives_a_value_or_a_config_error(parse: Callable[[str], object], written: str) -> None:
    with suppress(ConfigError):
        parse(written)
