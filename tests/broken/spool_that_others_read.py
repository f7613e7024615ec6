# expect: 5: spool folder /tmp can be read by others -> chmod 700
from mailstack import Server, Stack
from mailstack.handlers import discard

server = Server(
    Stack(discard.Discard()),
    spool="/tmp",
)
