"""mailstack: a mail server whose policy is a stack of middleware.

from mailstack import Listener, Server, Stack
from mailstack.handlers import maildir
from mailstack.middleware import recipients

server = Server(
    Stack(recipients.Domains("example.org"), maildir.Maildir("./var/mail")),
    listeners=[Listener("127.0.0.1:2525")],
)

Each name is imported when it is first asked for (PEP 562), so that `mailstack --help` and a program that needs one part
do not wait for the rest. A new name stands in both lists below.
"""

from typing import TYPE_CHECKING

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
    "Observe",
    "Parameter",
    "Postpone",
    "Recipient",
    "Reply",
    "Resolver",
    "Score",
    "Sender",
    "Server",
    "Session",
    "Stack",
    "Threshold",
    "Transaction",
    "Unless",
    "When",
    "hookimpl",
    "known",
    "lookup",
    "plugin",
    "predicate",
    "score",
]

__version__ = "0.1.0"

if TYPE_CHECKING:
    from . import predicate
    from .contract.compose import Limit, Stack, Unless, When
    from .contract.hookspec import CallNext, hookimpl
    from .contract.observe import Observe
    from .contract.postpone import Postpone
    from .contract.predicate import known
    from .contract.score import Score, Threshold, score
    from .option import ConfigError
    from .plugins import plugin
    from .server.limits import Limits
    from .server.listener import Listener
    from .server.server import Server
    from .services import lookup
    from .services.resolver import Resolver
    from .session.hangup import Hangup
    from .session.later import Later
    from .session.message import Message
    from .session.session import Session
    from .session.stash import Key
    from .session.transaction import Recipient, Sender, Transaction
    from .wire.address import Address
    from .wire.command import Command
    from .wire.parameter import Parameter
    from .wire.reply import Reply
else:
    _NAMES = {
        "contract.compose": "Limit Stack Unless When",
        "contract.hookspec": "CallNext hookimpl",
        "contract.observe": "Observe",
        "contract.postpone": "Postpone",
        "contract.predicate": "known",
        "contract.score": "Score Threshold score",
        "option": "ConfigError",
        "plugins": "plugin",
        "server.limits": "Limits",
        "server.listener": "Listener",
        "server.server": "Server",
        "services.resolver": "Resolver",
        "session.hangup": "Hangup",
        "session.later": "Later",
        "session.message": "Message",
        "session.session": "Session",
        "session.stash": "Key",
        "session.transaction": "Recipient Sender Transaction",
        "wire.address": "Address",
        "wire.command": "Command",
        "wire.parameter": "Parameter",
        "wire.reply": "Reply",
    }
    _MODULES = {"lookup": "services.lookup", "predicate": "predicate"}
    _HOME = {name: module for module, names in _NAMES.items() for name in names.split()}

    def __getattr__(name):
        from importlib import import_module

        if name in _MODULES:
            found = import_module(f".{_MODULES[name]}", __name__)
        elif name in _HOME:
            found = getattr(import_module(f".{_HOME[name]}", __name__), name)
        else:
            raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
        globals()[name] = found
        return found

    def __dir__():
        return sorted({*globals(), *__all__})
