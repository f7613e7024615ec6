# expect: 7: Limits(idle): '5 minuets' is not a duration
from mailstack import Limits, Server, Stack
from mailstack.handlers import discard

server = Server(
    Stack(discard.Discard()),
    limits=Limits(idle="5 minuets"),
)
