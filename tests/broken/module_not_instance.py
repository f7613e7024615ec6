# expect: 8: recipients is a module, not a plugin -> make one: recipients.Addresses(…) or recipients.Aliases(
from mailstack import Server, Stack
from mailstack.handlers import discard
from mailstack.middleware import recipients

server = Server(
    Stack(
        recipients,
        discard.Discard(),
    ),
)
