# expect: 8: discard cannot be observed: it implements queue, it would take the mail for good -> observe only checks
from mailstack import Observe, Server, Stack
from mailstack.handlers import discard

server = Server(
    Stack(
        Observe(
            discard.Discard(),
        ),
    ),
)
