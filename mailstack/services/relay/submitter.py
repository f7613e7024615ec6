"""MAIL as it is said to the next server: the sender, his parameters, and who gave the message up first (AUTH=).

RFC 4954 §5: whom a client names is passed on only if that client has logged in, or is known by its certificate. To a
server where we have logged in AUTH=<> is said of everybody else's mail, so that it does not count as ours.
"""

from __future__ import annotations

from ...session.session import Session
from ...session.transaction import Transaction
from ...wire.address import Address
from ...wire.command import Mail
from ..client import Client

__all__ = ["mail_for"]


def mail_for(session: Session, transaction: Transaction, client: Client) -> Mail:
    """MAIL for the server behind `client`; what that does not offer is left out when it is said."""
    parameters = dict(transaction.sender.parameters)
    submitter = parameters.pop("AUTH", None)
    if submitter is not None and session.user is not None:
        parameters["AUTH"] = submitter
    elif client.user is not None:
        parameters["AUTH"] = Address.NULL
    return Mail(transaction.sender.address, parameters)
