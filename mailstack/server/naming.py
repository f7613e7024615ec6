"""The client's name by reverse DNS: looked for while the banner is on its way, known when EHLO is answered.

The answer to EHLO waits for what is left of it, so that a name never changes in the middle of a policy. Who is on this
machine is not asked for, nor whose name somebody has told us already.
"""

from __future__ import annotations

from typing import Final

from anyio import move_on_after

from .. import log
from ..session.lookup import NO_NAME, ReverseName
from ..session.session import Peer, Session

__all__ = ["find", "worth_asking"]

PATIENCE: Final = 5.0  # seconds, from the connection on
_NOBODY: Final = frozenset({"::1", "0.0.0.0", "::"})


def worth_asking(client: Peer) -> bool:
    """Whether the DNS may know how the client is called."""
    host = client.host
    return client.port is not None and client.reverse is NO_NAME and host not in _NOBODY and not host.startswith("127.")


async def find(session: Session, confirm: bool) -> None:
    """Ask, and tell `session.client`. confirm -- whether the name must lead back."""
    from ..services.resolver import reverse_name

    client = session.client
    assert client.ip is not None
    found = ReverseName(result="temperror")
    try:
        with move_on_after(PATIENCE):
            found = await reverse_name(session.resolver, client.ip, confirm=confirm)
    except Exception as error:
        log.exception("fault", error=error, session=session.id, who="reverse_dns", phase="connect")
    client.reverse = found
