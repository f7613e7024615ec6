"""The stack that filters, with all that asks the DNS, as tests and the bench put it together; and zones for it."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from mailstack import Unless
from mailstack.middleware import (
    bogusbounce,
    dnsbl,
    dnswl,
    earlytalker,
    fcrdns,
    greylist,
    helo,
    karma,
    noop,
    recipients,
    resolvable,
    rhsbl,
    uribl,
)
from mailstack.services.store import Memory, Store

# What the lists have: clients 192.0.2.10 (both), .11 (the heavy one), .12 (the light one), 2001:db8::10 (both).
LISTED, HALF, LIGHT, CLEAN, TRUSTED = "192.0.2.10", "192.0.2.11", "192.0.2.12", "192.0.2.20", "192.0.2.30"
SIX_LISTED, SIX_CLEAN = "2001:db8::10", "2001:db8::20"


def stack(
    *,
    wait: float = 0.0,
    trouble: str = "defer",
    timeout: str | float = "8s",
    delay: str | float = 0.0,
    grey: Store | None = None,
    history: Store | None = None,
    which: tuple[str, ...] = ("sender", "helo"),
    sessions: tuple[int, int, int] | None = None,
    clock: Callable[[], float] | None = None,
) -> list[Any]:
    """Every filter, above nothing: a handler is the caller's.

    wait -- for early talkers. trouble -- what the DNS gives no answer means to `resolvable`. timeout -- for lists.
    delay -- of the greylist: 0 lets everybody in, and still remembers. which -- of rhsbl.
    """
    known = dnswl.DNSWL("wl.test", timeout=timeout)
    clocks: dict[str, Any] = {} if clock is None else {"clock": clock}
    return [
        karma.Karma(store=history or Memory(), sessions=sessions, **clocks),
        earlytalker.EarlyTalker(wait=wait),
        noop.Noop(),
        known,
        dnsbl.DNSBL(
            dnsbl.Zone("bl.test", 2), dnsbl.Zone("light.test", codes={"127.0.0.4": 1}), threshold=2, timeout=timeout
        ),
        helo.Helo("strict"),
        fcrdns.FCrDNS(),
        rhsbl.RHSBL("dbl.test", which=which, timeout=timeout),
        resolvable.Resolvable(trouble=trouble, impossible=("127.0.0.0/8", "10.0.0.0/8")),  # type: ignore[arg-type]
        bogusbounce.BogusBounce(),
        recipients.Domains("example.test"),
        Unless(known.trusted(2), greylist.Greylist(delay=delay, store=grey or Memory(), **clocks)),
        uribl.URIBL("uri.test", timeout=timeout, mark="X-URIBL"),
    ]


# The same zones twice: for a FakeResolver, and for name servers that are programs.
ZONES = {
    "bl.test": """
10.2.0.192 A 127.0.0.2
10.2.0.192 TXT "sends spam"
11.2.0.192 A 127.0.0.3
12.2.0.192 A 127.255.255.254
0.1.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.8.b.d.0.1.0.0.2 A 127.0.0.2
""",
    "light.test": """
10.2.0.192 A 127.0.0.4
12.2.0.192 A 127.0.0.4
13.2.0.192 A 127.0.0.9
14.2.0.192 A 192.0.2.99
0.1.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.8.b.d.0.1.0.0.2 A 127.0.0.4
""",
    "wl.test": """
30.2.0.192 A 127.0.5.2
30.2.0.192 TXT "not asked for"
""",
    "dbl.test": """
spammer.test A 127.0.1.2
evil.helo.test A 127.0.1.3
""",
    "uri.test": """
pills.test A 127.0.0.2
pills.test TXT "pills"
""",
    "mail.test": """
@ MX 10 mx
@ MX 20 mx2
mx A 198.18.0.1
mx2 AAAA 2001:db8:1::1
none MX 0 .
inside MX 5 lan
lan A 10.0.0.1
bare A 198.18.0.9
c20 A 192.0.2.20
c10 A 192.0.2.10
c11 A 192.0.2.11
c30 A 192.0.2.30
six AAAA 2001:db8::20
""",
    "spammer.test": "@ MX 10 mx.mail.test.\n",
    "2.0.192.in-addr.arpa": """
20 PTR c20.mail.test.
10 PTR c10.mail.test.
11 PTR c11.mail.test.
30 PTR c30.mail.test.
""",
    "8.b.d.0.1.0.0.2.ip6.arpa": "0.2.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0 PTR six.mail.test.\n",
}


def table() -> dict[str, dict[str, list[str]]]:
    """What the zones say, as a FakeResolver has it."""
    found: dict[str, dict[str, list[str]]] = {}
    for zone, text in ZONES.items():
        for line in filter(None, text.splitlines()):
            name, type, data = line.split(" ", 2)
            full = zone if name == "@" else f"{name}.{zone}"
            words = data.split(" ")
            if type == "MX":
                host = words[1]
                words[1] = host if host.endswith(".") else f"{host}.{zone}."
            elif type == "TXT":
                words = [data.strip('"')]
            found.setdefault(full, {}).setdefault(type, []).append(" ".join(words))
    return found
