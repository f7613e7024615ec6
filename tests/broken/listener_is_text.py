# expect: 5: '127.0.0.1:25' is not a listener -> write listeners=[Listener('127.0.0.1:25')
from mailstack import Server, Stack
from mailstack.handlers import discard

server = Server(Stack(discard.Discard()), listeners=["127.0.0.1:25"])
