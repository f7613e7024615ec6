# expect: 5: Server(limits): {'message_size': 3} is no Limits -> write limits=Limits(
from mailstack import Server, Stack
from mailstack.handlers import discard

server = Server(Stack(discard.Discard()), limits={"message_size": 3})
