# expect: 8: recipients is a class, not a plugin -> make one: Domains(
from mailstack import Server, Stack
from mailstack.handlers import discard
from mailstack.middleware import recipients

server = Server(
    Stack(
        recipients.Domains,
        discard.Discard(),
    ),
)
