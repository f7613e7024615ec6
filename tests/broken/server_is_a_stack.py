# expect: 5: `server` is a Stack, not a Server -> write server = Server(
from mailstack import Stack
from mailstack.handlers import discard

server = Stack(discard.Discard())
