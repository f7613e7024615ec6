# expect: 5: a group without a user -> write user=
from mailstack import Server, Stack
from mailstack.handlers import discard

server = Server(Stack(discard.Discard()), group="mail")
