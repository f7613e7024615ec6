# expect: 5: Discard is not a stack -> write Server(Stack(
from mailstack import Server
from mailstack.handlers import discard

server = Server(discard.Discard())
