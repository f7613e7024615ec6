# expect: 5: listeners is one Listener -> listeners=[Listener(
from mailstack import Listener, Server, Stack
from mailstack.handlers import discard

server = Server(Stack(discard.Discard()), Listener("127.0.0.1:25"))
