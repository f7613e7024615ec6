# expect: 5: Server(spool): 5 is no path -> write spool=
from mailstack import Server, Stack
from mailstack.handlers import discard

server = Server(Stack(discard.Discard()), spool=5)
