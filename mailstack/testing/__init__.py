"""The test kit: talk SMTP to a stack in memory, and hold a plugin to the contract.

dialog -- a server and its client in memory. conversation, answer -- what the client says and hears.
transcript -- conversations kept in readable files. contract -- what every plugin must survive.
message -- a session, a recipient or a message for a check that is called directly.
"""

from .answer import Answer
from .conversation import Conversation, Delivery
from .dialog import Collect, Dialog, Vouch

__all__ = ["Answer", "Collect", "Conversation", "Delivery", "Dialog", "Vouch"]
