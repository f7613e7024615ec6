# expect: 7: 'example org' is not a domain
from mailstack import Server, Stack
from mailstack.handlers import discard
from mailstack.middleware import recipients

server = Server(
    Stack(recipients.Domains("example org"), discard.Discard()),
)
