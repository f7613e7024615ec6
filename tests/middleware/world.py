"""A database of where addresses are, made by the tests."""

from __future__ import annotations

import tempfile
from functools import cache
from pathlib import Path
from typing import Any

import netaddr  # type: ignore[import-untyped]
from mmdb_writer import MMDBWriter

PLACES = {
    "192.0.2.0/25": {
        "country": {"iso_code": "DE"},
        "continent": {"code": "EU"},
        "location": {"latitude": 52.52, "longitude": 13.405},
        "autonomous_system_number": 64496,
        "autonomous_system_organization": "Example\r\nNet",
    },
    "192.0.2.128/25": {"country": {"iso_code": "NZ"}, "location": {"latitude": -36.85, "longitude": 174.76}},
    "2001:db8::/32": {"registered_country": {"iso_code": "FR"}},
}


def write(path: Path, places: dict[str, Any]) -> None:
    """A database with these places."""
    writer = MMDBWriter(ip_version=6, ipv4_compatible=True, database_type="Test")
    for network, found in places.items():
        writer.insert_network(netaddr.IPSet([network]), found)
    writer.to_db_file(str(path))


@cache
def world() -> str:
    """The path of one with `PLACES`."""
    path = Path(tempfile.mkdtemp(prefix="mailstack-geo-")) / "world.mmdb"
    write(path, PLACES)
    return str(path)
