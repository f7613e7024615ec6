"""The test kit: talk SMTP to a stack in memory, hold a plugin to the contract, stand in for a mail server.

dialog -- a server and its client in memory. conversation, answer -- what the client says and hears.
transcript -- conversations kept in readable files. contract -- what every plugin must survive.
resolver -- a DNS that is a table. message -- a session, a recipient or a message for a check that is called directly.
mailbox -- a server for applications that send mail, with faults on demand. delivery -- what arrives, in both.
plugin -- pytest's fixtures.

Each name is imported when it is first asked for: pytest imports `plugin` wherever mailstack is installed.
"""

from typing import TYPE_CHECKING

__all__ = [
    "SERVFAIL",
    "TIMEOUT",
    "Answer",
    "Collect",
    "Conversation",
    "Delivery",
    "Dialog",
    "FakeResolver",
    "Mailbox",
    "Vouch",
]

if TYPE_CHECKING:
    from .answer import Answer
    from .conversation import Conversation
    from .delivery import Delivery
    from .dialog import Collect, Dialog, Vouch
    from .mailbox import Mailbox
    from .resolver import SERVFAIL, TIMEOUT, FakeResolver
else:
    _HOME = {
        "Answer": "answer",
        "Collect": "dialog",
        "Conversation": "conversation",
        "Delivery": "delivery",
        "Dialog": "dialog",
        "FakeResolver": "resolver",
        "Mailbox": "mailbox",
        "SERVFAIL": "resolver",
        "TIMEOUT": "resolver",
        "Vouch": "dialog",
    }

    def __getattr__(name):
        from importlib import import_module

        if name not in _HOME:
            raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
        found = globals()[name] = getattr(import_module(f".{_HOME[name]}", __name__), name)
        return found

    def __dir__():
        return sorted({*globals(), *__all__})
