"""What all stores share: how large keys and values are, and what a failure is called."""

from __future__ import annotations

import math
import re
from hashlib import sha256
from urllib.parse import quote

KEY = 200  # octets; a key is ASCII
VALUE = 4096  # octets
LONGEST = 10 * 366 * 86400.0  # seconds that something is kept at most

_PLAIN = re.compile(r"[A-Za-z0-9_.\-~:@+=]*").fullmatch  # what quoting leaves as it is; most keys are nothing else
_DIGEST = 32  # hexadecimal digits behind what is cut


class StoreError(Exception):
    """The store cannot be used at the moment: locked, unreadable, full. Its text is for the log."""


def key(*parts: object) -> str:
    """One key made of parts: different parts make different keys, of printable ASCII without blanks, of bounded size.

    key("rate", "10/60", "[IPv6:::1]")        # "rate/10%2F60/%5BIPv6:::1%5D"

    A long one is cut, and the rest of it is a hash.
    """
    texts = map(str, parts)
    text = "/".join([each if _PLAIN(each) else quote(each, safe=":@+=", errors="surrogatepass") for each in texts])
    if len(text) <= KEY:
        return text
    return text[: KEY - _DIGEST - 1] + "~" + sha256(text.encode()).hexdigest()[:_DIGEST]


def check(key: str, value: bytes = b"", ttl: float = 1.0) -> None:
    """ValueError for what no store takes."""
    if not key or len(key) > KEY or " " in key or not (key.isascii() and key.isprintable()):
        raise ValueError(f"{key[:40]!r} is no key: make it with key(…)")
    if len(value) > VALUE:
        raise ValueError(f"a value of {len(value)} octets is more than {VALUE}")
    if not 0 < ttl <= LONGEST or math.isnan(ttl):
        raise ValueError(f"a ttl of {ttl} s is none")
