"""The client's name by reverse DNS: looked for while the banner is on its way, told when the first RCPT comes.

RCPT waits for what is left of it, and nobody sees it before, so that a name never changes in the middle of a policy.
What else is asked for a client goes on meanwhile. EHLO waits in its place where a condition in the stack may want the
name earlier; what runs in the background has it from `session.named()`. Who is on this machine is not asked for, nor
whose name somebody has told us already.
"""

from __future__ import annotations

from collections.abc import Iterable
from contextlib import suppress
from typing import TYPE_CHECKING, Final

from anyio import move_on_after

from .. import log
from ..contract.chain import Branch, Node
from ..session.lookup import NO_NAME, ReverseName
from ..session.session import Peer, Session

if TYPE_CHECKING:
    from ..contract.pipeline import Pipeline
    from .connection import Connection

__all__ = ["asked_for_early", "begin", "find", "known", "tell", "worth_asking"]

PATIENCE: Final = 5.0  # seconds, from the connection on
_EARLY: Final = ("ehlo", "auth", "command", "mail")
_NOBODY: Final = frozenset({"::1", "0.0.0.0", "::"})


def asked_for_early(pipeline: Pipeline) -> bool:
    """Whether a condition in the stack may look at the name before RCPT."""
    return any(_asks(pipeline.nodes(hook)) for hook in _EARLY)


def _asks(nodes: Iterable[Node]) -> bool:
    return any(isinstance(node, Branch) and (node.predicate.named or _asks(node.nodes)) for node in nodes)


def worth_asking(client: Peer) -> bool:
    """Whether the DNS may know how the client is called."""
    host = client.host
    return client.port is not None and client.reverse is NO_NAME and host not in _NOBODY and not host.startswith("127.")


def begin(connection: Connection) -> None:
    """Ask how the client is called, in the background."""
    house, session = connection.house, connection.session
    worth = house.names_clients and worth_asking(session.client)
    connection.naming = session.start(find, session, house.confirms_names) if worth else None


async def known(connection: Connection) -> ReverseName:
    """How the client is called, as soon as that is known."""
    client, later = connection.session.client, connection.naming
    if later is not None:
        with suppress(RuntimeError):  # the session ends
            return await later.get()
    return client.reverse


async def tell(connection: Connection) -> None:
    """From here on the client has a name, or none for good."""
    found, connection.naming = await known(connection), None
    connection.session.client.reverse = found


async def find(session: Session, confirm: bool) -> ReverseName:
    """Ask. confirm -- whether the name must lead back."""
    from ..services.resolver import reverse_name

    client = session.client
    assert client.ip is not None
    found = ReverseName(result="temperror")
    try:
        with move_on_after(PATIENCE):
            found = await reverse_name(session.resolver, client.ip, confirm=confirm)
    except Exception as error:
        log.exception("fault", error=error, session=session.id, who="reverse_dns", phase="connect")
    return found
