# expect: 7: Listener: '127.0.0.1' has no port -> write "127.0.0.1:25"
from mailstack import Listener, Server, Stack
from mailstack.handlers import discard

server = Server(
    Stack(discard.Discard()),
    listeners=[Listener("127.0.0.1")],
)
