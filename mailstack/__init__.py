"""mailstack: a mail server whose policy is a stack of middleware.

from mailstack import Listener, Server, Stack
from mailstack.handlers import maildir
from mailstack.middleware import recipients

server = Server(
    Stack(recipients.Domains("example.org"), maildir.Maildir("./var/mail")),
    listeners=[Listener("127.0.0.1:2525")],
)
"""

from .contract import predicate
from .contract.compose import Limit, Stack, Unless, When
from .contract.hookspec import CallNext, hookimpl
from .contract.predicate import known
from .option import ConfigError
from .server.limits import Limits
from .server.listener import Listener
from .server.server import Server
from .session.hangup import Hangup
from .session.later import Later
from .session.message import Message
from .session.session import Session
from .session.stash import Key
from .session.transaction import Recipient, Sender, Transaction
from .wire.address import Address
from .wire.command import Command, Parameter
from .wire.reply import Reply

__all__ = [
    "Address",
    "CallNext",
    "Command",
    "ConfigError",
    "Hangup",
    "Key",
    "Later",
    "Limit",
    "Limits",
    "Listener",
    "Message",
    "Parameter",
    "Recipient",
    "Reply",
    "Sender",
    "Server",
    "Session",
    "Stack",
    "Transaction",
    "Unless",
    "When",
    "hookimpl",
    "known",
    "predicate",
]

__version__ = "0.1.0"
