# expect: 6: '(' was never closed -> mend this line or the one before: server = Server(
from mailstack import Server, Stack
from mailstack.handlers import discard
from mailstack.middleware import recipients

server = Server(
    Stack(recipients.Domains("example.org"), discard.Discard()),
