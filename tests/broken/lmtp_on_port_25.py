# expect: 7: LMTP must not be spoken on port 25 (RFC 2033 §5) -> take port 24 or 2424, or a UNIX socket
from mailstack import Listener, Server, Stack
from mailstack.handlers import discard

server = Server(
    Stack(discard.Discard()),
    listeners=[Listener("127.0.0.1:25", lmtp=True)],
)
