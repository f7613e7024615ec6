"""The name of an address, confirmed by the way back (RFC 8601 §3, "iprev").

What a PTR record says is the word of whoever owns the address. It counts once an address record of that name, which is
the word of whoever owns the name, leads back.
"""

from __future__ import annotations

from collections.abc import Sequence

from anyio import create_task_group

from ...session.lookup import IPAddress, Lookups, NotFound, ReverseName, Temporary

__all__ = ["reverse_name"]

NAMES = 5  # of one address; who has more does not need a good name


async def reverse_name(resolver: Lookups, ip: IPAddress, *, confirm: bool = True) -> ReverseName:
    """The first name that leads back to `ip`, else the first one. Raises no DNSError.

    confirm -- False takes the first name as it is, and says "fail": nobody looked.
    """
    if ip.version == 6 and ip.ipv4_mapped is not None:
        ip = ip.ipv4_mapped
    try:
        names = (await resolver.ptr(ip)).records[:NAMES]
    except NotFound:
        names = ()
    except Temporary:
        return ReverseName(result="temperror")
    if not names:
        return ReverseName(result="permerror")
    if not confirm:
        return ReverseName(names[0], "fail")
    leads = await _lead_back(resolver, names, ip)
    for name in names:
        if leads[name]:
            return ReverseName(name, "pass")
    return ReverseName(names[0], "temperror" if None in leads.values() else "fail")


async def _lead_back(resolver: Lookups, names: Sequence[str], ip: IPAddress) -> dict[str, bool | None]:
    """Whether each leads to `ip`, None while nobody knows; all are asked for at the same time."""
    found: dict[str, bool | None] = {}

    async def ask(name: str) -> None:
        try:
            found[name] = ip in (await resolver.query(name, "A" if ip.version == 4 else "AAAA")).records
        except NotFound:
            found[name] = False
        except Temporary:
            found[name] = None

    if len(names) == 1:
        await ask(names[0])
        return found
    async with create_task_group() as group:
        for name in names:
            group.start_soon(ask, name)
    return found
